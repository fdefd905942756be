#include "w2vbert/nn/relative_positional_embedding.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>

#include "core/mkl_vml.h"
#include "nn/check_config.h"
#include "nn/check_inputs.h"

namespace w2vbert {
namespace {

// Longer tables are computed when they are needed, so that no config.json can ask for much memory.
constexpr std::int64_t kMaxStoredPositions = 5000;  // HF's default max_source_positions

// HF: extend_pe. On the CPU and in float32, whatever the model's device and dtype: (1, 2T - 1, C).
torch::Tensor relative_table(std::int64_t frames, std::int64_t channels) {
  const auto positions = torch::arange(frames, torch::kLong).to(torch::kFloat).unsqueeze(1);
  const auto div_term = torch::exp(torch::arange(0, channels, 2, torch::kLong).to(torch::kFloat) *
                                   -(std::log(10000.0) / static_cast<double>(channels)));
  const auto interleaved = [&](const torch::Tensor& angles) {  // (T, C / 2) -> (T, C)
    return torch::stack({torch::sin(angles), torch::cos(angles)}, -1).flatten(1);
  };
  // Keys to the left of the query have positive distances, and stand first.
  const auto positive = interleaved(positions * div_term);
  const auto negative = interleaved(positions * -1 * div_term);
  return torch::cat({torch::flip(positive, {0}), negative.slice(0, 1)}).unsqueeze(0);
}

}  // namespace

Wav2Vec2BertRelPositionalEmbeddingImpl::Wav2Vec2BertRelPositionalEmbeddingImpl(
    Wav2Vec2BertConfig config)
    : config_(checked(std::move(config))) {
  warm_up_mkl_vml();
  reset();
}

void Wav2Vec2BertRelPositionalEmbeddingImpl::reset() {
  const auto positions = std::min(config_.max_source_positions, kMaxStoredPositions);
  pe = register_buffer("pe", relative_table(positions, config_.hidden_size));
}

torch::Tensor Wav2Vec2BertRelPositionalEmbeddingImpl::forward(const torch::Tensor& hidden_states) {
  check_frames(hidden_states, "hidden_states", config_.hidden_size);
  const auto frames = hidden_states.size(1);
  const auto table =
      pe.size(1) >= 2 * frames - 1 ? pe : relative_table(frames, config_.hidden_size);
  const auto center = table.size(1) / 2;  // distance 0
  return table.slice(1, center - frames + 1, center + frames)
      .to(hidden_states.device(), hidden_states.scalar_type());
}

void Wav2Vec2BertRelPositionalEmbeddingImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertRelPositionalEmbedding(" << config_.hidden_size << ")";
}

}  // namespace w2vbert
