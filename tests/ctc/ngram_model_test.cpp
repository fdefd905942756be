#include "w2vbert/ctc/ngram_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "support/temporary_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kData = W2VBERT_TEST_DATA "/ctc/";
const std::vector<std::string> kBinaries = {"probing.bin",   "rest.bin",  "trie.bin",
                                            "quantised.bin", "array.bin", "quantised-array.bin"};

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<float> scores_of(const NgramModel& model, const std::vector<std::string>& words) {
  std::vector<float> scores;
  auto state = model.begin_sentence();
  for (const std::string& word : words) {
    const auto score = model.score(state, model.word_id(word));
    scores.push_back(score.log10_probability);
    state = score.state;
  }
  return scores;
}

std::string error_of(const std::string& bytes) {
  try {
    NgramModel::parse(bytes, "lm");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "accepted";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

const std::string kSmall = content_of(kData + "small.arpa");

TEST(NgramModel, BacksOffToShorterNgrams) {
  const NgramModel model = NgramModel::load(kData + "small.arpa");
  EXPECT_EQ(model.order(), 3);
  // <s> the; <s> the cat; the cat sat; cat sat + sat on: "cat sat on" is not there, "sat on" is.
  EXPECT_THAT(scores_of(model, {"the", "cat", "sat", "on"}),
              ElementsAre(-0.5F, -0.1F, -0.2F, -0.1875F - 0.3125F));
  // Neither "<s> zebra" nor the word: <unk>, after the backoff of <s>.
  EXPECT_THAT(scores_of(model, {"zebra"}), ElementsAre(-1.5F - 0.5F));
}

TEST(NgramModel, ReadsEachBinaryKindAsTheTextItWasMadeOf) {
  const std::vector<std::string> words = {"the", "cat", "sat", "on", "the", "mat", "</s>", "on"};
  const auto expected = scores_of(NgramModel::load(kData + "small.arpa"), words);
  for (const std::string& name : kBinaries) {
    const NgramModel model = NgramModel::load(kData + name);
    EXPECT_EQ(model.order(), 3);
    const bool is_quantised = name.starts_with("quantised");
    const auto scores = scores_of(model, words);
    for (std::size_t i = 0; i < words.size(); ++i) {
      EXPECT_NEAR(scores[i], expected[i], is_quantised ? 0.04F : 0.0F) << name << " " << words[i];
    }
    EXPECT_TRUE(model.contains("mat")) << name;
    EXPECT_FALSE(model.contains("zebra")) << name;
    EXPECT_FALSE(model.contains("")) << name;
  }
}

TEST(NgramModel, KnowsTheWordsOfTextThatHaveABackoff) {
  EXPECT_THAT(NgramModel::load(kData + "small.arpa").arpa_unigrams(),
              ElementsAre("<s>", "the", "cat", "mat", "sat"));
  EXPECT_THAT(NgramModel::load(kData + "trie.bin").arpa_unigrams(), ElementsAre());
}

TEST(NgramModel, RefusesTextThatIsNotArpa) {
  const struct {
    std::string text;
    std::string message;
  } kCases[] = {
      {"", "lm: is empty, expected ARPA text"},
      {"hello\n", "lm: line 1: \"hello\", expected \\data\\"},
      {"BZh9", "lm: is compressed by bzip2"},
      {std::string("\xFD") + "7zXZ", "lm: is compressed by xz"},
      {"\\data\\\n", "lm: is truncated, expected \"ngram N=COUNT\""},
      {"\\data\\\nngram 2=1\n", "lm: line 2: \"ngram 2=1\", expected \"ngram N=COUNT\""},
      {"\\data\\\nngram 1=1\n\n", "lm: line 3: a model of single words"},
      {"\\data\\\nngram 1=99999999999\nngram 2=1\n\n", "lm: line 4: 99999999999 words"},
      {replaced(kSmall, "ngram 1=8", "ngram 1=9"), "lm: line 15: \"\", expected 9 words"},
      {replaced(kSmall, "ngram 1=8", "ngram 1=7"), "expected \\2-grams: after the n-grams"},
      {replaced(kSmall, "ngram 3=4", "ngram 3=3"),
       "lm: line 30: \"-0.4\\x09<s> the mat\", expected \\end\\"},
      {replaced(kSmall, "ngram 3=4", "ngram 3=18446744073709551615"),
       "\"\", expected 18446744073709551615 3-grams"},
      {replaced(kSmall, "-1.25\t</s>", "-1.25\tstop"), "lm: </s>: is not among the words"},
      {replaced(kSmall, "-1.5\t<unk>", "1.5\t<unk>"),
       "a log10 probability of 1.5, expected at most 0"},
      {replaced(kSmall, "-1.5\t<unk>", "nan\t<unk>"), "\"nan\", expected a number"},
      {replaced(kSmall, "-1.5\t<unk>", "-inf\t<unk>"), "\"-inf\", expected a number"},
      {replaced(kSmall, "-1.5\t<unk>", "-1.5 <unk>"), "no tab after the probability"},
      {replaced(kSmall, "-0.75\tthe cat", "-0.75\tthe dog"), "\"dog\", expected one of the words"},
      {replaced(kSmall, "-0.3125\tsat on", "-0.3125\tsat sat"), "whose context"},
      {replaced(kSmall, "-0.1\t<s> the cat", "-0.1\t<s> the cat\t-1"),
       "a backoff of -1 of one of the longest"},
      {replaced(kSmall, "-0.75\tthe cat\t-0.5", "-0.75\tthe cat -0.5"),
       "expected a tab and a backoff"},
      {replaced(kSmall, "\\end\\", ""), "lm: is truncated, expected \\end\\"},
      {kSmall + "more\n", "text after \\end\\"},
      {std::string(70000, '\n') + std::string(70000, 'x'),
       "lm: line 70001: is longer than 65536 bytes"},
  };
  for (const auto& refused : kCases)
    EXPECT_THAT(error_of(refused.text), HasSubstr(refused.message));
}

TEST(NgramModel, GivesAnUnknownWordTheScoreOfKenLMWhereTheTextHasNoneForIt) {
  const NgramModel model = NgramModel::parse(
      replaced(replaced(kSmall, "ngram 1=8", "ngram 1=7"), "-1.5\t<unk>\n", ""), "lm");
  const auto score = model.score(model.begin_sentence(), model.word_id("zebra"));
  EXPECT_EQ(score.log10_probability, -100.0F - 0.5F);
  EXPECT_EQ(score.state.length, 1);  // KenLM: its backoff is +0
}

TEST(NgramModel, TakesTheFirstOfEqualNgrams) {
  std::string twice = replaced(kSmall, "ngram 2=8", "ngram 2=9");
  twice = replaced(twice, "-1\tcat sat", "-0.875\tthe cat\t-3\n-1\tcat sat");
  const std::vector<std::string> words = {"on", "the", "cat", "mat"};
  EXPECT_EQ(scores_of(NgramModel::parse(twice, "lm"), words),
            scores_of(NgramModel::load(kData + "small.arpa"), words));
}

TEST(NgramModel, RefusesABinaryFileThatEndsEarly) {
  for (const std::string& name : kBinaries) {
    const std::string whole = content_of(kData + name);
    // The words' texts at the end are not read, but for the first one.
    const std::size_t needed = whole.find(std::string("<unk>\0", 6)) + 6;
    for (std::size_t size = 0; size < needed; ++size) {
      EXPECT_NE(error_of(whole.substr(0, size)), "accepted") << name << " " << size;
    }
    EXPECT_EQ(error_of(whole.substr(0, needed)), "accepted") << name;
  }
}

// Whatever bit is another: an error, or scores that are numbers.
TEST(NgramModel, StaysCalmWithDamagedBinaryFiles) {
  for (const std::string& name : kBinaries) {
    const std::string whole = content_of(kData + name);
    for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
      std::string damaged = whole;
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
      try {
        const NgramModel model = NgramModel::parse(damaged, "lm");
        for (const float score :
             scores_of(model, {"the", "cat", "sat", "on", "the", "mat", "</s>", "zebra", "on"})) {
          ASSERT_FALSE(std::isnan(score)) << name << " " << bit;
        }
      } catch (const ConfigError& error) {
        ASSERT_LT(std::strlen(error.what()), 2048U);
      }
    }
  }
}

TEST(NgramModel, NamesWhatIsWrongWithABinaryFile) {
  const std::string probing = content_of(kData + "probing.bin");
  const std::string trie = content_of(kData + "trie.bin");
  const auto changed = [](std::string bytes, std::size_t at, const std::string& to) {
    return bytes.replace(at, to.size(), to);
  };
  EXPECT_THAT(error_of(changed(probing, 49, "4")),
              HasSubstr("lm: is a binary file of KenLM in another version"));
  EXPECT_THAT(error_of("mmap lm http://kheafield.com/code incomplete\n"),
              HasSubstr("was not written to its end"));
  EXPECT_THAT(error_of(changed(probing, 60, std::string(4, '\1'))),
              HasSubstr("lm: header: is of a machine"));
  EXPECT_THAT(error_of(changed(probing, 88, "\x0B")), HasSubstr("lm: order: 11, expected 2 to 10"));
  EXPECT_THAT(error_of(changed(probing, 88, "\x01")), HasSubstr("lm: order: 1, expected 2 to 10"));
  EXPECT_THAT(error_of(changed(probing, 92, std::string(4, '\0'))),
              HasSubstr("lm: probing multiplier: 0, expected"));
  EXPECT_THAT(error_of(changed(probing, 96, "\x06")),
              HasSubstr("lm: model type: 6, expected 0 to 5"));
  EXPECT_THAT(error_of(changed(probing, 104, "\x05")), HasSubstr("lm: search version: 5"));
  EXPECT_THAT(error_of(changed(probing, 112, "\x01")),
              HasSubstr("lm: counts: 4294967304 1-grams in 658 bytes"));
  EXPECT_THAT(error_of(changed(probing, 108, "\x7f")), HasSubstr("ends after 658 bytes"));
  // The first word of the 2-grams: a number that no word has.
  EXPECT_THAT(error_of(changed(trie, 368, "\xff")), HasSubstr("lm: 2-grams: is damaged"));
  EXPECT_THAT(error_of(changed(trie, 136, std::string(8, '\xff'))),
              HasSubstr("lm: vocabulary: is damaged"));
}

TEST(NgramModel, RefusesWhatIsNoFile) {
  const TemporaryDirectory directory;
  EXPECT_THROW(NgramModel::load(directory.path()), ConfigError);
  EXPECT_THROW(NgramModel::load(directory / "absent.arpa"), ConfigError);
}

TEST(NgramModel, ComparesStatesByTheirWords) {
  const NgramModel model = NgramModel::load(kData + "small.arpa");
  const auto after_the = model.score(model.null_context(), model.word_id("the")).state;
  const auto after_zebra_the =
      model.score(model.score(model.null_context(), 0).state, model.word_id("the")).state;
  EXPECT_TRUE(after_the == after_zebra_the);
  EXPECT_FALSE(after_the == model.begin_sentence());
  // "mat" is a context; "on the" is not one.
  EXPECT_EQ(model.score(model.null_context(), model.word_id("on")).state.length, 1);
  EXPECT_EQ(model.score(model.null_context(), model.word_id("</s>")).state.length, 0);
}

}  // namespace
}  // namespace w2vbert::testing
