#include "engine/kernels/ragged_attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <type_traits>
#include <vector>

#include "engine/kernels/float16_range.h"
#include "engine/kernels/narrow_products.h"
#include "engine/kernels/tile_gemm.h"
#include "engine/kernels/vector_kernels.h"
#include "engine/parallel_tasks.h"
#include "engine/row_blocks.h"

namespace w2vbert {
namespace {

constexpr std::int64_t kQueryBlock = 64;
constexpr std::int64_t kKeyBlock = 512;
constexpr std::int64_t kKeyPanel = RaggedBatch::kKeyPanel;
// Sums over keys run over whole granules; what is behind the last key is zero.
constexpr std::int64_t kKeyGranule = 16;
static_assert(kKeyBlock % kKeyPanel == 0 && kKeyPanel % kKeyGranule == 0);

// How many elements of the dimension that is summed over lie side by side in a product's second
// matrix (tile_gemm.h): what fits into four bytes, so that each such group moves as one float.
template <class Element>
constexpr std::int64_t kGroup = 4 / static_cast<std::int64_t>(sizeof(Element));

template <class Element>
std::int64_t floats_of(std::int64_t elements) {
  return (elements + kGroup<Element> - 1) / kGroup<Element>;
}

// function(element) with an element of the type that attention is computed in.
template <class Function>
auto with_element(Precision precision, const Function& function) {
  switch (precision) {
    case Precision::bfloat16:
      return function(c10::BFloat16());
    case Precision::float16:
      return function(c10::Half());
    default:
      return function(0.0f);
  }
}

// What the values of one clip and head are multiplied with in float16: powers of two.
struct HeadFactors {
  float queries = 1.0f, keys = 1.0f, values = 1.0f;
};

template <class Element>
float factor_of(const float* x, std::int64_t count, int exponent) {
  if constexpr (!std::is_same_v<Element, c10::Half>) return 1.0f;
  return float16_factor(vector_kernels().largest_finite(x, count), exponent);
}

// Takes two factors out of products. A size beyond float32 is not infinite, which would make NaN of
// zeros.
void take_out(float first, float second, float* products, std::int64_t count) {
  if (first == 1.0f && second == 1.0f) return;
  constexpr double kMost = std::numeric_limits<float>::max();
  const double scale = 1.0 / (static_cast<double>(first) * static_cast<double>(second));
  vector_kernels().scale(products, count, static_cast<float>(std::min(scale, kMost)), products);
}

// A block of rows, `ld_x` floats apart: as they are, or rounded into `memory`, `ld` elements apart
// and zero behind their width; in float16 times `factor`.
const float* as_elements(const float* x, std::int64_t, std::int64_t, std::int64_t, float, float*,
                         std::int64_t) {
  return x;
}
const c10::Half* as_elements(const float* x, std::int64_t rows, std::int64_t width,
                             std::int64_t ld_x, float factor, c10::Half* memory, std::int64_t ld) {
  for (std::int64_t row = 0; row < rows; ++row) {
    vector_kernels().to_float16(x + row * ld_x, width, ld, factor, memory + row * ld);
  }
  return memory;
}
const c10::BFloat16* as_elements(const float* x, std::int64_t rows, std::int64_t width,
                                 std::int64_t ld_x, float, c10::BFloat16* memory, std::int64_t ld) {
  for (std::int64_t row = 0; row < rows; ++row) {
    vector_kernels().to_bfloat16(x + row * ld_x, width, ld, memory + row * ld);
  }
  return memory;
}

// (rows, width) -> (padded_width / group, columns, group), zero in columns `rows` to `columns`.
template <class Element>
void transpose(const float* x, std::int64_t rows, std::int64_t width, std::int64_t padded_width,
               float factor, Element* y, std::int64_t columns) {
  static thread_local ScratchBuffer memory;
  auto* rounded = reinterpret_cast<Element*>(memory.reserve(rows * padded_width));
  const std::int64_t groups = padded_width / kGroup<Element>;
  vector_kernels().transpose(reinterpret_cast<const float*>(
                                 as_elements(x, rows, width, width, factor, rounded, padded_width)),
                             rows, groups, groups, reinterpret_cast<float*>(y), columns);
}

// (rows, width) -> (padded_rows / group, width, group), zero behind the last row.
void group_rows(const float* x, std::int64_t rows, std::int64_t width, std::int64_t padded_rows,
                float, float* y) {
  std::copy_n(x, rows * width, y);
  std::fill_n(y + rows * width, (padded_rows - rows) * width, 0.0f);
}
void group_rows(const float* x, std::int64_t rows, std::int64_t width, std::int64_t padded_rows,
                float, c10::BFloat16* y) {
  vector_kernels().pair_rows(x, rows, width, padded_rows, y);
}
void group_rows(const float* x, std::int64_t rows, std::int64_t width, std::int64_t padded_rows,
                float factor, c10::Half* y) {
  vector_kernels().pair_rows_float16(x, rows, width, padded_rows, factor, y);
}

}  // namespace

RaggedAttention::RaggedAttention(std::int64_t heads, std::int64_t head_size,
                                 const at::Tensor& distance_embedding, std::int64_t left,
                                 std::int64_t right, Precision precision, bool sdpa)
    : heads_(heads),
      head_size_(head_size),
      left_(left),
      right_(right),
      precision_(precision),
      sdpa_(sdpa) {
  if (!distance_embedding.defined()) return;
  with_element(precision_,
               [&](auto element) { pack_distances<decltype(element)>(distance_embedding); });
}

Precision RaggedAttention::precision_for(Precision precision) {
  return precision == Precision::int8 ? precision_beside_int8() : rows_precision(precision);
}

template <class Element>
void RaggedAttention::pack_distances(const at::Tensor& distance_embedding) {
  const at::Tensor rows = distance_embedding.to(at::kFloat).contiguous();  // (left + 1 + right, D)
  distances_ = round_up(rows.size(0), kKeyGranule);
  float* keys = distance_keys_.reserve((head_size_ + 1) * distances_);
  const float* from = rows.const_data_ptr<float>();
  distance_factor_ = factor_of<Element>(from, rows.numel(), kFloat16Exponent);
  transpose(from, rows.size(0), head_size_, round_up(head_size_, kGroup<Element>), distance_factor_,
            reinterpret_cast<Element*>(keys), distances_);
}

void RaggedAttention::forward(const RaggedBatch& batch, const float* qkv, std::int64_t stride,
                              Scratch& scratch, float* y) const {
  with_element(precision_, [&](auto element) {
    forward_in<decltype(element)>(batch, qkv, stride, scratch, y);
  });
}

template <class Element>
RaggedAttention::Sizes RaggedAttention::sizes_for(const RaggedBatch& batch) const {
  const std::int64_t padded_size = round_up(head_size_, kGroup<Element>);
  const std::int64_t all_keys = batch.key_panels() * kKeyPanel;  // of a head
  return {heads_ * floats_of<Element>(all_keys * padded_size),
          heads_ * floats_of<Element>(all_keys * head_size_),
          kQueryBlock * (kKeyBlock + distances_ + head_size_ + 2),
          floats_of<Element>(kQueryBlock * (padded_size + kKeyBlock))};
}

std::int64_t RaggedAttention::growth(const RaggedBatch& batch, const Scratch& scratch) const {
  const Sizes sizes =
      with_element(precision_, [&](auto element) { return sizes_for<decltype(element)>(batch); });
  const std::int64_t of_threads = at::get_num_threads() * (sizes.scores + sizes.rounded);
  return scratch.keys.growth(sizes.keys) + scratch.values.growth(sizes.values) +
         of_threads * static_cast<std::int64_t>(sizeof(float));
}

template <class Element>
void RaggedAttention::forward_in(const RaggedBatch& batch, const float* qkv, std::int64_t stride,
                                 Scratch& scratch, float* y) const {
  const VectorKernels& kernels = vector_kernels();
  const std::int64_t padded_size = round_up(head_size_, kGroup<Element>);
  const std::int64_t all_keys = batch.key_panels() * kKeyPanel;  // of a head
  const Sizes sizes = sizes_for<Element>(batch);
  auto* keys = reinterpret_cast<Element*>(scratch.keys.reserve(sizes.keys));
  auto* values = reinterpret_cast<Element*>(scratch.values.reserve(sizes.values));
  std::vector<HeadFactors> factors(static_cast<std::size_t>(heads_) * batch.clips().size());
  parallel_tasks(static_cast<std::int64_t>(factors.size()), [&](std::int64_t task) {
    const RaggedClip& clip = batch.clips()[static_cast<std::size_t>(task / heads_)];
    const std::int64_t head = task % heads_;
    const float* from = qkv + (heads_ + head) * stride + clip.begin * head_size_;
    const float* from_values = from + heads_ * stride;
    const auto factor = [&](const float* x, int exponent) {
      return factor_of<Element>(x, clip.frames * head_size_, exponent);
    };
    HeadFactors& of_head = factors[static_cast<std::size_t>(task)];
    of_head.queries = factor(from - heads_ * stride, kFloat16Exponent);
    of_head.keys = factor(from, kFloat16Exponent);
    of_head.values = factor(from_values, kFloat16ValueExponent);
    const std::int64_t first_key = head * all_keys + clip.first_panel * kKeyPanel;
    for (std::int64_t key = 0; key < clip.frames; key += kKeyPanel) {
      transpose(from + key * head_size_, std::min(kKeyPanel, clip.frames - key), head_size_,
                padded_size, of_head.keys, keys + (first_key + key) * padded_size, kKeyPanel);
    }
    group_rows(from_values, clip.frames, head_size_, round_up(clip.frames, kKeyGranule),
               of_head.values, values + first_key * head_size_);
  });

  const std::vector<RaggedBlock> blocks = batch.blocks(kQueryBlock);
  const std::int64_t width = heads_ * head_size_;
  const auto block_count = static_cast<std::int64_t>(blocks.size());
  parallel_tasks(heads_ * block_count, [&](std::int64_t task) {
    // One head's blocks follow each other: its keys and values stay in the cache.
    const std::int64_t head = task / block_count;
    const RaggedBlock& block = blocks[static_cast<std::size_t>(task % block_count)];
    const RaggedClip& clip = *block.clip;
    const std::int64_t rows = block.rows;
    const std::int64_t rows_computed = round_up(rows, kRowGranule);
    const std::int64_t first_key = head * all_keys + clip.first_panel * kKeyPanel;
    const Element* clip_keys = keys + first_key * padded_size;
    const Element* clip_values = values + first_key * head_size_;
    const HeadFactors& of_head =
        factors[static_cast<std::size_t>((&clip - batch.clips().data()) * heads_ + head)];

    static thread_local ScratchBuffer memory, rounded;
    float* scores = memory.reserve(sizes.scores);
    float* relative = scores + kQueryBlock * kKeyBlock;
    float* output = relative + kQueryBlock * distances_;
    float* row_max = output + kQueryBlock * head_size_;
    float* row_sum = row_max + kQueryBlock;
    auto* rounded_queries = reinterpret_cast<Element*>(rounded.reserve(sizes.rounded));
    Element* rounded_scores = rounded_queries + kQueryBlock * padded_size;

    const Element* queries =
        as_elements(qkv + head * stride + block.begin() * head_size_, rows_computed, head_size_,
                    head_size_, of_head.queries, rounded_queries, padded_size);
    if (distances_ > 0) {
      tile_gemm(rows_computed, distances_, padded_size, queries, padded_size,
                reinterpret_cast<const Element*>(distance_keys_.data()), distances_, relative,
                distances_, false);
      take_out(of_head.queries, distance_factor_, relative, rows * distances_);
    }
    for (std::int64_t key = 0; key < clip.frames; key += kKeyBlock) {
      const std::int64_t columns = std::min(kKeyBlock, clip.frames - key);
      for (std::int64_t column = 0; column < columns; column += kKeyPanel) {
        tile_gemm(rows_computed, kKeyPanel, padded_size, queries, padded_size,
                  clip_keys + (key + column) * padded_size, kKeyPanel, scores + column, kKeyBlock,
                  false);
      }
      for (std::int64_t row = 0; row < rows; ++row) {
        take_out(of_head.queries, of_head.keys, scores + row * kKeyBlock, columns);
      }
      ScoreBlock softmax{};
      softmax.scores = scores;
      softmax.rows = rows;
      softmax.columns = columns;
      softmax.padded_columns = round_up(columns, kKeyGranule);
      softmax.ld = kKeyBlock;
      softmax.relative = distances_ > 0 ? relative : nullptr;
      softmax.ld_relative = distances_;
      softmax.distance = key - block.first;
      softmax.left = left_;
      softmax.right = right_;
      softmax.key_bias = clip.key_bias.empty() ? nullptr : clip.key_bias.data() + key;
      softmax.first = key == 0;
      softmax.row_max = row_max;
      softmax.row_sum = row_sum;
      softmax.output = output;
      softmax.output_width = head_size_;
      kernels.softmax_block(softmax);

      tile_gemm(rows_computed, head_size_, softmax.padded_columns,
                as_elements(scores, rows_computed, softmax.padded_columns, kKeyBlock, 1.0f,
                            rounded_scores, kKeyBlock),
                kKeyBlock, clip_values + key * head_size_, head_size_, output, head_size_, key > 0);
    }
    const bool has_keys = clip.has_valid_frames || distances_ > 0;
    for (std::int64_t row = 0; row < rows; ++row) {
      float* to = y + (block.begin() + row) * width + head * head_size_;
      // Whatever the scores are where there is no key; else NaN stays one.
      if (sdpa_ && (!has_keys || row_sum[row] == 0.0f)) {
        std::fill_n(to, head_size_, 0.0f);
      } else {
        kernels.scale(output + row * head_size_, head_size_, 1.0f / (row_sum[row] * of_head.values),
                      to);
      }
    }
  });
}

}  // namespace w2vbert
