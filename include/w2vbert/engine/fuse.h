// The fused encoder inside the model classes.
#pragma once

#include <c10/core/ScalarType.h>
#include <torch/nn/module.h>

#include "w2vbert/engine/fused_encoder.h"

namespace w2vbert {

/// Replaces the encoder and the adapter of the Wav2Vec2BertModel in `model` (that class itself, or
/// one of its heads) by fused ones: the class's forward gives what it gave, to rounding, and
/// faster. For inference on a CPU, in float32 but for the layers' products, which have `precision`:
/// the encoder's weights are packed and freed, so that the model can no longer be trained, saved,
/// moved or cloned, and gives no attentions. Throws c10::ValueError for a model that the fused
/// encoder cannot run (FusedEncoder::refusal), or without a Wav2Vec2BertModel. `reader`:
/// FusedEncoder::WeightReader.
void fuse(torch::nn::Module& model, c10::ScalarType precision = c10::ScalarType::Float,
          const FusedEncoder::WeightReader& reader = {});

}  // namespace w2vbert
