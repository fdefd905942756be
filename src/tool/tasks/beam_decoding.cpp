#include "tool/tasks/beam_decoding.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "checkpoint/missing_weights.h"
#include "core/directory_entries.h"
#include "core/file.h"
#include "core/text.h"
#include "tool/corpus/line_file.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr const char* kAlphabet = "alphabet.json";
constexpr const char* kLanguageModel = "language_model";
constexpr std::size_t kMaxHotwordsBytes = 16 << 20;

// HF: the tokens in the order of their ids, as its guide gives them to build_ctcdecoder; in lower
// case where the tokenizer's text is.
CtcAlphabet alphabet_of(const Wav2Vec2CTCTokenizer& tokenizer, std::int64_t vocab_size,
                        const std::string& directory) {
  std::vector<std::string> tokens;
  for (std::int64_t id = 0; id < vocab_size; ++id) {
    if (id == tokenizer.pad_token_id()) {
      tokens.emplace_back("<pad>");
    } else {
      const std::string* token = tokenizer.token(id);
      tokens.push_back(token ? *token : "");
      if (tokenizer.do_lower_case) tokens.back() = lower_case(tokens.back());
    }
  }
  try {
    return CtcAlphabet::build(std::move(tokens));
  } catch (const ConfigError& error) {
    throw ConfigError(join_path(directory, "vocab.json"), "", error.what(),
                      "an alphabet.json for a beam search with such tokens");
  }
}

// That of `directory`, where it has one.
std::optional<CtcAlphabet> alphabet_in(const std::string& directory) {
  const std::string path = join_path(directory, kAlphabet);
  check_link(path);
  if (!exists<ConfigError>(path)) return std::nullopt;
  return CtcAlphabet::load(path);
}

// Where a decoder's parts are.
struct DecoderPlaces {
  // The directory of a language model, there or not; or what --lm names, a file or such a
  // directory.
  std::string language_model;
  bool is_named = false;  // by --lm itself
  std::string alphabet_directory;
};

DecoderPlaces places_of(const BeamDecoding& decoding, const std::string& model_directory) {
  if (decoding.lm.empty()) {
    return {join_path(model_directory, kLanguageModel), false, model_directory};
  }
  // pyctcdecode: what save_to_dir writes, as opposed to a language model's own directory.
  const std::string language_model = join_path(decoding.lm, kLanguageModel);
  const bool is_file = !is_directory<ConfigError>(decoding.lm);
  const bool has_alphabet = !is_file && exists<ConfigError>(join_path(decoding.lm, kAlphabet));
  if (is_file || (!has_alphabet && !exists<ConfigError>(language_model))) {
    return {decoding.lm, true, model_directory};
  }
  check_link(join_path(decoding.lm, kAlphabet));
  return {language_model, false, has_alphabet ? decoding.lm : model_directory};
}

std::optional<WordLanguageModel> language_model_at(const DecoderPlaces& places) {
  const std::string& path = places.language_model;
  if (places.is_named && !is_directory<ConfigError>(path))
    return WordLanguageModel::from_file(path);
  if (!exists<ConfigError>(path)) return std::nullopt;
  return WordLanguageModel::from_directory(path);
}

}  // namespace

BeamSearchDecoder make_decoder(const BeamDecoding& decoding, const std::string& model_directory,
                               const Wav2Vec2CTCTokenizer& tokenizer, std::int64_t vocab_size) {
  const DecoderPlaces places = places_of(decoding, model_directory);
  std::optional<WordLanguageModel> language_model = language_model_at(places);
  if (!language_model && !decoding.lm.empty()) {
    throw ConfigError(places.language_model, "", "is missing",
                      "a language model beside alphabet.json");
  }
  std::optional<CtcAlphabet> alphabet = alphabet_in(places.alphabet_directory);
  if (!alphabet) alphabet = alphabet_of(tokenizer, vocab_size, model_directory);
  if (static_cast<std::int64_t>(alphabet->labels.size()) != vocab_size) {
    throw ConfigError(join_path(places.alphabet_directory, kAlphabet), "labels",
                      std::to_string(alphabet->labels.size()) + " labels",
                      std::to_string(vocab_size) + ", one for each output of the model");
  }
  const auto set = [&](const std::optional<double>& value, double WordLanguageModel::Settings::*to,
                       const char* name) {
    if (!value) return;
    if (!language_model) {
      throw UsageError("", name, "is the weight of a language model, and there is no such",
                       "one beside the model, or a path to one", name);
    }
    language_model->settings.*to = *value;
  };
  set(decoding.alpha, &WordLanguageModel::Settings::alpha, "alpha");
  set(decoding.beta, &WordLanguageModel::Settings::beta, "beta");
  return BeamSearchDecoder(std::move(*alphabet), std::move(language_model));
}

std::vector<std::string> decoder_files(const BeamDecoding& decoding,
                                       const std::string& model_directory) {
  const DecoderPlaces places = places_of(decoding, model_directory);
  std::vector<std::string> files;
  if (is_directory<ConfigError>(places.language_model)) {
    for (const std::string& name : names_in(places.language_model)) {
      if (!name.starts_with('.') && !name.starts_with("__")) {
        files.push_back(join_path(places.language_model, name));
      }
    }
  } else if (places.is_named) {
    files.push_back(places.language_model);
  }
  files.push_back(join_path(places.alphabet_directory, kAlphabet));
  return files;
}

BeamSearchOptions search_options(const BeamDecoding& decoding) {
  BeamSearchOptions options = decoding.search;
  if (decoding.hotwords.empty()) return options;
  std::size_t number = 0;
  const auto add = [&](std::string_view line) {
    ++number;
    const std::string_view hotword = strip(line);
    if (!is_utf8(hotword)) {
      throw UsageError(decoding.hotwords, "line " + std::to_string(number), "is not UTF-8", "",
                       "hotwords");
    }
    if (!hotword.empty()) options.hotwords.emplace_back(hotword);
  };
  read_lines(decoding.hotwords, "a hotword a line", kMaxHotwordsBytes, add);
  return options;
}

}  // namespace w2vbert::tool
