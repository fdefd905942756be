#include "nn/make_layers.h"

#include <torch/types.h>

#include <variant>

#include "w2vbert/nn/initialization.h"

namespace w2vbert {

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
  TORCH_CHECK_VALUE(options.groups() > 0, "groups: ", options.groups(), ", expected 1 or more");
  // LibTorch works out the padding when a layer is made; in numbers it does not depend on the rest.
  TORCH_CHECK_VALUE(std::holds_alternative<torch::ExpandingArray<1>>(options.padding()),
                    "padding: a word, expected a number of frames");
  Conv1d conv(torch::nn::Conv1dOptions(1, 1, 1)
                  .stride(options.stride())
                  .padding(options.padding())
                  .dilation(options.dilation())
                  .bias(options.bias())
                  .padding_mode(options.padding_mode()));
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

}  // namespace w2vbert
