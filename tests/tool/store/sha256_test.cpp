#include "tool/store/sha256.h"

#include <gtest/gtest.h>

#include <string>

namespace w2vbert::tool::testing {
namespace {

// FIPS 180-2, appendix B.
TEST(Sha256, GivesTheStandardsExamples) {
  Sha256 sha;
  sha.add("a");
  sha.add("bc");
  EXPECT_EQ(sha.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256().hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Sha256, HasADigestOf64Digits) {
  EXPECT_TRUE(is_sha256(Sha256().hex()));
  for (const std::string& text :
       {std::string(), std::string("abc"), std::string(63, 'a'), std::string(65, 'a'),
        std::string(64, 'g'), std::string(64, 'A'), std::string(63, 'a') + "\n"}) {
    EXPECT_FALSE(is_sha256(text)) << text;
  }
}

}  // namespace
}  // namespace w2vbert::tool::testing
