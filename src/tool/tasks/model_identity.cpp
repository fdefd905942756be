#include "tool/tasks/model_identity.h"

#include <ATen/Parallel.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <span>

#include "checkpoint/missing_weights.h"
#include "checkpoint/safetensors_header.h"
#include "config/config_table.h"
#include "config/lora_config.h"
#include "core/durable_file.h"
#include "core/environment.h"
#include "core/file.h"
#include "core/file_blocks.h"
#include "core/host_name.h"
#include "core/text.h"
#include "tool/store/sha256.h"
#include "w2vbert/checkpoint/lora.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::array kConfigFiles = {"config.json", "processor_config.json",
                                     "preprocessor_config.json"};
constexpr std::uint64_t kDigestBlockBytes = 16 << 20;
constexpr std::time_t kUnchangedSeconds = 3;
constexpr std::uint64_t kReadBytes = 256 << 10;  // stays in a core's own cache

// A file's digest, kept in the user's cache under what cannot stay as it was when the file changes:
// a third of a second saved for two gigabytes that are in memory, minutes for those that are not.
class DigestCache {
 public:
  explicit DigestCache(const InputFile& file) {
    struct stat status {};
    const std::string folder = user_cache_folder();
    if (folder.empty() || ::fstat(file.descriptor(), &status) != 0) return;
    // Its times may not tell yet that it is still being written.
    if (std::time(nullptr) - status.st_ctim.tv_sec < kUnchangedSeconds) return;
    Sha256 key;
    key.add(host_name() + ",");
    for (const auto number :
         {static_cast<std::int64_t>(status.st_dev), static_cast<std::int64_t>(status.st_ino),
          status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_ctim.tv_sec,
          status.st_ctim.tv_nsec}) {
      key.add(std::to_string(number) + ",");
    }
    folder_ = join_path(folder, "digests");
    path_ = join_path(folder_, key.hex());
  }

  // Empty where nothing is remembered.
  std::string read() const {
    if (path_.empty()) return "";
    try {
      if (!exists(path_)) return "";
      std::string digest = read_small_file<StorageError>(path_, kMaxConfigBytes);
      if (is_sha256(digest)) return digest;
    } catch (const StorageError&) {  // then it is computed
    }
    return "";
  }

  void write(const std::string& digest) const {
    if (path_.empty()) return;
    try {
      make_directories(folder_);
      write_durably(path_, digest, IfPresent::kReplace);
    } catch (const StorageError&) {  // without a cache it is computed again
    }
  }

 private:
  std::string folder_, path_;  // empty: nothing is remembered
};

XXH128_canonical_t block_digest(const InputFile& file, std::uint64_t begin, std::uint64_t end) {
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  for_each_block(file, begin, end, kReadBytes, [&](std::span<const std::byte> bytes) {
    XXH3_128bits_update(&state, bytes.data(), bytes.size());
  });
  XXH128_canonical_t digest;
  XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(&state));
  return digest;
}

std::string file_digest(const InputFile& file, const std::string& head) {
  const std::uint64_t blocks = (file.size() + kDigestBlockBytes - 1) / kDigestBlockBytes;
  std::vector<XXH128_canonical_t> digests(static_cast<std::size_t>(blocks));
  at::parallel_for(
      0, static_cast<std::int64_t>(blocks), 1, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) {
          const std::uint64_t begin = static_cast<std::uint64_t>(i) * kDigestBlockBytes;
          digests[static_cast<std::size_t>(i)] =
              block_digest(file, begin, std::min(file.size(), begin + kDigestBlockBytes));
        }
      });
  Sha256 sha;
  sha.add(std::to_string(file.size()) + ":" + head);
  sha.add(std::as_bytes(std::span(digests)));
  return sha.hex();
}

std::string remembered_digest(const InputFile& file, const std::string& head) {
  const DigestCache remembered(file);
  std::string digest = remembered.read();
  if (digest.empty()) {
    digest = file_digest(file, head);
    file.check_unchanged();
    remembered.write(digest);
  }
  return digest;
}

// Checks the file's header and adds all of the file.
void add_weights(Sha256& sha, const std::string& path) {
  const auto file = InputFile::open<CheckpointError, StorageError>(path);
  const std::string head = read_safetensors_head(file);
  (void)parse_safetensors_header(head, file.size(), path);
  sha.add(remembered_digest(file, head));
}

void add_text(Sha256& sha, const std::string& text) {
  sha.add(std::to_string(text.size()) + ":" + text);
}

// Nothing for a file that is not there.
std::optional<FileIdentity> identity_at(const std::string& path) {
  struct stat status {};
  if (!exists(path) || ::stat(path.c_str(), &status) != 0) return std::nullopt;
  return identity_of(status);
}

}  // namespace

void WatchedFiles::add(const std::string& path) { files_.emplace_back(path, identity_at(path)); }

void WatchedFiles::add_model(const std::string& model_directory,
                             const std::vector<std::string>& weight_files) {
  for (const char* name : kConfigFiles) add(join_path(model_directory, name));
  for (const std::string& path : weight_files) add(path);
}

void WatchedFiles::add_lora(const std::string& directory) {
  const LoraFiles files = find_lora(directory);
  add(files.config);
  add(files.weights);
}

void WatchedFiles::check() const {
  for (const auto& [path, identity] : files_) {
    if (identity_at(path) == identity) continue;
    throw CheckpointError(path, "", "was changed by another process since the run began",
                          "a file that stays as it is until it is loaded");
  }
}

std::string model_identity(const std::string& model_directory,
                           const std::vector<std::string>& weight_files) {
  check_weights(model_directory);
  Sha256 sha;
  for (const char* name : kConfigFiles) {
    const std::string path = join_path(model_directory, name);
    add_text(sha,
             exists(path) ? read_small_file<ConfigError, StorageError>(path, kMaxConfigBytes) : "");
  }
  for (const std::string& path : weight_files) add_weights(sha, path);
  return sha.hex();
}

std::string files_identity(const std::vector<std::string>& paths) {
  Sha256 sha;
  for (const std::string& path : paths) {
    if (!exists(path)) {
      add_text(sha, "");
      continue;
    }
    const auto file = InputFile::open<ConfigError, StorageError>(path);
    const bool is_small = file.size() < kDigestBlockBytes;
    add_text(sha, is_small ? file_digest(file, "") : remembered_digest(file, ""));
  }
  return sha.hex();
}

std::string lora_identity(const std::string& path_or_id) {
  const LoraFiles files = find_lora(path_or_id);
  (void)LoraConfig::from_pretrained(parent_path(files.config));
  Sha256 sha;
  add_text(sha, read_small_file<ConfigError, StorageError>(files.config, kMaxConfigBytes));
  add_weights(sha, files.weights);
  return sha.hex();
}

}  // namespace w2vbert::tool
