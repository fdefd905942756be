#include "tool/store/run_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "checkpoint/safetensors_header.h"
#include "core/descriptor.h"
#include "core/durable_file.h"
#include "core/file.h"
#include "core/text.h"
#include "tool/store/clip_index.h"
#include "tool/store/json_text.h"
#include "tool/store/npy_header.h"
#include "tool/store/sha256.h"
#include "tool/store/writable.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::string_view kRecordName = "run.json";
constexpr std::uint64_t kMaxRecordBytes = 1 << 20;
constexpr std::uint64_t kMaxNpyHeaderBytes = 4096;
constexpr std::size_t kBlockBytes = 1 << 20;

std::string data_digest(const InputFile& file, std::uint64_t data_offset) {
  Sha256 sha;
  std::vector<std::byte> block(kBlockBytes);
  for (std::uint64_t at = data_offset; at < file.size();) {
    const auto count =
        static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), file.size() - at));
    file.read_at(at, block.data(), count);
    sha.add(std::span(block).first(count));
    at += count;
  }
  return sha.hex();
}

}  // namespace

ClipFailure failure_of(const BadRow& row) {
  const std::string place = row.place.empty() ? "" : ": " + row.place;
  return {row.path + place, "manifest", "row", quote_bytes(row.path) + place + ": " + row.problem};
}

OutputScan scan_output(const std::string& path, bool verify, const std::string& digest) {
  OutputScan scan;
  const auto bad = [&](const char* problem) { scan.problem = quote_bytes(path) + problem; };
  try {
    const auto file = InputFile::open<CheckpointError>(path);
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
      const SafetensorsHeader header =
          parse_safetensors_header(read_safetensors_head(file), file.size(), path);
      scan.fingerprint = header.metadata_value("fingerprint");
      scan.index = header.metadata_value(kIndexKey);
      data_offset = header.data_offset;
      written = header.metadata_value("sha256");
    }
    if (verify && !(scan.fingerprint == std::nullopt && written.empty()) &&
        written != data_digest(file, data_offset)) {
      bad(": holds other data than were written");
    }
  } catch (const std::exception& error) {
    scan.problem = error.what();
  }
  return scan;
}

Fingerprint read_run_record(const std::string& directory) {
  const std::string path = join_path(directory, kRecordName);
  return parse_run_record(read_small_file<UsageError>(path, kMaxRecordBytes), path);
}

RunDirectory::RunDirectory(std::string path, Fingerprint fingerprint, Partition partition)
    : path_(without_trailing_slashes(std::move(path))),
      fingerprint_(std::move(fingerprint)),
      digest_(fingerprint_.digest()),
      format_(output_format_of(fingerprint_)),
      shard_size_(shard_size_of(fingerprint_)) {
  if (path_.empty()) throw StorageError("", "", "the output directory has no name", "a directory");
  journal_path_ = join_path(path_, journal_name(partition.label()));
  failures_path_ = join_path(path_, failures_name(partition.label()));
  made_ = make_directories(path_);
  try {
    try_writing(path_);
    read_record();
  } catch (...) {
    for (auto it = made_.rbegin(); it != made_.rend(); ++it) ::rmdir(it->c_str());
    throw;
  }
}

RunDirectory::~RunDirectory() {
  // rmdir leaves a directory that is not empty.
  for (auto it = made_.rbegin(); it != made_.rend(); ++it) ::rmdir(it->c_str());
}

void RunDirectory::read_record() {
  const std::string path = join_path(path_, kRecordName);
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0 && errno == ENOENT) return;
  check_same_run(read_run_record(path_), fingerprint_, path);
  record_found_ = true;
}

std::string RunDirectory::output_path(std::string_view name) const {
  return join_path(path_, name).append(ending_of(format_));
}

OutputState RunDirectory::state_of(std::string_view name, bool verify) const {
  const std::string path = output_path(name);
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return OutputState::kAbsent;
    fail_storage(path, "cannot be looked at", errno);
  }
  const auto not_ours = [&](std::string_view problem) {
    return UsageError(path, "", problem, "an output of this run, or another output directory");
  };
  if (!S_ISREG(status.st_mode)) throw not_ours("is no regular file");
  std::string written;
  if (verify && format_ == OutputFormat::npy) {
    if (!digests_) digests_ = journaled_digests(path_);
    if (const auto entry = digests_->find(std::string(name)); entry != digests_->end()) {
      written = entry->second;
    }
  }
  const OutputScan scan = scan_output(path, verify, written);
  if (!scan.problem.empty() && scan.fingerprint.value_or(digest_) == digest_) {
    if (!record_found_) throw not_ours("is no output of this run");
    return OutputState::kDamaged;
  }
  // A .npy file says nothing of its run: the record speaks for it.
  const std::string found = scan.fingerprint.value_or(record_found_ ? digest_ : "");
  if (found != digest_) {
    throw not_ours(found.empty() ? "is no output of this program" : "belongs to another run");
  }
  return OutputState::kFinished;
}

std::size_t RunDirectory::remove_stale_temporaries(std::string_view folder) const {
  std::string path = path_;
  if (!folder.empty()) path.append("/").append(folder);
  if (!exists(path)) return 0;
  return w2vbert::remove_stale_temporaries(path);
}

void RunDirectory::start(std::size_t inputs, std::size_t finished) {
  const std::string path = join_path(path_, kRecordName);
  if (!record_found_) {
    try {
      write_durably(path, run_record(fingerprint_));
    } catch (const StorageError&) {
      // Another process may have begun another run here meanwhile: say which field differs.
      read_record();
      if (!record_found_) throw;
    }
    record_found_ = true;
  }
  if (::unlink(failures_path_.c_str()) != 0 && errno != ENOENT) {
    fail_storage(failures_path_, "cannot be removed", errno);
  }
  journal_.emplace(journal_path_);
  journal_->begin(inputs, finished);
}

void RunDirectory::record(const JournalEntry& output) {
  const std::lock_guard lock(journal_mutex_);
  journal_->add(output);
}

void RunDirectory::prepare(std::string_view name) {
  const std::string_view folder = directory_prefix(name);
  if (!folder.empty()) make_directories(without_trailing_slashes(join_path(path_, folder)));
}

void RunDirectory::remove_damaged(std::string_view name, const std::string& input_path) const {
  const std::string path = output_path(name);
  if (is_same_file(path, input_path)) {
    throw UsageError(input_path, "", "would be overwritten by its own output",
                     "another output directory");
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    fail_storage(path, "cannot be removed", errno);
}

void RunDirectory::record(const ClipFailure& failure) {
  const nlohmann::ordered_json line = {{"path", failure.path},
                                       {"stage", failure.stage},
                                       {"kind", failure.kind},
                                       {"message", failure.message}};
  Descriptor file(::open(failures_path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (file.number() < 0) fail_storage(failures_path_, "cannot be written", errno);
  write_all(file.number(), json_line(line), failures_path_);
  if (::fsync(file.number()) != 0) fail_storage(failures_path_, "cannot be synchronised", errno);
  if (const int error = file.close()) fail_storage(failures_path_, "cannot be closed", error);
}

}  // namespace w2vbert::tool
