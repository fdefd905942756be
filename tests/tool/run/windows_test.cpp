#include "tool/run/windows.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "support/namespaces.h"

namespace w2vbert::tool::testing {
namespace {

constexpr double kSamplesPerRow = 320;
constexpr std::int64_t kMinSamples = 560;

TEST(Windows, OfAClipThatIsNotCutAreTheClip) {
  const std::vector<Window> windows = windows_of(1000, {}, kMinSamples);
  ASSERT_EQ(windows.size(), 1U);
  EXPECT_EQ(windows[0].begin, 0);
  EXPECT_EQ(windows[0].end, 1000);
}

TEST(Windows, KeepEachRowOnceWhateverTheLengths) {
  for (const std::int64_t chunk : {3200, 6400, 32000}) {
    for (const std::int64_t stride : {0, 320, 960}) {
      for (std::int64_t samples = 1600; samples < 80000; samples += 613) {
        const Windows how{chunk, stride, stride};
        std::int64_t next = 0;  // row of the clip
        for (const Window& window : windows_of(samples, how, 1)) {
          EXPECT_LE(window.end - window.begin, chunk);
          const std::int64_t rows = (window.end - window.begin + 160) / 320;
          const Kept kept = kept_rows(window, rows, kSamplesPerRow);
          ASSERT_EQ(window.begin / 320 + kept.begin, next);
          next = window.begin / 320 + kept.end;
        }
        EXPECT_EQ(next, (samples + 160) / 320) << samples << " " << chunk << " " << stride;
      }
    }
  }
}

TEST(Windows, LeaveOutARemainderThatIsTooShortForFeatures) {
  const Windows how{3200, 0, 0};
  EXPECT_EQ(windows_of(6400 + kMinSamples - 1, how, kMinSamples).size(), 2U);
  EXPECT_EQ(windows_of(6400 + kMinSamples, how, kMinSamples).size(), 3U);
  EXPECT_EQ(windows_of(10, how, kMinSamples).size(), 1U);  // refused where features are made
}

TEST(Windows, EndWithTheFirstThatReachesTheEndOfTheClip) {
  const Windows how{3200, 640, 640};
  const std::vector<Window> windows = windows_of(4400, how, 1);
  ASSERT_EQ(windows.size(), 2U);
  EXPECT_EQ(windows.front().right, 640);
  EXPECT_EQ(windows.back().begin, 1920);
  EXPECT_EQ(windows.back().end, 4400);
  EXPECT_EQ(windows.back().right, 0);
}

}  // namespace
}  // namespace w2vbert::tool::testing
