#include "aligned_buffer.h"

#include <c10/core/impl/alloc_cpu.h>

#include <algorithm>

namespace w2vbert {

void AlignedBuffer::Free::operator()(float* data) const { c10::free_cpu(data); }

float* AlignedBuffer::at_least(std::int64_t count) {
  if (count > size_) {
    data_.reset();
    size_ = 0;
    data_.reset(
        static_cast<float*>(c10::alloc_cpu(static_cast<std::size_t>(count) * sizeof(float))));
    // Stale numbers are multiplied and thrown away behind the last row: let them be numbers.
    std::fill_n(data_.get(), count, 0.0f);
    size_ = count;
  }
  return data_.get();
}

}  // namespace w2vbert
