#include "support/write_clip.h"

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <random>

namespace w2vbert::testing {
namespace {

void append(std::string& bytes, std::uint32_t value, int count) {
  for (int i = 0; i < count; ++i) bytes += static_cast<char>((value >> (8 * i)) & 0xFF);
}

}  // namespace

void write_clip(const std::string& path, int samples, int seed, int rate, int channels) {
  std::mt19937 random(static_cast<std::uint32_t>(seed));
  const auto data_bytes = static_cast<std::uint32_t>(2 * samples * channels);
  std::string bytes = "RIFF";
  append(bytes, 36 + data_bytes, 4);
  bytes += "WAVEfmt ";
  append(bytes, 16, 4);
  append(bytes, 1, 2);  // PCM
  append(bytes, static_cast<std::uint32_t>(channels), 2);
  append(bytes, static_cast<std::uint32_t>(rate), 4);
  append(bytes, static_cast<std::uint32_t>(rate * channels * 2), 4);
  append(bytes, static_cast<std::uint32_t>(channels * 2), 2);
  append(bytes, 16, 2);
  bytes += "data";
  append(bytes, data_bytes, 4);
  for (int i = 0; i < samples * channels; ++i) {
    const double tone = std::sin(0.05 * i * (1 + 0.1 * seed)) * 8000;
    const double noise = static_cast<double>(random() % 4000) - 2000;
    append(bytes, static_cast<std::uint32_t>(static_cast<std::int32_t>(tone + noise)), 2);
  }
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace w2vbert::testing
