#include "tool/tasks/state_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "support/error_message.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::int64_t kLayers = 24;

std::vector<std::string> names_of(const std::string& text) {
  std::vector<std::string> names;
  for (const StateOutput& output : parse_states(text, kLayers)) names.push_back(output.name());
  return names;
}

TEST(StateOutputs, HaveTheNamesOfWhatIsAsked) {
  EXPECT_THAT(names_of(""), ElementsAre("last_hidden_state"));
  EXPECT_THAT(names_of("17"), ElementsAre("hidden_states.17"));
  EXPECT_THAT(names_of("3-5,0"), ElementsAre("hidden_states.0", "hidden_states.3",
                                             "hidden_states.4", "hidden_states.5"));
  EXPECT_EQ(names_of("all").size(), 25U);
  EXPECT_THAT(names_of("mean:12-18"), ElementsAre("hidden_states.mean.12-18"));
  EXPECT_THAT(names_of("mean:11,3,7"), ElementsAre("hidden_states.mean.3,7,11"));
  EXPECT_THAT(names_of("mean"), ElementsAre("hidden_states.mean.0-24"));
  EXPECT_THAT(names_of("mean:all"), ElementsAre("hidden_states.mean.0-24"));
  EXPECT_THAT(names_of("mean:5"), ElementsAre("hidden_states.mean.5"));
  EXPECT_THAT(names_of("17,mean:18-24,mean:12-17,3,weighted,5"),
              ElementsAre("hidden_states.5", "hidden_states.17", "hidden_states.mean.3,12-17",
                          "hidden_states.mean.18-24", "hidden_states.weighted.0-24"));
  EXPECT_THAT(names_of("mean,17"), ElementsAre("hidden_states.17", "hidden_states.mean.0-24"));
}

TEST(StateOutputs, AreTheSameHoweverTheyAreAsked) {
  for (const auto& [one, other] : std::vector<std::pair<std::string, std::string>>{
           {"3,1,3", "1,3"},
           {"1,2,3,5", "5,1-3"},
           {"mean:1,2,3", "mean:1-3,2"},
           {"mean:4,mean:1-2", "mean:1-2,mean:4,mean:2,1"}}) {
    EXPECT_EQ(parse_states(one, kLayers), parse_states(other, kLayers)) << one;
    EXPECT_EQ(text_of(parse_states(one, kLayers)), text_of(parse_states(other, kLayers)));
  }
  for (const char* text : {"17", "0,12-18", "3,mean:0,2-4,mean:7,weighted:1-2"}) {
    const auto outputs = parse_states(text, kLayers);
    EXPECT_EQ(parse_states(text_of(outputs), kLayers), outputs) << text_of(outputs);
  }
}

TEST(StateOutputs, AreRefusedWhereTheyAreNone) {
  for (const auto& [text, said] : std::vector<std::pair<std::string, std::string>>{
           {"25", "25 is not one of the model's, expected 0 to 24"},
           {"mean:20-25", "25 is not one of the model's"},
           {"-1", "-1 is not one of the model's"},
           {"-0", "is no number"},
           {"1,,2", "\"\" is no number"},
           {"mean:", "\"\" is no number"},
           {"3-", "\"3-\" is no number"},
           {"1-2-3", "\"1-2-3\" is no number"},
           {"1--3", "is not one of the model's"},
           {"5-3", "\"5-3\" is no range, expected the lower number first"},
           {"sum:1", "\"sum:1\" is no number"},
           {"Mean", "\"Mean\" is no number"},
           {"weighted,weighted:1", "have 2 weighted sums"}}) {
    EXPECT_THAT(
        testing::message_of<UsageError>([&, asked = text] { parse_states(asked, kLayers); }),
        HasSubstr(said))
        << text;
  }
}

}  // namespace
}  // namespace w2vbert::tool
