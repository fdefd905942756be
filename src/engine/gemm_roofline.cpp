#include "engine/gemm_roofline.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <optional>

namespace w2vbert {
namespace {

// mkldnn::_reorder_linear_weight and mkldnn::_linear_pointwise have no C++ name; the dispatcher
// has.
at::Tensor call(const char* name, torch::jit::Stack stack) {
  c10::Dispatcher::singleton().findSchemaOrThrow(name, "").callBoxed(stack);
  return stack.front().toTensor();
}

at::Tensor packed_linear(const at::Tensor& input, const at::Tensor& weight) {
  torch::jit::Stack stack;
  stack.emplace_back(input);
  stack.emplace_back(weight);
  stack.emplace_back(std::optional<at::Tensor>());
  stack.emplace_back("none");
  stack.emplace_back(c10::List<std::optional<at::Scalar>>());
  stack.emplace_back(std::optional<std::string_view>());
  return call("mkldnn::_linear_pointwise", std::move(stack));
}

}  // namespace

double encoder_flops(const Wav2Vec2BertConfig& config, const std::vector<std::int64_t>& lengths) {
  const auto channels = static_cast<double>(config.hidden_size);
  const auto inner = static_cast<double>(config.intermediate_size);
  const double positions = config.position_embeddings_type == "relative_key"
                               ? static_cast<double>(config.left_max_position_embeddings +
                                                     config.right_max_position_embeddings + 1)
                               : 0.0;
  double flops = 0;
  for (const std::int64_t length : lengths) {
    const auto frames = static_cast<double>(length);
    const double linear = 2.0 * channels * (4.0 * inner + 7.0 * channels);
    const double attention = 4.0 * channels * frames + 2.0 * channels * positions;
    flops += frames * (linear + attention);
  }
  return flops * static_cast<double>(config.num_hidden_layers);
}

PackedGemmRate::PackedGemmRate(const Wav2Vec2BertConfig& config) {
  const std::int64_t channels = config.hidden_size;
  const std::int64_t inner = config.intermediate_size;
  products_ = {{channels, inner, 2},
               {inner, channels, 2},
               {channels, 3 * channels, 1},
               {channels, channels, 2},
               {channels, 2 * channels, 1}};
}

double PackedGemmRate::measure(std::int64_t rows, int rounds) {
  using Clock = std::chrono::steady_clock;
  const at::NoGradGuard no_grad;
  double flops = 0, seconds = 0;
  for (const Product& product : products_) {
    const at::Tensor input = at::ones({rows, product.in}, at::kFloat);
    torch::jit::Stack stack;
    stack.emplace_back(at::ones({product.out, product.in}, at::kFloat));
    stack.emplace_back(std::optional<c10::SymInt>(rows));
    const at::Tensor weight = call("mkldnn::_reorder_linear_weight", std::move(stack));
    packed_linear(input, weight);
    double fastest = std::numeric_limits<double>::infinity();
    for (int round = 0; round < rounds; ++round) {
      const auto began = Clock::now();
      packed_linear(input, weight);
      fastest = std::min(fastest, std::chrono::duration<double>(Clock::now() - began).count());
    }
    flops += product.per_layer * 2.0 * static_cast<double>(rows * product.in * product.out);
    seconds += product.per_layer * fastest;
  }
  return flops / seconds;
}

}  // namespace w2vbert
