#include "w2vbert/core/numpy_random.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace w2vbert::testing {
namespace {

using ::testing::ElementsAre;
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

}  // namespace
}  // namespace w2vbert::testing
