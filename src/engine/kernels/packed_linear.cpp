#include "engine/kernels/packed_linear.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <utility>

#include "engine/kernels/float16_range.h"
#include "engine/kernels/narrow_products.h"
#include "engine/kernels/tile_gemm.h"
#include "engine/kernels/vector_kernels.h"
#include "engine/parallel_tasks.h"
#include "engine/row_blocks.h"

namespace w2vbert {
namespace {

// A product of floats runs over so many inputs before its sums go back to memory: a panel's part of
// them stays in a core's second-level cache while the rows pass, and shorter sums are more exact.
constexpr std::int64_t kInputBlock = 512;
constexpr std::int64_t kByteInputBlock = 4096;  // whole numbers, no rounding
constexpr std::int64_t kMaxRows = 512;
constexpr std::int64_t kTasksPerThread = 4;
// 255 x 127 for each input has to fit int32.
constexpr std::int64_t kMaxByteInputs = 65'536;

std::int64_t group_of(Precision precision) {
  return precision == Precision::float32 ? 1 : precision == Precision::int8 ? 4 : 2;
}

}  // namespace

PackedLinear::PackedLinear(const WeightScope& scope, LinearWeights weights, Precision precision)
    : precision_(rows_precision(precision)),
      weight_precision_(precision),
      weights_(std::move(weights)),
      scope_(scope),
      panel_width_(weights_.panel_width) {
  const std::vector<LinearWeights::Part>& parts = weights_.parts;
  const at::IntArrayRef shape = scope_.shape_of(parts.front().module + ".weight");
  TORCH_CHECK_VALUE(shape.size() >= 2 && c10::multiply_integers(shape) > 0, parts.front().module,
                    ".weight: shape ", shape, ", expected (out, in)");
  for (const LinearWeights::Part& part : parts) {
    TORCH_CHECK_VALUE(scope_.shape_of(part.module + ".weight") == shape, part.module,
                      ".weight: another shape than ", parts.front().module, ".weight has");
  }
  part_rows_ = shape[0];
  taps_ = shape.size() > 2 ? shape[2] : 1;
  in_ = shape[1] * taps_;
  out_ = part_rows_ * static_cast<std::int64_t>(parts.size());
  if (weights_.gated) out_ = 2 * round_up(out_ / 2, panel_width_ / 2);
  packed_in_ = round_up(in_, group_of(precision));
  TORCH_CHECK_VALUE(precision != Precision::int8 || in_ <= kMaxByteInputs, "int8: a layer of ", in_,
                    " inputs, expected ", kMaxByteInputs, " at most");
  if (weights_.bias) read_rows(".bias", 1, 0, out_, bias_.reserve(panels() * panel_width_));
}

void PackedLinear::read_plain_rows(const char* name, std::int64_t width, std::int64_t first,
                                   std::int64_t count, float* to) const {
  while (count > 0) {  // as many as are in one part
    const LinearWeights::Part& part = weights_.parts[static_cast<std::size_t>(first / part_rows_)];
    const std::int64_t row = first % part_rows_;
    const std::int64_t some = std::min(count, part_rows_ - row);
    scope_.source->read_rows(scope_.prefix + part.module + name, row, some, to);
    if (width > 1 && taps_ > 1) {  // (in, K) -> (K, in)
      const at::Tensor rows = at::from_blob(to, {some, width / taps_, taps_}, at::kFloat);
      const at::Tensor frames = rows.transpose(1, 2).contiguous();
      std::copy_n(frames.const_data_ptr<float>(), frames.numel(), to);
    }
    if (part.scale != 1.0f) vector_kernels().scale(to, some * width, part.scale, to);
    to += some * width;
    first += some;
    count -= some;
  }
}

void PackedLinear::read_rows(const char* name, std::int64_t width, std::int64_t first,
                             std::int64_t count, float* to) const {
  if (!weights_.gated) return read_plain_rows(name, width, first, count, to);
  const std::int64_t half = panel_width_ / 2;
  const std::int64_t values = part_rows_ * static_cast<std::int64_t>(weights_.parts.size()) / 2;
  while (count > 0) {  // as many as are side by side
    const std::int64_t value = first / panel_width_ * half + first % half;
    const std::int64_t some = std::min(count, half - first % half);
    const std::int64_t there = std::clamp<std::int64_t>(values - value, 0, some);
    const bool gate = first % panel_width_ >= half;
    if (there > 0) read_plain_rows(name, width, gate ? values + value : value, there, to);
    std::fill(to + there * width, to + some * width, 0.0f);
    to += some * width;
    first += some;
    count -= some;
  }
}

void PackedLinear::pack() {
  if (!panels_.empty()) return;
  ScratchBuffer panels_there;
  float* to = panels_there.reserve(panels() * panel_size());
  parallel_tasks(panels(),
                 [&](std::int64_t panel) { pack_panel(panel, to + panel * panel_size()); });
  panels_ = std::move(panels_there);
  scope_.source.reset();
}

std::int64_t PackedLinear::bytes_to_pack() const { return panels_.growth(panels() * panel_size()); }

std::int64_t PackedLinear::weights_size() const {
  return packed_in_ / group_of(weight_precision_) * panel_width_;
}

std::int64_t PackedLinear::panel_size() const {
  const bool scales = weight_precision_ == Precision::float16;
  const bool scales_and_sums = weight_precision_ == Precision::int8;
  return weights_size() + (scales ? 1 : scales_and_sums ? 2 : 0) * panel_width_;
}

// (width_of(panel), in) -> (packed_in / group, panel_width, group). A group of inputs has four
// bytes: it moves as one float does.
void PackedLinear::pack_panel(std::int64_t panel, float* to) const {
  static thread_local ScratchBuffer rows_memory, narrow_memory;
  const VectorKernels& kernels = vector_kernels();
  const std::int64_t count = width_of(panel);
  float* rows = rows_memory.reserve(panel_width_ * in_);
  read_rows(".weight", in_, panel * panel_width_, count, rows);
  const std::int64_t groups = packed_in_ / group_of(weight_precision_);
  if (weight_precision_ == Precision::float32) {
    kernels.transpose(rows, count, groups, groups, to, panel_width_);
    return;
  }
  float* narrow = narrow_memory.reserve(panel_width_ * groups);
  float* column_scale = to + weights_size();
  auto* column_sum = reinterpret_cast<std::int32_t*>(column_scale + panel_width_);
  for (std::int64_t row = 0; row < count; ++row) {
    const float* from = rows + row * in_;
    float* packed = narrow + row * groups;
    switch (weight_precision_) {
      case Precision::bfloat16:
        kernels.to_bfloat16(from, in_, packed_in_, reinterpret_cast<c10::BFloat16*>(packed));
        break;
      case Precision::float16: {
        const float factor = float16_factor(kernels.largest_finite(from, in_), kFloat16Exponent);
        kernels.to_float16(from, in_, packed_in_, factor, reinterpret_cast<c10::Half*>(packed));
        column_scale[row] = 1.0f / factor;
        break;
      }
      default:
        kernels.quantize_weight(from, in_, packed_in_, reinterpret_cast<std::int8_t*>(packed),
                                column_scale + row, column_sum + row);
    }
  }
  kernels.transpose(narrow, count, groups, groups, to, panel_width_);
}

std::int64_t PackedLinear::width_of(std::int64_t panel) const {
  return std::min(panel_width_, out_ - panel * panel_width_);
}

const float* PackedLinear::bias_of(std::int64_t panel) const {
  return bias_.empty() ? nullptr : bias_.data() + panel * panel_width_;
}

// All panels of one block of rows, then the next; a panel that is not packed meets all rows at
// once.
template <class Function>
void PackedLinear::for_each_tile(std::int64_t rows, const Function& function) const {
  const std::int64_t tasks = kTasksPerThread * at::get_num_threads();
  const std::int64_t blocks_wanted = std::max<std::int64_t>(1, tasks / panels());
  const std::int64_t size =
      std::min(kMaxRows, round_up((rows + blocks_wanted - 1) / blocks_wanted, kRowGranule));
  const RowBlocks blocks(rows, size);
  if (panels_.empty()) {
    parallel_tasks(panels(), [&](std::int64_t panel) {
      static thread_local ScratchBuffer memory;
      float* weights = memory.reserve(panel_size());
      pack_panel(panel, weights);
      for (std::int64_t block = 0; block < blocks.count; ++block) {
        function(Tile{blocks.begin(block), blocks.rows_of(block), panel, weights});
      }
    });
    return;
  }
  parallel_tasks(blocks.count * panels(), [&](std::int64_t task) {
    const std::int64_t block = task / panels(), panel = task % panels();
    function(Tile{blocks.begin(block), blocks.rows_of(block), panel,
                  panels_.data() + panel * panel_size()});
  });
}

// sums (+)= the tile's rows of x times `count` inputs of its panel, from input `from` on.
void PackedLinear::multiply_block(const PackedRows& x, std::int64_t row, const Tile& tile,
                                  std::int64_t from, std::int64_t count, float* sums) const {
  const std::int64_t at = from * panel_width_;
  const auto multiply = [&](const auto* input, const auto* weights, auto* output) {
    tile_gemm(round_up(tile.rows, kRowGranule), panel_width_, count, input + from, x.ld(), weights,
              panel_width_, output, panel_width_, from > 0);
  };
  const auto* bf16 = reinterpret_cast<const c10::BFloat16*>(tile.weights) + at;
  const auto* f16 = reinterpret_cast<const c10::Half*>(tile.weights) + at;
  switch (precision_) {
    case Precision::bfloat16:
      return multiply(x.bf16(row), bf16, sums);
    case Precision::float16:
      return multiply(x.f16(row), f16, sums);
    case Precision::int8:
      return multiply(x.u8(row), reinterpret_cast<const std::int8_t*>(tile.weights) + at,
                      reinterpret_cast<std::int32_t*>(sums));
    case Precision::float32:
      break;
  }
  if (weight_precision_ == Precision::float32) return multiply(x.f32(row), tile.weights + at, sums);
  static thread_local ScratchBuffer memory;
  float* wide = memory.reserve(kInputBlock * panel_width_);
  if (weight_precision_ == Precision::bfloat16) {
    vector_kernels().widen_bfloat16(bf16, count, panel_width_, wide);
  } else {
    vector_kernels().widen_float16(f16, count, panel_width_, tile.weights + weights_size(), wide);
  }
  multiply(x.f32(row), wide, sums);
}

// The product of the tile's rows of x, counted from `first`, with its panel: (rows, panel_width),
// close together in the cache of this thread.
float* PackedLinear::product(const PackedRows& x, std::int64_t first, const Tile& tile) const {
  static thread_local ScratchBuffer memory;
  float* sums = memory.reserve((kMaxRows + kRowGranule) * panel_width_);
  const std::int64_t row = first + tile.row;
  // Widened weights end where the rows do, which have no zero behind their last input.
  const std::int64_t inputs = precision_ == Precision::float32 ? in_ : packed_in_;
  const std::int64_t block = precision_ == Precision::int8 ? kByteInputBlock : kInputBlock;
  for (std::int64_t from = 0; from < inputs; from += block) {
    multiply_block(x, row, tile, from, std::min(block, inputs - from), sums);
  }
  const float* column_scale = tile.weights + weights_size();
  if (precision_ == Precision::float16) {
    vector_kernels().scale_sums(sums, tile.rows, panel_width_, panel_width_, x.scales(row),
                                column_scale);
  } else if (precision_ == Precision::int8) {
    vector_kernels().dequantize(sums, tile.rows, panel_width_, panel_width_, x.scales(row),
                                x.zero_points(row), column_scale,
                                reinterpret_cast<const std::int32_t*>(column_scale + panel_width_));
  }
  return sums;
}

void PackedLinear::multiply(const PackedRows& x, std::int64_t first, std::int64_t rows, float* y,
                            Epilogue epilogue) const {
  for_each_tile(rows, [&](const Tile& tile) {
    epilogue(product(x, first, tile), bias_of(tile.panel), tile.rows, width_of(tile.panel),
             panel_width_, y + tile.row * out_ + tile.panel * panel_width_, out_);
  });
}

void PackedLinear::forward(const PackedRows& x, std::int64_t first, std::int64_t rows,
                           float* y) const {
  multiply(x, first, rows, y, vector_kernels().add_bias);
}

void PackedLinear::forward_swish(const PackedRows& x, std::int64_t first, std::int64_t rows,
                                 float* y) const {
  multiply(x, first, rows, y, vector_kernels().add_bias_swish);
}

void PackedLinear::add_to(const PackedRows& x, std::int64_t first, std::int64_t rows,
                          float* y) const {
  multiply(x, first, rows, y, vector_kernels().add_bias_residual);
}

void PackedLinear::forward_panels(const PackedRows& x, std::int64_t first, std::int64_t rows,
                                  float* y, std::int64_t panel_stride) const {
  for_each_tile(rows, [&](const Tile& tile) {
    vector_kernels().add_bias(product(x, first, tile), bias_of(tile.panel), tile.rows, panel_width_,
                              panel_width_, y + tile.panel * panel_stride + tile.row * panel_width_,
                              panel_width_);
  });
}

void PackedLinear::forward_glu(const PackedRows& x, std::int64_t first, std::int64_t rows, float* y,
                               std::int64_t columns) const {
  const std::int64_t half = panel_width_ / 2;
  for_each_tile(rows, [&](const Tile& tile) {
    const std::int64_t column = tile.panel * half;
    float* sums = product(x, first, tile);
    if (!bias_.empty()) {
      vector_kernels().add_bias(sums, bias_of(tile.panel), tile.rows, panel_width_, panel_width_,
                                sums, panel_width_);
    }
    vector_kernels().glu(sums, half, tile.rows, std::min(half, columns - column), panel_width_,
                         y + tile.row * columns + column, columns);
  });
}

}  // namespace w2vbert
