// Clips of any lengths, one behind the other in one matrix on a device, with the tables that its
// operations need.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <vector>

namespace w2vbert {

// One clip of a layout.
struct RaggedLength {
  std::int64_t frames = 0;
  // (frames) on the CPU, not zero where a frame is valid, or undefined: all frames are valid
  at::Tensor attention_mask;
};

// B clips of about one length, which attention takes as one padded batch of T frames.
struct ClipGroup {
  std::int64_t begin = 0;            // the first clip's first row; the others' rows follow
  std::int64_t rows = 0;             // of all its clips
  std::vector<std::size_t> numbers;  // its B clips, as the layout's constructor was given them
  std::int64_t frames = 0;           // T, of the longest
  // int64 (rows): the place of each row among (B T). Undefined: every clip has T frames, and the
  // rows lie as they are.
  at::Tensor places;
  at::Tensor absent;   // bool (B, T), true behind a clip's end; undefined: nowhere
  at::Tensor padded;   // bool (B, T), true for padding frames of a clip; undefined: nowhere
  at::Tensor keyless;  // bool (B), true where all frames of a clip are padding; undefined: nowhere

  std::int64_t clips() const { return static_cast<std::int64_t>(numbers.size()); }
  // (rows, N) -> (B, T, N), zero where there is no frame
  at::Tensor spread(const at::Tensor& packed) const;
  // (B, T, N) -> (rows, N)
  at::Tensor pack(const at::Tensor& spread) const;
};

// How clips lie in a matrix (R, N): the longest first, so that those of about one length are
// neighbours. Worked out on the CPU, once for each batch: the operations on the matrix never wait
// for the device.
class RaggedLayout {
 public:
  struct Options {
    // Rows of zeros before each clip in a causal convolution: its kernel size - 1.
    std::int64_t gap = 0;
    // Rows are added until their number is a multiple of this, so that products have few shapes.
    std::int64_t row_multiple = 1;
    // B T T of a group of more than one clip is at most this.
    std::int64_t max_scores = std::int64_t{1} << 24;
  };
  RaggedLayout(const std::vector<RaggedLength>& clips, c10::Device device, const Options& options);

  std::int64_t rows() const { return rows_; }            // R
  std::int64_t clip_rows() const { return clip_rows_; }  // those of clips, which come first
  const std::vector<ClipGroup>& groups() const { return groups_; }
  // The first row of a clip, by its number.
  std::int64_t begin_of(std::size_t clip) const { return begins_[clip]; }
  // The clips' numbers in the order of their rows.
  const std::vector<std::size_t>& order() const { return order_; }
  // bool (R, 1), true for padding frames; undefined: there are none
  const at::Tensor& padded_rows() const { return padded_rows_; }

  // (R, N) -> (all rows and gaps, N): `gap` rows of zeros before each clip.
  at::Tensor with_gaps(const at::Tensor& packed) const;
  // For kernels: int32 (tiles, 4), the rows of the clips as cuda::RowTile; undefined where there
  // are more rows than an int32 counts.
  const at::Tensor& row_tiles() const { return row_tiles_; }
  // For kernels: uint8 (R), 0 for padding frames; undefined: there are none
  const at::Tensor& valid_rows() const { return valid_rows_; }
  // What a convolution makes of the other -> (R, N). It has `gap` rows less, and the row of a frame
  // stands `gap` rows before where that frame was.
  at::Tensor without_gaps(const at::Tensor& convolved) const;

 private:
  std::int64_t rows_ = 0, clip_rows_ = 0, rows_with_gaps_ = 0, gap_ = 0;
  std::vector<std::size_t> order_;
  std::vector<std::int64_t> begins_;
  std::vector<ClipGroup> groups_;
  at::Tensor padded_rows_, valid_rows_, row_tiles_;
  at::Tensor gapped_places_;     // int64 (R): the place of each row in with_gaps()
  at::Tensor convolved_places_;  // int64 (R): and behind the convolution
};

}  // namespace w2vbert
