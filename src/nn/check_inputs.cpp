#include "nn/check_inputs.h"

#include <torch/types.h>

namespace w2vbert {

void check_defined(const at::Tensor& tensor, const char* name) {
  TORCH_CHECK_VALUE(tensor.defined(), name, ": undefined, expected a tensor");
}

void check_dense(const at::Tensor& tensor, const char* name) {
  check_defined(tensor, name);
  TORCH_CHECK_VALUE(tensor.layout() == at::kStrided, name, ": ", tensor.layout(),
                    " layout, expected a dense (strided) tensor");
  TORCH_CHECK_VALUE(!tensor.is_quantized(), name, ": quantized, expected a plain tensor");
}

void check_frames(const at::Tensor& tensor, const char* name, std::int64_t width) {
  check_dense(tensor, name);
  TORCH_CHECK_VALUE(
      tensor.dim() == 3 && tensor.size(0) > 0 && tensor.size(1) > 0 && tensor.size(2) == width,
      name, ": shape ", tensor.sizes(), ", expected (B, T, ", width,
      ") with at least one row and one frame");
}

void check_like_parameter(const at::Tensor& tensor, const char* name, const at::Tensor& parameter) {
  TORCH_CHECK_VALUE(tensor.scalar_type() == parameter.scalar_type(), name, ": ",
                    tensor.scalar_type(), ", expected the parameters' ", parameter.scalar_type());
  TORCH_CHECK_VALUE(tensor.device() == parameter.device(), name, ": on ", tensor.device(),
                    ", expected the parameters' ", parameter.device());
}

void check_hidden_states(const at::Tensor& tensor, const char* name, std::int64_t width,
                         const at::Tensor& parameter) {
  check_frames(tensor, name, width);
  check_like_parameter(tensor, name, parameter);
}

void check_class_labels(const at::Tensor& labels, std::int64_t batch) {
  check_dense(labels, "labels");
  TORCH_CHECK_VALUE(labels.scalar_type() == at::kLong && labels.numel() == batch,
                    "labels: ", labels.scalar_type(), " ", labels.sizes(), ", expected Long (",
                    batch, ")");
}

at::Tensor check_attention_mask(const at::Tensor& mask, const char* name,
                                const at::Tensor& hidden_states) {
  if (!mask.defined()) return {};
  check_dense(mask, name);
  TORCH_CHECK_VALUE(mask.dim() == 2 && mask.size(0) == hidden_states.size(0) &&
                        mask.size(1) == hidden_states.size(1),
                    name, ": shape ", mask.sizes(), ", expected (", hidden_states.size(0), ", ",
                    hidden_states.size(1), ")");
  TORCH_CHECK_VALUE(!mask.is_complex(), name, ": ", mask.scalar_type(),
                    ", expected a boolean, integer or floating type");
  TORCH_CHECK_VALUE(mask.device() == hidden_states.device(), name, ": on ", mask.device(),
                    ", expected ", hidden_states.device());
  at::Tensor valid = mask.to(at::kBool);  // (B, T)
  if (mask.is_cpu() && mask.scalar_type() != at::kBool) {
    TORCH_CHECK_VALUE(mask.eq(valid).all().item<bool>(), name,
                      ": holds other values, expected zeros and ones");
  }
  return valid;
}

void check_adapter_frames(std::int64_t frames, const Wav2Vec2BertConfig& config) {
  const auto padded = frames + 2 * (config.adapter_stride / 2);
  TORCH_CHECK_VALUE(padded >= config.adapter_kernel_size, "hidden_states: ", frames,
                    " frames are fewer than adapter_kernel_size = ", config.adapter_kernel_size,
                    " needs with adapter_stride = ", config.adapter_stride);
}

void check_bidirectional_mask(const at::Tensor& mask, const char* name,
                              const at::Tensor& hidden_states, bool sdpa) {
  if (!mask.defined()) return;
  check_dense(mask, name);
  const auto batch = hidden_states.size(0);
  const auto frames = hidden_states.size(1);
  TORCH_CHECK_VALUE(mask.sizes() == at::IntArrayRef({batch, 1, frames, frames}), name, ": shape ",
                    mask.sizes(), ", expected (", batch, ", 1, ", frames, ", ", frames, ")");
  const auto dtype = sdpa ? at::kBool : hidden_states.scalar_type();
  TORCH_CHECK_VALUE(mask.scalar_type() == dtype, name, ": ", mask.scalar_type(), ", expected ",
                    dtype);
  TORCH_CHECK_VALUE(mask.device() == hidden_states.device(), name, ": on ", mask.device(),
                    ", expected ", hidden_states.device());
}

}  // namespace w2vbert
