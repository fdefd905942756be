#include "engine/scratch_buffer.h"

#include <c10/core/impl/alloc_cpu.h>
#include <c10/util/Exception.h>
#include <sys/mman.h>

#include <algorithm>

namespace w2vbert {
namespace {

// From here on memory comes from the system: its pages are zero, and nobody has to write that.
constexpr std::size_t kLarge = 1 << 20;

}  // namespace

void ScratchBuffer::Free::operator()(float* data) const {
  if (mapped > 0) {
    ::munmap(data, mapped);
  } else {
    c10::free_cpu(data);
  }
}

std::unique_ptr<float, ScratchBuffer::Free> ScratchBuffer::allocate(std::size_t bytes) {
  if (bytes >= kLarge) {
    void* const map =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TORCH_CHECK_WITH(OutOfMemoryError, map != MAP_FAILED, "can't allocate ", bytes, " bytes");
    return {static_cast<float*>(map), Free(bytes)};
  }
  auto* const data = static_cast<float*>(c10::alloc_cpu(bytes));
  std::fill_n(data, bytes / sizeof(float), 0.0f);
  return {data, Free()};
}

float* ScratchBuffer::reserve(std::int64_t count) {
  if (count > size_) {
    data_.reset();
    size_ = 0;
    data_ = allocate(static_cast<std::size_t>(count) * sizeof(float));
    size_ = count;
  }
  return data_.get();
}

}  // namespace w2vbert
