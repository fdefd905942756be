// What CLI11 leaves open about the words: each option once and with a value, unknown ones with the
// nearest that is known. typed_options.h reads the values.
#pragma once

#include <CLI/App.hpp>
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

}  // namespace w2vbert::tool
