#include "w2vbert/nn/conv1d.h"

#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/nn/functional/padding.h>
#include <torch/types.h>

#include <variant>
#include <vector>

#include "nn/check_inputs.h"
#include "nn/clone_layer.h"
#include "nn/onednn.h"

namespace w2vbert {
namespace {

namespace F = torch::nn::functional;

// x (B, C, T), weight (M, 1, K), bias (M) or absent, all float16 -> (B, M, T').
class RoundedDepthwiseConv1d : public torch::autograd::Function<RoundedDepthwiseConv1d> {
 public:
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x,
                               const torch::Tensor& weight,
                               const std::optional<torch::Tensor>& bias, std::int64_t stride,
                               std::int64_t padding, std::int64_t dilation) {
    context->save_for_backward({x, weight});
    context->saved_data["has_bias"] = bias.has_value();
    context->saved_data["stride"] = stride;
    context->saved_data["padding"] = padding;
    context->saved_data["dilation"] = dilation;
    // oneDNN's float16 kernel adds the bias to the whole sum, which its float32 kernel begins with.
    // Its kernels of dilated convolutions both begin with it.
    std::optional<torch::Tensor> first, last;
    if (bias) (dilation == 1 ? last : first) = bias->to(torch::kFloat);
    auto result = at::convolution(x.to(torch::kFloat), weight.to(torch::kFloat), first, {stride},
                                  {padding}, {dilation}, /*transposed=*/false, {0},
                                  /*groups=*/x.size(1));
    if (last) result = result + last->unsqueeze(1);  // (M) -> (M, 1)
    return result.to(torch::kHalf);
  }

  // oneDNN builds the kernels of the gradients without trouble, so they stay float16, as PyTorch's.
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               torch::autograd::tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const torch::Tensor& x = saved[0];
    const torch::Tensor& weight = saved[1];
    const bool has_bias = context->saved_data["has_bias"].toBool();
    const auto number = [&](const char* name) { return context->saved_data[name].toInt(); };
    const std::vector<std::int64_t> bias_sizes = {weight.size(0)};
    const auto [grad_x, grad_weight, grad_bias] = at::convolution_backward(
        gradients[0], x, weight,
        has_bias ? at::OptionalIntArrayRef(bias_sizes) : at::OptionalIntArrayRef(),
        {number("stride")}, {number("padding")}, {number("dilation")}, /*transposed=*/false, {0},
        x.size(1),
        {context->needs_input_grad(0), context->needs_input_grad(1),
         has_bias && context->needs_input_grad(2)});
    return {grad_x, grad_weight, grad_bias, {}, {}, {}};
  }
};

F::PadFuncOptions::mode_t pad_mode(const torch::nn::Conv1dOptions::padding_mode_t& mode) {
  if (std::holds_alternative<torch::enumtype::kReflect>(mode)) return torch::kReflect;
  if (std::holds_alternative<torch::enumtype::kReplicate>(mode)) return torch::kReplicate;
  return torch::kCircular;
}

}  // namespace

bool onednn_takes_float16() {
  static const auto supported =
      c10::Dispatcher::singleton().findSchema({"mkldnn::_is_mkldnn_fp16_supported", ""});
  return supported && at::globalContext().userEnabledMkldnn() && supported->typed<bool()>().call();
}

bool Conv1dImpl::is_depthwise() const {
  return options.groups() > 1 && options.groups() == options.in_channels();
}

torch::Tensor Conv1dImpl::forward(const torch::Tensor& input) {
  check_defined(input, "input");
  TORCH_CHECK_VALUE(
      (input.dim() == 3 || input.dim() == 2) && input.size(-2) == options.in_channels(),
      "input: shape ", input.sizes(), ", expected (B, ", options.in_channels(), ", T) or (",
      options.in_channels(), ", T)");
  const bool at_risk = input.is_cpu() && input.scalar_type() == torch::kHalf &&
                       weight.scalar_type() == torch::kHalf && is_depthwise() &&
                       onednn_takes_float16();
  if (!at_risk) return torch::nn::Conv1dImpl::forward(input);
  return input.dim() == 3 ? forward_rounded(input) : forward_rounded(input.unsqueeze(0)).squeeze(0);
}

// What is padded before the convolution, and what by it, is as in LibTorch, whose gradients are
// those of the same operations.
torch::Tensor Conv1dImpl::forward_rounded(torch::Tensor input) const {
  const auto dilation = options.dilation()->at(0);
  std::int64_t padding = 0;
  if (!std::holds_alternative<torch::enumtype::kZeros>(options.padding_mode())) {
    input = F::pad(
        input,
        F::PadFuncOptions(_reversed_padding_repeated_twice).mode(pad_mode(options.padding_mode())));
  } else if (const auto* given = std::get_if<torch::ExpandingArray<1>>(&options.padding())) {
    padding = (*given)->at(0);
  } else if (std::holds_alternative<torch::enumtype::kSame>(options.padding())) {
    const auto total = dilation * (options.kernel_size()->at(0) - 1);
    padding = total / 2;
    if (total % 2 != 0) input = torch::constant_pad_nd(input, {0, 1});
  }
  std::optional<torch::Tensor> added;
  if (bias.defined()) added = bias;
  return RoundedDepthwiseConv1d::apply(input, weight, added, options.stride()->at(0), padding,
                                       dilation);
}

std::shared_ptr<torch::nn::Module> Conv1dImpl::clone(
    const std::optional<torch::Device>& device) const {
  // One channel: the parameters come from this layer, and so does the padding, which LibTorch works
  // out when a layer is made.
  return clone_layer(*this, device, [this] {
    auto copy =
        std::make_shared<Conv1dImpl>(torch::nn::Conv1dOptions(1, 1, 1).bias(options.bias()));
    copy->_reversed_padding_repeated_twice = _reversed_padding_repeated_twice;
    return copy;
  });
}

}  // namespace w2vbert
