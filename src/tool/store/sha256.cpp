#include "tool/store/sha256.h"

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <new>
#include <stdexcept>

#include "core/file.h"
#include "core/file_blocks.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

EVP_MD_CTX* context_of(void* context) { return static_cast<EVP_MD_CTX*>(context); }

void require(int status) {
  if (status != 1) throw std::runtime_error("SHA-256 is not available in this OpenSSL");
}

}  // namespace

bool is_sha256(std::string_view text) {
  constexpr std::size_t kDigits = 64;
  return text.size() == kDigits && text.find_first_not_of(kHexDigits) == std::string_view::npos;
}

void Sha256::Deleter::operator()(void* context) const noexcept {
  EVP_MD_CTX_free(context_of(context));
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (!context_) throw std::bad_alloc();
  require(EVP_DigestInit_ex(context_of(context_.get()), EVP_sha256(), nullptr));
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::add(std::span<const std::byte> bytes) {
  require(EVP_DigestUpdate(context_of(context_.get()), bytes.data(), bytes.size()));
}

void Sha256::add(std::string_view text) { add(std::as_bytes(std::span(text))); }

std::vector<std::byte> Sha256::bytes() {
  std::vector<std::byte> digest(EVP_MAX_MD_SIZE);
  unsigned int size = 0;
  require(EVP_DigestFinal_ex(context_of(context_.get()),
                             reinterpret_cast<unsigned char*>(digest.data()), &size));
  digest.resize(size);
  return digest;
}

std::string Sha256::hex() {
  const std::vector<std::byte> digest = bytes();
  return hex_text({reinterpret_cast<const unsigned char*>(digest.data()), digest.size()});
}

std::string sha256_of(std::string_view text) {
  Sha256 sha;
  sha.add(text);
  return sha.hex();
}

std::string sha256_of_file(const std::string& path) {
  constexpr std::uint64_t kBlockBytes = 256 << 10;
  const auto file = InputFile::open<StorageError>(path);
  Sha256 sha;
  for_each_block(file, 0, file.size(), kBlockBytes,
                 [&](std::span<const std::byte> block) { sha.add(block); });
  return sha.hex();
}

}  // namespace w2vbert::tool
