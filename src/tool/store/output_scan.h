// An output file as it lies in a run's directory.
#pragma once

#include <optional>
#include <string>

#include "core/file.h"
#include "tool/store/input_identity.h"

namespace w2vbert::tool {

// Under which an output's metadata hold the digest of the input's bytes.
inline constexpr std::string_view kInputDigestKey = "input_digest";

struct OutputScan {
  std::string problem;  // one line with the path: why it is no whole output; empty: it is one
  std::optional<std::string> fingerprint;  // as far as it could be read; .npy files have none
  bool is_sealed = false;                  // its header has a digest, and it is whole
  std::string index;                       // of a shard: what its .jsonl file says
  std::string sha256;                      // of its data, as the file says it; .npy files do not
  std::string input_digest;                // of the input's bytes, where the file says it
  std::optional<FilePart> part;            // of the input, where the file says it
  std::int64_t frames = 0;                 // rows of input_features, where the file says it
  double audio_seconds = 0;                // the same
  FileIdentity identity;                   // of what was looked at
};
// Reads the header of a .safetensors or .npy file, which may say itself that it is damaged; with
// `verify` also the data, which are compared with their digest: that of the file, or `digest` for
// .npy, where an empty one is any. What it finds in the file is a problem. What keeps it from
// reading the file says nothing of the file: it throws StorageError.
OutputScan scan_output(const std::string& path, bool verify, const std::string& digest = "");

// Whether a file that is no whole output was one of the run with that fingerprint: its begin says
// so.
bool was_output_of(const std::string& path, const std::string& fingerprint);
// The same for any run.
bool was_output(const std::string& path);

}  // namespace w2vbert::tool
