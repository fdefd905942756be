#include "engine/device/cuda/row_tiles.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <stdexcept>
#include <string>

namespace w2vbert::cuda {

std::vector<RowTile> make_row_tiles(const std::vector<std::int32_t>& clip_begin,
                                    std::int32_t rows) {
  if (rows <= 0)
    throw std::invalid_argument("rows: " + std::to_string(rows) + ", expected 1 or more");
  if (clip_begin.empty() || clip_begin.front() != 0 ||
      !std::is_sorted(clip_begin.begin(), clip_begin.end())) {
    throw std::invalid_argument("clip_begin: expected 0 and then ascending rows");
  }
  std::vector<std::size_t> clips(clip_begin.size() - 1);
  std::iota(clips.begin(), clips.end(), std::size_t{0});
  const auto frames = [&](std::size_t clip) { return clip_begin[clip + 1] - clip_begin[clip]; };
  std::stable_sort(clips.begin(), clips.end(),
                   [&](std::size_t a, std::size_t b) { return frames(a) > frames(b); });
  std::vector<RowTile> tiles;
  for (const auto clip : clips) {
    const auto begin = clip_begin[clip], end = clip_begin[clip + 1];
    for (auto first = begin; first < end;) {
      const auto tile_end = end - first > rows ? first + rows : end;
      tiles.push_back({begin, end, first, tile_end});
      first = tile_end;
    }
  }
  return tiles;
}

}  // namespace w2vbert::cuda
