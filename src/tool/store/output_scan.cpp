#include "tool/store/output_scan.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "checkpoint/safetensors_header.h"
#include "core/file_blocks.h"
#include "core/parse_number.h"
#include "core/text.h"
#include "tool/store/clip_index.h"
#include "tool/store/header_seal.h"
#include "tool/store/npy_header.h"
#include "tool/store/output_format.h"
#include "tool/store/sha256.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::uint64_t kMaxNpyHeaderBytes = 4096;
constexpr std::size_t kBlockBytes = 1 << 20;
constexpr std::string_view kFingerprintKey = "fingerprint";

bool head_has(const std::string& path, std::string_view text) try {
  const auto file = InputFile::open<CheckpointError, StorageError>(path);
  return read_safetensors_head(file).find(text) != std::string::npos;
} catch (const CheckpointError&) {
  return false;
}

std::string data_digest(const InputFile& file, std::uint64_t data_offset) {
  Sha256 sha;
  for_each_block(file, data_offset, file.size(), kBlockBytes,
                 [&](std::span<const std::byte> block) { sha.add(block); });
  return sha.hex();
}

template <class Number>
Number number_in(const SafetensorsHeader& header, std::string_view key) {
  return parse_number<Number>(header.metadata_value(key)).value_or(Number{});
}

std::optional<FilePart> part_in(const SafetensorsHeader& header) {
  const auto number = [&](std::string_view key) {
    return parse_number<std::int64_t>(header.metadata_value(key));
  };
  return file_part(number(kPartBeginKey), number(kPartEndKey), number(kPartTotalKey),
                   number(kSourceRateKey));
}

}  // namespace

OutputScan scan_output(const std::string& path, bool verify, const std::string& digest) {
  OutputScan scan;
  const auto bad = [&](const char* problem) { scan.problem = quote_bytes(path) + problem; };
  try {
    const auto file = InputFile::open<CheckpointError, StorageError>(path);
    scan.identity = file.identity();
    std::uint64_t data_offset = 0;
    std::string written = digest;
    if (path.ends_with(ending_of(OutputFormat::npy))) {
      std::string head(static_cast<std::size_t>(std::min(file.size(), kMaxNpyHeaderBytes)), '\0');
      file.read_at(0, head.data(), head.size());
      const auto npy = scan_npy(head);
      if (!npy || npy->file_bytes != file.size()) {
        bad(": is no whole .npy file");
        return scan;
      }
      data_offset = npy->data_offset;
    } else {
      std::string head = read_safetensors_head(file);
      const std::optional<bool> is_sealed = is_seal_whole(head);
      const SafetensorsHeader header = parse_safetensors_header(std::move(head), file.size(), path);
      scan.part = part_in(header);
      scan.index = header.metadata_value(kIndexKey);
      // The two came with the same version: where there is no seal, its name is what is damaged.
      const bool has_part = scan.part || scan.index.find(kPartEndKey) != std::string::npos;
      if (!is_sealed.value_or(!has_part)) {
        bad(": holds another header than was written");
        return scan;
      }
      scan.is_sealed = is_sealed.has_value();
      scan.fingerprint = header.metadata_value(kFingerprintKey);
      scan.sha256 = header.metadata_value("sha256");
      scan.input_digest = header.metadata_value(kInputDigestKey);
      scan.frames = number_in<std::int64_t>(header, "frames");
      if (const auto rate = number_in<double>(header, "sample_rate_hz"); rate > 0) {
        scan.audio_seconds = number_in<double>(header, "samples") / rate;
      }
      data_offset = header.data_offset;
      written = scan.sha256;
    }
    if (verify && !(scan.fingerprint == std::nullopt && written.empty()) &&
        written != data_digest(file, data_offset)) {
      bad(": holds other data than were written");
    }
  } catch (const CheckpointError& error) {
    scan.problem = error.what();
  }
  return scan;
}

bool was_output_of(const std::string& path, const std::string& fingerprint) {
  return head_has(path, fingerprint);
}

bool was_output(const std::string& path) {
  return head_has(path, kHeaderSealKey) || head_has(path, kFingerprintKey);
}

}  // namespace w2vbert::tool
