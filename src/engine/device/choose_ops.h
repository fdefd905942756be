// What computes the device engine's steps between its products.
#pragma once

#include <c10/core/Device.h>

#include <memory>
#include <string>

#include "engine/device/device_ops.h"

namespace w2vbert {

struct OpsChoice {
  std::shared_ptr<const DeviceOps> ops;
  bool own_kernels = false;
  std::string text;  // "in ..." and, where it is not in our own kernels on a GPU, why
};

// Our own kernels on a GPU where their library is, else LibTorch's operations. Loads what it needs.
// Never throws.
OpsChoice choose_ops(c10::Device device);

}  // namespace w2vbert
