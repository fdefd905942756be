// Clips of any lengths, one behind the other in one matrix.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace w2vbert {

struct RaggedClip {
  std::int64_t begin = 0;        // its first row
  std::int64_t frames = 0;       // its rows
  std::int64_t first_panel = 0;  // of its keys, in panels of RaggedBatch::kKeyPanel
  // (frames): 0 where the frame is valid, the lowest finite number where it is padding, as HF's
  // additive mask; empty: all frames are valid.
  std::vector<float> key_bias;
  bool has_valid_frames = true;
};

// Some rows of one clip.
struct RaggedBlock {
  const RaggedClip* clip;
  std::int64_t first;  // counted from the clip's first row
  std::int64_t rows;

  std::int64_t begin() const { return clip->begin + first; }  // in the matrix
};

class RaggedBatch {
 public:
  static constexpr std::int64_t kKeyPanel = 64;

  // `attention_mask` (frames), not zero where a frame is valid, or undefined: all are.
  void add(std::int64_t frames, const at::Tensor& attention_mask);

  const std::vector<RaggedClip>& clips() const { return clips_; }
  std::int64_t rows() const { return rows_; }
  std::int64_t key_panels() const { return key_panels_; }

  // All rows in blocks of `size` and, at a clip's end, fewer; valid while the batch is not changed.
  std::vector<RaggedBlock> blocks(std::int64_t size) const;

  // visit(row) for each row of a padding frame.
  void for_each_padded_row(const std::function<void(std::int64_t)>& visit) const;

 private:
  std::vector<RaggedClip> clips_;
  std::int64_t rows_ = 0;
  std::int64_t key_panels_ = 0;
};

}  // namespace w2vbert
