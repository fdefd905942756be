// The steps in kernels of our own, where they can.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

#include "engine/device/aten_ops.h"
#include "engine/device/cuda/launchers.h"

namespace w2vbert {

// Each step by its kernel. Where the kernel does not take the step's sizes, types, activation or
// memory, or is not launched, the step runs in LibTorch's operations as AtenOps. Rows that belong
// to no clip are zeros behind the convolution and attention.
class KernelOps : public DeviceOps {
 public:
  // A launcher that is absent counts as one that takes nothing.
  explicit KernelOps(const cuda::Launchers& launchers) : launchers_(launchers) {}

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

  // How many kernels have been launched, by all threads.
  std::int64_t launches() const { return launches_; }
  // Why the last one that was not launched was not; "": all were.
  std::string unsupported_reason() const;

 private:
  // Undefined where the kernel does not do it. `delta` may be undefined.
  at::Tensor add_norm(const at::Tensor& residual, const at::Tensor& delta, double scale,
                      const DeviceLayerNorm& norm, c10::ScalarType dtype) const;
  // Whether the kernel has been launched, on the stream of LibTorch's operations.
  template <class Arguments>
  bool launch(const char* (*launcher)(const Arguments&, cuda::Element, void*),
              const Arguments& arguments, cuda::Element element, c10::Device device) const;

  cuda::Launchers launchers_;
  mutable std::atomic<std::int64_t> launches_{0};
  mutable std::mutex reason_mutex_;
  mutable std::string unsupported_reason_;
  AtenOps aten_;
};

}  // namespace w2vbert
