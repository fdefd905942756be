// The steps in LibTorch's operations: on any device, meta included.
#pragma once

#include <cstdint>

#include "engine/device/device_ops.h"

namespace w2vbert {

class AtenOps : public DeviceOps {
 public:
  // Elements of attention's biases that exist at once, unless those of one row of queries are more.
  static constexpr std::int64_t kMaxBiases = std::int64_t{1} << 28;
  explicit AtenOps(std::int64_t max_biases = kMaxBiases) : max_biases_(max_biases) {}

  at::Tensor layer_norm(const at::Tensor& rows, const DeviceLayerNorm& norm,
                        c10::ScalarType dtype) const override;
  at::Tensor add_layer_norm(at::Tensor& residual, const at::Tensor& delta, double scale,
                            const DeviceLayerNorm& norm, c10::ScalarType dtype) const override;
  at::Tensor activated_linear(const DeviceLinear& linear, const DeviceActivation& activation,
                              const at::Tensor& rows) const override;
  at::Tensor gated_conv(const DeviceConv& conv, const at::Tensor& rows,
                        const RaggedLayout& layout) const override;
  at::Tensor attention(const DeviceAttention& attention, const at::Tensor& qkv,
                       const RaggedLayout& layout) const override;

 private:
  std::int64_t max_biases_;
};

}  // namespace w2vbert
