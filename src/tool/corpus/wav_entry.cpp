#include "tool/corpus/wav_entry.h"

#include <array>
#include <string_view>

#include "audio/container.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::uint64_t kRiffBytes = 12;
constexpr std::uint64_t kChunkHeaderBytes = 8;
constexpr int kMaxChunks = 1000;
constexpr const char* kWavEntryExpected =
    "the place of a WAV file in it, as Kaldi's wav-copy writes them";

struct ChunkHeader {
  std::array<char, kRiffBytes> bytes{};

  std::string_view name() const { return {bytes.data(), 4}; }
  std::uint32_t size(bool is_big_endian) const {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const int at = is_big_endian ? 4 + i : 7 - i;
      value = value << 8 | static_cast<std::uint8_t>(bytes[static_cast<std::size_t>(at)]);
    }
    return value;
  }
};

}  // namespace

std::uint64_t wav_entry_bytes(const InputFile& archive, std::uint64_t begin,
                              const std::string& path) {
  const auto fail = [&](const std::string& problem) {
    throw AudioError(path, "", problem, kWavEntryExpected);
  };
  if (begin > archive.size() || archive.size() - begin < kRiffBytes) {
    fail("is a place behind the archive's " + std::to_string(archive.size()) + " bytes");
  }
  const std::uint64_t there = archive.size() - begin;
  ChunkHeader header;
  archive.read_at(begin, header.bytes.data(), kRiffBytes);
  const bool is_big_endian = header.name() == "RIFX";
  if (!(is_big_endian || header.name() == "RIFF") ||
      std::string_view(header.bytes.data() + 8, 4) != "WAVE") {
    fail("is no place where a WAV file begins");
  }
  std::uint64_t at = kRiffBytes;
  for (int chunks = 0; chunks < kMaxChunks && there - at >= kChunkHeaderBytes; ++chunks) {
    archive.read_at(begin + at, header.bytes.data(), kChunkHeaderBytes);
    const std::uint64_t size = header.size(is_big_endian);
    at += kChunkHeaderBytes;
    const bool is_audio = header.name() == "data";
    if (is_audio && (size == 0 || size >= kPlaceholderBytes)) {
      fail("does not say how long it is, and other entries may follow it");
    }
    const std::uint64_t end = is_audio ? size : size + size % 2;
    if (end > there - at) {
      fail("is cut: its " + (is_audio ? std::string("data") : std::string("chunk")) + " of " +
           std::to_string(size) + " bytes has " + std::to_string(there - at));
    }
    at += end;
    if (is_audio) return at;
  }
  fail("has no data chunk");
  return 0;
}

}  // namespace w2vbert::tool
