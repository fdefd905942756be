// The adapter as the fused engine runs it.
#pragma once

#include <memory>

#include "engine/weight_scope.h"
#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/engine/precision.h"
#include "w2vbert/nn/adapter.h"

namespace w2vbert {

// An adapter on the engine's products, in `precision` (instead of int8's, which would be too
// coarse, in float32), for a model of that config. Its weights are packed at once from `weights`,
// those of the Wav2Vec2BertAdapter. For inference on a CPU.
std::shared_ptr<Wav2Vec2BertAdapterImpl> make_fused_adapter(const WeightScope& weights,
                                                            const Wav2Vec2BertConfig& config,
                                                            Precision precision);

}  // namespace w2vbert
