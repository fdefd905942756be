#include "tool/store/header_seal.h"

#include <cstddef>
#include <span>

#include "tool/store/sha256.h"

namespace w2vbert::tool {
namespace {

constexpr std::size_t kDigestBytes = 64;  // in hexadecimal

// Where the digest stands, as serialize_safetensors_header writes it; npos: not in there. A quote
// within a name or value has a backslash before it, so that this is found nowhere else.
std::size_t place_of_seal(const std::string& header) {
  const std::string key = '"' + std::string(kHeaderSealKey) + "\":\"";
  const std::size_t found = header.find(key);
  if (found == std::string::npos) return found;
  const std::size_t place = found + key.size();
  return header.size() - place < kDigestBytes ? std::string::npos : place;
}

std::string digest_of(const std::string& header) {
  Sha256 sha;
  sha.add(header);
  return sha.hex();
}

}  // namespace

std::string empty_header_seal() { return std::string(kDigestBytes, '0'); }

void seal_header(std::string& header) {
  const std::size_t place = place_of_seal(header);
  if (place != std::string::npos) header.replace(place, kDigestBytes, digest_of(header));
}

std::optional<bool> is_seal_whole(const std::string& header) {
  const std::size_t place = place_of_seal(header);
  if (place == std::string::npos) return std::nullopt;
  std::string empty = header;
  empty.replace(place, kDigestBytes, empty_header_seal());
  return header.compare(place, kDigestBytes, digest_of(empty)) == 0;
}

}  // namespace w2vbert::tool
