// A model class whose encoder is another module than the mirror's.
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <string>

#include "engine/fused_encoder.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert {

// The encoder that fuse() built into the model; null where there is not one. Lives as long as the
// model's encoder.
FusedEncoder* fused_encoder_of(Wav2Vec2BertModelImpl& model);

struct FoundModel {
  std::shared_ptr<Wav2Vec2BertModelImpl> model;
  std::string prefix;  // of its names in the whole
};

// `module` itself, or its child of that class. Throws c10::ValueError for a module without one.
FoundModel find_model(torch::nn::Module& module);

// For a Wav2Vec2BertEncoder that registers neither layers nor parameters.
Wav2Vec2BertConfig without_encoder_layers(Wav2Vec2BertConfig config);

void replace_encoder(Wav2Vec2BertModelImpl& model,
                     const std::shared_ptr<Wav2Vec2BertEncoderImpl>& encoder);

}  // namespace w2vbert
