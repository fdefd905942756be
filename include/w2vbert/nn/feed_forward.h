#pragma once

#include <torch/nn/modules/dropout.h>
#include <torch/nn/pimpl.h>

#include <cstdint>
#include <optional>
#include <string>

#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/nn/activation.h"
#include "w2vbert/nn/linear.h"
#include "w2vbert/nn/module.h"

namespace w2vbert {

/// HF: modeling_wav2vec2_bert.py, Wav2Vec2BertFeedForward. C is hidden_size.
class Wav2Vec2BertFeedForwardImpl : public Cloneable<Wav2Vec2BertFeedForwardImpl> {
 public:
  /// Absent: the config's hidden_act and hidden_size. Throws ConfigError for a config that
  /// validate() refuses and for an activation that is not known.
  explicit Wav2Vec2BertFeedForwardImpl(Wav2Vec2BertConfig config,
                                       std::optional<std::string> act_fn = {},
                                       std::optional<std::int64_t> hidden_size = {});
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// `hidden_states` (B, T, C), of the parameters' dtype -> (B, T, C). Throws c10::ValueError.
  torch::Tensor forward(torch::Tensor hidden_states);

  torch::nn::Dropout intermediate_dropout = nullptr;
  Linear intermediate_dense = nullptr;
  Activation intermediate_act_fn = nullptr;
  Linear output_dense = nullptr;
  torch::nn::Dropout output_dropout = nullptr;

 private:
  Wav2Vec2BertConfig config_;
  std::optional<std::string> act_fn_;
  std::int64_t hidden_size_;
};
TORCH_MODULE(Wav2Vec2BertFeedForward);

}  // namespace w2vbert
