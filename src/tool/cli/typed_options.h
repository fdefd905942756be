// Options with a typed value: name, type, range, default and help stand together where a command
// declares the option.
//
// CLI11 finds the words and hands each to the one reader of its type. Its own conversions and
// validators (version 2.1) will not do: they take "0x8", "+8", " 8", "010" as octal, "nan", and the
// decimal point of the locale, and their errors are in words of their own.
#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/text.h"

namespace w2vbert::tool {

inline constexpr double kMaxSeconds = 1e6;  // of any option that takes seconds

// Throw UsageError with the option's name for a text that is something else, from its first to its
// last byte.
std::int64_t whole_number(const std::string& option, const std::string& text, std::int64_t min,
                          std::int64_t max);
double positive_number(const std::string& option, const std::string& text, double max);
double number_from_zero(const std::string& option, const std::string& text, double max);
// The place of `text` among `words`.
std::size_t place_among(const std::vector<std::string>& words, const std::string& option,
                        const std::string& text);

// The readers. Each turns an option's text into a value, or throws UsageError. `placeholder` stands
// for the value in the help; text(value), where there is one, shows the default.

template <class Int>
struct WholeNumber {
  std::int64_t min;
  std::int64_t max;
  std::string placeholder = "N";

  Int operator()(const std::string& option, const std::string& text) const {
    return static_cast<Int>(whole_number(option, text, min, max));
  }
  std::string text(const Int& value) const { return std::to_string(value); }
};

struct PositiveNumber {
  double max;
  std::string placeholder = "S";

  double operator()(const std::string& option, const std::string& text) const {
    return positive_number(option, text, max);
  }
  std::string text(const double& value) const { return number_text(value); }
};

// A finite number of either sign.
double any_number(const std::string& option, const std::string& text);
struct AnyNumber {
  std::string placeholder = "X";

  double operator()(const std::string& option, const std::string& text) const {
    return any_number(option, text);
  }
  std::string text(const double& value) const { return number_text(value); }
};

struct NumberFromZero {
  double max;
  std::string placeholder = "S";

  double operator()(const std::string& option, const std::string& text) const {
    return number_from_zero(option, text, max);
  }
  std::string text(const double& value) const { return number_text(value); }
};

template <class Value>
class OneOf {
 public:
  explicit OneOf(std::vector<std::pair<std::string, Value>> choices,
                 std::string shown_instead = "") {
    for (auto& [word, value] : choices) {
      placeholder += (placeholder.empty() ? "" : "|") + word;
      words_.push_back(std::move(word));
      values_.push_back(std::move(value));
    }
    if (!shown_instead.empty()) placeholder = std::move(shown_instead);
  }

  std::string placeholder;

  Value operator()(const std::string& option, const std::string& text) const {
    return values_[place_among(words_, option, text)];
  }
  std::string text(const Value& value) const requires requires { value == value; }
  {
    for (std::size_t i = 0; i < values_.size(); ++i) {
      if (values_[i] == value) return words_[i];
    }
    return "";
  }

 private:
  std::vector<std::string> words_;
  std::vector<Value> values_;
};

// A path to write to. Throws UsageError for "-", as no command writes its files to the standard
// output.
std::string path_to_write(const std::string& option, const std::string& text);
struct OutputPath {
  std::string placeholder;  // FILE, DIR

  std::string operator()(const std::string& option, const std::string& text) const {
    return path_to_write(option, text);
  }
};

// Words that are their own values.
OneOf<std::string> one_of(const std::vector<std::string>& words);

// An option whose text goes to `take` as it is; `placeholder` stands for it in the help.
CLI::Option* add_value(CLI::App& command, const std::string& name,
                       const std::function<void(const std::string& text)>& take,
                       const std::string& placeholder, const std::string& help);
CLI::Option* add_value(CLI::App& command, const std::string& name, std::string& value,
                       const std::string& placeholder, const std::string& help);

// DIR, what status and verify look at.
void add_run_directory(CLI::App& command, std::string& directory);
// Throws UsageError where it was not given.
void check_run_directory(const std::string& directory);

// An option that `read` reads into `value`. What is there before is the default, which the help
// shows; that of a std::optional is the help's to explain.
template <class Value, class Reader>
requires requires(const Reader& reader) { reader.placeholder; }
CLI::Option* add_value(CLI::App& command, const std::string& name, Value& value, const Reader& read,
                       const std::string& help) {
  std::string default_value;
  if constexpr (requires { read.text(value); }) {
    default_value = " (default: " + read.text(value) + ")";
  }
  return add_value(
      command, name, [name, read, &value](const std::string& text) { value = read(name, text); },
      read.placeholder, help + default_value);
}

}  // namespace w2vbert::tool
