// How the rows of a matrix are cut into blocks.
#pragma once

#include <algorithm>
#include <cstdint>

namespace w2vbert {

inline std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Products are computed for whole granules of rows, so that few shapes occur; the engine's buffers
// have room for one granule behind their last row.
inline constexpr std::int64_t kRowGranule = 8;

// `rows` in `count` blocks of `size` rows, the last one shorter; no rows are no blocks.
struct RowBlocks {
  std::int64_t rows, size = 0, count = 0;

  RowBlocks(std::int64_t all_rows, std::int64_t largest) : rows(all_rows) {
    if (rows == 0) return;
    const std::int64_t fewest = (rows + largest - 1) / largest;
    size = round_up((rows + fewest - 1) / fewest, kRowGranule);
    count = (rows + size - 1) / size;
  }

  std::int64_t begin(std::int64_t block) const { return block * size; }
  std::int64_t rows_of(std::int64_t block) const { return std::min(size, rows - begin(block)); }
};

}  // namespace w2vbert
