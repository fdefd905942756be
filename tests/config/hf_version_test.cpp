#include "w2vbert/config/hf_version.h"

#include <gtest/gtest.h>

#include <string>

namespace w2vbert::testing {
namespace {

TEST(HfVersion, HasANameThatIsReadBack) {
  EXPECT_EQ(name_of(kOldestHfVersion), "5.17");
  for (auto number = static_cast<int>(kOldestHfVersion);
       number <= static_cast<int>(kNewestHfVersion); ++number) {
    const auto version = static_cast<HfVersion>(number);
    EXPECT_EQ(hf_version_of(name_of(version)), version);
    EXPECT_EQ(hf_version_of(name_of(version) + ".0"), version);
    EXPECT_EQ(hf_version_of(name_of(version) + ".12"), version);
  }
  EXPECT_LT(HfVersion::v5_17, HfVersion::v5_20);
}

TEST(HfVersion, IsNoOtherReleaseAndNoOtherWord) {
  for (const char* word :
       {"",        "5",        "5.",          "5.16",  "5.25",  "5.16.9", "4.57.1",
        "6.18",    "5.017",    "5.1",         "5.170", "5.-18", "5.18.",  "5.18.x",
        "5.18.-1", "5.18.0.1", "5.18.0.dev0", " 5.18", "5.18 ", "v5.18",  "5.18446744073709551634",
        "newest"}) {
    EXPECT_EQ(hf_version_of(word), std::nullopt) << word;
  }
}

}  // namespace
}  // namespace w2vbert::testing
