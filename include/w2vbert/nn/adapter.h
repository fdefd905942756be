#pragma once

#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>

#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/nn/adapter_layer.h"
#include "w2vbert/nn/linear.h"
#include "w2vbert/nn/module.h"

namespace w2vbert {

/// HF: modeling_wav2vec2_bert.py, Wav2Vec2BertAdapter.
class Wav2Vec2BertAdapterImpl : public Cloneable<Wav2Vec2BertAdapterImpl> {
 public:
  /// Throws ConfigError for a config that validate() refuses.
  explicit Wav2Vec2BertAdapterImpl(Wav2Vec2BertConfig config);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// `hidden_states` (B, T, C), of the parameters' dtype; `attention_mask` (B, T), zero where a
  /// frame is padding, or undefined -> (B, T', E). HF: padded frames are not zeroed before the
  /// strided convolutions, and lengths shrink by kernel / 2 where the convolutions pad stride / 2.
  /// Throws c10::ValueError. Virtual for what computes the same in another way (engine/fuse.h).
  virtual torch::Tensor forward(torch::Tensor hidden_states,
                                const torch::Tensor& attention_mask = {});

  /// HF: _compute_sub_sample_lengths_from_attention_mask. How many frames may be attended to behind
  /// one layer for `seq_lens`, numbers of any shape, before it: a tensor of floats without
  /// fractions, below 1 where none may.
  torch::Tensor sub_sample_lengths(const torch::Tensor& seq_lens) const;

  Linear proj = nullptr;  ///< when output_hidden_size is not hidden_size, with its norm
  torch::nn::LayerNorm proj_layer_norm = nullptr;
  torch::nn::ModuleList layers = nullptr;  ///< of Wav2Vec2BertAdapterLayer

 private:
  Wav2Vec2BertConfig config_;
};
TORCH_MODULE(Wav2Vec2BertAdapter);

}  // namespace w2vbert
