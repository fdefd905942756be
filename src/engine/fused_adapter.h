// The adapter as the fused engine runs it.
#pragma once

#include <c10/core/ScalarType.h>

#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert {

// Replaces the adapter of `model`, if it has one, by one on the engine's products, in `precision`
// (of int8's, which would be too coarse, in float32): its weights are packed and freed. For
// inference on a CPU.
void fuse_adapter(Wav2Vec2BertModelImpl& model, c10::ScalarType precision);

}  // namespace w2vbert
