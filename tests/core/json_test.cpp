#include "core/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace w2vbert::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string error_of(std::string_view text) {
  try {
    JsonValue::parse(text);
  } catch (const JsonError& error) {
    EXPECT_LT(std::string_view(error.what()).size(), 1200U);
    for (const char c : std::string_view(error.what())) EXPECT_GE(c & 0xFF, 0x20);
    return error.what();
  }
  return "accepted";
}

// The events of a text, one word each.
class Recorder : public JsonHandler {
 public:
  void scalar(const JsonScalar& value) override { events.push_back(describe(value)); }
  void begin_object() override { events.push_back("{"); }
  void key(std::string_view name) override { events.push_back(std::string(name) + ":"); }
  void end_object() override { events.push_back("}"); }
  void begin_array() override { events.push_back("["); }
  void end_array() override { events.push_back("]"); }
  std::vector<std::string> events;
};

TEST(ReadJson, HandsOutTheEventsInOrder) {
  Recorder recorder;
  read_json(" {\"a\" : [1, {\"b\":null}],\r\n\t\"c\":[ ], \"d\":{} } \n", recorder);
  EXPECT_THAT(recorder.events, ElementsAre("{", "a:", "[", "1", "{", "b:", "null", "}", "]",
                                           "c:", "[", "]", "d:", "{", "}", "}"));
}

TEST(ReadJson, TakesPythonsConstantsWhereItIsTold) {
  Recorder recorder;
  read_json("[NaN, {\"a\": Infinity, \"b\": -Infinity}]", recorder, JsonDialect::kPython);
  EXPECT_THAT(recorder.events,
              ElementsAre("[", "NaN", "{", "a:", "Infinity", "b:", "-Infinity", "}", "]"));
  for (const char* text : {"nan", "inf", "-NaN", "+Infinity", "Inf", "-Inf", "-infinity", "NaNs"}) {
    EXPECT_THROW(JsonValue::parse(text, JsonDialect::kPython), JsonError) << text;
  }
  for (const char* text : {"NaN", "Infinity", "-Infinity"}) {
    EXPECT_THAT(error_of(text), HasSubstr("JSON has no NaN or Infinity")) << text;
  }
}

TEST(ReadJson, TakesAnyValueAsTheRoot) {
  for (const char* text : {"null", "true", "false", "0", "-1.5e3", "\"\"", "[]", "{}"}) {
    EXPECT_EQ(error_of(text), "accepted") << text;
  }
}

TEST(ReadJson, EndsAtAnExceptionOfTheHandler) {
  class Thrower : public Recorder {
    void key(std::string_view) override { throw std::out_of_range("enough"); }
  };
  Thrower thrower;
  EXPECT_THROW(read_json(R"({"a":1,"a":)", thrower), std::out_of_range);
}

TEST(ReadJson, RefusesMalformedTextAndSaysWhere) {
  const std::vector<std::pair<std::string_view, const char*>> cases = {
      {"", "is empty"},
      {" \n ", "is empty"},
      {"\xEF\xBB\xBF{}", "byte-order mark"},
      {"{}x", "line 1, column 3: text after the end"},
      {"{} {}", "text after the end"},
      {"1 2", "text after the end"},
      {std::string_view("{}\0", 3), "text after the end"},
      {std::string_view("\0{}", 3), "found \\x00 where a value should be"},
      {std::string_view("{\0}", 3), "found \\x00"},
      {"{", "the text ends where a key"},
      {"[", "the text ends where a value"},
      {"[1", "where a comma or ] should be"},
      {"{\"a\"", "where a colon should be"},
      {"{\"a\":", "the text ends where a value"},
      {"{\"a\":1", "where a comma or } should be"},
      {"{\"a\" 1}", "found 1 where a colon"},
      {"{a:1}", "found a where a key in double quotes"},
      {"{'a':1}", "found ' where a key in double quotes"},
      {"[,1]", "found , where a value"},
      {"[1,]", "line 1, column 4: a comma before the closing ]"},
      {"{\"a\":1,}", "a comma before the closing }"},
      {"[1 2]", "found 2 where a comma or ]"},
      {"[1}", "found } where a comma or ]"},
      {"{]", "found ]"},
      {"]", "found ]"},
      {"[1]]", "text after the end"},
      {"// c\n1", "JSON has no comments"},
      {"[1/*c*/]", "found /"},
      {"# c\n1", "found #"},
      {"tru", "found t"},
      {"True", "found T"},
      {"nul", "found n"},
      {"truex", "text after the end"},
      {"\xC2\xA0[]", "where a value should be"},
      {"\v[]", "found \\x0b"},
      {"\f[]", "found \\x0c"},
      {"{\n  \"a\": 1,\n  b\n}", "line 3, column 3"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_THAT(error_of(text), HasSubstr(expected)) << text;
  }
}

TEST(ReadJson, SaysThatPythonsNanIsNoJson) {
  EXPECT_THAT(error_of("NaN"), HasSubstr("NaN, JSON has no NaN or Infinity"));
  EXPECT_THAT(error_of("[Infinity]"), HasSubstr("JSON has no NaN or Infinity"));
  EXPECT_THAT(error_of("{\"a\": -Infinity}"), HasSubstr("column 7: -Infinity, JSON has no"));
  EXPECT_THAT(error_of("-Inf"), HasSubstr("found -"));
}

TEST(ReadJson, RefusesMalformedNumbers) {
  for (const char* text : {"-", "+1", "01", "-01", "00", ".5", "1.", "1.e3", "1e", "1e+", "1E-",
                           "1.5.2", "--1", "0x10", "1_000", "-a", "1e1.5"}) {
    EXPECT_THAT(error_of(text), HasSubstr("malformed JSON at line 1")) << text;
  }
}

TEST(ReadJson, KeepsTheTypeAndTheSignOfNumbers) {
  const auto number = [](std::string_view text) { return JsonValue::parse(text); };
  EXPECT_EQ(*number("0").get_if<std::uint64_t>(), 0U);
  EXPECT_EQ(*number("18446744073709551615").get_if<std::uint64_t>(),
            std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(number("-9223372036854775808").get_if<JsonNegative>()->value,
            std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(number("-0").get_if<JsonNegative>()->value, 0);
  EXPECT_EQ(number("-0").get_if<std::uint64_t>(), nullptr);
  EXPECT_EQ(number("1").get_if<double>(), nullptr);
  EXPECT_EQ(*number("1.0").get_if<double>(), 1.0);
  EXPECT_EQ(*number("1e2").get_if<double>(), 100.0);
  EXPECT_EQ(*number("-1.25E-2").get_if<double>(), -0.0125);
  EXPECT_EQ(*number("1e-05").get_if<double>(), 1e-5);
  EXPECT_EQ(*number("0.1").get_if<double>(), 0.1);
  EXPECT_EQ(*number("5e-324").get_if<double>(), std::numeric_limits<double>::denorm_min());
  EXPECT_EQ(*number("1.7976931348623157e308").get_if<double>(), std::numeric_limits<double>::max());
}

TEST(ReadJson, NeitherWrapsNorRoundsANumberThatDoesNotFit) {
  for (const std::string& text :
       {std::string("18446744073709551616"), std::string("-9223372036854775809"),
        std::string("1e400"), std::string("-1e400"), std::string("1e-400"),
        std::string(100000, '9')}) {
    const JsonValue value = JsonValue::parse(text);
    EXPECT_NE(value.get_if<JsonUnfitNumber>(), nullptr) << text.substr(0, 40);
    EXPECT_THAT(value.describe(), HasSubstr("beyond"));
  }
  EXPECT_EQ(*JsonValue::parse("0." + std::string(100000, '9')).get_if<double>(), 1.0);
}

TEST(ReadJson, UnescapesStrings) {
  const auto text = [](std::string_view json) {
    return *JsonValue::parse(json).get_if<std::string>();
  };
  EXPECT_EQ(text(R"("\"\\\/\b\f\n\r\t")"), "\"\\/\b\f\n\r\t");
  EXPECT_EQ(text(R"("a\u00e4\u20AC\uD83D\uDE00z")"), "a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80z");
  EXPECT_EQ(text(R"("\u0000")"), std::string(1, '\0'));
  EXPECT_EQ(text(R"("\u007f\u0080\u07ff\u0800\uffff\udbff\udfff")"),
            "\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF\xF4\x8F\xBF\xBF");
  EXPECT_EQ(text("\"\xC3\xA4 \x7F\""), "\xC3\xA4 \x7F");
  EXPECT_EQ(text("\"\""), "");
}

TEST(ReadJson, RefusesMalformedStrings) {
  const std::vector<std::pair<std::string_view, const char*>> cases = {
      {"\"a", "column 1: a string without end"},
      {"\"a\\", "unknown escape"},
      {"\"\\", "unknown escape"},
      {"\"\\\"", "without end"},
      {"\"\\x41\"", "unknown escape"},
      {"\"\\'\"", "unknown escape"},
      {"\"\\U0041\"", "unknown escape"},
      {"\"\\u\"", "four hexadecimal digits"},
      {"\"\\u12", "four hexadecimal digits"},
      {"\"\\u12g4\"", "four hexadecimal digits"},
      {"\"\\u-123\"", "four hexadecimal digits"},
      {"\"\\u 123\"", "four hexadecimal digits"},
      {"\"\\u0x1\"", "four hexadecimal digits"},
      {"\"\\ud800\"", "surrogate"},
      {"\"\\udc00\"", "surrogate"},
      {"\"\\ud800\\u0041\"", "surrogate"},
      {"\"\\ud800\\ud800\"", "surrogate"},
      {"\"\\udc00\\ud800\"", "surrogate"},
      {"\"\\ud800x\"", "surrogate"},
      {"\"a\nb\"", "control character in a string, found \\x0a"},
      {"\"a\tb\"", "control character"},
      {std::string_view("\"a\0b\"", 5), "control character in a string, found \\x00"},
      {"\"\x1f\"", "control character"},
      {"\"\xFF\"", "invalid UTF-8, found \\xff"},
      {"\"\x80\"", "invalid UTF-8"},
      {"\"\xC0\x80\"", "invalid UTF-8"},          // an overlong NUL
      {"\"\xE0\x80\xAF\"", "invalid UTF-8"},      // an overlong slash
      {"\"\xED\xA0\x80\"", "invalid UTF-8"},      // a surrogate
      {"\"\xF4\x90\x80\x80\"", "invalid UTF-8"},  // beyond U+10FFFF
      {"\"\xE2\x82\"", "invalid UTF-8"},          // cut
      {"\"\xC3", "invalid UTF-8"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_THAT(error_of(text), HasSubstr(expected)) << text;
  }
}

TEST(ReadJson, TakesHalvesOfPairsAsPythonMeansThem) {
  const auto text_of = [](std::string_view text, JsonDialect dialect) {
    return *JsonValue::parse(text, dialect).get_if<std::string>();
  };
  const std::string unknown = "\xEF\xBF\xBD";
  EXPECT_EQ(text_of(R"("caf\udce9.wav")", JsonDialect::kPythonNames), "caf\xE9.wav");
  EXPECT_EQ(text_of(R"("\udc80\udcFF")", JsonDialect::kPythonNames), "\x80\xFF");
  EXPECT_EQ(text_of(R"("caf\udce9.wav")", JsonDialect::kPython), "caf" + unknown + ".wav");
  for (const JsonDialect dialect : {JsonDialect::kPython, JsonDialect::kPythonNames}) {
    // A whole pair stays one, and of no other half is there a byte.
    EXPECT_EQ(text_of(R"("\ud83d\ude00")", dialect), "\xF0\x9F\x98\x80");
    EXPECT_EQ(text_of(R"("\ud83d\udce9")", dialect), "\xF0\x9F\x93\xA9");
    EXPECT_EQ(text_of(R"("\ud800\u0041\ud800\ud800x\udc00\udc7f\udd00")", dialect),
              unknown + "A" + unknown + unknown + "x" + unknown + unknown + unknown);
    EXPECT_EQ(text_of(R"("\ud800\n\ud800")", dialect), unknown + "\n" + unknown);
    EXPECT_EQ(text_of(R"("\ud800\ud83d\ude00")", dialect), unknown + "\xF0\x9F\x98\x80");
    EXPECT_THROW(JsonValue::parse(R"("\udc8")", dialect), JsonError);
  }
}

TEST(ReadJson, RefusesEqualKeysOfOneObject) {
  EXPECT_THAT(error_of(R"({"a":1,"b":2,"a":1})"), HasSubstr("the key \"a\" stands twice"));
  EXPECT_THAT(error_of(R"({"a":1,"\u0061":2})"), HasSubstr("the key \"a\" stands twice"));
  EXPECT_THAT(error_of(R"({"\u0061":1,"a":2})"), HasSubstr("the key \"a\" stands twice"));
  EXPECT_THAT(error_of(R"({"":1,"":2})"), HasSubstr("stands twice"));
  EXPECT_THAT(error_of(R"([{"x":{"k":[],"k":{}}}])"), HasSubstr("the key \"k\" stands twice"));
  EXPECT_THAT(error_of(R"({"x\n":1,"x\u000a":2})"), HasSubstr("the key \"x\\x0a\" stands twice"));
  EXPECT_EQ(error_of(R"({"a":{"a":{"a":1}},"b":{"a":1}})"), "accepted");
  EXPECT_EQ(error_of(R"([{"a":1},{"a":1}])"), "accepted");
  EXPECT_EQ(error_of(R"({"a":1,"A":2,"a ":3})"), "accepted");
}

TEST(ReadJson, FindsEqualKeysAmongMany) {
  std::string text = "{";
  for (int i = 0; i < 20000; ++i) text += "\"key" + std::to_string(i) + "\":0,";
  EXPECT_EQ(error_of(text + "\"last\":0}"), "accepted");
  EXPECT_THAT(error_of(text + "\"key777\":0}"), HasSubstr("\"key777\" stands twice"));
}

TEST(ReadJson, AllowsSixtyFourLevels) {
  const auto nested = [](std::size_t depth, char open, char close) {
    return std::string(depth, open) + std::string(depth, close);
  };
  EXPECT_EQ(error_of(nested(kMaxJsonDepth, '[', ']')), "accepted");
  EXPECT_THAT(error_of(nested(kMaxJsonDepth + 1, '[', ']')), HasSubstr("deeper than 64 levels"));
  EXPECT_THAT(error_of(std::string(5'000'000, '[')), HasSubstr("deeper than 64 levels"));
  std::string objects;
  for (std::size_t i = 0; i <= kMaxJsonDepth; ++i) objects += "{\"a\":";
  EXPECT_THAT(error_of(objects), HasSubstr("deeper than 64 levels"));
}

TEST(ReadJson, NeverRepeatsTheInputAtLength) {
  EXPECT_LT(
      error_of("{\"" + std::string(100000, 'k') + "\":1,\"" + std::string(100000, 'k') + "\":2}")
          .size(),
      300U);
  EXPECT_LT(error_of("\"" + std::string(100000, '\x01')).size(), 200U);
}

TEST(JsonValue, FindsMembersOfObjectsOnly) {
  const JsonValue root = JsonValue::parse(R"({"a":{"b":"text"},"l":[1,2]})");
  ASSERT_NE(root.find("a"), nullptr);
  EXPECT_EQ(*root.find("a")->find("b")->get_if<std::string>(), "text");
  EXPECT_EQ(root.find("b"), nullptr);
  EXPECT_EQ(root.find("l")->find("a"), nullptr);
  EXPECT_EQ(root.find("l")->get_if<JsonValue::Array>()->size(), 2U);
  EXPECT_TRUE(JsonValue::parse("null").is_null());
  EXPECT_FALSE(root.is_null());
}

TEST(JsonValue, DescribesItselfInAFewBytes) {
  const auto described = [](std::string_view text) { return JsonValue::parse(text).describe(); };
  EXPECT_EQ(described("null"), "null");
  EXPECT_EQ(described("true"), "true");
  EXPECT_EQ(described("false"), "false");
  EXPECT_EQ(described("12"), "12");
  EXPECT_EQ(described("-12"), "-12");
  EXPECT_EQ(described("-0"), "-0");
  EXPECT_EQ(described("0.1"), "0.1");
  EXPECT_EQ(described("32.0"), "32.0");
  EXPECT_EQ(described("1e-05"), "1e-05");
  EXPECT_EQ(described("\"a\\u0007\""), "\"a\\x07\"");
  EXPECT_EQ(described("[1]"), "a list");
  EXPECT_EQ(described("{}"), "an object");
  EXPECT_LT(described("\"" + std::string(1000, 'x') + "\"").size(), 80U);
}

}  // namespace
}  // namespace w2vbert::testing
