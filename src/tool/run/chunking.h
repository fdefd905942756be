// Long clips in overlapping chunks.
#pragma once

#include <cstdint>
#include <vector>

namespace w2vbert::tool {

// How clips that are longer than `frames` (rows of input_features, 50 a second) are cut; 0: not at
// all. overlap < frames.
struct Chunking {
  std::int64_t frames = 0;
  std::int64_t overlap = 0;

  bool on() const noexcept { return frames > 0; }
};

// One chunk: the model sees frames [begin, end) of its clip, and what it gives for [keep_begin,
// keep_end) is kept.
struct Chunk {
  std::int64_t begin, end;
  std::int64_t keep_begin, keep_end;
};

// The chunks of a clip of `frames` frames. All are as long as `how` says, the last one too: it
// begins early enough for that, and overlaps more. The first half of an overlap is the left
// chunk's, the rest the right one's.
std::vector<Chunk> chunks_of(std::int64_t frames, const Chunking& how);

}  // namespace w2vbert::tool
