// A model class whose encoder is the device encoder.
#pragma once

#include "engine/device/device_encoder.h"
#include "w2vbert/engine/precision.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert {

// Whether the environment variable W2VBERT_DEVICE_ENGINE=1 lets the device engine take the place of
// the fused one on any device. Without it that is so on a GPU on which its kernels have been
// checked (choose_ops.h).
bool device_engine_is_wanted();

// Replaces the encoder of a loaded Wav2Vec2BertModel, or of the one in `whole`, by a DeviceEncoder;
// its layers leave the model. Throws c10::ValueError for what the encoder cannot run, and for
// parameters of another dtype than `precision`; then the model is as it was.
void put_on_device_engine(torch::nn::Module& whole, Precision precision);

// The encoder that put_on_device_engine() built into the model; null where there is not one. Lives
// as long as the model's encoder.
DeviceEncoder* device_encoder_of(Wav2Vec2BertModelImpl& model);

}  // namespace w2vbert
