#include "w2vbert/core/numpy_random.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace w2vbert::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The expected values are those of numpy 2.4 after numpy.random.seed(7).
TEST(NumpyRandom, DrawsWhatNumpyDrawsForTheSameSeed) {
  NumpyRandom random(7);
  EXPECT_EQ(random.rand(), 0x1.388f0a7465c98p-4);
  EXPECT_EQ(random.rand(), 0x1.8f5184146a0a7p-1);
  EXPECT_THAT(random.choice(11, 5), ElementsAre(9, 6, 2, 5, 0));
  EXPECT_THAT(random.choice(1, 1), ElementsAre(0));
  EXPECT_THAT(random.choice(0, 0), IsEmpty());
  EXPECT_EQ(random.rand(), 0x1.12e1ab020959cp-2);
}

// Where numpy raises ValueError.
TEST(NumpyRandom, RefusesChoicesThatThePopulationDoesNotHave) {
  NumpyRandom random(7);
  const std::int64_t huge = (std::int64_t{1} << 32) + 1;
  const std::pair<std::int64_t, std::int64_t> wrong[] = {{2, 5},   {0, 1},  {-1, 0},
                                                         {-3, -3}, {4, -1}, {huge, 1}};
  for (const auto& [population, count] : wrong) {
    try {
      random.choice(population, count);
      ADD_FAILURE() << count << " of " << population;
    } catch (const std::invalid_argument& error) {
      EXPECT_THAT(error.what(), HasSubstr("choice: " + std::to_string(count) + " of " +
                                          std::to_string(population) + ", expected 0 <= count"));
    }
  }
  EXPECT_EQ(random.rand(), 0x1.388f0a7465c98p-4);  // nothing was drawn
}

}  // namespace
}  // namespace w2vbert::testing
