#include "w2vbert/nn/conv1d.h"

#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <algorithm>

#include "nn/clone_layer.h"
#include "nn/onednn.h"

namespace w2vbert {
namespace {

// x (B, C, T + K - 1), weight (C, 1, K), both float16.
class RoundedDepthwiseConv1d : public torch::autograd::Function<RoundedDepthwiseConv1d> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x,
                               const torch::Tensor& weight) {
    context->save_for_backward({x, weight});
    return at::convolution(x.to(torch::kFloat), weight.to(torch::kFloat), /*bias=*/{}, {1}, {0},
                           {1},
                           /*transposed=*/false, {0}, /*groups=*/x.size(1))
        .to(torch::kHalf);
  }

  // oneDNN builds the kernels of the gradients without trouble, so they stay float16, as PyTorch's.
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               torch::autograd::tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const torch::Tensor& x = saved[0];
    const torch::Tensor& weight = saved[1];
    const auto [grad_x, grad_weight, none] = at::convolution_backward(
        gradients[0], x, weight, std::nullopt, {1}, {0}, {1}, /*transposed=*/false, {0}, x.size(1),
        {context->needs_input_grad(0), context->needs_input_grad(1), false});
    return {grad_x, grad_weight};
  }
};

}  // namespace

bool onednn_takes_float16() {
  static const auto supported =
      c10::Dispatcher::singleton().findSchema({"mkldnn::_is_mkldnn_fp16_supported", ""});
  return supported && at::globalContext().userEnabledMkldnn() && supported->typed<bool()>().call();
}

bool Conv1dImpl::is_plain_depthwise() const {
  const auto is = [](const torch::ExpandingArray<1>& value, std::int64_t wanted) {
    return value->at(0) == wanted;
  };
  const auto* padding = std::get_if<torch::ExpandingArray<1>>(&options.padding());
  return options.groups() > 1 && options.groups() == options.in_channels() &&
         options.groups() == options.out_channels() && !options.bias() && padding != nullptr &&
         is(*padding, 0) && is(options.stride(), 1) && is(options.dilation(), 1);
}

torch::Tensor Conv1dImpl::forward(const torch::Tensor& input) {
  const bool at_risk = input.is_cpu() && input.scalar_type() == torch::kHalf &&
                       is_plain_depthwise() && onednn_takes_float16();
  if (at_risk) return RoundedDepthwiseConv1d::apply(input, weight);
  return torch::nn::Conv1dImpl::forward(input);
}

std::shared_ptr<torch::nn::Module> Conv1dImpl::clone(
    const std::optional<torch::Device>& device) const {
  // One channel: the parameters come from this layer.
  return clone_layer(*this, device, [this] {
    return std::make_shared<Conv1dImpl>(
        torch::nn::Conv1dOptions(1, 1, 1).padding(options.padding()).bias(options.bias()));
  });
}

}  // namespace w2vbert
