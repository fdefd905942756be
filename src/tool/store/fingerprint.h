// What a run's outputs depend on, beside the inputs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace w2vbert::tool {

using FingerprintFields = std::vector<std::pair<std::string, std::string>>;

// Named facts in a fixed order: model, states, dtype and so on. What does not change an output's
// bytes (threads, paths, host, partition) has no place here.
struct Fingerprint {
  FingerprintFields fields;
  // What is meant where a field is not there, as far as a run may also say so: the same run.
  FingerprintFields defaults = {};
  // What is worth knowing of a run and changes no byte of its outputs: in the record, and neither
  // in the digest nor compared.
  FingerprintFields notes = {};

  // SHA-256 of the fields, in hexadecimal.
  std::string digest() const;
};

// The run record: {"fingerprint": digest, "fields": {...}}, also "notes": {...} where there are
// some, with a line break at its end.
std::string run_record(const Fingerprint& fingerprint);

// What an error about a run record says beside the problem.
inline constexpr std::string_view kExpectedRecord =
    "the record of a run (what goes with the file is what the run was asked for: outputs and "
    "journals stay without it, and the next run takes those that say that they are its own)";

inline constexpr std::uint64_t kMaxRunRecordBytes = 1 << 20;
// Throws UsageError(path) when `text` is not a run record.
Fingerprint parse_run_record(std::string_view text, const std::string& path);

// Throws UsageError(path) naming the first field that differs and both its values. The defaults are
// those of `asked`.
void check_same_run(const Fingerprint& there, const Fingerprint& asked, const std::string& path);

}  // namespace w2vbert::tool
