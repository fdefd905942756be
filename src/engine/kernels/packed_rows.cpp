#include "engine/kernels/packed_rows.h"

#include <algorithm>

#include "engine/kernels/float16_range.h"
#include "engine/kernels/vector_kernels.h"
#include "engine/parallel_tasks.h"
#include "engine/row_blocks.h"

namespace w2vbert {
namespace {

bool has_scales(Precision precision) {
  return precision == Precision::float16 || precision == Precision::int8;
}

// Elements from row to row. Rows of float16 are read side by side: a power of two from one to the
// next would give all of them the same places of the first-level cache.
std::int64_t row_stride(Precision precision, std::int64_t width) {
  constexpr std::int64_t kPower = 1024;
  const std::int64_t whole = round_up(width, kNarrowGranule);
  return precision == Precision::float16 && whole % kPower == 0 ? whole + kNarrowGranule : whole;
}

// Floats that hold `rows` rows, and a granule more, in bfloat16, float16 or int8.
std::int64_t narrow_size(Precision precision, std::int64_t rows, std::int64_t ld) {
  const std::int64_t bytes_each = precision == Precision::int8 ? 1 : 2;
  return ((rows + kRowGranule) * ld * bytes_each + 3) / 4;
}

}  // namespace

void PackedRows::reserve(Precision precision, std::int64_t rows, std::int64_t width) {
  precision_ = precision;
  width_ = width;
  if (precision_ == Precision::float32) {
    ld_ = width;
    return;
  }
  ld_ = row_stride(precision_, width);
  narrow_.reserve(narrow_size(precision_, rows, ld_));
  if (has_scales(precision_)) scales_.reserve(rows + kRowGranule);
  if (precision_ == Precision::int8) zero_points_.reserve(rows + kRowGranule);
}

void PackedRows::resize(Precision precision, std::int64_t rows, std::int64_t width) {
  reserve(precision, rows, width);
  if (precision_ == Precision::float32) floats_ = own_floats_.reserve((rows + kRowGranule) * width);
}

std::int64_t PackedRows::growth_assigned(Precision precision, std::int64_t rows,
                                         std::int64_t width) const {
  if (precision == Precision::float32) return 0;
  std::int64_t bytes = narrow_.growth(narrow_size(precision, rows, row_stride(precision, width)));
  if (has_scales(precision)) bytes += scales_.growth(rows + kRowGranule);
  if (precision == Precision::int8) bytes += zero_points_.growth(rows + kRowGranule);
  return bytes;
}

std::int64_t PackedRows::growth_resized(Precision precision, std::int64_t rows,
                                        std::int64_t width) const {
  return precision == Precision::float32 ? own_floats_.growth((rows + kRowGranule) * width)
                                         : growth_assigned(precision, rows, width);
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
    } else if (precision_ == Precision::float16) {
      const float factor = float16_factor(kernels.largest_finite(rows, width_), kFloat16Exponent);
      kernels.to_float16(rows, width_, ld_, factor, const_cast<c10::Half*>(f16(first + row)));
      scales_.data()[first + row] = 1.0f / factor;
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
