#include "tool/store/recorded_file.h"

#include <algorithm>
#include <utility>

#include "core/durable_file.h"
#include "core/file.h"
#include "core/text.h"
#include "tool/store/sha256.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr const char* kDigest = "sha256";
constexpr const char* kDigestBefore = "sha256_before";
constexpr std::string_view kElsewhere = "the name of another file, or that file elsewhere";

std::string record_path_of(const std::string& path) { return path + ".run.json"; }

}  // namespace

std::optional<RecordedFile::Record> RecordedFile::read_record(const std::string& path) {
  if (!exists(path)) return std::nullopt;
  Record record;
  try {
    record.run = parse_run_record(read_small_file<StorageError>(path, kMaxRunRecordBytes), path);
  } catch (const UsageError&) {
    return std::nullopt;
  }
  for (const auto& [name, value] : record.run.notes) {
    if (name == kDigest || name == kDigestBefore) record.digests.push_back(value);
  }
  return record;
}

bool RecordedFile::is_record(const std::string& path) const {
  if (!next_record_.empty()) {
    return read_small_file<StorageError>(path, kMaxRunRecordBytes) == next_record_;
  }
  return read_record(path).has_value();
}

bool RecordedFile::is_as_recorded(const std::string& path) {
  if (!next_digest_.empty()) return sha256_of_file(path) == next_digest_;
  const std::optional<Record> record = read_record(record_path_of(path));
  if (!record) {
    throw StorageError(path, "",
                       "is there already, and " + quote_bytes(file_name(record_path_of(path))) +
                           " does not say that this command has written it",
                       kElsewhere);
  }
  digest_ = sha256_of_file(path);
  if (std::find(record->digests.begin(), record->digests.end(), digest_) == record->digests.end()) {
    throw StorageError(path, "", "is not as this command has written it: it was changed since",
                       kElsewhere);
  }
  check_same_run(record->run, run_, path);
  return true;
}

RecordedFile::RecordedFile(const std::string& path, const std::string& setting,
                           const ProtectedFiles& sources, Fingerprint run)
    : run_(std::move(run)),
      record_(record_path_of(path), setting, sources,
              [this](const std::string& there) { return is_record(there); }),
      file_(path, setting, sources,
            [this](const std::string& there) { return is_as_recorded(there); }) {}

void RecordedFile::put(std::string_view text) {
  Fingerprint run = run_;
  next_digest_ = sha256_of(text);
  if (next_digest_ == digest_ && exists(path()) && sha256_of_file(path()) == digest_) return;
  run.notes.emplace_back(kDigest, next_digest_);
  if (!digest_.empty()) run.notes.emplace_back(kDigestBefore, digest_);
  next_record_ = run_record(run);
  StagedFile file(path(), text);
  record_.put(StagedFile(record_.path(), next_record_));
  file_.put(std::move(file));
}

}  // namespace w2vbert::tool
