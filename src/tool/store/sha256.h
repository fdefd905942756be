// SHA-256 over bytes that come in pieces.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace w2vbert::tool {

// Whether that may be what Sha256::hex() gives.
bool is_sha256(std::string_view text);

// As Sha256::hex() of `text` alone.
std::string sha256_of(std::string_view text);
// The same for all bytes of a file. Throws StorageError.
std::string sha256_of_file(const std::string& path);

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void add(std::span<const std::byte> bytes);
  void add(std::string_view text);
  // The digest, or it in 64 lower-case hexadecimal digits; nothing may be added afterwards.
  std::vector<std::byte> bytes();
  std::string hex();

 private:
  struct Deleter {
    void operator()(void* context) const noexcept;
  };
  std::unique_ptr<void, Deleter> context_;
};

}  // namespace w2vbert::tool
