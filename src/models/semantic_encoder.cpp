#include "w2vbert/models/semantic_encoder.h"

#include <torch/types.h>
#include <torch/utils.h>

#include "models/statistics.h"
#include "nn/check_inputs.h"

namespace w2vbert {
namespace {

// On a GPU the values are looked at once, when the encoder is made; on the meta device not at all.
void check_statistics(const torch::Tensor& statistics, const char* name, std::int64_t width,
                      Statistic statistic) {
  check_dense(statistics, name);
  TORCH_CHECK_VALUE(
      statistics.dim() == 1 && statistics.size(0) == width && statistics.is_floating_point(), name,
      ": ", statistics.scalar_type(), " ", statistics.sizes(),
      ", expected a floating tensor of shape (", width, ")");
  if (statistics.is_meta()) return;
  const auto bad = find_bad_statistic(statistics, statistic);
  TORCH_CHECK_VALUE(!bad, name, ": holds ", bad->value, " at index ", bad->index, ", expected ",
                    expected_values(statistic));
}

}  // namespace

SemanticEncoderImpl::SemanticEncoderImpl(Wav2Vec2BertModel base, torch::Tensor mean_values,
                                         torch::Tensor var_values, std::int64_t state)
    : model(std::move(base)),
      mean(std::move(mean_values)),
      var(std::move(var_values)),
      state_(state) {
  const auto& config = model->config;
  TORCH_CHECK_VALUE(state_ >= 0 && state_ <= config.num_hidden_layers, "state: ", state_,
                    ", expected from 0 to num_hidden_layers = ", config.num_hidden_layers);
  if (mean.defined() || var.defined()) {
    check_statistics(mean, "mean", config.hidden_size, Statistic::mean);
    check_statistics(var, "var", config.hidden_size, Statistic::variance);
  }
  register_module("model", model);
  if (!mean.defined()) return;
  register_buffer("mean", mean);
  register_buffer("var", var);
}

// For clone(), which fills what this makes: the original keeps its own.
void SemanticEncoderImpl::reset() {
  model = register_module("model", Wav2Vec2BertModel(model->config));
  if (!mean.defined()) return;
  mean = register_buffer("mean", torch::empty_like(mean));
  var = register_buffer("var", torch::empty_like(var));
}

torch::Tensor SemanticEncoderImpl::encode(const torch::Tensor& input_features,
                                          const torch::Tensor& attention_mask) {
  const torch::NoGradGuard no_grad;
  ForwardOptions options;
  options.stop_after = state_;
  options.output_hidden_states = false;
  options.output_attentions = false;
  auto state = model(input_features, attention_mask, torch::Tensor(), options).last_hidden_state;
  if (!mean.defined()) return state;
  return (state - mean) / torch::sqrt(var);
}

void SemanticEncoderImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::SemanticEncoder(hidden_states[" << state_ << "]"
         << (mean.defined() ? ", normalised" : "") << ")";
}

}  // namespace w2vbert
