// Damage in the header of an output, which its data's digest does not cover.
#pragma once

#include <optional>
#include <string>

namespace w2vbert::tool {

// Under which an output's metadata hold the digest of its header.
inline constexpr const char* kHeaderSealKey = "header_sha256";

// What has its place until the header is known.
std::string empty_header_seal();

// Puts the digest of the header, the length bytes before it included, in the place of the empty
// seal in it.
void seal_header(std::string& header);

// Whether the header says of itself what is there; nothing for one that is not sealed, as those of
// earlier versions.
std::optional<bool> is_seal_whole(const std::string& header);

}  // namespace w2vbert::tool
