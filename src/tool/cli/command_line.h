// What CLI11 leaves open: each option once and with a value, unknown words with the nearest known
// one, numbers from the first to the last byte.
#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace w2vbert::tool {

// Goes through the words after the program's name as `app` would and throws UsageError for the
// first that is wrong: an unknown command or option (with the nearest), an option given twice,
// without its value, or with one where it takes none.
void check_words(const CLI::App& app, const std::vector<std::string>& words);

// The candidate with the smallest Levenshtein distance to `word`, or "" when none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

// Throw UsageError with the option's name.
std::int64_t whole_number(const std::string& option, const std::string& text, std::int64_t least,
                          std::int64_t most);
double positive_number(const std::string& option, const std::string& text, double most);
// `text` itself, if it is one of `words`.
std::string one_of(const std::string& option, const std::string& text,
                   const std::vector<std::string>& words);

}  // namespace w2vbert::tool
