// HF: transformers/modeling_outputs.py. B batch, T frames, C hidden_size, H heads, L layers, E
// width and T' frames after the adapter (E = C and T' = T without one). Absent: not asked for.
#pragma once

#include <torch/types.h>

#include <optional>
#include <vector>

namespace w2vbert {

/// HF: Wav2Vec2BaseModelOutput.
struct Wav2Vec2BertBaseModelOutput {
  torch::Tensor last_hidden_state;  ///< (B, T', E)
  torch::Tensor extract_features;   ///< (B, T, F): normalised, before the projection
  /// The encoder's, L + 1 of (B, T, C). In training without the layers that were dropped, as in HF.
  std::optional<std::vector<torch::Tensor>> hidden_states;
  std::optional<std::vector<torch::Tensor>> attentions;  ///< L of (B, H, T, T); with sdpa empty
};

struct CausalLMOutput {
  torch::Tensor loss;    ///< undefined without labels
  torch::Tensor logits;  ///< (B, T', vocab_size)
  std::optional<std::vector<torch::Tensor>> hidden_states;
  std::optional<std::vector<torch::Tensor>> attentions;
};

struct SequenceClassifierOutput {
  torch::Tensor loss;    ///< undefined without labels
  torch::Tensor logits;  ///< (B, num_labels)
  std::optional<std::vector<torch::Tensor>> hidden_states;
  std::optional<std::vector<torch::Tensor>> attentions;
};

struct TokenClassifierOutput {
  torch::Tensor loss;    ///< undefined without labels
  torch::Tensor logits;  ///< (B, T, num_labels)
  std::optional<std::vector<torch::Tensor>> hidden_states;
  std::optional<std::vector<torch::Tensor>> attentions;
};

struct XVectorOutput {
  torch::Tensor loss;        ///< undefined without labels
  torch::Tensor logits;      ///< (B, xvector_output_dim)
  torch::Tensor embeddings;  ///< (B, xvector_output_dim)
  std::optional<std::vector<torch::Tensor>> hidden_states;
  std::optional<std::vector<torch::Tensor>> attentions;
};

}  // namespace w2vbert
