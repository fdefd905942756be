#include "packed_linear.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "parallel_tasks.h"
#include "row_blocks.h"
#include "tile_gemm.h"
#include "vector_kernels.h"

namespace w2vbert {
namespace {

// A product runs over so many inputs before its sums go back to memory: a panel's part of 1024 x 64
// floats stays in a core's second-level cache while the rows pass.
constexpr std::int64_t kInputBlock = 512;
constexpr std::int64_t kMostRows = 512;
constexpr std::int64_t kTasksPerThread = 4;

}  // namespace

PackedLinear::PackedLinear(const at::Tensor& weight, const at::Tensor& bias, float scale,
                           std::int64_t panel_width)
    : in_(weight.size(1)), out_(weight.size(0)), panel_width_(panel_width) {
  const at::Tensor rows = weight.to(at::kFloat).contiguous();
  const float* from = rows.const_data_ptr<float>();
  float* to = panels_.at_least(panels() * in_ * panel_width_);
  parallel_tasks(panels(), [&](std::int64_t panel) {
    float* packed = to + panel * in_ * panel_width_;
    vector_kernels().transpose(from + panel * panel_width_ * in_, width_of(panel), in_, in_, packed,
                               panel_width_);
    if (scale != 1.0f) vector_kernels().scale(packed, in_ * panel_width_, scale, packed);
  });
  if (bias.defined()) {
    const at::Tensor values = bias.to(at::kFloat).contiguous();
    vector_kernels().scale(values.const_data_ptr<float>(), out_, scale,
                           bias_.at_least(panels() * panel_width_));
  }
}

std::int64_t PackedLinear::width_of(std::int64_t panel) const {
  return std::min(panel_width_, out_ - panel * panel_width_);
}

const float* PackedLinear::bias_of(std::int64_t panel) const {
  return bias_.empty() ? nullptr : bias_.data() + panel * panel_width_;
}

// tile(first row, rows, panel): all panels of one block of rows, then the next.
template <class Tile>
void PackedLinear::for_each_tile(std::int64_t rows, const Tile& tile) const {
  const std::int64_t tasks = kTasksPerThread * at::get_num_threads();
  const std::int64_t blocks_wanted = std::max<std::int64_t>(1, tasks / panels());
  const std::int64_t size =
      std::min(kMostRows, round_up((rows + blocks_wanted - 1) / blocks_wanted, kRowGranule));
  const RowBlocks blocks(rows, size);
  parallel_tasks(blocks.count * panels(), [&](std::int64_t task) {
    const std::int64_t block = task / panels();
    tile(blocks.begin(block), blocks.rows_of(block), task % panels());
  });
}

// The rows' product with one panel: (rows, panel_width), close together in the cache of this
// thread.
const float* PackedLinear::product(const float* x, std::int64_t rows, std::int64_t panel) const {
  static thread_local AlignedBuffer memory;
  float* tile = memory.at_least((kMostRows + kRowGranule) * panel_width_);
  const float* weight = panels_.data() + panel * in_ * panel_width_;
  for (std::int64_t from = 0; from < in_; from += kInputBlock) {
    tile_gemm(round_up(rows, kRowGranule), panel_width_, std::min(kInputBlock, in_ - from),
              x + from, in_, weight + from * panel_width_, panel_width_, tile, panel_width_,
              from > 0);
  }
  return tile;
}

void PackedLinear::forward(const float* x, std::int64_t rows, float* y) const {
  for_each_tile(rows, [&](std::int64_t row, std::int64_t count, std::int64_t panel) {
    vector_kernels().add_bias(product(x + row * in_, count, panel), bias_of(panel), count,
                              width_of(panel), panel_width_, y + row * out_ + panel * panel_width_,
                              out_);
  });
}

void PackedLinear::forward_swish(const float* x, std::int64_t rows, float* y) const {
  for_each_tile(rows, [&](std::int64_t row, std::int64_t count, std::int64_t panel) {
    vector_kernels().add_bias_swish(product(x + row * in_, count, panel), bias_of(panel), count,
                                    width_of(panel), panel_width_,
                                    y + row * out_ + panel * panel_width_, out_);
  });
}

void PackedLinear::add_to(const float* x, std::int64_t rows, float* y) const {
  for_each_tile(rows, [&](std::int64_t row, std::int64_t count, std::int64_t panel) {
    vector_kernels().add_bias_residual(product(x + row * in_, count, panel), bias_of(panel), count,
                                       width_of(panel), panel_width_,
                                       y + row * out_ + panel * panel_width_, out_);
  });
}

void PackedLinear::forward_panels(const float* x, std::int64_t rows, float* y,
                                  std::int64_t panel_stride) const {
  for_each_tile(rows, [&](std::int64_t row, std::int64_t count, std::int64_t panel) {
    vector_kernels().add_bias(product(x + row * in_, count, panel), bias_of(panel), count,
                              panel_width_, panel_width_,
                              y + panel * panel_stride + row * panel_width_, panel_width_);
  });
}

void PackedLinear::forward_glu(const float* x, std::int64_t rows, float* y,
                               std::int64_t columns) const {
  const std::int64_t half = panel_width_ / 2;
  for_each_tile(rows, [&](std::int64_t row, std::int64_t count, std::int64_t panel) {
    const std::int64_t first = panel * half;
    vector_kernels().glu(product(x + row * in_, count, panel), half, count,
                         std::min(half, columns - first), panel_width_, y + row * columns + first,
                         columns);
  });
}

at::Tensor PackedLinear::interleave_gates(const at::Tensor& weight) {
  const std::int64_t half = kPanelWidth / 2;
  const std::int64_t outputs = weight.size(0) / 2;
  const at::Tensor padded = at::constant_pad_nd(  // (2, C, in) -> (2, C', in)
      weight.reshape({2, outputs, weight.size(1)}), {0, 0, 0, round_up(outputs, half) - outputs});
  return padded.reshape({2, -1, half, weight.size(1)})
      .transpose(0, 1)
      .reshape({-1, weight.size(1)});
}

}  // namespace w2vbert
