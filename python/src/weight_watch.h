// Whether tensors that other code owns still are what they were.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/StorageImpl.h>
#include <c10/util/intrusive_ptr.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace w2vbert::python {

// Looks at each tensor's storage, address, shape, strides, dtype and version, and at 32 values of
// it, evenly spread: what is written through Tensor.data, which counts no version, is seen by them
// where it changes one of them. Keeps no tensor's memory alive.
class WeightWatch {
 public:
  explicit WeightWatch(const std::vector<at::Tensor>& tensors);

  // Whether those are the same tensors, unchanged. They may be of any kind.
  bool sees_no_change(const std::vector<at::Tensor>& tensors) const;

 private:
  struct Seen {
    explicit Seen(const at::Tensor& tensor);
    bool is(const at::Tensor& tensor) const;

    // Its address is not given to another storage while this lives.
    c10::weak_intrusive_ptr<c10::StorageImpl> kept;
    const c10::StorageImpl* storage;
    const void* data;
    std::vector<std::int64_t> shape, strides;
    at::ScalarType dtype;
    std::optional<std::uint32_t> version;  // nothing for what inference_mode has made
    std::uint64_t samples;
  };
  std::vector<Seen> seen_;
};

}  // namespace w2vbert::python
