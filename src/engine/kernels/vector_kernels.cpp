// Compiled once for each of LibTorch's CPU capabilities, with the flags and names that its own
// kernels have (CPU_CAPABILITY, CPU_CAPABILITY_<name>): at::vec::Vectorized is then a vector of
// that instruction set. Nothing else of LibTorch and no template of the standard library is used
// here, so that no function compiled for a newer CPU can be picked for an older one.
#include "engine/kernels/vector_kernels.h"

#include <ATen/cpu/vec/vec.h>

#define W2VBERT_NAME_OF(x) #x
#define W2VBERT_NAME(x) W2VBERT_NAME_OF(x)

namespace w2vbert {
namespace {

using Vec = at::vec::Vectorized<float>;
constexpr std::int64_t kLanes = Vec::size();

Vec load(const float* x, std::int64_t count) {
  return count >= kLanes ? Vec::loadu(x) : Vec::loadu(x, count);
}

void store(const Vec& value, float* x, std::int64_t count) {
  if (count >= kLanes) {
    value.store(x);
  } else {
    value.store(x, static_cast<int>(count));
  }
}

float sum_of(const Vec& value) {
  float lanes[kLanes];
  value.store(lanes);
  for (std::int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::int64_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

// The largest of one value or more; NaN if there is one. Two chains without branches: which value
// is the largest cannot be predicted.
float max_or_nan_of(const float* x, std::int64_t count) {
  float largest = x[0];
  int nans = x[0] != x[0];
  for (std::int64_t i = 1; i < count; ++i) {
    largest = x[i] > largest ? x[i] : largest;
    nans |= x[i] != x[i];
  }
  return nans != 0 ? __builtin_nanf("") : largest;
}

// at::vec's minimum and maximum keep NaN too.
float max_or_nan_of(const Vec& value) {
  float lanes[kLanes];
  value.store(lanes);
  return max_or_nan_of(lanes, kLanes);
}

// Finite for NaN where at::vec has an exp_u20 of its own.
Vec sigmoid(const Vec& x) { return Vec(1.0f) / (Vec(1.0f) + x.neg().exp_u20()); }

// Four sums side by side hide the latency of the additions; their order depends on the width alone.
struct RowSums {
  Vec part[4] = {Vec(0.0f), Vec(0.0f), Vec(0.0f), Vec(0.0f)};
  float total() const { return sum_of((part[0] + part[1]) + (part[2] + part[3])); }
};

void layer_norm(const float* x, std::int64_t rows, std::int64_t width, const float* weight,
                const float* bias, float eps, float* y) {
  const std::int64_t whole = width / kLanes * kLanes;
  const std::int64_t rest = width - whole;
  for (std::int64_t row = 0; row < rows; ++row, x += width, y += width) {
    RowSums sums;
    for (std::int64_t i = 0, turn = 0; i < whole; i += kLanes, ++turn) {
      sums.part[turn % 4] = sums.part[turn % 4] + Vec::loadu(x + i);
    }
    if (rest > 0) sums.part[0] = sums.part[0] + Vec::loadu(x + whole, rest);
    const float mean = sums.total() / static_cast<float>(width);
    const Vec means(mean);
    RowSums squares;
    for (std::int64_t i = 0, turn = 0; i < whole; i += kLanes, ++turn) {
      const Vec off = Vec::loadu(x + i) - means;
      squares.part[turn % 4] = at::vec::fmadd(off, off, squares.part[turn % 4]);
    }
    float variance = squares.total();
    for (std::int64_t i = whole; i < width; ++i) variance += (x[i] - mean) * (x[i] - mean);
    // A variance beyond float32 would scale finite values to nothing.
    const float spread = variance / static_cast<float>(width) + eps;
    const Vec scale(spread <= __FLT_MAX__ ? 1.0f / __builtin_sqrtf(spread) : __builtin_nanf(""));
    for (std::int64_t i = 0; i < width; i += kLanes) {
      const std::int64_t count = width - i;
      const Vec normal = (load(x + i, count) - means) * scale;
      store(at::vec::fmadd(normal, load(weight + i, count), load(bias + i, count)), y + i, count);
    }
  }
}

enum class Then { kNothing, kSwish, kResidual };

template <Then kThen>
void bias_then(const float* x, const float* bias, std::int64_t rows, std::int64_t columns,
               std::int64_t ld_x, float* y, std::int64_t ld_y) {
  for (std::int64_t row = 0; row < rows; ++row, x += ld_x, y += ld_y) {
    for (std::int64_t i = 0; i < columns; i += kLanes) {
      const std::int64_t count = columns - i;
      Vec value = load(x + i, count);
      if (bias != nullptr) value = value + load(bias + i, count);
      if constexpr (kThen == Then::kSwish) value = value * sigmoid(value);
      if constexpr (kThen == Then::kResidual) value = load(y + i, count) + value;
      store(value, y + i, count);
    }
  }
}

void swish(float* x, std::int64_t count) {
  bias_then<Then::kSwish>(x, nullptr, 1, count, count, x, count);
}

void glu(const float* x, std::int64_t gates, std::int64_t rows, std::int64_t columns,
         std::int64_t ld_x, float* y, std::int64_t ld_y) {
  for (std::int64_t row = 0; row < rows; ++row, x += ld_x, y += ld_y) {
    for (std::int64_t i = 0; i < columns; i += kLanes) {
      const std::int64_t count = columns - i;
      const Vec gate = load(x + gates + i, count);
      store(load(x + i, count) * Vec::blendv(sigmoid(gate), gate, gate.isnan()), y + i, count);
    }
  }
}

// Up to kRows output rows of one vector of channels stay in registers while the input rows pass by.
constexpr std::int64_t kRows = 8;

void depthwise_rows(const float* x, std::int64_t first, std::int64_t rows, std::int64_t channels,
                    const float* weight, std::int64_t kernel_size, std::int64_t count, float* y) {
  Vec sums[kRows];
  for (Vec& sum : sums) sum = Vec(0.0f);
  const std::int64_t earliest = first - (kernel_size - 1);
  const std::int64_t last = first + rows - 1;
  for (std::int64_t t = earliest; t <= last; ++t) {
    // Before the clip a weight meets a zero, which does not hide a NaN.
    const Vec input = t < 0 ? Vec(0.0f) : load(x + t * channels, count);
    const std::int64_t tap = t - earliest;  // of output row 0; one less for each further row
    if (rows == kRows && tap >= kRows - 1 && tap < kernel_size) {
      for (std::int64_t row = 0; row < kRows; ++row) {
        sums[row] =
            at::vec::fmadd(Vec::loadu(weight + (tap - row) * kDepthwiseChunk), input, sums[row]);
      }
    } else {
      for (std::int64_t row = 0; row < rows; ++row) {
        if (tap - row < 0 || tap - row >= kernel_size) continue;
        sums[row] =
            at::vec::fmadd(Vec::loadu(weight + (tap - row) * kDepthwiseChunk), input, sums[row]);
      }
    }
  }
  for (std::int64_t row = 0; row < rows; ++row) store(sums[row], y + row * channels, count);
}

void depthwise(const float* x, std::int64_t first, std::int64_t rows, std::int64_t channels,
               const float* chunked_weight, std::int64_t kernel_size, float* y) {
  static_assert(kDepthwiseChunk % kLanes == 0);
  for (std::int64_t row = 0; row < rows; row += kRows) {
    const std::int64_t now = rows - row < kRows ? rows - row : kRows;
    for (std::int64_t channel = 0; channel < channels; channel += kLanes) {
      const float* weight = chunked_weight +
                            channel / kDepthwiseChunk * kDepthwiseChunk * kernel_size +
                            channel % kDepthwiseChunk;
      depthwise_rows(x + channel, first + row, now, channels, weight, kernel_size,
                     channels - channel, y + row * channels + channel);
    }
  }
}

constexpr std::int64_t kTransposed = 16;  // rows and columns of what is transposed at once

void transpose(const float* x, std::int64_t rows, std::int64_t columns, std::int64_t ld_x, float* y,
               std::int64_t ld_y) {
  alignas(64) float block[kTransposed][kTransposed];
  for (std::int64_t row = 0; row < rows; row += kTransposed) {
    const std::int64_t high = rows - row < kTransposed ? rows - row : kTransposed;
    for (std::int64_t column = 0; column < columns; column += kTransposed) {
      const std::int64_t wide = columns - column < kTransposed ? columns - column : kTransposed;
      // Each row is touched once: rows that lie a multiple of 4096 bytes apart share a place in
      // the cache.
      const float* from = x + row * ld_x + column;
      for (std::int64_t j = 0; j < high; ++j) {
        if (wide == kTransposed) {
          __builtin_memcpy(block[j], from + j * ld_x, sizeof block[j]);
        } else {
          __builtin_memcpy(block[j], from + j * ld_x,
                           static_cast<std::size_t>(wide) * sizeof(float));
        }
      }
      at::vec::transpose_mxn<float>(&block[0][0], kTransposed, y + column * ld_y + row, ld_y,
                                    static_cast<int>(high), static_cast<int>(wide));
    }
  }
  for (std::int64_t column = 0; column < columns; ++column) {
    for (std::int64_t row = rows; row < ld_y; ++row) y[column * ld_y + row] = 0.0f;
  }
}

// The largest value, or NaN where one of them is NaN.
float max_of_range(const float* x, std::int64_t count) {
  Vec largest(x[0]);
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    largest = at::vec::maximum(largest, Vec::loadu(x + i));
  }
  float values[2 * kLanes];
  largest.store(values);
  std::int64_t left = kLanes;
  for (; i < count; ++i) values[left++] = x[i];
  return max_or_nan_of(values, left);
}

// x = exp(x - shift); adds to `sums`.
void exp_range(float* x, std::int64_t count, float shift, Vec& sums) {
  const Vec shifts(shift);
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Vec value = (Vec::loadu(x + i) - shifts).exp_u20();
    value.store(x + i);
    sums = sums + value;
  }
  if (i < count) {
    const Vec value = (Vec::loadu(x + i, count - i) - shifts).exp_u20();
    value.store(x + i, static_cast<int>(count - i));
    sums = sums + Vec::loadu(x + i, count - i);
  }
}

void add_range(float* x, const float* y, std::int64_t count) {
  for (std::int64_t i = 0; i < count; i += kLanes) {
    store(load(x + i, count - i) + load(y + i, count - i), x + i, count - i);
  }
}

std::int64_t clamp(std::int64_t value, std::int64_t low, std::int64_t high) {
  return value < low ? low : value > high ? high : value;
}

void softmax_block(const ScoreBlock& block) {
  for (std::int64_t row = 0; row < block.rows; ++row) {
    float* scores = block.scores + row * block.ld;
    if (block.key_bias != nullptr) add_range(scores, block.key_bias, block.columns);
    // Left of the band all keys are `left` away, right of it `right`: there q.e is one number,
    // which goes into the shift of the exponent instead of into each score.
    std::int64_t band_begin = 0, band_end = block.columns;
    float left_bias = 0.0f, right_bias = 0.0f;
    if (block.relative != nullptr) {
      const float* relative = block.relative + row * block.ld_relative;
      const std::int64_t distance = block.distance - row;
      band_begin = clamp(-block.left - distance, 0, block.columns);
      band_end = clamp(block.right + 1 - distance, band_begin, block.columns);
      left_bias = relative[0];
      right_bias = relative[block.left + block.right];
      if (band_end > band_begin) {
        add_range(scores + band_begin, relative + block.left + distance + band_begin,
                  band_end - band_begin);
      }
    }
    const auto raise = [](float& largest, float value) {
      if (value > largest || value != value) largest = value;
    };
    float largest = block.first ? -__FLT_MAX__ : block.row_max[row];
    if (band_begin > 0) raise(largest, max_of_range(scores, band_begin) + left_bias);
    if (band_end > band_begin) {
      raise(largest, max_of_range(scores + band_begin, band_end - band_begin));
    }
    if (block.columns > band_end) {
      raise(largest, max_of_range(scores + band_end, block.columns - band_end) + right_bias);
    }

    Vec sums(0.0f);
    exp_range(scores, band_begin, largest - left_bias, sums);
    exp_range(scores + band_begin, band_end - band_begin, largest, sums);
    exp_range(scores + band_end, block.columns - band_end, largest - right_bias, sums);
    for (std::int64_t i = block.columns; i < block.padded_columns; ++i) scores[i] = 0.0f;

    float sum = sum_of(sums);
    if (!block.first) {
      const float shrink = __builtin_expf(block.row_max[row] - largest);
      sum += block.row_sum[row] * shrink;
      if (shrink != 1.0f) {
        float* output = block.output + row * block.output_width;
        const Vec factor(shrink);
        for (std::int64_t i = 0; i < block.output_width; i += kLanes) {
          const std::int64_t count = block.output_width - i;
          store(load(output + i, count) * factor, output + i, count);
        }
      }
    }
    // As a softmax: NaN for a row with a score that is NaN or infinite, for which exp_u20 is
    // finite.
    block.row_sum[row] = largest <= __FLT_MAX__ ? sum : __builtin_nanf("");
    block.row_max[row] = largest;
  }
}

void scale(const float* x, std::int64_t count, float factor, float* y) {
  const Vec factors(factor);
  for (std::int64_t i = 0; i < count; i += kLanes) {
    store(load(x + i, count - i) * factors, y + i, count - i);
  }
}

void to_bfloat16(const float* x, std::int64_t width, std::int64_t ld, c10::BFloat16* y) {
  std::int64_t i = 0;
  for (; i + 2 * kLanes <= width; i += 2 * kLanes) {
    at::vec::convert_float_bfloat16(Vec::loadu(x + i), Vec::loadu(x + i + kLanes)).store(y + i);
  }
  if (i < width) {
    float rest[2 * kLanes] = {};
    for (std::int64_t at = i; at < width; ++at) rest[at - i] = x[at];
    at::vec::convert_float_bfloat16(Vec::loadu(rest), Vec::loadu(rest + kLanes))
        .store(y + i, static_cast<int>(width - i));
  }
  for (i = width; i < ld; ++i) y[i].x = 0;
}

std::uint16_t bfloat16_bits(float x) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  constexpr std::uint32_t kBelowHalf = 0x7fff, kNan = 0x7fc0;
  const std::uint32_t nearest = (bits + kBelowHalf + (bits >> 16 & 1)) >> 16;  // ties to even
  return static_cast<std::uint16_t>(x == x ? nearest : kNan);
}

void pair_rows(const float* x, std::int64_t rows, std::int64_t width, std::int64_t padded_rows,
               c10::BFloat16* y) {
  for (std::int64_t row = 0; row < padded_rows; row += 2, x += 2 * width, y += 2 * width) {
    const bool has_first = row < rows, has_second = row + 1 < rows;
    for (std::int64_t i = 0; i < width; ++i) {
      y[2 * i].x = has_first ? bfloat16_bits(x[i]) : std::uint16_t{0};
      y[2 * i + 1].x = has_second ? bfloat16_bits(x[width + i]) : std::uint16_t{0};
    }
  }
}

void to_float16(const float* x, std::int64_t width, std::int64_t ld, float factor, c10::Half* y) {
  const Vec factors(factor);
  std::int64_t i = 0;
  for (; i + 2 * kLanes <= width; i += 2 * kLanes) {
    at::vec::convert_float_half(Vec::loadu(x + i) * factors, Vec::loadu(x + i + kLanes) * factors)
        .store(y + i);
  }
  if (i < width) {
    float rest[2 * kLanes] = {};
    for (std::int64_t at = i; at < width; ++at) rest[at - i] = x[at];
    at::vec::convert_float_half(Vec::loadu(rest) * factors, Vec::loadu(rest + kLanes) * factors)
        .store(y + i, static_cast<int>(width - i));
  }
  for (i = width; i < ld; ++i) y[i].x = 0;
}

void pair_rows_float16(const float* x, std::int64_t rows, std::int64_t width,
                       std::int64_t padded_rows, float factor, c10::Half* y) {
  constexpr std::int64_t kWide = 4 * kLanes;
  alignas(64) c10::Half pair[2][kWide];
  for (std::int64_t row = 0; row < padded_rows; row += 2, x += 2 * width, y += 2 * width) {
    for (std::int64_t i = 0; i < width; i += kWide) {
      const std::int64_t count = width - i < kWide ? width - i : kWide;
      to_float16(x + i, row < rows ? count : 0, count, factor, pair[0]);
      to_float16(x + width + i, row + 1 < rows ? count : 0, count, factor, pair[1]);
      for (std::int64_t at = 0; at < count; ++at) {
        y[2 * (i + at)].x = pair[0][at].x;
        y[2 * (i + at) + 1].x = pair[1][at].x;
      }
    }
  }
}

// As whole numbers: the sizes of floats are in their order, infinity and NaN behind the finite
// ones.
float largest_finite(const float* x, std::int64_t count) {
  constexpr std::int32_t kSize = 0x7fffffff, kInfinity = 0x7f800000;
  std::int32_t largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    std::int32_t bits;
    __builtin_memcpy(&bits, x + i, sizeof bits);
    const std::int32_t size = (bits & kSize) < kInfinity ? bits & kSize : 0;
    largest = size > largest ? size : largest;
  }
  float value;
  __builtin_memcpy(&value, &largest, sizeof value);
  return value;
}

void widen_bfloat16(const c10::BFloat16* x, std::int64_t rows, std::int64_t columns, float* y) {
  for (std::int64_t row = 0; row < rows; row += 2, x += 2 * columns, y += 2 * columns) {
    for (std::int64_t i = 0; i < columns; ++i) {
      std::uint32_t pair;
      __builtin_memcpy(&pair, x + 2 * i, sizeof pair);
      const std::uint32_t first = pair << 16, second = pair & 0xffff0000U;
      __builtin_memcpy(y + i, &first, sizeof first);
      __builtin_memcpy(y + columns + i, &second, sizeof second);
    }
  }
}

void widen_float16(const c10::Half* x, std::int64_t rows, std::int64_t columns,
                   const float* column_scale, float* y) {
  using Halves = at::vec::Vectorized<c10::Half>;
  for (std::int64_t row = 0; row < rows; row += 2, x += 2 * columns, y += 2 * columns) {
    for (std::int64_t i = 0; i < columns; i += kLanes) {
      const std::int64_t count = columns - i;
      const Halves pairs = count >= kLanes
                               ? Halves::loadu(x + 2 * i)
                               : Halves::loadu(x + 2 * i, static_cast<std::int16_t>(2 * count));
      const auto [low, high] = at::vec::convert_half_float(pairs);
      const auto [first, second] = at::vec::deinterleave2<float>(low, high);
      const Vec scale = load(column_scale + i, count);
      store(first * scale, y + i, count);
      store(second * scale, y + columns + i, count);
    }
  }
}

// Both scales together may be beyond float32 where their product with the sum is not.
void scale_sums(float* sums, std::int64_t rows, std::int64_t columns, std::int64_t ld,
                const float* row_scale, const float* column_scale) {
  for (std::int64_t row = 0; row < rows; ++row, sums += ld) {
    if (row_scale[row] == 1.0f) {
      for (std::int64_t i = 0; i < columns; ++i) sums[i] *= column_scale[i];
    } else {
      const double scale = row_scale[row];
      for (std::int64_t i = 0; i < columns; ++i) {
        sums[i] = static_cast<float>(sums[i] * (scale * column_scale[i]));
      }
    }
  }
}

// How often `size` goes into `steps`: finite for any size above 0, and 0 for those that are not
// numbers.
float steps_per_unit(float steps, float size) {
  if (!(size > 0.0f && size <= __FLT_MAX__)) return 0.0f;
  const float quotient = steps / size;
  return quotient <= __FLT_MAX__ ? quotient : __FLT_MAX__;
}

void quantize(const float* x, std::int64_t width, std::int64_t ld, std::uint8_t* y, float* scale,
              std::int32_t* zero) {
  Vec smallest(0.0f), largest(0.0f);
  std::int64_t i = 0;
  for (; i < width; i += kLanes) {
    const Vec values = load(x + i, width - i);
    smallest = at::vec::minimum(smallest, values);
    largest = at::vec::maximum(largest, values);
  }
  const float low = -max_or_nan_of(smallest.neg());
  const float span = max_or_nan_of(largest) - low;
  constexpr float kSteps = 255.0f;
  *scale = span == 0.0f ? 1.0f : span / kSteps;
  const float steps = steps_per_unit(kSteps, span);
  const float offset = __builtin_floorf(-low * steps + 0.5f);
  *zero = span > 0.0f && span <= __FLT_MAX__ ? static_cast<std::int32_t>(offset) : 0;
  const float shift = static_cast<float>(*zero) + 0.5f;
  for (i = 0; i < width; ++i) {
    const float step = x[i] * steps + shift;
    y[i] = static_cast<std::uint8_t>(
        static_cast<std::int32_t>(step < kSteps ? (step > 0.0f ? step : 0.0f) : kSteps));
  }
  for (; i < ld; ++i) y[i] = 0;
}

void quantize_weight(const float* x, std::int64_t width, std::int64_t ld, std::int8_t* y,
                     float* scale, std::int32_t* sum) {
  Vec sizes(0.0f);
  for (std::int64_t i = 0; i < width; i += kLanes) {
    sizes = at::vec::maximum(sizes, load(x + i, width - i).abs());
  }
  const float largest = max_or_nan_of(sizes);
  constexpr float kSteps = 127.0f;
  constexpr float kToWhole = 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to even
  *scale = largest / kSteps;
  const float steps = steps_per_unit(kSteps, largest);
  std::int32_t total = 0;
  for (std::int64_t i = 0; i < width; ++i) {
    const float whole = (x[i] * steps + kToWhole) - kToWhole;
    const auto step = static_cast<std::int32_t>(whole == whole ? whole : 0.0f);
    y[i] = static_cast<std::int8_t>(step);
    total += step;
  }
  for (std::int64_t i = width; i < ld; ++i) y[i] = 0;
  *sum = total;
}

void dequantize(float* sums, std::int64_t rows, std::int64_t columns, std::int64_t ld,
                const float* row_scale, const std::int32_t* row_zero, const float* column_scale,
                const std::int32_t* column_sum) {
  for (std::int64_t row = 0; row < rows; ++row, sums += ld) {
    const std::int32_t zero = row_zero[row];
    const float scale_of_row = row_scale[row];
    for (std::int64_t i = 0; i < columns; ++i) {
      std::int32_t sum;
      __builtin_memcpy(&sum, sums + i, sizeof sum);
      sums[i] = static_cast<float>(sum - zero * column_sum[i]) * (scale_of_row * column_scale[i]);
    }
  }
}

void gemm(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda,
          const float* b, std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate) {
  constexpr std::int64_t kUnroll = 4;
  for (std::int64_t row = 0; row < m; ++row) {
    for (std::int64_t column = 0; column < n; column += kUnroll * kLanes) {
      Vec sums[kUnroll] = {Vec(0.0f), Vec(0.0f), Vec(0.0f), Vec(0.0f)};
      for (std::int64_t i = 0; i < k; ++i) {
        const Vec factor(a[row * lda + i]);
        for (std::int64_t part = 0; part < kUnroll; ++part) {
          const std::int64_t at = column + part * kLanes;
          if (at < n)
            sums[part] = at::vec::fmadd(factor, load(b + i * ldb + at, n - at), sums[part]);
        }
      }
      for (std::int64_t part = 0; part < kUnroll; ++part) {
        const std::int64_t at = column + part * kLanes;
        if (at >= n) break;
        float* to = c + row * ldc + at;
        store(accumulate ? load(to, n - at) + sums[part] : sums[part], to, n - at);
      }
    }
  }
}

}  // namespace

namespace CPU_CAPABILITY {
extern const VectorKernels kVectorKernels;
const VectorKernels kVectorKernels = {W2VBERT_NAME(CPU_CAPABILITY),
                                      layer_norm,
                                      bias_then<Then::kNothing>,
                                      bias_then<Then::kSwish>,
                                      bias_then<Then::kResidual>,
                                      swish,
                                      glu,
                                      depthwise,
                                      transpose,
                                      softmax_block,
                                      scale,
                                      to_bfloat16,
                                      pair_rows,
                                      to_float16,
                                      pair_rows_float16,
                                      largest_finite,
                                      widen_bfloat16,
                                      widen_float16,
                                      scale_sums,
                                      quantize,
                                      quantize_weight,
                                      dequantize,
                                      gemm};
}  // namespace CPU_CAPABILITY

}  // namespace w2vbert
