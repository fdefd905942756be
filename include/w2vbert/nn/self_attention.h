#pragma once

#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/pimpl.h>

#include <cstdint>
#include <optional>
#include <string>

#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/nn/linear.h"
#include "w2vbert/nn/module.h"

namespace w2vbert {

/// HF: modeling_wav2vec2_bert.py, Wav2Vec2BertSelfAttention, and the two functions it may run on:
/// eager_attention_forward there, and sdpa_attention_forward of integrations/sdpa_attention.py. H
/// heads of size D.
class Wav2Vec2BertSelfAttentionImpl : public Cloneable<Wav2Vec2BertSelfAttentionImpl> {
 public:
  struct Output {
    torch::Tensor attn_output;   ///< (B, T, C)
    torch::Tensor attn_weights;  ///< (B, H, T, T) after dropout; undefined with sdpa
  };

  /// HF: is_adapter_attention. In the adapter the attention is output_hidden_size wide instead of
  /// hidden_size, and has no position embeddings, whatever the config says.
  enum class Place { encoder, adapter };

  /// Throws ConfigError for a config that validate() refuses, and for an adapter whose width is not
  /// a multiple of num_attention_heads.
  explicit Wav2Vec2BertSelfAttentionImpl(Wav2Vec2BertConfig config, Place place = Place::encoder);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// `hidden_states` (B, T, C), of the parameters' dtype. `attention_mask` (B, 1, T, T), for each
  /// query (third) and key (last), as HF's create_bidirectional_mask gives it, or undefined: all
  /// keys may be attended to.
  ///   attn_implementation "sdpa": bool, true where the key may be attended to
  ///   attn_implementation "eager": `hidden_states`' dtype, 0 where the key may be attended to, and
  ///   that dtype's lowest finite value (torch.finfo(dtype).min) elsewhere; it is added to the
  ///   scores
  /// For padded clips, with `valid` bool (B, T): valid.view({B, 1, 1, T}).expand({B, 1, T, T}), for
  /// eager with torch::where(that, 0, lowest).
  /// `relative_position_embeddings`: for "relative" and "rotary", what
  /// Wav2Vec2BertRelPositionalEmbedding and Wav2Vec2BertRotaryPositionalEmbedding give for
  /// `hidden_states`. All are on the parameters' device. Throws c10::ValueError for a tensor of
  /// another shape, dtype, device or layout than that, and for position embeddings that are
  /// missing.
  Output forward(const torch::Tensor& hidden_states, const torch::Tensor& attention_mask = {},
                 const torch::Tensor& relative_position_embeddings = {});

  Linear linear_q = nullptr;
  Linear linear_k = nullptr;
  Linear linear_v = nullptr;
  Linear linear_out = nullptr;
  torch::nn::Dropout dropout = nullptr;
  // What follows is registered for one position_embeddings_type only; null or undefined for others.
  Linear linear_pos = nullptr;                        ///< "relative"
  torch::Tensor pos_bias_u;                           ///< "relative", (H, D)
  torch::Tensor pos_bias_v;                           ///< "relative", (H, D)
  torch::nn::Embedding distance_embedding = nullptr;  ///< "relative_key"

 private:
  void check_position_embeddings(const torch::Tensor& embeddings,
                                 const torch::Tensor& hidden_states) const;
  /// (B, T, C) -> (B, T, C), each head turned by its frame's angles.
  torch::Tensor apply_rotary_embedding(torch::Tensor hidden_states,
                                       const torch::Tensor& relative_position_embeddings) const;
  /// (B, H, T, D) -> (B, H, T, T), to be added to the scores.
  torch::Tensor relative_position_bias(const torch::Tensor& query,
                                       const torch::Tensor& relative_position_embeddings);
  torch::Tensor relative_key_position_bias(const torch::Tensor& query);
  Output eager_attention(const torch::Tensor& query, const torch::Tensor& key,
                         const torch::Tensor& value, const torch::Tensor& attention_mask,
                         const torch::Tensor& position_bias);
  Output sdpa_attention(const torch::Tensor& query, const torch::Tensor& key,
                        const torch::Tensor& value, const torch::Tensor& attention_mask,
                        const torch::Tensor& position_bias);

  Wav2Vec2BertConfig config_;
  std::optional<std::string> position_embeddings_type_;
  std::int64_t hidden_size_;
  std::int64_t head_size_;
  double scaling_;  ///< D^-0.5
};
TORCH_MODULE(Wav2Vec2BertSelfAttention);

}  // namespace w2vbert
