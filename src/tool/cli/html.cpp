#include "tool/cli/html.h"

#include <algorithm>
#include <cstdint>

#include "core/file.h"
#include "core/text.h"
#include "tool/store/sha256.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::string_view kSealBegin = "<!-- sha256 ";

std::string seal_of(Sha256& page) { return std::string(kSealBegin) + page.hex() + " -->\n"; }

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
  Sha256 sha;
  sha.add(page);
  return page += seal_of(sha);
}

bool is_page_of(const std::string& command, const std::string& path) {
  const std::string begin = page_begin(command);
  const std::size_t seal_bytes = sealed_page("").size();
  const auto file = InputFile::open<StorageError>(path);
  if (file.size() < begin.size() + seal_bytes) return false;
  const auto read = [&](std::uint64_t offset, std::uint64_t bytes) {
    std::string text(static_cast<std::size_t>(bytes), '\0');
    file.read_at(offset, text.data(), bytes);
    return text;
  };
  if (read(0, begin.size()) != begin) return false;
  const std::uint64_t end = file.size() - seal_bytes;
  constexpr std::uint64_t kPieceBytes = 1 << 20;
  Sha256 sha;
  for (std::uint64_t offset = 0; offset < end; offset += kPieceBytes) {
    sha.add(read(offset, std::min(kPieceBytes, end - offset)));
  }
  return read(end, seal_bytes) == seal_of(sha);
}

}  // namespace w2vbert::tool
