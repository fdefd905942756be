#include "w2vbert/nn/rotary_positional_embedding.h"

#include <torch/types.h>

#include "core/mkl_vml.h"
#include "nn/check_config.h"
#include "nn/check_inputs.h"

namespace w2vbert {

Wav2Vec2BertRotaryPositionalEmbeddingImpl::Wav2Vec2BertRotaryPositionalEmbeddingImpl(
    Wav2Vec2BertConfig config)
    : config_(checked(std::move(config))) {
  warm_up_mkl_vml();
  reset();
}

void Wav2Vec2BertRotaryPositionalEmbeddingImpl::reset() {
  const auto size = config_.head_size();
  const auto exponents = torch::arange(0, size, 2, torch::kLong).to(torch::kFloat) / size;
  inv_freq = register_buffer(
      "inv_freq", torch::pow(torch::Scalar(config_.rotary_embedding_base), exponents).reciprocal());
}

torch::Tensor Wav2Vec2BertRotaryPositionalEmbeddingImpl::forward(
    const torch::Tensor& hidden_states) {
  check_frames(hidden_states, "hidden_states", config_.hidden_size);
  const auto index = torch::TensorOptions().dtype(torch::kLong).device(inv_freq.device());
  const auto time_stamps = torch::arange(hidden_states.size(1), index).to(inv_freq.scalar_type());
  const auto freqs = torch::einsum("i,j->ij", {time_stamps, inv_freq});  // (T, D / 2)
  const auto embeddings = torch::cat({freqs, freqs}, -1);                // (T, D)
  const auto per_head = [](const torch::Tensor& table) {                 // (T, D) -> (T, 1, 1, D)
    return table.unsqueeze(1).unsqueeze(1);
  };
  return torch::stack({per_head(embeddings.cos()), per_head(embeddings.sin())})
      .to(hidden_states.device(), hidden_states.scalar_type());
}

void Wav2Vec2BertRotaryPositionalEmbeddingImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertRotaryPositionalEmbedding(" << config_.head_size()
         << ", base=" << config_.rotary_embedding_base << ")";
}

}  // namespace w2vbert
