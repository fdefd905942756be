#include "w2vbert/pipeline/model_identity.h"

#include <ATen/Parallel.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "w2vbert/checkpoint/lora.h"
#include "w2vbert/checkpoint/safetensors_header.h"
#include "w2vbert/config/lora_config.h"
#include "w2vbert/core/error.h"
#include "w2vbert/core/file.h"
#include "w2vbert/pipeline/sha256.h"

namespace w2vbert {
namespace {

constexpr std::uint64_t kMaxConfigBytes = 1 << 20;
constexpr std::uint64_t kBlockBytes = 16 << 20;
constexpr std::uint64_t kReadBytes = 256 << 10;  // stays in a core's own cache

XXH128_canonical_t digest_of(const InputFile& file, std::uint64_t begin, std::uint64_t end) {
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  std::vector<std::byte> bytes(static_cast<std::size_t>(std::min(kReadBytes, end - begin)));
  for (std::uint64_t at = begin; at < end; at += bytes.size()) {
    bytes.resize(static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), end - at)));
    file.read_at(at, bytes.data(), bytes.size());
    XXH3_128bits_update(&state, bytes.data(), bytes.size());
  }
  XXH128_canonical_t digest;
  XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(&state));
  return digest;
}

// Checks the file's header and adds all of the file.
void add_weights(Sha256& sha, const std::string& path) {
  const auto file = InputFile::open<CheckpointError>(path);
  const std::string head = read_safetensors_head(file);
  (void)parse_safetensors_header(head, file.size(), path);
  sha.add(std::to_string(file.size()) + ":" + head);
  const std::uint64_t blocks = (file.size() + kBlockBytes - 1) / kBlockBytes;
  std::vector<XXH128_canonical_t> digests(static_cast<std::size_t>(blocks));
  at::parallel_for(0, static_cast<std::int64_t>(blocks), 1,
                   [&](std::int64_t first, std::int64_t last) {
                     for (std::int64_t i = first; i < last; ++i) {
                       const std::uint64_t begin = static_cast<std::uint64_t>(i) * kBlockBytes;
                       digests[static_cast<std::size_t>(i)] =
                           digest_of(file, begin, std::min(file.size(), begin + kBlockBytes));
                     }
                   });
  sha.add(std::as_bytes(std::span(digests)));
}

void add_text(Sha256& sha, const std::string& text) {
  sha.add(std::to_string(text.size()) + ":" + text);
}

}  // namespace

std::string model_identity(const std::string& model_directory,
                           const std::vector<std::string>& weight_files) {
  Sha256 sha;
  for (const char* name : {"config.json", "processor_config.json", "preprocessor_config.json"}) {
    const std::string path = join_path(model_directory, name);
    add_text(sha, exists(path) ? read_small_file<ConfigError>(path, kMaxConfigBytes) : "");
  }
  for (const std::string& path : weight_files) add_weights(sha, path);
  return sha.hex();
}

std::string lora_identity(const std::string& directory) {
  const LoraFiles files = find_lora(directory);
  (void)LoraConfig::from_pretrained(directory);
  Sha256 sha;
  add_text(sha, read_small_file<ConfigError>(files.config, kMaxConfigBytes));
  add_weights(sha, files.weights);
  return sha.hex();
}

}  // namespace w2vbert
