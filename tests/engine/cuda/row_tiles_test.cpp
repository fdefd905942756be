#include "engine/device/cuda/row_tiles.h"

#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>
#include <vector>

namespace w2vbert::cuda {
namespace {

TEST(RowTiles, CoverEachClipOnce) {
  const std::vector<std::int32_t> begin{0, 1, 1, 130, 194};
  const auto tiles = make_row_tiles(begin, 64);
  const std::vector<RowTile> expected{
      {1, 130, 1, 65}, {1, 130, 65, 129}, {1, 130, 129, 130}, {130, 194, 130, 194}, {0, 1, 0, 1}};
  EXPECT_EQ(tiles, expected);  // the longest clip first
  EXPECT_TRUE(make_row_tiles({0}, 64).empty());
}

TEST(RowTiles, DoNotOverflow) {
  constexpr auto kMost = std::numeric_limits<std::int32_t>::max();
  const auto tiles = make_row_tiles({0, kMost}, kMost - 1);
  ASSERT_EQ(tiles.size(), 2u);
  EXPECT_EQ(tiles[1], (RowTile{0, kMost, kMost - 1, kMost}));
}

TEST(RowTiles, RefuseWhatIsNotAscending) {
  EXPECT_THROW(make_row_tiles({}, 64), std::invalid_argument);
  EXPECT_THROW(make_row_tiles({1, 2}, 64), std::invalid_argument);
  EXPECT_THROW(make_row_tiles({0, 5, 4}, 64), std::invalid_argument);
  EXPECT_THROW(make_row_tiles({0, 5}, 0), std::invalid_argument);
}

}  // namespace
}  // namespace w2vbert::cuda
