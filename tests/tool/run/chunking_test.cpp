#include "tool/run/chunking.h"

#include <gtest/gtest.h>

namespace w2vbert::tool::testing {
namespace {

TEST(Chunks, AreTheWholeClipWhenItIsShortOrNothingIsCut) {
  for (const Chunking how : {Chunking{}, Chunking{10, 3}}) {
    const auto chunks = chunks_of(10, how);
    ASSERT_EQ(chunks.size(), 1U);
    EXPECT_EQ(chunks[0].begin, 0);
    EXPECT_EQ(chunks[0].end, 10);
    EXPECT_EQ(chunks[0].keep_begin, 0);
    EXPECT_EQ(chunks[0].keep_end, 10);
  }
}

TEST(Chunks, CoverEachFrameOnceAndAreEquallyLong) {
  for (std::int64_t length = 1; length <= 12; ++length) {
    for (std::int64_t overlap = 0; overlap < length; ++overlap) {
      for (std::int64_t frames = length + 1; frames < 60; ++frames) {
        const auto chunks = chunks_of(frames, {length, overlap});
        std::int64_t covered = 0;
        for (std::size_t i = 0; i < chunks.size(); ++i) {
          ASSERT_EQ(chunks[i].end - chunks[i].begin, length);
          ASSERT_GE(chunks[i].begin, 0);
          ASSERT_LE(chunks[i].end, frames);
          ASSERT_EQ(chunks[i].keep_begin, covered);
          ASSERT_GE(chunks[i].keep_begin, chunks[i].begin);
          ASSERT_LE(chunks[i].keep_end, chunks[i].end);
          ASSERT_GE(chunks[i].keep_end, chunks[i].keep_begin);
          covered = chunks[i].keep_end;
          if (i > 0) {
            ASSERT_GE(chunks[i - 1].end - chunks[i].begin, overlap);
          }
        }
        ASSERT_EQ(covered, frames);
      }
    }
  }
}

TEST(Chunks, MeetInTheMiddleOfTheirOverlap) {
  const auto chunks = chunks_of(49, {20, 5});
  ASSERT_EQ(chunks.size(), 3U);
  EXPECT_EQ(chunks[1].begin, 15);
  EXPECT_EQ(chunks[0].keep_end, 17);  // 15 to 20
  EXPECT_EQ(chunks[2].begin, 29);     // the last one ends with the clip
  EXPECT_EQ(chunks[1].keep_end, 32);  // 29 to 35
}

}  // namespace
}  // namespace w2vbert::tool::testing
