// A model class whose encoder is another module than the mirror's.
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <string>

#include "engine/fused_encoder.h"
#include "engine/weight_scope.h"
#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/engine/precision.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert {

// The encoder that fuse() built into the model; null where there is not one. Lives as long as the
// model's encoder.
FusedEncoder* fused_encoder_of(Wav2Vec2BertModelImpl& model);

// An encoder as fuse() puts it into a model of that config, by itself. `weights` are those of the
// Wav2Vec2BertEncoder, of the shapes that the config asks for; its large matrices stay in their
// source until the second forward, or the first one if its batch is long. For inference on a CPU.
// Throws c10::ValueError for what FusedEncoder::unsupported_reason() names, CheckpointError for
// what is not in the source.
std::shared_ptr<Wav2Vec2BertEncoderImpl> make_fused_encoder(const WeightScope& weights,
                                                            const Wav2Vec2BertConfig& config,
                                                            Precision precision);

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
