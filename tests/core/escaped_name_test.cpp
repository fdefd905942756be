#include "core/escaped_name.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace w2vbert::testing {
namespace {

TEST(EscapedName, LeavesTextAsItIs) {
  for (const std::string name :
       {"", "a/b", "café", "日本", "back\\slash", "\\x", "\\xg1", "\\x4"}) {
    EXPECT_EQ(escaped_name(name), name);
    EXPECT_EQ(unescaped_name(name), name);
  }
}

TEST(EscapedName, WritesBytesThatAreNoText) {
  EXPECT_EQ(escaped_name("caf\xe9"), "caf\\xe9");
  EXPECT_EQ(escaped_name("\xc3("), "\\xc3(");
  EXPECT_EQ(escaped_name("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(escaped_name("caf\\xe9"), "caf\\x5cxe9");          // a name that looks escaped
}

// All names of three of these pieces.
TEST(EscapedName, GivesEveryNameBackAndNoTwoTheSame) {
  const std::string pieces[] = {"\\", "x", "e", "9", "5", "c", "\xe9", "\xc3", "\xa9", "\x80", "é"};
  std::set<std::string> names, texts;
  for (const std::string& a : pieces) {
    for (const std::string& b : pieces) {
      for (const std::string& c : pieces) {
        for (const std::string& d : pieces) {
          const std::string name = a + b + c + d;
          EXPECT_EQ(unescaped_name(escaped_name(name)), name);
          names.insert(name);
          texts.insert(escaped_name(name));
        }
      }
    }
  }
  EXPECT_EQ(texts.size(), names.size());
}

}  // namespace
}  // namespace w2vbert::testing
