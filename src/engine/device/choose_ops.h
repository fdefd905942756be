// What computes the device engine's steps between its products.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <memory>
#include <string>

#include "engine/device/device_ops.h"
#include "engine/device/kernel_check.h"
#include "engine/device/kernel_library.h"
#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert {

struct OpsChoice {
  std::shared_ptr<const DeviceOps> ops;
  bool own_kernels = false;
  std::string text;  // "in ..." and, where it is not in our own kernels on a GPU, why
};

// Our own kernels on a GPU where their library is and each of them computes there what LibTorch's
// operations do, for such a model in `dtype`; else LibTorch's operations for all steps. Loads what
// it needs, and checks once: the result is remembered in this process and in the user's cache.
// Never throws.
OpsChoice choose_ops(const Wav2Vec2BertConfig& config, c10::Device device, c10::ScalarType dtype);

// The same with these kernels, and records in `folder`; remembers nothing in this process.
OpsChoice choose_ops(const LoadedKernels& kernels, const KernelSizes& sizes, c10::Device device,
                     const std::string& folder);

}  // namespace w2vbert
