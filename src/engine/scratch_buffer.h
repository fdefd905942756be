// Memory that kernels work in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace w2vbert {

// Floats on a cache line's border, zero at first, that grow when more are asked for and never
// shrink: from one batch to the next the engine neither allocates nor lets the kernel map fresh
// pages.
class ScratchBuffer {
 public:
  // At least `count` floats, of any value; what the buffer held is lost if it has to grow. Throws
  // c10::Error when there is no memory, as LibTorch's tensors do.
  float* reserve(std::int64_t count);
  // Bytes by which that would make the buffer larger.
  std::int64_t growth(std::int64_t count) const {
    return count > size_ ? (count - size_) * static_cast<std::int64_t>(sizeof(float)) : 0;
  }
  const float* data() const { return data_.get(); }
  float* data() { return data_.get(); }
  bool empty() const { return size_ == 0; }

 private:
  struct Free {
    Free() : mapped(0) {}
    explicit Free(std::size_t bytes) : mapped(bytes) {}
    void operator()(float* data) const;

    std::size_t mapped;  // bytes; 0: from LibTorch's allocator
  };
  static std::unique_ptr<float, Free> allocate(std::size_t bytes);

  std::unique_ptr<float, Free> data_;
  std::int64_t size_ = 0;
};

}  // namespace w2vbert
