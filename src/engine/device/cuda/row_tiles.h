// How packed rows are cut into tiles, each for one block of threads. Plain C++: hosts and kernels
// include it.
#pragma once

#include <cstdint>
#include <vector>

namespace w2vbert::cuda {

// Some rows of one clip. A tile never crosses a clip, so a kernel needs no other table.
struct RowTile {
  std::int32_t clip_begin;  // the clip's first row
  std::int32_t clip_end;    // the row behind its last
  std::int32_t first;       // the tile's first row
  std::int32_t end;         // the row behind its last

  bool operator==(const RowTile&) const = default;
};

// The tiles of clips that lie one behind the other: clip i has the rows clip_begin[i] to
// clip_begin[i + 1] - 1. Each tile has `rows` rows, or fewer at its clip's end. The longest clips
// come first, for their tiles take the longest in attention, and a GPU that begins with them does
// not wait for them at the end. Clips without rows give no tiles. Throws std::invalid_argument
// where clip_begin descends, does not begin at 0, or rows is not positive.
std::vector<RowTile> make_row_tiles(const std::vector<std::int32_t>& clip_begin, std::int32_t rows);

}  // namespace w2vbert::cuda
