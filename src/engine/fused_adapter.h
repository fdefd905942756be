// The adapter as the fused engine runs it.
#pragma once

#include "engine/weight_scope.h"
#include "w2vbert/engine/precision.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert {

// Replaces the adapter of `model`, if it has one, by one on the engine's products, in `precision`
// (instead of int8's, which would be too coarse, in float32). Its weights are packed at once from
// `weights`, those of the Wav2Vec2BertAdapter. For inference on a CPU.
void fuse_adapter(Wav2Vec2BertModelImpl& model, const WeightScope& weights, Precision precision);

}  // namespace w2vbert
