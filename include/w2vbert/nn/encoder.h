#pragma once

#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/pimpl.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/core/numpy_random.h"
#include "w2vbert/nn/encoder_layer.h"
#include "w2vbert/nn/module.h"
#include "w2vbert/nn/relative_positional_embedding.h"
#include "w2vbert/nn/rotary_positional_embedding.h"

namespace w2vbert {

/// Which of a forward's intermediate results are wanted, and how far it goes.
struct ForwardOptions {
  /// Not given: as the model's config says, as in HF.
  std::optional<bool> output_hidden_states;
  std::optional<bool> output_attentions;
  /// The last of `hidden_states` that is needed, 0..num_hidden_layers: later layers are not
  /// computed, and last_hidden_state is that state, without adapter. Not in HF; the states are the
  /// same bits, but that tie_last_hidden_states says nothing. For Wav2Vec2BertModel and
  /// Wav2Vec2BertEncoder: a head needs the last state, and throws c10::ValueError.
  std::optional<std::int64_t> stop_after;
  /// Draws SpecAugment's masks in training. Null: one of the whole process, as NumPy's is in HF,
  /// with a seed of its own (core/numpy_random.h).
  NumpyRandom* spec_augment_random = nullptr;
};

/// HF: modeling_wav2vec2_bert.py, Wav2Vec2BertEncoder.
class Wav2Vec2BertEncoderImpl : public Cloneable<Wav2Vec2BertEncoderImpl> {
 public:
  struct Output {
    torch::Tensor last_hidden_state;  ///< (B, T, C)
    /// On request. Of each executed layer: the first one's input, then every output, (B, T, C).
    std::vector<torch::Tensor> hidden_states;
    std::vector<torch::Tensor> attentions;  ///< on request, (B, H, T, T); with sdpa empty, as in HF
  };

  /// Throws ConfigError for a config that validate() refuses, but for num_hidden_layers = 0: an
  /// encoder without layers returns its first state.
  explicit Wav2Vec2BertEncoderImpl(Wav2Vec2BertConfig config);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// `hidden_states` (B, T, C), of the parameters' dtype; `attention_mask` (B, T), zero where a
  /// frame is padding, or undefined. With sdpa and position_embeddings_type "rotary" or null the
  /// mask is looked at, which waits for the device, as HF does. Throws c10::ValueError. Virtual for
  /// what computes the same in another way (engine/fuse.h).
  virtual Output forward(torch::Tensor hidden_states, const torch::Tensor& attention_mask = {},
                         const ForwardOptions& options = {});

  /// In training, each layer's activations are computed again in the backward pass instead of being
  /// kept: less memory for one more forward of each layer, and the same gradients to the last bit.
  /// Dropout draws the same random numbers once more. HF: GradientCheckpointingLayer, as with
  /// torch.utils.checkpoint(use_reentrant=False).
  bool gradient_checkpointing = false;

  /// HF: both are called embed_positions; "relative" has the one, "rotary" the other.
  Wav2Vec2BertRelPositionalEmbedding embed_positions_relative = nullptr;
  Wav2Vec2BertRotaryPositionalEmbedding embed_positions_rotary = nullptr;
  torch::nn::Dropout dropout = nullptr;
  torch::nn::ModuleList layers = nullptr;  ///< of Wav2Vec2BertEncoderLayer

 private:
  torch::Tensor embed_positions(const torch::Tensor& hidden_states);
  struct LayerRun {
    /// The layer's input, for all else that uses it: with gradient checkpointing its
    /// gradients are then added in the order in which they are without.
    torch::Tensor input;
    torch::Tensor hidden_states;
    torch::Tensor attn_weights;
  };
  LayerRun run_layer(std::shared_ptr<Wav2Vec2BertEncoderLayerImpl> layer,
                     const torch::Tensor& hidden_states, const torch::Tensor& attention_mask,
                     const torch::Tensor& relative_position_embeddings,
                     const torch::Tensor& padded) const;

  Wav2Vec2BertConfig config_;
};
TORCH_MODULE(Wav2Vec2BertEncoder);

/// HF: the methods of these names of every model. `model`: any class, or what holds one.
void gradient_checkpointing_enable(torch::nn::Module& model);
void gradient_checkpointing_disable(torch::nn::Module& model);

}  // namespace w2vbert
