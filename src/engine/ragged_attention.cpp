#include "ragged_attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "parallel_tasks.h"
#include "row_blocks.h"
#include "tile_gemm.h"
#include "vector_kernels.h"

namespace w2vbert {
namespace {

constexpr std::int64_t kQueryBlock = 64;
constexpr std::int64_t kKeyBlock = 512;
constexpr std::int64_t kKeyPanel = RaggedBatch::kKeyPanel;
// Sums over keys run over whole granules; what is behind the last key is zero.
constexpr std::int64_t kKeyGranule = 16;
static_assert(kKeyBlock % kKeyPanel == 0 && kKeyPanel % kKeyGranule == 0);

}  // namespace

RaggedAttention::RaggedAttention(std::int64_t heads, std::int64_t head_size,
                                 const at::Tensor& distance_embedding, std::int64_t left,
                                 std::int64_t right)
    : heads_(heads), head_size_(head_size), left_(left), right_(right) {
  if (!distance_embedding.defined()) return;
  const at::Tensor rows = distance_embedding.to(at::kFloat).contiguous();  // (left + 1 + right, D)
  distances_ = round_up(rows.size(0), kKeyGranule);
  vector_kernels().transpose(rows.const_data_ptr<float>(), rows.size(0), head_size_, head_size_,
                             distance_keys_.at_least(head_size_ * distances_), distances_);
}

void RaggedAttention::forward(const RaggedBatch& batch, const float* qkv, std::int64_t stride,
                              Scratch& scratch, float* y) const {
  const VectorKernels& kernels = vector_kernels();
  const std::int64_t panel_size = head_size_ * kKeyPanel;
  float* keys = scratch.keys.at_least(heads_ * batch.key_panels() * panel_size);
  parallel_tasks(heads_ * static_cast<std::int64_t>(batch.clips().size()), [&](std::int64_t task) {
    const RaggedClip& clip = batch.clips()[static_cast<std::size_t>(task / heads_)];
    const std::int64_t head = task % heads_;
    const float* from = qkv + (heads_ + head) * stride + clip.begin * head_size_;
    float* to = keys + (head * batch.key_panels() + clip.first_panel) * panel_size;
    for (std::int64_t key = 0; key < clip.frames; key += kKeyPanel, to += panel_size) {
      kernels.transpose(from + key * head_size_, std::min(kKeyPanel, clip.frames - key), head_size_,
                        head_size_, to, kKeyPanel);
    }
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
    const float* queries = qkv + head * stride + block.begin() * head_size_;
    const float* values = qkv + (2 * heads_ + head) * stride + clip.begin * head_size_;
    const float* clip_keys = keys + (head * batch.key_panels() + clip.first_panel) * panel_size;

    static thread_local AlignedBuffer memory;
    float* scores = memory.at_least(kQueryBlock * (kKeyBlock + distances_ + head_size_ + 2) +
                                    kKeyGranule * head_size_);
    float* relative = scores + kQueryBlock * kKeyBlock;
    float* output = relative + kQueryBlock * distances_;
    float* row_max = output + kQueryBlock * head_size_;
    float* row_sum = row_max + kQueryBlock;
    float* last_values = row_sum + kQueryBlock;

    if (distances_ > 0) {
      tile_gemm(rows_computed, distances_, head_size_, queries, head_size_, distance_keys_.data(),
                distances_, relative, distances_, false);
    }
    for (std::int64_t key = 0; key < clip.frames; key += kKeyBlock) {
      const std::int64_t columns = std::min(kKeyBlock, clip.frames - key);
      for (std::int64_t column = 0; column < columns; column += kKeyPanel) {
        tile_gemm(rows_computed, kKeyPanel, head_size_, queries, head_size_,
                  clip_keys + (key + column) * head_size_, kKeyPanel, scores + column, kKeyBlock,
                  false);
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

      const std::int64_t whole = columns / kKeyGranule * kKeyGranule;
      if (whole > 0) {
        tile_gemm(rows_computed, head_size_, whole, scores, kKeyBlock, values + key * head_size_,
                  head_size_, output, head_size_, key > 0);
      }
      if (whole <
          columns) {  // the next clip's rows follow: they may be NaN, and zero times NaN is NaN
        const std::int64_t rest = (columns - whole) * head_size_;
        std::copy_n(values + (key + whole) * head_size_, rest, last_values);
        std::fill(last_values + rest, last_values + kKeyGranule * head_size_, 0.0f);
        tile_gemm(rows_computed, head_size_, kKeyGranule, scores + whole, kKeyBlock, last_values,
                  head_size_, output, head_size_, key > 0 || whole > 0);
      }
    }
    for (std::int64_t row = 0; row < rows; ++row) {
      kernels.scale(output + row * head_size_, head_size_, 1.0f / row_sum[row],
                    y + (block.begin() + row) * width + head * head_size_);
    }
  });
}

}  // namespace w2vbert
