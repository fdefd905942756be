#include "w2vbert/nn/initialization.h"

#include <torch/nn/init.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <string>

#include "w2vbert/nn/am_softmax_loss.h"
#include "w2vbert/nn/conv1d.h"
#include "w2vbert/nn/feature_projection.h"
#include "w2vbert/nn/linear.h"

namespace w2vbert {
namespace {

thread_local bool skip_initialization = false;

void init_module(torch::nn::Module& module, const Wav2Vec2BertConfig& config) {
  // HF: `initializer_range or 0.02`, so 0 counts as absent.
  const double std = config.initializer_range == 0.0 ? 0.02 : config.initializer_range;
  if (auto* linear = module.as<torch::nn::LinearImpl>()) {
    linear->weight.normal_(0.0, std);
    if (linear->bias.defined()) linear->bias.zero_();
  } else if (auto* embedding = module.as<torch::nn::EmbeddingImpl>()) {
    embedding->weight.normal_(0.0, std);
  } else if (auto* layer_norm = module.as<torch::nn::LayerNormImpl>()) {
    layer_norm->weight.fill_(1.0);
    layer_norm->bias.zero_();
  } else if (auto* conv = module.as<torch::nn::Conv1dImpl>()) {
    conv->weight.normal_(0.0, std);  // HF: drawn here by the base class, and once more below
    if (conv->bias.defined()) conv->bias.zero_();
    const auto fan_in = static_cast<double>(conv->weight.size(1) * conv->weight.size(2));
    conv->weight.normal_(0.0, std::sqrt(2.0) / std::sqrt(fan_in));  // kaiming_normal_
    if (conv->bias.defined()) {
      const double bound = std::sqrt(1.0 / fan_in);  // groups / (in_channels * kernel)
      conv->bias.uniform_(-bound, bound);
    }
  } else if (auto* objective = module.as<AMSoftmaxLossImpl>()) {
    objective->weight.normal_();
  } else if (auto* projection = module.as<Wav2Vec2BertFeatureProjectionImpl>()) {
    const auto in_features = static_cast<double>(projection->projection->options.in_features());
    const double bound = std::sqrt(1.0 / in_features);
    projection->projection->weight.uniform_(-bound, bound);
    projection->projection->bias.uniform_(-bound, bound);
  }
  for (auto& parameter : module.named_parameters(/*recurse=*/false)) {
    const std::string& name = parameter.key();
    const torch::Tensor& values = parameter.value();
    if (name == "masked_spec_embed") values.uniform_();
    if (name == "pos_bias_u" || name == "pos_bias_v") torch::nn::init::xavier_uniform_(values);
    if (name == "layer_weights") {
      values.fill_(1.0 / (static_cast<double>(config.num_hidden_layers) + 1));
    }
  }
}

}  // namespace

SkipInitialization::SkipInitialization() : before_(skip_initialization) {
  skip_initialization = true;
}
SkipInitialization::~SkipInitialization() { skip_initialization = before_; }
bool SkipInitialization::active() { return skip_initialization; }

void init_weights(torch::nn::Module& module, const Wav2Vec2BertConfig& config) {
  const torch::NoGradGuard no_grad;
  for (const auto& child : module.children()) init_weights(*child, config);
  init_module(module, config);
}

}  // namespace w2vbert
