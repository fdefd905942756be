#include "tool/cli/help_text.h"

#include <algorithm>
#include <vector>

namespace w2vbert::tool {
namespace {

constexpr std::size_t kColumn = 30;  // where CLI11 puts what an option means

// Whether something stands in the column of explanations, and blanks before it.
bool has_explanation(std::string_view line) {
  return line.size() > kColumn && line[kColumn - 1] == ' ' && line[kColumn] != ' ' &&
         line.starts_with("  ");
}

bool is_paragraph(std::string_view line) {
  return !line.empty() && line.front() != ' ' && line.back() != ':' && !line.starts_with("Usage:");
}

void add_fitted(std::string& text, std::string_view line, std::size_t width) {
  const bool is_explained = has_explanation(line);
  const std::size_t indentation = is_explained ? kColumn : 0;
  std::string rest(line);
  while ((is_explained || is_paragraph(line)) && rest.size() > width) {
    std::size_t end = rest.rfind(' ', width);
    if (end == std::string::npos || end <= indentation) end = rest.find(' ', width);
    if (end == std::string::npos) break;
    text.append(rest, 0, end).push_back('\n');
    rest.replace(0, end + 1, indentation, ' ');
  }
  text.append(rest).push_back('\n');
}

}  // namespace

std::string fitted(std::string_view help, std::size_t width) {
  std::vector<std::string> lines;
  bool is_open = false;  // the last line is a paragraph's, which may go on
  while (!help.empty()) {
    const std::size_t end = std::min(help.find('\n'), help.size());
    const std::string_view line = help.substr(0, end);
    help.remove_prefix(std::min(end + 1, help.size()));
    const bool is_text = is_paragraph(line);
    if (is_open && is_text) {
      lines.back().append(" ").append(line);
    } else {
      lines.emplace_back(line);
    }
    is_open = is_text;
  }
  std::string text;
  for (const std::string& line : lines) add_fitted(text, line, width);
  return text;
}

}  // namespace w2vbert::tool
