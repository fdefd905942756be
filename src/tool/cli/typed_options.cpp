#include "tool/cli/typed_options.h"

#include <algorithm>
#include <cmath>

#include "core/parse_number.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

// "a, b or c"
std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " or " : ", ";
    text += words[i];
  }
  return text;
}

}  // namespace

std::int64_t whole_number(const std::string& option, const std::string& text, std::int64_t min,
                          std::int64_t max) {
  const auto number = parse_number<std::int64_t>(text);
  const bool is_minus_zero = number == 0 && text.starts_with('-');
  if (!number || is_minus_zero || *number < min || *number > max) {
    throw UsageError("", option, in_quotes(text) + " is out of range or no number",
                     "a whole number from " + std::to_string(min) + " to " + std::to_string(max));
  }
  return *number;
}

double positive_number(const std::string& option, const std::string& text, double max) {
  const auto number = parse_number<double>(text);
  if (!number || !(*number > 0) || *number > max) {
    throw UsageError("", option, in_quotes(text) + " is out of range or no number",
                     "a number above 0, at most " + std::to_string(static_cast<std::int64_t>(max)));
  }
  return *number;
}

double any_number(const std::string& option, const std::string& text) {
  const auto number = parse_number<double>(text);
  if (!number) throw UsageError("", option, in_quotes(text) + " is no number", "a finite number");
  return *number;
}

double number_from_zero(const std::string& option, const std::string& text, double max) {
  const auto number = parse_number<double>(text);
  if (!number || std::signbit(*number) || !(*number <= max)) {
    throw UsageError("", option, in_quotes(text) + " is out of range or no number",
                     "a number from 0 to " + std::to_string(static_cast<std::int64_t>(max)));
  }
  return *number;
}

std::string path_to_write(const std::string& option, const std::string& text) {
  if (text == "-") {
    throw UsageError("", option, "is -, the standard output, which takes no files",
                     "a path; ./- for one of this name");
  }
  return text;
}

std::size_t place_among(const std::vector<std::string>& words, const std::string& option,
                        const std::string& text) {
  const auto found = std::find(words.begin(), words.end(), text);
  if (found == words.end()) {
    throw UsageError("", option, in_quotes(text) + " is unknown", joined(words));
  }
  return static_cast<std::size_t>(found - words.begin());
}

OneOf<std::string> one_of(const std::vector<std::string>& words) {
  std::vector<std::pair<std::string, std::string>> choices;
  choices.reserve(words.size());
  for (const std::string& word : words) choices.emplace_back(word, word);
  return OneOf<std::string>(std::move(choices));
}

CLI::Option* add_value(CLI::App& command, const std::string& name,
                       const std::function<void(const std::string& text)>& take,
                       const std::string& placeholder, const std::string& help) {
  CLI::Option* option = command.add_option_function<std::string>(name, take, help);
  option->type_name(placeholder);
  return option;
}

CLI::Option* add_value(CLI::App& command, const std::string& name, std::string& value,
                       const std::string& placeholder, const std::string& help) {
  CLI::Option* option = command.add_option(name, value, help);
  option->type_name(placeholder);
  return option;
}

void add_run_directory(CLI::App& command, std::string& directory) {
  command.add_option("DIR", directory, "The --output of extract or features")->type_name("");
}

void check_run_directory(const std::string& directory) {
  if (directory.empty()) {
    throw UsageError("", "DIR", "is not given", "the --output of extract or features");
  }
}

}  // namespace w2vbert::tool
