#pragma once

#include <optional>

#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert {

// The number between 0 and 1 that decides whether a layer is dropped; nothing where none is. HF:
// Wav2Vec2BertEncoder.forward and Wav2Vec2BertAdapter.forward, torch.rand([]): the same draw from
// the same generator (LibTorch's default one on the CPU), without a tensor.
std::optional<float> draw_layerdrop(const Wav2Vec2BertConfig& config, bool is_training);

}  // namespace w2vbert
