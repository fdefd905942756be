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

std::optional<WordLanguageModel> language_model_in(const std::string& directory) {
  const std::string path = join_path(directory, kLanguageModel);
  if (!exists<ConfigError>(path)) return std::nullopt;
  return WordLanguageModel::from_directory(path);
}

// pyctcdecode: what save_to_dir writes, as opposed to a language model's own directory.
bool is_pretrained(const std::string& directory) {
  return exists<ConfigError>(join_path(directory, kAlphabet)) ||
         exists<ConfigError>(join_path(directory, kLanguageModel));
}

}  // namespace

BeamSearchDecoder make_decoder(const BeamDecoding& decoding, const std::string& model_directory,
                               const Wav2Vec2CTCTokenizer& tokenizer, std::int64_t vocab_size) {
  std::optional<CtcAlphabet> alphabet;
  std::optional<WordLanguageModel> language_model;
  std::string alphabet_directory = model_directory;
  if (decoding.lm.empty()) {
    language_model = language_model_in(model_directory);
  } else if (!is_directory<ConfigError>(decoding.lm)) {
    language_model = WordLanguageModel::from_file(decoding.lm);
  } else if (is_pretrained(decoding.lm)) {
    language_model = language_model_in(decoding.lm);
    if (!language_model) {
      throw ConfigError(join_path(decoding.lm, kLanguageModel), "", "is missing",
                        "a language model beside alphabet.json");
    }
    alphabet = alphabet_in(decoding.lm);
    if (alphabet) alphabet_directory = decoding.lm;
  } else {
    language_model = WordLanguageModel::from_directory(decoding.lm);
  }
  if (!alphabet) alphabet = alphabet_in(model_directory);
  if (!alphabet) alphabet = alphabet_of(tokenizer, vocab_size, model_directory);
  if (static_cast<std::int64_t>(alphabet->labels.size()) != vocab_size) {
    throw ConfigError(join_path(alphabet_directory, kAlphabet), "labels",
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
  std::vector<std::string> files;
  const auto add_language_model = [&](const std::string& directory) {
    if (!is_directory<ConfigError>(directory)) return;
    for (const std::string& name : names_in(directory)) {
      if (!name.starts_with('.') && !name.starts_with("__")) {
        files.push_back(join_path(directory, name));
      }
    }
  };
  std::string alphabet = join_path(model_directory, kAlphabet);
  if (decoding.lm.empty()) {
    add_language_model(join_path(model_directory, kLanguageModel));
  } else if (!is_directory<ConfigError>(decoding.lm)) {
    files.push_back(decoding.lm);
  } else if (is_pretrained(decoding.lm)) {
    add_language_model(join_path(decoding.lm, kLanguageModel));
    const std::string own = join_path(decoding.lm, kAlphabet);
    if (exists<ConfigError>(own)) alphabet = own;
  } else {
    add_language_model(decoding.lm);
  }
  files.push_back(alphabet);
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
