#include "w2vbert/nn/initialization.h"

#include <torch/nn/init.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <string>

#include "w2vbert/nn/am_softmax_loss.h"
#include "w2vbert/nn/feature_projection.h"

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
    torch::Tensor values = parameter.value();
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

Linear make_linear(std::int64_t in_features, std::int64_t out_features, bool bias) {
  const auto options = torch::nn::LinearOptions(in_features, out_features).bias(bias);
  if (!SkipInitialization::active()) return Linear(options);
  Linear linear(torch::nn::LinearOptions(1, 1).bias(bias));
  linear->options = options;
  linear->weight.set_data(torch::empty({out_features, in_features}));
  if (bias) linear->bias.set_data(torch::empty({out_features}));
  return linear;
}

Conv1d make_conv1d(const torch::nn::Conv1dOptions& options) {
  if (!SkipInitialization::active()) return Conv1d(options);
  Conv1d conv(torch::nn::Conv1dOptions(1, 1, 1)
                  .stride(options.stride())
                  .padding(options.padding())
                  .dilation(options.dilation())
                  .bias(options.bias()));
  conv->options.in_channels(options.in_channels())
      .out_channels(options.out_channels())
      .kernel_size(options.kernel_size())
      .groups(options.groups());
  const auto in_channels = options.in_channels() / options.groups();
  const auto kernel_size = options.kernel_size()->at(0);
  conv->weight.set_data(torch::empty({options.out_channels(), in_channels, kernel_size}));
  if (options.bias()) conv->bias.set_data(torch::empty({options.out_channels()}));
  return conv;
}

torch::nn::Embedding make_embedding(std::int64_t num_embeddings, std::int64_t embedding_dim) {
  const torch::nn::EmbeddingOptions options(num_embeddings, embedding_dim);
  if (!SkipInitialization::active()) return torch::nn::Embedding(options);
  torch::nn::Embedding embedding(torch::nn::EmbeddingOptions(1, 1));
  embedding->options = options;
  embedding->weight.set_data(torch::empty({num_embeddings, embedding_dim}));
  return embedding;
}

torch::nn::LayerNorm make_layer_norm(std::int64_t width, const Wav2Vec2BertConfig& config) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}).eps(config.layer_norm_eps));
}

void init_weights(torch::nn::Module& module, const Wav2Vec2BertConfig& config) {
  const torch::NoGradGuard no_grad;
  for (const auto& child : module.children()) init_weights(*child, config);
  init_module(module, config);
}

}  // namespace w2vbert
