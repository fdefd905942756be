#include "w2vbert/models/wav2vec2_bert_for_ctc.h"

#include <torch/types.h>

#include "models/head.h"
#include "models/model_size.h"
#include "nn/check_inputs.h"
#include "nn/make_layers.h"
#include "w2vbert/core/error.h"
#include "w2vbert/models/output_lengths.h"

namespace w2vbert {
namespace {

at::Reduction::Reduction reduction(const std::string& name) {
  if (name == "none") return at::Reduction::None;
  return name == "mean" ? at::Reduction::Mean : at::Reduction::Sum;
}

void check_labels(const torch::Tensor& labels, const torch::Tensor& input_features,
                  const LabelRange& range) {
  check_dense(labels, "labels");
  TORCH_CHECK_VALUE(labels.scalar_type() == torch::kLong && labels.dim() == 2 &&
                        labels.size(0) == input_features.size(0) && labels.size(1) > 0,
                    "labels: ", labels.scalar_type(), " ", labels.sizes(), ", expected Long (",
                    input_features.size(0), ", targets)");
  const std::string outside = label_outside(labels, range);
  TORCH_CHECK_VALUE(outside.empty(), "labels: ", outside);
}

// (B, targets): true for a target, false for padding. HF: ForCTCLoss (loss_ctc.py) since 5.21, to
// which the blank is padding, too; before that Wav2Vec2BertForCTC.forward.
torch::Tensor mask_of_targets(const torch::Tensor& labels, std::int64_t blank, HfVersion version) {
  if (version < HfVersion::v5_21) return labels >= 0;
  return (labels != kIgnoredLabel).logical_and(labels != blank);
}

// The number of the CTC blank. HF: null is a TypeError, a number outside the vocabulary an error of
// torch's.
std::int64_t check_blank(const Wav2Vec2BertConfig& config) {
  const auto& blank = config.pad_token_id;
  if (blank && *blank >= 0 && *blank < *config.vocab_size) return *blank;
  throw ConfigError("config", "pad_token_id",
                    (blank ? std::to_string(*blank) : "null") + " is not supported by the CTC loss",
                    "the number of the blank, from 0 to below vocab_size = " +
                        std::to_string(*config.vocab_size));
}

}  // namespace

Wav2Vec2BertForCTCImpl::Wav2Vec2BertForCTCImpl(Wav2Vec2BertConfig model_config)
    : config(std::move(model_config)) {
  if (!config.vocab_size) {
    throw ConfigError("config", "vocab_size", "null is not supported by Wav2Vec2BertForCTC",
                      "the size of the vocabulary");
  }
  reset();
}

void Wav2Vec2BertForCTCImpl::reset() {
  const auto width = config.add_adapter ? config.adapter_size() : config.hidden_size;
  refuse_too_large(config,
                   {{"vocab_size", std::to_string(*config.vocab_size),
                     static_cast<double>(width) * static_cast<double>(*config.vocab_size)}});
  wav2vec2_bert = register_module("wav2vec2_bert", Wav2Vec2BertModel(config));
  dropout = register_module("dropout", torch::nn::Dropout(config.final_dropout));
  lm_head = register_module("lm_head", make_linear(width, *config.vocab_size));
  init_head(*this, config);
}

CausalLMOutput Wav2Vec2BertForCTCImpl::forward(const torch::Tensor& input_features,
                                               const torch::Tensor& attention_mask,
                                               const torch::Tensor& labels,
                                               const ForwardOptions& options) {
  refuse_stop_after(options);
  check_frames(input_features, "input_features", config.feature_projection_input_dim);
  if (labels.defined()) {
    check_labels(labels, input_features, *label_range(config, "Wav2Vec2BertForCTC"));
  }
  auto base = wav2vec2_bert(input_features, attention_mask, torch::Tensor(), options);
  auto hidden_states = dropout(base.last_hidden_state);

  CausalLMOutput output;
  output.logits = lm_head(hidden_states);  // (B, T', E) -> (B, T', V)
  output.hidden_states = std::move(base.hidden_states);
  output.attentions = std::move(base.attentions);
  if (!labels.defined()) return output;

  const auto blank = check_blank(config);
  const auto mask = attention_mask.defined()
                        ? attention_mask
                        : torch::ones({input_features.size(0), input_features.size(1)},
                                      input_features.options().dtype(torch::kLong));
  const auto input_lengths =
      get_feat_extract_output_lengths(config, mask.sum({-1})).to(torch::kLong);
  const auto labels_mask = mask_of_targets(labels, blank, config.hf_version);
  const auto target_lengths = labels_mask.sum(-1);
  const auto flattened_targets = labels.masked_select(labels_mask);
  const auto log_probs =  // (B, T', V) -> (T', B, V)
      torch::log_softmax(output.logits, -1, torch::kFloat).transpose(0, 1);
  // HF turns cuDNN off here. Its CTC is not used for long targets, so no global setting is touched.
  output.loss = torch::ctc_loss(log_probs, flattened_targets, input_lengths, target_lengths, blank,
                                reduction(config.ctc_loss_reduction), config.ctc_zero_infinity);
  return output;
}

void Wav2Vec2BertForCTCImpl::freeze_base_model() { freeze(wav2vec2_bert); }

void Wav2Vec2BertForCTCImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertForCTC(" << *config.vocab_size << " tokens)";
}

}  // namespace w2vbert
