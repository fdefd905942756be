// A file read from one end to the other. Torch-free.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/file.h"

namespace w2vbert {

// Calls use(bytes) for what stands from `begin` to `end`, in pieces of at most `block_bytes`.
// Throws as InputFile::read_at.
template <class Use>
void for_each_block(const InputFile& file, std::uint64_t begin, std::uint64_t end,
                    std::uint64_t block_bytes, const Use& use) {
  if (begin >= end) return;
  std::vector<std::byte> block(static_cast<std::size_t>(std::min(block_bytes, end - begin)));
  for (std::uint64_t at = begin; at < end;) {
    const auto piece = std::span(block).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), end - at)));
    file.read_at(at, piece.data(), piece.size());
    use(std::span<const std::byte>(piece));
    at += piece.size();
  }
}

inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace w2vbert
