#include "w2vbert/config/wav2vec2_ctc_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "core/text.h"
#include "support/error_message.h"
#include "support/temporary_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using Span = Wav2Vec2CTCTokenizer::Span;

class Tokenizer : public ::testing::Test {
 protected:
  void SetUp() override {
    write("vocab.json", R"({"[PAD]": 0, "[UNK]": 1, "|": 2, "A": 3, "B": 4, "'": 5, "#": 6})");
    write("tokenizer_config.json", R"({"pad_token": "[PAD]", "unk_token": "[UNK]"})");
  }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(directory_ / name) << text;
  }
  // tokenizer_config.json with `fields`, which begin with a comma.
  void configure(const std::string& fields) const {
    write("tokenizer_config.json", R"({"pad_token": "[PAD]", "unk_token": "[UNK]")" + fields + "}");
  }
  Wav2Vec2CTCTokenizer read() const {
    return Wav2Vec2CTCTokenizer::from_pretrained(directory_.path());
  }
  std::string text_of(const std::vector<std::int64_t>& ids) const {
    return read().decode(ids).text;
  }
  // The message, without the directory.
  std::string error_of() const {
    try {
      read();
    } catch (const ConfigError& error) {
      EXPECT_THAT(error.what(), StartsWith(directory_.path() + "/"));
      EXPECT_LT(std::string(error.what()).size(), 2048U);
      return std::string(error.what()).substr(directory_.path().size() + 1);
    }
    return "accepted";
  }

  TemporaryDirectory directory_;
};

TEST_F(Tokenizer, CollapsesRepeatsAndDropsTheBlank) {
  const auto output = read().decode(std::vector<std::int64_t>{0, 3, 3, 0, 3, 2, 2, 4, 4, 4, 0});
  EXPECT_EQ(output.text, "AA B");
  EXPECT_THAT(output.char_offsets,
              ElementsAre(Span{"A", 1, 3}, Span{"A", 4, 5}, Span{" ", 5, 7}, Span{"B", 7, 10}));
  EXPECT_THAT(output.word_offsets, ElementsAre(Span{"AA", 1, 5}, Span{"B", 7, 10}));
}

TEST_F(Tokenizer, KeepsSpecialTokensAndNamesUnknownIds) {
  // bos and eos got the next two ids; 99 and 1 are the same token.
  EXPECT_EQ(text_of({7, 3, 1, 99, 8}), "<s>A[UNK]</s>");
  EXPECT_EQ(*read().token(7), "<s>");
}

TEST_F(Tokenizer, GivesNothingForNothing) {
  for (const std::vector<std::int64_t>& ids : {std::vector<std::int64_t>{}, {0, 0}, {2, 0, 2}}) {
    const auto output = read().decode(ids);
    EXPECT_EQ(output.text, "");
    EXPECT_THAT(output.word_offsets, IsEmpty());
  }
}

TEST_F(Tokenizer, HasDefaultsWithoutAConfig) {
  std::filesystem::remove(directory_ / "tokenizer_config.json");
  const Wav2Vec2CTCTokenizer tokenizer = read();
  EXPECT_EQ(tokenizer.pad_token, "<pad>");
  EXPECT_EQ(*tokenizer.token(10), "<pad>");
  EXPECT_EQ(tokenizer.pad_token_id(), 10);
}

TEST_F(Tokenizer, LowersAndCleansTheTextAndLeavesTheWords) {
  configure(R"(, "do_lower_case": true, "clean_up_tokenization_spaces": true)");
  const auto output = read().decode(std::vector<std::int64_t>{3, 2, 5, 2, 4});
  EXPECT_EQ(output.text, "a'b");
  EXPECT_THAT(output.word_offsets, ElementsAre(Span{"A", 0, 1}, Span{"'", 2, 3}, Span{"B", 4, 5}));
}

// As transformers: the string never reaches the tokenizer's __init__.
TEST_F(Tokenizer, PassesOverADelimiterAsTransformersDoesAndSaysSo) {
  configure(R"(, "word_delimiter_token": "#")");
  EXPECT_EQ(text_of({3, 6, 4, 2, 3}), "A#B A");
  EXPECT_THAT(read().warnings, ElementsAre(AllOf(HasSubstr("word_delimiter_token \"#\" does not"),
                                                 HasSubstr("\"|\" does"))));
  configure(R"(, "word_delimiter_token": {"__type": "AddedToken", "content": "#"})");
  EXPECT_EQ(text_of({3, 6, 4, 2, 3}), "A B|A");
  EXPECT_THAT(read().warnings, IsEmpty());
}

TEST_F(Tokenizer, ReadsOlderFilesWhereTheConfigHasNoAddedTokens) {
  write("special_tokens_map.json",
        R"({"word_delimiter_token": "#", "additional_special_tokens": [{"content": "<s>"}]})");
  write("added_tokens.json", R"({"<s>": 8, "<x>": 7})");
  EXPECT_EQ(text_of({7, 6, 8}), "<x> <s>");
  configure(R"(, "added_tokens_decoder": {"7": {"content": "<y>"}})");
  EXPECT_EQ(text_of({7, 6, 8}), "<y>#<s>");
}

TEST_F(Tokenizer, ChoosesBetweenTheTwoNamesOfTheListAsTheReleaseDoes) {
  // <s> and </s> have the ids 7 and 8; what the list adds comes behind them.
  const auto added = [&](HfVersion version) {
    const auto tokenizer = Wav2Vec2CTCTokenizer::from_pretrained(directory_.path(), version);
    return *tokenizer.token(9) + " " + *tokenizer.token(10);
  };
  for (const char* empty : {"null", "[]", "{}", "\"\"", "0", "-0", "false"}) {
    const std::string both = std::string(", \"extra_special_tokens\": ") + empty;
    configure(both + R"(, "additional_special_tokens": ["<x>", "<y>"])");
    EXPECT_EQ(added(kNewestHfVersion), "<x> <y>") << empty;
    EXPECT_EQ(added(HfVersion::v5_18), "<x> <y>") << empty;
    if (std::string("n[{").find(empty[0]) == std::string::npos) continue;  // refused, as by HF
    EXPECT_EQ(added(HfVersion::v5_17), "[UNK] [UNK]") << empty;
  }
  configure(R"(, "extra_special_tokens": ["<z>"], "additional_special_tokens": ["<x>"])");
  for (const HfVersion version : {HfVersion::v5_17, HfVersion::v5_18}) {
    EXPECT_EQ(added(version), "<z> [UNK]");
  }
  configure(R"(, "extra_special_tokens": {"v": "<z>"}, "additional_special_tokens": ["<x>"])");
  EXPECT_EQ(added(HfVersion::v5_17), "<z> [UNK]");
  EXPECT_EQ(added(HfVersion::v5_18), "<z> <x>");
}

TEST_F(Tokenizer, PutsTheListOfTheOlderFileInThePlaceOfTheOthers) {
  configure(R"(, "extra_special_tokens": ["<z>"])");
  write("special_tokens_map.json", R"({"additional_special_tokens": ["<x>"]})");
  EXPECT_EQ(*read().token(9), "<z>");
  EXPECT_EQ(*read().token(10), "[UNK]");
  write("special_tokens_map.json", R"({"extra_special_tokens": ["<x>"]})");
  EXPECT_EQ(*read().token(9) + *read().token(10), "<z><x>");
  write("special_tokens_map.json", R"({"extra_special_tokens": null})");
  EXPECT_EQ(*read().token(9), "[UNK]");
  write("special_tokens_map.json",
        R"({"extra_special_tokens": {"v": "<v>"}, "additional_special_tokens": ["<x>"]})");
  EXPECT_EQ(*read().token(9) + *read().token(10), "<v><x>");
}

TEST_F(Tokenizer, ReadsTheLanguageAskedFor) {
  write("vocab.json", R"({"eng": {"[PAD]": 0, "A": 1}, "deu": {"[PAD]": 0, "B": 1}})");
  EXPECT_THAT(error_of(), AllOf(StartsWith("vocab.json: eng: "), HasSubstr("target_lang")));
  configure(R"(, "target_lang": "deu")");
  EXPECT_EQ(text_of({1}), "B");
  configure(R"(, "target_lang": "fra")");
  EXPECT_THAT(error_of(), StartsWith("vocab.json: fra: is missing"));
}

TEST_F(Tokenizer, RefusesOtherTokenizers) {
  configure(R"(, "tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer")");
  EXPECT_THAT(
      error_of(),
      StartsWith("tokenizer_config.json: tokenizer_class: \"Wav2Vec2PhonemeCTCTokenizer\""));
  configure(R"(, "tokenizer_class": null)");
  EXPECT_EQ(error_of(), "accepted");
  write("config.json", R"({"tokenizer_class": "BertTokenizer"})");
  EXPECT_THAT(error_of(), StartsWith("config.json: tokenizer_class: \"BertTokenizer\""));
  configure(R"(, "tokenizer_class": "Wav2Vec2CTCTokenizer")");
  EXPECT_EQ(error_of(), "accepted");
  write("tokenizer.json", "{}");
  EXPECT_THAT(error_of(), StartsWith("tokenizer.json: is not supported"));
}

TEST_F(Tokenizer, RefusesAVocabularyThatIsNone) {
  for (const auto& [text, problem] :
       std::vector<std::pair<std::string, std::string>>{{"", "vocab.json: "},
                                                        {"[]", "holds a"},
                                                        {"{}", "is empty"},
                                                        {R"({"a": 0, "a": 1})", "stands twice"},
                                                        {R"({"a": -1})", "a: -1"},
                                                        {R"({"a": 1.0})", "a: 1"},
                                                        {R"({"a": "0"})", "a: \"0\""},
                                                        {R"({"a": true})", "a: true"},
                                                        {R"({"a": 99999999999999999999})", "a: "},
                                                        {"{\"a\xFF\": 0}", "vocab.json: "}}) {
    write("vocab.json", text);
    EXPECT_THAT(error_of(), AllOf(StartsWith("vocab.json"), HasSubstr(problem))) << text;
  }
  write("vocab.json", std::string((16 << 20) + 1, ' '));
  EXPECT_THAT(error_of(), HasSubstr("at most 16777216"));
  std::filesystem::remove(directory_ / "vocab.json");
  EXPECT_THAT(error_of(), StartsWith("vocab.json: is missing"));
  std::filesystem::create_directory(directory_ / "vocab.json");
  EXPECT_THAT(error_of(), StartsWith("vocab.json: "));
}

// As transformers: the dict from ids to tokens is made in the order of the file.
TEST_F(Tokenizer, TakesTheLastOfSeveralTokensOfOneId) {
  write("vocab.json",
        R"({"[PAD]": 0, "[UNK]": 1, "|": 2, "a": 3, "A": 3, "b": 4, "B": 4, "c": 5})");
  EXPECT_EQ(text_of({3, 0, 4, 5}), "ABc");
  EXPECT_THAT(read().warnings,
              ElementsAre(AllOf(HasSubstr("vocab.json: 3 is the id of \"a\" and of "
                                          "\"A\""))));
  // A hidden token still counts where new ids begin.
  EXPECT_EQ(*read().token(8), "<s>");
  EXPECT_EQ(*read().token(7), "[UNK]");
  write("added_tokens.json", R"({"<x>": 20, "<y>": 20})");
  EXPECT_EQ(*read().token(20), "<y>");
}

TEST_F(Tokenizer, CleansUpAsPythonReplaces) {
  write("vocab.json",
        R"({"[PAD]": 0, "[UNK]": 1, "|": 2, " .": 3, " '": 4, " ": 5, "a": 6, "n't": 7})");
  configure(R"(, "clean_up_tokenization_spaces": true)");
  EXPECT_EQ(text_of({6, 3, 0, 3, 0, 3}), "a...");
  EXPECT_EQ(text_of({6, 4, 5, 4, 5, 6}), "a''a");
  EXPECT_EQ(text_of({6, 5, 7, 5, 3}), "an't .");
}

TEST_F(Tokenizer, BoundsWhatItMakesOfAFrame) {
  const std::string longest(4096, 'x');
  write("vocab.json", R"({"[PAD]": 0, "[UNK]": 1, "a": 2, ")" + longest + R"(": 3})");
  EXPECT_EQ(text_of({3}), longest);
  write("vocab.json", R"({"[PAD]": 0, "[UNK]": 1, ")" + longest + R"(y": 3})");
  EXPECT_THAT(error_of(), AllOf(StartsWith("vocab.json: xxx"), HasSubstr("a token of 4097 bytes")));
  write("vocab.json", R"({"[PAD]": 0, "[UNK]": 1})");
  configure(R"(, "added_tokens_decoder": {"7": {"content": ")" + longest + R"(y"}})");
  EXPECT_THAT(error_of(), HasSubstr("a token of 4097 bytes"));
  configure(R"(, "replace_word_delimiter_char": ")" + longest + R"(y")");
  EXPECT_THAT(error_of(), HasSubstr("a token of 4097 bytes"));
}

TEST_F(Tokenizer, RefusesATextThatNobodySays) {
  write("vocab.json",
        R"({"[PAD]": 0, "[UNK]": 1, "b": 2, ")" + std::string(4096, 'x') + R"(": 3})");
  std::vector<std::int64_t> ids;
  for (int i = 0; i <= 16384; ++i) ids.insert(ids.end(), {3, 2});
  try {
    read().decode(ids);
    ADD_FAILURE() << "accepted";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("vocab.json: makes a text of more than 67108864 bytes"),
                      HasSubstr("expected shorter tokens")));
  }
}

TEST_F(Tokenizer, RefusesSettingsThatAreNone) {
  for (const std::string field :
       {R"("pad_token": null)", R"("pad_token": 3)", R"("pad_token": {"content": "[PAD]"})",
        R"("unk_token": ["x"])", R"("word_delimiter_token": 1)", R"("do_lower_case": 1)",
        R"("clean_up_tokenization_spaces": "yes")", R"("replace_word_delimiter_char": null)",
        R"("target_lang": 3)", R"("added_tokens_decoder": [])",
        R"("added_tokens_decoder": {"x": {"content": "a"}})",
        R"("added_tokens_decoder": {"-1": {"content": "a"}})",
        R"("added_tokens_decoder": {"7": "a"})", R"("added_tokens_decoder": {"7": {"content": 1}})",
        R"("extra_special_tokens": "a")", R"("extra_special_tokens": [1])",
        R"("model_specific_special_tokens": [])"}) {
    write("tokenizer_config.json", "{" + field + "}");
    const std::string key = field.substr(1, field.find('"', 1) - 1);
    EXPECT_THAT(error_of(), StartsWith("tokenizer_config.json: " + key)) << field;
  }
  write("tokenizer_config.json", "{\"a\": \"" + std::string(1 << 20, 'x') + "\"}");
  EXPECT_THAT(error_of(), HasSubstr("at most 1048576"));
  write("tokenizer_config.json", R"({"extra_special_tokens": {"a": null}})");
  EXPECT_THAT(error_of(), StartsWith("tokenizer_config.json: a: null"));
  write("tokenizer_config.json", "[1]");
  EXPECT_THAT(error_of(), HasSubstr("a JSON object"));
  configure("");
  write("special_tokens_map.json", R"({"unk_token": 1})");
  EXPECT_THAT(error_of(), StartsWith("special_tokens_map.json: unk_token: 1"));
  write("special_tokens_map.json", "{}");
  write("added_tokens.json", R"({"x": null})");
  EXPECT_THAT(error_of(), StartsWith("added_tokens.json: x: null"));
}

TEST_F(Tokenizer, RefusesAModelThatItDoesNotFit) {
  const Wav2Vec2CTCTokenizer tokenizer = read();
  for (const int outputs : {1, 6, 7, 40}) EXPECT_NO_THROW(tokenizer.check_vocab_size(outputs));
  EXPECT_THROW(tokenizer.check_vocab_size(0), ConfigError);  // "[PAD]" is 0
  write("tokenizer_config.json", "{}");                      // whose "<pad>" gets the id 10
  EXPECT_THROW(read().check_vocab_size(10), ConfigError);
  EXPECT_NO_THROW(read().check_vocab_size(11));
  write("tokenizer_config.json", R"({"pad_token": "[PAD]", "unk_token": null})");
  EXPECT_NO_THROW(read().check_vocab_size(9));  // "<s>" and "</s>" are 7 and 8
  EXPECT_THROW(read().check_vocab_size(10), ConfigError);
  EXPECT_THROW(read().decode(std::vector<std::int64_t>{9}), ConfigError);
}

std::vector<std::int64_t> ids_of(const Wav2Vec2CTCTokenizer& tokenizer, std::string_view text) {
  std::vector<std::int64_t> ids;
  for (const auto& token : tokenizer.encode(text)) ids.push_back(token.id);
  return ids;
}

TEST_F(Tokenizer, EncodesCharactersAndSpacesAndNamesWhatItDoesNotHave) {
  const Wav2Vec2CTCTokenizer tokenizer = read();
  EXPECT_THAT(ids_of(tokenizer, "A 'B"), ElementsAre(3, 2, 5, 4));
  EXPECT_THAT(ids_of(tokenizer, ""), IsEmpty());
  const auto tokens = tokenizer.encode("A\u00C9 ");
  ASSERT_EQ(tokens.size(), 3U);
  EXPECT_EQ(tokens[1].id, 1);
  EXPECT_TRUE(tokens[1].is_unknown);
  EXPECT_FALSE(tokens[0].is_unknown || tokens[2].is_unknown);
  EXPECT_EQ(tokens[1].begin, 1U);  // bytes
  EXPECT_EQ(tokens[1].end, 3U);
  EXPECT_EQ(tokens[2].begin, 3U);
}

// Which take the spaces beside them, as special tokens that vocab.json does not have do not.
TEST_F(Tokenizer, CutsTextsAtTokensOfSeveralCharacters) {
  EXPECT_THAT(ids_of(read(), "A [PAD] B"), ElementsAre(3, 0, 4));
  EXPECT_THAT(ids_of(read(), "A <s> B"), ElementsAre(3, 2, 7, 2, 4));
  configure(R"(, "split_special_tokens": true)");
  EXPECT_THAT(ids_of(read(), "A<s>"), ElementsAre(3, 1, 1, 1));
}

TEST_F(Tokenizer, EncodesUpperCaseWhereItDecodesLowerCase) {
  EXPECT_THAT(ids_of(read(), "ab"), ElementsAre(1, 1));
  configure(R"(, "do_lower_case": true)");
  EXPECT_THAT(ids_of(read(), "ab A"), ElementsAre(3, 4, 2, 3));
  const auto tokens = read().encode("\u00DF");  // "SS"
  ASSERT_EQ(tokens.size(), 2U);
  EXPECT_EQ(tokens[1].begin, 0U);
  EXPECT_EQ(tokens[1].end, 2U);
}

TEST_F(Tokenizer, EncodesNoCharacterWithoutATokenAndNoBytesThatAreNotUtf8) {
  write("tokenizer_config.json", R"({"pad_token": "[PAD]", "unk_token": null})");
  EXPECT_THAT(message_of<ConfigError>([&] { read().encode("AxB"); }),
              HasSubstr("vocab.json: has no token for \"x\", expected one, or the unk_token"));
  EXPECT_THAT(message_of<UsageError>([&] { read().encode("A\xFF"); }),
              HasSubstr("text: \"A\\xff\" is not UTF-8"));
}

TEST(LowerCase, IsPythons) {
  EXPECT_EQ(lower_case("ABC xyz 09|"), "abc xyz 09|");
  EXPECT_EQ(lower_case("\u00C9\u0130\u042F"), "\u00E9i\u0307\u044F");
  EXPECT_EQ(lower_case("\u039F\u03A3 \u03A3\u039F\u03A3\u039F"),
            "\u03BF\u03C2 \u03C3\u03BF\u03C3\u03BF");
  EXPECT_EQ(lower_case("\U00010400"), "\U00010428");
  EXPECT_EQ(lower_case("A\xFF"), "A\xFF");
}

}  // namespace
}  // namespace w2vbert::testing
