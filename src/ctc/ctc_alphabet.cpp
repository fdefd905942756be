// pyctcdecode 0.5.0, alphabet.py.
#include "w2vbert/ctc/ctc_alphabet.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "config/config_table.h"

namespace w2vbert {
namespace {

constexpr std::string_view kUnknown = "\u2047";
constexpr std::string_view kBpeUnknown = "\u2581\u2047\u2581";
// The file of a vocabulary is at most as long.
constexpr std::uint64_t kMaxAlphabetBytes = 16 << 20;

bool contains(const std::vector<std::string>& labels, std::string_view label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

bool any_begins(const std::vector<std::string>& labels, std::string_view begin) {
  return std::any_of(labels.begin(), labels.end(),
                     [&](const std::string& label) { return label.starts_with(begin); });
}

// pyctcdecode: BLANK_TOKEN_PTN and UNK_TOKEN_PTN: "<word>" or "[word]" in any case, with two
// brackets of any kinds and perhaps a line break after them.
bool is_bracketed(std::string_view label, std::string_view word) {
  if (label.ends_with('\n')) label.remove_suffix(1);
  if (label.size() != word.size() + 2 || (label.front() != '<' && label.front() != '[') ||
      (label.back() != '>' && label.back() != ']')) {
    return false;
  }
  return std::equal(word.begin(), word.end(), label.begin() + 1, [](char wanted, char letter) {
    return wanted == (letter >= 'A' && letter <= 'Z' ? letter - 'A' + 'a' : letter);
  });
}

// pyctcdecode: SPECIAL_TOKEN_PTN.
bool is_special(std::string_view label) {
  if (label.ends_with('\n')) label.remove_suffix(1);
  return label.size() >= 3 && (label.front() == '<' || label.front() == '[') &&
         (label.back() == '>' || label.back() == ']') && label.find('\n') == std::string_view::npos;
}

// pyctcdecode: _convert_bpe_token_style.
std::string in_bpe_style(const std::string& token) {
  if (token.starts_with("##")) return token.substr(2);
  if (is_special(token) || token.empty() || token == CtcAlphabet::kWordMark || token == kBpeUnknown)
    return token;
  return std::string(CtcAlphabet::kWordMark) + token;
}

void replace_bracketed(std::vector<std::string>& labels, std::string_view word,
                       std::string_view label) {
  for (std::string& token : labels) {
    if (is_bracketed(token, word)) token = label;
  }
}

}  // namespace

CtcAlphabet CtcAlphabet::build(std::vector<std::string> tokens) {
  CtcAlphabet alphabet;
  alphabet.is_bpe = any_begins(tokens, "##") || any_begins(tokens, CtcAlphabet::kWordMark);
  std::set<std::string_view> seen;
  for (const std::string& token : tokens) {
    if (!seen.insert(token).second) {
      throw ConfigError("alphabet", "labels", in_quotes(token) + " stands twice");
    }
    if (alphabet.is_bpe && token.find(' ') != std::string::npos) {
      throw ConfigError("alphabet", "labels",
                        "a space in " + in_quotes(token) + " beside tokens in the style of BPE");
    }
  }
  alphabet.labels = std::move(tokens);
  std::vector<std::string>& labels = alphabet.labels;
  const auto replace_first = [&](std::string_view from, std::string_view to) {
    if (contains(labels, from) && !contains(labels, to)) {
      *std::find(labels.begin(), labels.end(), from) = to;
    }
  };
  if (alphabet.is_bpe) {
    if (any_begins(labels, "##")) {
      std::transform(labels.begin(), labels.end(), labels.begin(), in_bpe_style);
    }
    replace_bracketed(labels, "pad", "");
  } else {
    replace_first("|", " ");
    replace_bracketed(labels, "pad", "");
    replace_first("_", "");
  }
  if (!contains(labels, "")) labels.emplace_back();
  replace_bracketed(labels, "unk", alphabet.is_bpe ? kBpeUnknown : kUnknown);
  return alphabet;
}

CtcAlphabet CtcAlphabet::load(const std::string& path) {
  return parse(read_small_file<ConfigError>(path, kMaxAlphabetBytes), path);
}

CtcAlphabet CtcAlphabet::parse(std::string_view text, const std::string& path) {
  const JsonValue root = parse_config(text, path, kMaxAlphabetBytes);
  const ConfigReader reader(path);
  constexpr const char* kLabels = "labels";
  constexpr const char* kIsBpe = "is_bpe";
  for (const auto& [key, value] : *root.get_if<JsonValue::Object>()) {
    if (key != kLabels && key != kIsBpe) reader.fail(key, "is unknown", "labels and is_bpe alone");
  }
  const JsonValue* labels = root.find(kLabels);
  const JsonValue* is_bpe = root.find(kIsBpe);
  if (!labels) reader.fail(kLabels, "is missing", "a list of strings");
  if (!is_bpe) reader.fail(kIsBpe, "is missing", "true or false");
  CtcAlphabet alphabet;
  const auto* list = labels->get_if<JsonValue::Array>();
  if (!list || list->empty()) reader.fail(kLabels, labels->describe(), "a list of strings");
  for (const JsonValue& element : *list) {
    const auto* label = element.get_if<std::string>();
    if (!label) reader.fail(kLabels, element.describe(), "a list of strings");
    alphabet.labels.push_back(*label);
  }
  const auto* flag = is_bpe->get_if<bool>();
  if (!flag) reader.fail(kIsBpe, is_bpe->describe(), "true or false");
  alphabet.is_bpe = *flag;
  return alphabet;
}

}  // namespace w2vbert
