#include "tool/store/sha256.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace w2vbert::tool::testing
