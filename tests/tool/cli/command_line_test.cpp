#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "support/program.h"
#include "support/temporary_directory.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

const std::vector<std::string> kCommands = {"features", "extract", "transcribe", "worker",
                                            "forward",  "inspect", "doctor"};

// Exit 2, one line, nothing on stdout.
void expect_usage_error(const std::vector<std::string>& words,
                        const ::testing::Matcher<std::string>& line) {
  const Result result = run_program(words);
  EXPECT_EQ(result.status, 2) << result.err;
  EXPECT_THAT(result.errors(), ElementsAre(line));
  EXPECT_EQ(result.err.find('\n'), result.err.size() - 1) << result.err;
  EXPECT_THAT(result.out, IsEmpty());
}

TEST(CommandLine, ExplainsEveryLevelWithAnExample) {
  const Result top = run_program({"--help"});
  EXPECT_EQ(top.status, 0);
  EXPECT_THAT(top.out, HasSubstr("Example:\n  w2vbert "));
  EXPECT_THAT(top.err, IsEmpty());
  for (const std::string& command : kCommands) {
    EXPECT_THAT(top.out, HasSubstr(command));
    for (const std::string option : {"--help", "-h"}) {
      const Result result = run_program({command, option});
      EXPECT_EQ(result.status, 0) << command;
      EXPECT_THAT(result.out, HasSubstr("Example:\n  w2vbert " + command));
    }
  }
}

TEST(CommandLine, ExplainsInLinesThatFit) {
  for (const std::string& command : kCommands) {
    const Result result = run_program({command, "--help"});
    std::istringstream lines(result.out);
    bool is_example = false;
    for (std::string line; std::getline(lines, line);) {
      if (line == "Example:") is_example = true;
      // An example stays one line, to be copied.
      if (!is_example || !line.starts_with("  ")) {
        EXPECT_LE(line.size(), 100U) << line;
      }
      EXPECT_FALSE(line.ends_with(' ')) << line;
    }
    EXPECT_TRUE(is_example) << command;
  }
  // The explanations below each other, the words of a paragraph in one.
  EXPECT_THAT(run_program({"align", "--help"}).out,
              AllOf(HasSubstr("\n                              "),
                    HasSubstr("forced_align; a score is the mean probability of")));
}

TEST(CommandLine, ExplainsEvenBesideAWrongValue) {
  const Result result = run_program({"extract", "--threads", "0", "--dtype", "int4", "--help"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("Example:\n  w2vbert extract"));
}

// The words of a help text, wherever its lines end.
std::string on_one_line(const std::string& help) {
  std::istringstream words(help);
  std::string line;
  for (std::string word; words >> word;) line += (line.empty() ? "" : " ") + word;
  return line;
}

TEST(CommandLine, ShowsTheTypeAndTheDefaultOfAnOption) {
  const Result extract = run_program({"extract", "--help"});
  for (const char* text :
       {"--resampler soxr|sinc", "(default: soxr)", "--channels first|second|mean|N|each",
        "(default: first)", "--output-format safetensors|npy", "(default: safetensors)",
        "--dtype float32|bfloat16", "(default: float32)", "--engine fused|reference",
        "(default: fused)", "--attn-implementation eager|sdpa", "else sdpa)", "--threads N",
        "--hf-version X.Y", "(default: 5.24)", "--read-timeout S", "(default: 60)",
        "--manifest-format list|tsv|csv|jsonl|scp|segments", "--preset NAME"}) {
    EXPECT_THAT(on_one_line(extract.out), HasSubstr(text));
  }
  const Result bench = run_program({"bench", "--help"});
  for (const char* text : {"--batch B", "(default: 1)", "--rounds N", "(default: 5)"}) {
    EXPECT_THAT(on_one_line(bench.out), HasSubstr(text));
  }
}

TEST(CommandLine, TellsItsVersion) {
  const Result result = run_program({"--version"});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.out, StartsWith("w2vbert 0."));
}

TEST(CommandLine, SuggestsTheNearestCommandAndOption) {
  expect_usage_error({"extrct"},
                     AllOf(HasSubstr("\"extrct\": unknown command"), HasSubstr("extract?")));
  expect_usage_error({"extract", "--sttes", "1"},
                     AllOf(HasSubstr("--sttes: unknown option"), HasSubstr("--states?")));
  expect_usage_error({"--modle"}, HasSubstr("--modle: unknown option"));
  expect_usage_error({"doctor", "-x"}, HasSubstr("-x: unknown option"));
  expect_usage_error({}, HasSubstr("no command"));
  expect_usage_error({"doctor", "speech.wav"}, HasSubstr("unexpected word"));
  for (const char* command : {"status", "verify"}) {
    expect_usage_error({command}, HasSubstr("DIR: is not given"));
    expect_usage_error({command, "a", "b"}, HasSubstr("\"b\": unexpected word"));
  }
  expect_usage_error({"inspect", "a", "b"}, HasSubstr("\"b\": unexpected word"));
}

TEST(CommandLine, RefusesAnOptionTwiceOrWithoutItsValue) {
  expect_usage_error({"extract", "--model", "a", "--model", "b"},
                     HasSubstr("--model: given twice"));
  expect_usage_error({"extract", "--json", "--json"}, HasSubstr("--json: given twice"));
  expect_usage_error({"extract", "--model"}, HasSubstr("--model: has no value"));
  expect_usage_error({"extract", "--model", "--json"}, HasSubstr("--model: has no value"));
  expect_usage_error({"extract", "--model="}, HasSubstr("--model: has no value"));
  expect_usage_error({"extract", "--model", ""}, HasSubstr("--model: has no value"));
  expect_usage_error({"extract", "--json=1"}, HasSubstr("--json: is given a value"));
}

TEST(CommandLine, ReadsNumbersWhole) {
  for (const std::string number : {"8x", " 8", "8 ", "1e3", "0", "-0", "-1", "18446744073709551616",
                                   "+8", "0x8", "1025", "8.0"}) {
    expect_usage_error({"features", "a.wav", "--output", "out", "--threads", number},
                       HasSubstr("--threads: \"" + number));
  }
  for (const std::string number : {"nan", "inf", "-1", "0", "1s", ""}) {
    expect_usage_error({"features", "a.wav", "--output", "out", "--max-seconds", number},
                       HasSubstr("--max-seconds"));
  }
  // A zero has no sign where it is a number at all.
  const auto extract = [](const std::string& option, const std::string& word) {
    return std::vector<std::string>{"extract",  "a.wav", "--model", "m",
                                    "--output", "out",   option,    word};
  };
  for (const std::string number : {"-0", "-1", "0.0", "1e0", "9223372036854775808"}) {
    expect_usage_error(extract("--max-failures", number), HasSubstr("--max-failures: \"" + number));
  }
  for (const std::string number : {"-0", "-1", "nan", "inf", "1e7", "-0.0", "2 "}) {
    expect_usage_error(extract("--overlap-seconds", number),
                       AllOf(HasSubstr("--overlap-seconds: \"" + number),
                             HasSubstr("a number from 0 to 1000000")));
  }
}

TEST(CommandLine, RefusesUnknownWords) {
  const auto extract = [](const std::string& option, const std::string& word) {
    return std::vector<std::string>{"extract",  "a.wav", "--model", "m",
                                    "--output", "out",   option,    word};
  };
  expect_usage_error(extract("--device", "gpu"), HasSubstr("gpu"));
  expect_usage_error(extract("--dtype", "int4"), HasSubstr("--dtype"));
  expect_usage_error(extract("--attn-implementation", "flash"), HasSubstr("--attn-implementation"));
  expect_usage_error(extract("--engine", "fast"), HasSubstr("--engine"));
  for (const char* release : {"5.16", "5.25", "4.57.1", "newest"}) {
    expect_usage_error(extract("--hf-version", release),
                       AllOf(HasSubstr("--hf-version: \"" + std::string(release) + "\""),
                             HasSubstr("a release of transformers from 5.17 to 5.24")));
  }
  expect_usage_error(extract("--resampler", "linear"), HasSubstr("--resampler"));
  expect_usage_error(extract("--channels", "last"), HasSubstr("--channels"));
  expect_usage_error(extract("--num-shards", "2"),
                     HasSubstr("--num-shards: given without --shard-index"));
  for (const char* share : {"2", "2/2", "-0/2", "x/2", "1/0", "0/1/2"}) {
    expect_usage_error(extract("--partition", share), HasSubstr("--partition: is "));
    expect_usage_error({"transcribe", "a.wav", "--model", "m", "--partition", share},
                       HasSubstr("--partition: is "));
  }
  for (const char* none : {"-0", "-1", "+1", "1.0", ""}) {
    expect_usage_error(extract("--max-failures", none), HasSubstr("--max-failures"));
  }
  expect_usage_error(extract("--threads", "-0"), HasSubstr("--threads"));
}

TEST(CommandLine, NamesWhatIsNotGiven) {
  expect_usage_error({"extract", "a.wav", "--output", "out"}, HasSubstr("--model: is not given"));
  expect_usage_error({"extract", "a.wav", "--model", "m"}, HasSubstr("--output: is not given"));
  expect_usage_error({"extract", "--model", "m", "--output", "out"}, HasSubstr("no audio files"));
  expect_usage_error({"extract", "a.wav", "--manifest", "m", "--model", "m", "--output", "out"},
                     HasSubstr("--manifest"));
  expect_usage_error({"forward", "--model", "m", "--output", "out"}, HasSubstr("--input"));
  expect_usage_error({"forward", "--model", "m", "--input", "in"}, HasSubstr("--output"));
  expect_usage_error({"inspect"}, HasSubstr("PATH"));
}

TEST(CommandLine, KeepsMessagesShortAndFreeOfControlBytes) {
  const std::string hostile = "--\x1b[31m\n\xFF" + std::string(5000, 'x');
  const Result result = run_program({"extract", hostile});
  EXPECT_EQ(result.status, 2);
  EXPECT_LT(result.err.size(), 2048U);
  EXPECT_EQ(result.err.find('\x1b'), std::string::npos);
  EXPECT_EQ(result.err.find('\xFF'), std::string::npos);
  EXPECT_EQ(result.err.find('\n'), result.err.size() - 1);
}

TEST(CommandLine, NoticesAStdoutThatCannotBeWritten) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"doctor"}, {"--help"}, {"--version"}, {"inspect", "--help"}}) {
    Conditions full;
    full.stdout_path = "/dev/full";
    const Result result = run_program(words, full);
    EXPECT_EQ(result.status, 5) << words.front();
    EXPECT_THAT(result.errors(), ElementsAre(HasSubstr("stdout")));
    Conditions gone;
    gone.stdout_reader_gone = true;
    const Result quiet = run_program(words, gone);
    EXPECT_EQ(quiet.status, 0) << words.front();
    EXPECT_THAT(quiet.err, IsEmpty());
  }
}

TEST(CommandLine, RunsWithItsStandardDescriptorsClosed) {
  for (const std::vector<int>& closed : {std::vector<int>{0}, {1}, {0, 1}, {0, 1, 2}}) {
    Conditions conditions;
    conditions.closed = closed;
    EXPECT_EQ(run_program({"doctor"}, conditions).status, 0);
  }
}

TEST(Doctor, ReportsTheSameForPeopleAndMachines) {
  Conditions conditions;
  conditions.environment["HOME"] = "/nowhere";
  const Result text = run_program({"doctor"}, conditions);
  ASSERT_EQ(text.status, 0) << text.err;
  const Result json = run_program({"doctor", "--json"}, conditions);
  ASSERT_EQ(json.status, 0);
  const auto report = nlohmann::json::parse(json.out);
  std::vector<std::string> names;
  for (const auto& finding : report["findings"]) {
    names.push_back(finding["name"]);
    EXPECT_THAT(text.out, HasSubstr(finding["value"].get<std::string>()));
  }
  ASSERT_EQ(report["types"].size(), 4U);
  for (const auto& type : report["types"]) {
    EXPECT_THAT(text.out, HasSubstr("\n" + type["dtype"].get<std::string>() + " "));
    if (type.contains("unsupported")) {
      EXPECT_EQ(type["dtype"], "int8");
      EXPECT_THAT(text.out, HasSubstr(type["unsupported"].get<std::string>()));
    } else {
      EXPECT_GT(type["speed"], 0.0);
      EXPECT_LT(type["error"], 0.05);
    }
  }
  EXPECT_THAT(names, ::testing::IsSupersetOf({"w2vbert", "LibTorch", "transformers", "libsndfile",
                                              "soxr", "libav", "CPU kernels", "threads", "oneDNN",
                                              "MKL", "CUDA", "Hub cache"}));
}

TEST(Doctor, RunsWithoutAHome) {
  Conditions conditions;
  conditions.environment["HOME"] = "";
  EXPECT_EQ(run_program({"doctor"}, conditions).status, 0);
}

}  // namespace
}  // namespace w2vbert::tool::testing
