#include "engine/device/kernel_ops.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>

#include <cmath>
#include <limits>
#include <optional>

namespace w2vbert {
namespace {

constexpr std::int64_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();

std::optional<cuda::Element> element_of(c10::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return cuda::Element::float32;
    case at::kBFloat16:
      return cuda::Element::bfloat16;
    case at::kHalf:
      return cuda::Element::float16;
    default:
      return std::nullopt;
  }
}

// As kernels read: dense, and from a multiple of 16 bytes on.
bool is_readable(const at::Tensor& tensor, c10::ScalarType dtype) {
  constexpr std::uintptr_t kAlignment = 16;
  return tensor.defined() && tensor.scalar_type() == dtype && tensor.is_contiguous() &&
         reinterpret_cast<std::uintptr_t>(tensor.const_data_ptr()) % kAlignment == 0;
}

bool is_readable(const DeviceLayerNorm& norm) {
  return is_readable(norm.weight, at::kFloat) && is_readable(norm.bias, at::kFloat);
}

const float* floats_of(const at::Tensor& tensor) {
  return static_cast<const float*>(tensor.const_data_ptr());
}

const cuda::RowTile* tiles_of(const RaggedLayout& layout) {
  return static_cast<const cuda::RowTile*>(layout.row_tiles().const_data_ptr());
}

std::int32_t int32_of(std::int64_t number) { return static_cast<std::int32_t>(number); }

bool is_int32(std::int64_t number) { return number >= 0 && number <= kMaxInt32; }

// Whether the layout has what kernels need for these rows.
bool is_of(const RaggedLayout& layout, const at::Tensor& rows) {
  return layout.row_tiles().defined() && layout.row_tiles().device() == rows.device() &&
         rows.size(0) == layout.rows();
}

// (R, columns), of which a kernel will write the clips' rows.
at::Tensor rows_for(const RaggedLayout& layout, const at::Tensor& like, std::int64_t columns) {
  at::Tensor y = at::empty({layout.rows(), columns}, like.options());
  const std::int64_t more = layout.rows() - layout.clip_rows();
  if (more > 0) y.narrow(0, layout.clip_rows(), more).zero_();
  return y;
}

}  // namespace

template <class Arguments>
bool KernelOps::launch(const char* (*launcher)(const Arguments&, cuda::Element, void*),
                       const Arguments& arguments, cuda::Element element,
                       c10::Device device) const {
  const c10::DeviceGuard guard(device);
  void* const stream =
      launchers_.current_stream == nullptr ? nullptr : launchers_.current_stream(device.index());
  const char* const reason = launcher(arguments, element, stream);
  if (reason == nullptr) {
    ++launches_;
    return true;
  }
  const std::lock_guard lock(reason_mutex_);
  unsupported_reason_ = reason;
  return false;
}

std::string KernelOps::unsupported_reason() const {
  const std::lock_guard lock(reason_mutex_);
  return unsupported_reason_;
}

at::Tensor KernelOps::add_norm(const at::Tensor& residual, const at::Tensor& delta, double scale,
                               const DeviceLayerNorm& norm, c10::ScalarType dtype) const {
  const c10::ScalarType narrow = delta.defined() ? delta.scalar_type() : dtype;
  const auto element = element_of(narrow);
  if (launchers_.add_norm == nullptr || !element || !is_readable(residual, at::kFloat) ||
      !is_readable(norm) || (dtype != narrow && dtype != at::kFloat) ||
      !is_int32(residual.size(0)) || !is_int32(residual.size(1)) ||
      (delta.defined() && (!is_readable(delta, narrow) || delta.sizes() != residual.sizes()))) {
    return {};
  }
  at::Tensor y = at::empty(residual.sizes(), residual.options().dtype(dtype));
  cuda::AddNorm arguments;
  arguments.residual = static_cast<float*>(residual.mutable_data_ptr());
  arguments.delta = delta.defined() ? delta.const_data_ptr() : nullptr;
  arguments.scale = static_cast<float>(scale);
  arguments.norm_weight = floats_of(norm.weight);
  arguments.norm_bias = floats_of(norm.bias);
  arguments.epsilon = static_cast<float>(norm.eps);
  arguments.y = y.mutable_data_ptr();
  arguments.float32_output = dtype == at::kFloat;
  arguments.rows = residual.size(0);
  arguments.channels = int32_of(residual.size(1));
  return launch(launchers_.add_norm, arguments, *element, residual.device()) ? y : at::Tensor();
}

at::Tensor KernelOps::layer_norm(const at::Tensor& rows, const DeviceLayerNorm& norm,
                                 c10::ScalarType dtype) const {
  const at::Tensor normal = add_norm(rows, {}, 0.0, norm, dtype);
  return normal.defined() ? normal : aten_.layer_norm(rows, norm, dtype);
}

at::Tensor KernelOps::add_layer_norm(at::Tensor& residual, const at::Tensor& delta, double scale,
                                     const DeviceLayerNorm& norm, c10::ScalarType dtype) const {
  const at::Tensor normal = add_norm(residual, delta, scale, norm, dtype);
  return normal.defined() ? normal : aten_.add_layer_norm(residual, delta, scale, norm, dtype);
}

at::Tensor KernelOps::activated_linear(const DeviceLinear& linear,
                                       const DeviceActivation& activation,
                                       const at::Tensor& rows) const {
  const auto element = element_of(rows.scalar_type());
  const std::int64_t columns = linear.weight.size(0);
  constexpr std::int64_t kVector = 8;  // columns that a thread takes
  if (launchers_.bias_swish != nullptr && element && activation.is_swish &&
      is_readable(linear.bias, rows.scalar_type()) && is_int32(columns) && columns % kVector == 0) {
    const at::Tensor product = at::linear(rows, linear.weight);
    if (is_readable(product, rows.scalar_type())) {
      cuda::BiasSwish arguments;
      arguments.x = product.const_data_ptr();
      arguments.bias = linear.bias.const_data_ptr();
      arguments.y = product.mutable_data_ptr();
      arguments.rows = product.size(0);
      arguments.channels = int32_of(columns);
      if (launch(launchers_.bias_swish, arguments, *element, rows.device())) return product;
    }
  }
  return aten_.activated_linear(linear, activation, rows);
}

at::Tensor KernelOps::gated_conv(const DeviceConv& conv, const at::Tensor& rows,
                                 const RaggedLayout& layout) const {
  const auto element = element_of(rows.scalar_type());
  const at::Tensor& weight = conv.weight_by_tap;
  const DeviceLayerNorm& norm = conv.depthwise_layer_norm;
  if (launchers_.gated_conv != nullptr && element && conv.activation.is_swish &&
      is_readable(rows, rows.scalar_type()) && is_readable(weight, rows.scalar_type()) &&
      is_readable(norm) && is_of(layout, rows) && is_int32(weight.size(0)) &&
      is_int32(weight.size(1)) && rows.size(1) == 2 * weight.size(1)) {
    at::Tensor y = rows_for(layout, rows, weight.size(1));
    cuda::GatedConv arguments;
    arguments.x = rows.const_data_ptr();
    arguments.weight = weight.const_data_ptr();
    arguments.norm_weight = floats_of(norm.weight);
    arguments.norm_bias = floats_of(norm.bias);
    arguments.epsilon = static_cast<float>(norm.eps);
    arguments.y = y.mutable_data_ptr();
    arguments.tiles = tiles_of(layout);
    arguments.tile_count = int32_of(layout.row_tiles().size(0));
    arguments.channels = int32_of(weight.size(1));
    arguments.kernel_size = int32_of(weight.size(0));
    if (launch(launchers_.gated_conv, arguments, *element, rows.device())) return y;
  }
  return aten_.gated_conv(conv, rows, layout);
}

at::Tensor KernelOps::attention(const DeviceAttention& attention, const at::Tensor& qkv,
                                const RaggedLayout& layout) const {
  const auto element = element_of(qkv.scalar_type());
  const at::Tensor& embedding = attention.distance_embedding;
  const std::int64_t head_size = qkv.size(1) / 3 / attention.heads;
  if (launchers_.relative_attention != nullptr && element && is_readable(qkv, qkv.scalar_type()) &&
      is_of(layout, qkv) && is_int32(attention.heads) && is_int32(head_size) &&
      is_int32(attention.left) && is_int32(attention.right) &&
      (!embedding.defined() || is_readable(embedding, qkv.scalar_type()))) {
    at::Tensor y = rows_for(layout, qkv, qkv.size(1) / 3);
    cuda::RelativeAttention arguments;
    arguments.qkv = qkv.const_data_ptr();
    arguments.distance_embedding = embedding.defined() ? embedding.const_data_ptr() : nullptr;
    arguments.valid = layout.valid_rows().defined()
                          ? static_cast<const std::uint8_t*>(layout.valid_rows().const_data_ptr())
                          : nullptr;
    arguments.y = y.mutable_data_ptr();
    arguments.tiles = tiles_of(layout);
    arguments.tile_count = int32_of(layout.row_tiles().size(0));
    arguments.heads = int32_of(attention.heads);
    arguments.head_size = int32_of(head_size);
    arguments.scale = static_cast<float>(std::pow(static_cast<double>(head_size), -0.5));
    arguments.left = int32_of(attention.left);
    arguments.right = int32_of(attention.right);
    arguments.sdpa = attention.sdpa;
    if (launch(launchers_.relative_attention, arguments, *element, qkv.device())) return y;
  }
  return aten_.attention(attention, qkv, layout);
}

}  // namespace w2vbert
