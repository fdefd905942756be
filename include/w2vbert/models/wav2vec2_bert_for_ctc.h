#pragma once

#include <torch/nn/modules/dropout.h>
#include <torch/nn/pimpl.h>

#include "w2vbert/models/modeling_outputs.h"
#include "w2vbert/models/wav2vec2_bert_model.h"
#include "w2vbert/nn/linear.h"
#include "w2vbert/nn/module.h"

namespace w2vbert {

/// HF: modeling_wav2vec2_bert.py, Wav2Vec2BertForCTC. V is vocab_size.
class Wav2Vec2BertForCTCImpl : public Cloneable<Wav2Vec2BertForCTCImpl> {
 public:
  /// Throws ConfigError: no vocab_size.
  explicit Wav2Vec2BertForCTCImpl(Wav2Vec2BertConfig config);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// Inputs as of Wav2Vec2BertModel; `options` without stop_after. `labels` (B, targets), long,
  /// from 0 to V - 1, of which the blank and -100 are padding (up to transformers 5.20: anything
  /// below 0), or undefined. The loss is float32. Throws
  /// c10::ValueError; ConfigError when labels meet a pad_token_id, the blank, of null or outside of
  /// 0 to V - 1.
  CausalLMOutput forward(const torch::Tensor& input_features,
                         const torch::Tensor& attention_mask = {}, const torch::Tensor& labels = {},
                         const ForwardOptions& options = {});

  void freeze_base_model();

  Wav2Vec2BertConfig config;
  Wav2Vec2BertModel wav2vec2_bert = nullptr;
  torch::nn::Dropout dropout = nullptr;
  Linear lm_head = nullptr;
};
TORCH_MODULE(Wav2Vec2BertForCTC);

}  // namespace w2vbert
