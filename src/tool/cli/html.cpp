#include "tool/cli/html.h"

#include "core/file.h"
#include "core/text.h"
#include "tool/store/sha256.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::string_view kSealBegin = "<!-- sha256 ";

std::string seal_of(std::string_view page) {
  Sha256 sha;
  sha.add(page);
  return std::string(kSealBegin) + sha.hex() + " -->\n";
}

}  // namespace

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

std::string sealed_page(std::string page) {
  page += seal_of(page);
  return page;
}

bool is_page_of(const std::string& command, const std::string& path) {
  const auto file = InputFile::open<StorageError>(path);
  std::string page(page_begin(command).size(), '\0');
  if (file.size() < page.size()) return false;
  file.read_at(0, page.data(), page.size());
  if (page != page_begin(command)) return false;
  page.resize(file.size());
  file.read_at(0, page.data(), page.size());
  const std::size_t seal = page.rfind(kSealBegin);
  return seal != std::string::npos && page.substr(seal) == seal_of(page.substr(0, seal));
}

}  // namespace w2vbert::tool
