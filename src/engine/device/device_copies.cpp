#include "engine/device/device_copies.h"

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>

namespace w2vbert {
namespace {

// Uninitialised, on the CPU, for a copy of `tensor`.
at::Tensor host_memory_for(const at::Tensor& tensor) {
  const at::TensorOptions options = tensor.options().device(at::kCPU);
  try {
    return at::empty(tensor.sizes(), options.pinned_memory(true));
  } catch (const c10::Error&) {  // there is little memory to pin: the copy is waited for
    return at::empty(tensor.sizes(), options);
  }
}

}  // namespace

at::Tensor upload(const at::Tensor& table, c10::Device device) {
  if (device.is_cpu()) return table;
  if (device.is_cuda()) {
    try {
      return table.pin_memory().to(device, /*non_blocking=*/true);
    } catch (const c10::Error&) {  // there is little memory to pin: the copy is waited for
    }
  }
  return table.to(device);
}

std::vector<at::Tensor> download(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> copies;
  std::vector<c10::Device> devices;  // of copies that are queued
  for (const at::Tensor& tensor : tensors) {
    if (!tensor.is_cuda()) {
      copies.push_back(tensor.cpu().contiguous());
      continue;
    }
    copies.push_back(host_memory_for(tensor).copy_(tensor, /*non_blocking=*/true));
    if (std::find(devices.begin(), devices.end(), tensor.device()) == devices.end()) {
      devices.push_back(tensor.device());
    }
  }
  for (const c10::Device device : devices) {
    c10::impl::VirtualGuardImpl(device.type()).getStream(device).synchronize();
  }
  return copies;
}

DeviceStream::DeviceStream(c10::Device device) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  stream_ = guard.getStreamFromGlobalPool(device);
  c10::Event queued(device.type());
  queued.record(guard.getStream(device));
  queued.block(*stream_);
}

}  // namespace w2vbert
