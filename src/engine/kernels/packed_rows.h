// The rows that a product reads, in the type it reads them in.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstdint>

#include "engine/scratch_buffer.h"
#include "w2vbert/engine/precision.h"

namespace w2vbert {

// A matrix (rows, width) as float32, bfloat16, float16 or int8. In float16 each row has a scale of
// its own, x = number * scale, a power of two (float16_range.h); in int8 also a zero point, x =
// (byte - zero) * scale, from its smallest and largest value. Code that makes rows asks where to
// write them as float32 (`staging`) and then says that they are there
// (`commit`).
class PackedRows {
 public:
  // Makes room for so many rows, and a granule more, of a linear layer that takes `precision`.
  void resize(Precision precision, std::int64_t rows, std::int64_t width);

  // Bytes by which that, or assign(), makes these rows larger.
  std::int64_t growth_resized(Precision precision, std::int64_t rows, std::int64_t width) const;
  std::int64_t growth_assigned(Precision precision, std::int64_t rows, std::int64_t width) const;

  // For `count` rows from `first` on, to be written by this thread; committed before it asks again.
  float* staging(std::int64_t first, std::int64_t count);
  void commit(std::int64_t first, std::int64_t count, const float* rows);

  // All rows at once: of `x` (rows, width), which stays where it is while these rows are used.
  void assign(Precision precision, float* x, std::int64_t rows, std::int64_t width);

  // Sets a row to zero.
  void clear_row(std::int64_t row);

  std::int64_t ld() const { return ld_; }  // elements from row to row
  const float* f32(std::int64_t row) const { return floats_ + row * ld_; }
  const c10::BFloat16* bf16(std::int64_t row) const {
    return reinterpret_cast<const c10::BFloat16*>(narrow_.data()) + row * ld_;
  }
  const c10::Half* f16(std::int64_t row) const {
    return reinterpret_cast<const c10::Half*>(narrow_.data()) + row * ld_;
  }
  const std::uint8_t* u8(std::int64_t row) const {
    return reinterpret_cast<const std::uint8_t*>(narrow_.data()) + row * ld_;
  }
  const float* scales(std::int64_t row) const { return scales_.data() + row; }
  const std::int32_t* zero_points(std::int64_t row) const {
    return reinterpret_cast<const std::int32_t*>(zero_points_.data()) + row;
  }

 private:
  void reserve(Precision precision, std::int64_t rows, std::int64_t width);

  Precision precision_ = Precision::float32;
  std::int64_t width_ = 0, ld_ = 0;
  float* floats_ = nullptr;  // own_floats_, or what assign() was given
  ScratchBuffer own_floats_;
  ScratchBuffer narrow_;  // of bfloat16, of float16 or of bytes
  ScratchBuffer scales_, zero_points_;
};

}  // namespace w2vbert
