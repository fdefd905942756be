#include "engine/kernels/packed_rows.h"

#include <algorithm>

#include "engine/kernels/vector_kernels.h"
#include "engine/parallel_tasks.h"
#include "engine/row_blocks.h"

namespace w2vbert {
namespace {

std::int64_t bytes_of(Precision precision) { return precision == Precision::bfloat16 ? 2 : 1; }

}  // namespace

void PackedRows::reserve(Precision precision, std::int64_t rows, std::int64_t width) {
  precision_ = precision;
  width_ = width;
  if (precision_ == Precision::float32) {
    ld_ = width;
    return;
  }
  ld_ = round_up(width, kNarrowGranule);
  const std::int64_t bytes = (rows + kRowGranule) * ld_ * bytes_of(precision_);
  narrow_.reserve((bytes + 3) / 4);
  if (precision_ == Precision::int8) {
    scales_.reserve(rows + kRowGranule);
    zero_points_.reserve(rows + kRowGranule);
  }
}

void PackedRows::resize(Precision precision, std::int64_t rows, std::int64_t width) {
  reserve(precision, rows, width);
  if (precision_ == Precision::float32) floats_ = own_floats_.reserve((rows + kRowGranule) * width);
}

float* PackedRows::staging(std::int64_t first, std::int64_t count) {
  if (precision_ == Precision::float32) return floats_ + first * ld_;
  static thread_local ScratchBuffer memory;
  return memory.reserve(count * width_);
}

void PackedRows::commit(std::int64_t first, std::int64_t count, const float* rows) {
  if (precision_ == Precision::float32) return;  // they are where they belong
  const VectorKernels& kernels = vector_kernels();
  for (std::int64_t row = 0; row < count; ++row, rows += width_) {
    if (precision_ == Precision::bfloat16) {
      kernels.to_bfloat16(rows, width_, ld_, const_cast<c10::BFloat16*>(bf16(first + row)));
    } else {
      kernels.quantize(rows, width_, ld_, const_cast<std::uint8_t*>(u8(first + row)),
                       scales_.data() + first + row,
                       const_cast<std::int32_t*>(zero_points(first + row)));
    }
  }
}

void PackedRows::assign(Precision precision, float* x, std::int64_t rows, std::int64_t width) {
  reserve(precision, rows, width);
  if (precision_ == Precision::float32) {
    floats_ = x;
    return;
  }
  parallel_rows(rows, [&](std::int64_t first, std::int64_t count) {
    commit(first, count, x + first * width);
  });
}

void PackedRows::clear_row(std::int64_t row) {
  if (precision_ == Precision::float32) {
    std::fill_n(floats_ + row * ld_, width_, 0.0f);
  } else {
    float* zeros = staging(row, 1);
    std::fill_n(zeros, width_, 0.0f);
    commit(row, 1, zeros);
  }
}

}  // namespace w2vbert
