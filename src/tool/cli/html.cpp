#include "tool/cli/html.h"

#include "core/file.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {

std::string html_text(std::string_view text, std::size_t limit) {
  std::string result;
  for (const char c : quote_bytes(text, limit)) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&#39;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::string page_begin(const std::string& command) {
  return "<!doctype html><html lang='en'><meta charset='utf-8'>"
         "<meta name='generator' content='w2vbert " +
         command + "'>";
}

bool is_page_of(const std::string& command, const std::string& path) {
  const std::string expected = page_begin(command);
  const auto file = InputFile::open<StorageError>(path);
  std::string begin(expected.size(), '\0');
  if (file.size() < begin.size()) return false;
  file.read_at(0, begin.data(), begin.size());
  return begin == expected;
}

}  // namespace w2vbert::tool
