#pragma once

#include <torch/nn/pimpl.h>

#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/models/modeling_outputs.h"
#include "w2vbert/nn/adapter.h"
#include "w2vbert/nn/encoder.h"
#include "w2vbert/nn/feature_projection.h"
#include "w2vbert/nn/feed_forward.h"
#include "w2vbert/nn/module.h"

namespace w2vbert {

/// HF: modeling_wav2vec2_bert.py, Wav2Vec2BertModel.
class Wav2Vec2BertModelImpl : public Cloneable<Wav2Vec2BertModelImpl> {
 public:
  /// What HF's base_model_prefix is: checkpoints of other classes hold the names below behind it.
  static constexpr const char* kBaseModelPrefix = "wav2vec2_bert";

  /// With HF's initialisation (nn/initialization.h), and in training mode, as in HF.
  explicit Wav2Vec2BertModelImpl(Wav2Vec2BertConfig config);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// `input_features` (B, T, F), of the parameters' dtype. `attention_mask` (B, T), zero where a
  /// frame is padding, or undefined. `mask_time_indices` bool (B, T): frames replaced by
  /// masked_spec_embed; ignored when apply_spec_augment is false; they are counted, which waits for
  /// the device, as HF does. Without them, in training mode, SpecAugment draws its own from
  /// options.spec_augment_random. Throws c10::ValueError; the module stays usable.
  Wav2Vec2BertBaseModelOutput forward(const torch::Tensor& input_features,
                                      const torch::Tensor& attention_mask = {},
                                      const torch::Tensor& mask_time_indices = {},
                                      const ForwardOptions& options = {});

  /// What follows the encoder: the intermediate feed-forward and the adapter, where the config has
  /// them; else `hidden_states` (B, T, C) itself.
  torch::Tensor after_encoder(torch::Tensor hidden_states,
                              const torch::Tensor& attention_mask = {});

  Wav2Vec2BertConfig config;
  torch::Tensor masked_spec_embed;  ///< (C), undefined when both mask_*_prob are 0
  Wav2Vec2BertFeatureProjection feature_projection = nullptr;
  Wav2Vec2BertEncoder encoder = nullptr;
  Wav2Vec2BertAdapter adapter = nullptr;               ///< with add_adapter
  Wav2Vec2BertFeedForward intermediate_ffn = nullptr;  ///< use_intermediate_ffn_before_adapter

 private:
  torch::Tensor mask_hidden_states(torch::Tensor hidden_states,
                                   const torch::Tensor& mask_time_indices,
                                   const torch::Tensor& attention_mask, NumpyRandom* random);
};
TORCH_MODULE(Wav2Vec2BertModel);

}  // namespace w2vbert
