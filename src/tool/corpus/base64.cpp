#include "tool/corpus/base64.h"

#include <openssl/evp.h>

#include <algorithm>

namespace w2vbert::tool {
namespace {

// OpenSSL counts in int. Multiples of what three bytes and four characters are.
constexpr std::size_t kBlockOfBytes = 3 << 20;
constexpr std::size_t kBlockOfText = 4 << 20;

bool is_base64_digit(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
         c == '/';
}

}  // namespace

std::string base64_text(std::span<const std::byte> bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');  // OpenSSL writes a NUL behind each block
  std::size_t written = 0;
  while (!bytes.empty()) {
    const auto block = bytes.first(std::min(bytes.size(), kBlockOfBytes));
    written += static_cast<std::size_t>(EVP_EncodeBlock(
        reinterpret_cast<unsigned char*>(text.data() + written),
        reinterpret_cast<const unsigned char*>(block.data()), static_cast<int>(block.size())));
    bytes = bytes.subspan(block.size());
  }
  text.resize(written);
  return text;
}

std::optional<std::string> base64_bytes(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  // OpenSSL passes over white space, and takes '=' for 'A'.
  const std::string_view digits = text.substr(0, text.size() - padding);
  if (!std::all_of(digits.begin(), digits.end(), is_base64_digit)) return std::nullopt;
  std::string bytes(text.size() / 4 * 3, '\0');
  std::size_t written = 0;
  while (!text.empty()) {
    const auto block = text.substr(0, kBlockOfText);
    const int count = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data() + written),
                                      reinterpret_cast<const unsigned char*>(block.data()),
                                      static_cast<int>(block.size()));
    if (count < 0) return std::nullopt;
    written += static_cast<std::size_t>(count);
    text.remove_prefix(block.size());
  }
  bytes.resize(written - padding);
  return bytes;
}

}  // namespace w2vbert::tool
