#include "w2vbert/ctc/beam_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "ctc/python_set.h"
#include "support/temporary_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kData = W2VBERT_TEST_DATA "/ctc/";
const std::vector<std::string> kTokens = {"<pad>", "|", "a", "c", "e", "h", "m", "s", "t"};

// Logits that say these labels, one a frame: the first one with `height`, the second one, after a
// slash, with a little less.
std::vector<float> emission(const std::vector<std::string>& labels,
                            const std::vector<std::string>& said, float height = 8) {
  std::vector<float> logits(labels.size() * said.size());
  for (std::size_t frame = 0; frame < said.size(); ++frame) {
    const auto add = [&](const std::string& label, float value) {
      const auto found = std::find(labels.begin(), labels.end(), label);
      ASSERT_NE(found, labels.end()) << label;
      logits[frame * labels.size() + static_cast<std::size_t>(found - labels.begin())] = value;
    };
    const std::size_t slash = said[frame].find('/');
    add(said[frame].substr(0, slash), height);
    if (slash != std::string::npos) add(said[frame].substr(slash + 1), height - 0.1F);
  }
  return logits;
}

std::vector<std::string> letters(const std::string& text) {
  std::vector<std::string> said;
  for (const char letter : text) {
    said.push_back(letter == ' ' ? "|" : letter == '-' ? "<pad>" : std::string(1, letter));
  }
  return said;
}

BeamSearchDecoder without_model() { return BeamSearchDecoder(CtcAlphabet::build(kTokens)); }
BeamSearchDecoder with_model() {
  return BeamSearchDecoder(CtcAlphabet::build(kTokens),
                           WordLanguageModel::from_file(kData + "small.arpa"));
}

template <typename Make>
std::string error_of(const Make& make) {
  try {
    make();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(CtcAlphabet, NamesTheBlankTheSpaceAndTheUnknown) {
  EXPECT_THAT(CtcAlphabet::build({"a", "|", "[PAD]", "<unk>"}).labels,
              ElementsAre("a", " ", "", "\u2047"));
  EXPECT_THAT(CtcAlphabet::build({"_", "a"}).labels, ElementsAre("", "a"));
  EXPECT_THAT(CtcAlphabet::build({" ", "|"}).labels, ElementsAre(" ", "|", ""));
  const auto bpe = CtcAlphabet::build({"the", "##re", "[UNK]", "<s>"});
  EXPECT_TRUE(bpe.is_bpe);
  EXPECT_THAT(bpe.labels, ElementsAre("\u2581the", "re", "\u2581\u2047\u2581", "<s>", ""));
}

TEST(CtcAlphabet, RefusesTokensThatAreNone) {
  EXPECT_THAT(error_of([] { CtcAlphabet::build({"a", "a"}); }), HasSubstr("\"a\" stands twice"));
  EXPECT_THAT(error_of([] {
                CtcAlphabet::build(
                    {"\u2581"
                     "a",
                     " b"});
              }),
              HasSubstr("a space in \" b\""));
}

TEST(CtcAlphabet, NamesTheKeyThatIsWrong) {
  const auto error = [](const std::string& text) {
    return error_of([&] { CtcAlphabet::parse(text, "alphabet.json"); });
  };
  EXPECT_EQ(error(R"({"labels": ["a", ""], "is_bpe": false})"), "accepted");
  EXPECT_EQ(error(R"({"labels": ["a"]})"),
            "alphabet.json: is_bpe: is missing, expected true or false");
  EXPECT_EQ(error(R"({"is_bpe": true})"),
            "alphabet.json: labels: is missing, expected a list of strings");
  EXPECT_EQ(error(R"({"labels": ["a", 1], "is_bpe": false})"),
            "alphabet.json: labels: 1, expected a list of strings");
  EXPECT_EQ(error(R"({"labels": [], "is_bpe": false})"),
            "alphabet.json: labels: a list, expected a list of strings");
  EXPECT_EQ(error(R"({"labels": ["a"], "is_bpe": 1})"),
            "alphabet.json: is_bpe: 1, expected true or false");
  EXPECT_EQ(error(R"({"labels": ["a"], "is_bpe": true, "more": 1})"),
            "alphabet.json: more: is unknown, expected labels and is_bpe alone");
  EXPECT_THAT(error("[]"), StartsWith("alphabet.json: holds a list"));
}

TEST(BeamSearch, SaysWhatTheEmissionSays) {
  const auto hypotheses = without_model().decode(emission(kTokens, letters("tthe-- -catt ")));
  ASSERT_FALSE(hypotheses.empty());
  EXPECT_EQ(hypotheses[0].text, "the cat");
  ASSERT_EQ(hypotheses[0].words.size(), 2U);
  EXPECT_EQ(hypotheses[0].words[0].text, "the");
  EXPECT_EQ(hypotheses[0].words[0].start_frame, 0);
  EXPECT_EQ(hypotheses[0].words[0].end_frame, 4);
  EXPECT_EQ(hypotheses[0].words[1].start_frame, 8);
  EXPECT_EQ(hypotheses[0].words[1].end_frame, 12);
  EXPECT_DOUBLE_EQ(hypotheses[0].logit_score, hypotheses[0].lm_score);
}

TEST(BeamSearch, LetsTheLanguageModelDecideWhereTheEmissionIsInDoubt) {
  auto said = letters("the -at sat");
  said[4] = "m/c";
  const auto logits = emission(kTokens, said, 4);
  EXPECT_EQ(without_model().decode(logits)[0].text, "the mat sat");
  EXPECT_EQ(with_model().decode(logits)[0].text, "the cat sat");
}

TEST(BeamSearch, PrefersHotwords) {
  auto said = letters("the -at");
  said[4] = "m/h";
  const auto logits = emission(kTokens, said, 4);
  BeamSearchOptions options;
  options.hotwords = {" hat  the ", ""};
  options.hotword_weight = 20;
  for (const BeamSearchDecoder& decoder : {without_model(), with_model()}) {
    EXPECT_EQ(decoder.decode(logits, options)[0].text, "the hat");
  }
  options.hotword_weight = 0;
  EXPECT_EQ(without_model().decode(logits, options)[0].text, "the mat");
}

TEST(BeamSearch, GivesNoMoreHypothesesThanItKeeps) {
  const auto logits = emission(kTokens, letters("the cat sat"), 2);
  BeamSearchOptions options;
  options.beam_prune_logp = -1000;
  EXPECT_GT(without_model().decode(logits, options).size(), 50U);
  options.beam_width = 3;
  const auto hypotheses = without_model().decode(logits, options);
  EXPECT_EQ(hypotheses.size(), 3U);
  EXPECT_GE(hypotheses[0].lm_score, hypotheses[1].lm_score);
  EXPECT_GE(hypotheses[1].lm_score, hypotheses[2].lm_score);
}

TEST(BeamSearch, GivesAnEmptyTextForNoFrames) {
  const auto hypotheses = with_model().decode({});
  ASSERT_EQ(hypotheses.size(), 1U);
  EXPECT_EQ(hypotheses[0].text, "");
  EXPECT_TRUE(hypotheses[0].words.empty());
}

TEST(BeamSearch, RefusesWhatIsNoEmission) {
  const auto decoder = without_model();
  const auto error = [&](const std::vector<float>& logits, const BeamSearchOptions& options = {}) {
    return error_of([&] { decoder.decode(logits, options); });
  };
  EXPECT_THAT(error(std::vector<float>(10)),
              HasSubstr("logits: 10 values, expected a multiple of the alphabet's 9"));
  auto logits = emission(kTokens, letters("the"));
  logits[12] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(error(logits), HasSubstr("logits: frame 1: is NaN"));
  logits[12] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(error(logits), HasSubstr("logits: frame 1: is NaN, +infinity"));
  logits[12] = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(error(logits), "accepted");
  std::fill(logits.begin() + 9, logits.begin() + 18, -std::numeric_limits<float>::infinity());
  EXPECT_THAT(error(logits), HasSubstr("without a finite value"));

  const auto fine = emission(kTokens, letters("the"));
  BeamSearchOptions options;
  options.beam_width = 0;
  EXPECT_THAT(error(fine, options), HasSubstr("beam_width: 0, expected 1 to 65536"));
  options = {};
  options.beam_prune_logp = 1;
  EXPECT_THAT(error(fine, options), HasSubstr("beam_prune_logp: 1, expected at most 0"));
  options = {};
  options.token_min_logp = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(error(fine, options), HasSubstr("token_min_logp: nan"));
  options = {};
  options.hotword_weight = std::numeric_limits<double>::infinity();
  EXPECT_THAT(error(fine, options), HasSubstr("hotword_weight: inf"));
  options = {};
  options.hotwords = {"\xff"};
  EXPECT_THAT(error(fine, options), HasSubstr("hotwords"));
}

class DecoderDirectory : public ::testing::Test {
 protected:
  void SetUp() override {
    write("alphabet.json", R"({"labels": ["", " ", "a", "c", "t"], "is_bpe": false})");
    std::filesystem::create_directory(directory_ / "language_model");
    write("language_model/attrs.json",
          R"({"alpha": 0.25, "beta": 2, "unk_score_offset": -3, "score_boundary": false})");
    write("language_model/unigrams.txt", "cat\r\nzebra\xC2\x85the\n");
    std::filesystem::copy(kData + "trie.bin", directory_ / "language_model/5gram.bin");
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(directory_ / name, std::ios::binary) << text;
  }
  void remove(const std::string& name) const { std::filesystem::remove(directory_ / name); }
  // Without the directory.
  std::string error() const {
    const std::string message =
        error_of([&] { BeamSearchDecoder::from_pretrained(directory_.path()); });
    EXPECT_THAT(message, StartsWith(directory_.path() + "/"));
    return message.substr(std::min(message.size(), directory_.path().size() + 1));
  }
  TemporaryDirectory directory_;
};

TEST_F(DecoderDirectory, ReadsWhatPyctcdecodeSaves) {
  const auto decoder = BeamSearchDecoder::from_pretrained(directory_.path());
  ASSERT_TRUE(decoder.language_model());
  EXPECT_EQ(decoder.language_model()->settings.alpha, 0.25);
  EXPECT_EQ(decoder.language_model()->settings.beta, 2);
  EXPECT_EQ(decoder.language_model()->settings.unk_score_offset, -3);
  EXPECT_FALSE(decoder.language_model()->settings.score_boundary);
  EXPECT_THAT(decoder.language_model()->unigrams(), ElementsAre("cat", "the"));
  EXPECT_TRUE(decoder.language_model()->is_known("cat"));
  EXPECT_FALSE(decoder.language_model()->is_known("sat"));  // in the model alone
}

TEST_F(DecoderDirectory, DecodesWithoutALanguageModel) {
  std::filesystem::remove_all(directory_ / "language_model");
  EXPECT_FALSE(BeamSearchDecoder::from_pretrained(directory_.path()).language_model());
}

TEST_F(DecoderDirectory, NamesTheFileAndTheKeyThatAreWrong) {
  write("language_model/attrs.json", R"({"alpha": 0.25, "beta": 2, "unk_score_offset": -3})");
  EXPECT_EQ(error(),
            "language_model/attrs.json: score_boundary: is missing, expected true or false");
  write("language_model/attrs.json",
        R"({"alpha": "x", "beta": 2, "unk_score_offset": -3, "score_boundary": true})");
  EXPECT_EQ(error(), "language_model/attrs.json: alpha: \"x\", expected a number");
  write("language_model/attrs.json",
        R"({"alpha": NaN, "beta": 2, "unk_score_offset": -3, "score_boundary": true})");
  EXPECT_THAT(error(), HasSubstr("attrs.json: alpha: NaN, expected a finite number"));
  write("language_model/attrs.json",
        R"({"alpha": 1, "beta": 2, "unk_score_offset": -3, "score_boundary": 1})");
  EXPECT_EQ(error(), "language_model/attrs.json: score_boundary: 1, expected true or false");
  write("language_model/attrs.json",
        R"({"alpha": 1, "beta": 2, "unk_score_offset": -3, "score_boundary": true, "gamma": 1})");
  EXPECT_THAT(error(), HasSubstr("attrs.json: gamma: is unknown"));
}

TEST_F(DecoderDirectory, NamesTheFileThatIsMissingOrTooMany) {
  write("language_model/.hidden", "");
  write("language_model/__pycache__", "");
  EXPECT_NO_THROW(BeamSearchDecoder::from_pretrained(directory_.path()));
  write("language_model/other.arpa", "");
  EXPECT_EQ(error(),
            "language_model: \"5gram.bin\" and \"other.arpa\", expected one language model");
  remove("language_model/other.arpa");
  write("language_model/readme.md", "");
  EXPECT_THAT(error(), HasSubstr("language_model/readme.md: does not belong there"));
  remove("language_model/readme.md");
  write("language_model/unigrams.txt", "cat\n\xff\n");
  EXPECT_EQ(error(), "language_model/unigrams.txt: is not UTF-8");
  remove("language_model/unigrams.txt");
  EXPECT_EQ(error(), "language_model/unigrams.txt: is missing");
  write("language_model/unigrams.txt", "");
  remove("language_model/5gram.bin");
  EXPECT_THAT(error(), HasSubstr("language_model: has no language model"));
  remove("language_model/attrs.json");
  EXPECT_EQ(error(), "language_model/attrs.json: is missing");
  std::filesystem::remove_all(directory_ / "language_model");
  write("language_model", "");
  EXPECT_THAT(error(), HasSubstr("language_model: is no directory"));
  remove("alphabet.json");
  EXPECT_THAT(error(), StartsWith("alphabet.json: "));
}

// list(set(numbers) | {added}) in CPython 3.11.
TEST(PythonSetOrder, IsThatOfCPython) {
  PythonSetOrder order;
  EXPECT_THAT(order.of({}, 5), ElementsAre(5));
  const std::vector<int> some = {3, 8, 11, 16};
  EXPECT_THAT(order.of(some, 8), ElementsAre(16, 3, 8, 11));
  const std::vector<int> more = {0, 1, 2, 8, 31, 40};
  EXPECT_THAT(order.of(more, 40), ElementsAre(0, 1, 2, 8, 40, 31));
}

}  // namespace
}  // namespace w2vbert::testing
