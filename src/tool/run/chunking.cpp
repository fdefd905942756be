#include "tool/run/chunking.h"

#include <algorithm>

namespace w2vbert::tool {

std::vector<Chunk> chunks_of(std::int64_t frames, const Chunking& how) {
  if (!how.on() || frames <= how.frames) return {{0, frames, 0, frames}};
  std::vector<Chunk> chunks;
  for (std::int64_t begin = 0;; begin += how.frames - how.overlap) {
    begin = std::min(begin, frames - how.frames);
    chunks.push_back({begin, begin + how.frames, begin, begin + how.frames});
    if (chunks.size() > 1) {
      Chunk& left = chunks[chunks.size() - 2];
      const std::int64_t seam = begin + (left.end - begin) / 2;
      left.keep_end = seam;
      chunks.back().keep_begin = seam;
    }
    if (begin + how.frames == frames) return chunks;
  }
}

}  // namespace w2vbert::tool
