#include "tool/store/run_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/descriptor.h"
#include "core/durable_file.h"
#include "core/escaped_name.h"
#include "core/file.h"
#include "core/text.h"
#include "tool/store/json_text.h"
#include "tool/store/refuse_link.h"
#include "tool/store/writable.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

// A record that the system cannot read.
struct RecordUnreadable : StorageError {
  RecordUnreadable(const std::string& path, const std::string& key, std::string_view problem)
      : StorageError(path, key, problem, kExpectedRecord) {}
};

Inode inode_at(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) fail_storage(path, "cannot be looked at", errno);
  return inode_of(status);
}

}  // namespace

ClipFailure failure_of(const BadRow& row) {
  const std::string place = row.place.empty() ? "" : ": " + row.place;
  return {row.path + place, "manifest", "row", quote_bytes(row.path) + place + ": " + row.problem};
}

Fingerprint read_run_record(const std::string& directory) {
  const std::string path = join_path(directory, kRunRecordName);
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    throw RecordUnreadable(path, "", "is no regular file");
  }
  return parse_run_record(read_small_file<UsageError, RecordUnreadable>(path, kMaxRunRecordBytes),
                          path);
}

bool is_name_of_record(std::string_view file_name) {
  return file_name == kRunRecordName || is_name_of_lines(file_name);
}

RunDirectory::RunDirectory(std::string path, Fingerprint fingerprint, Partition partition,
                           const ProtectedFiles& sources)
    : path_(without_trailing_slashes(std::move(path))),
      fingerprint_(std::move(fingerprint)),
      digest_(fingerprint_.digest()),
      format_(output_format_of(fingerprint_)),
      shard_size_(shard_size_of(fingerprint_)),
      partition_(partition),
      journal_path_(join_path(path_, journal_name(partition.label()))),
      failures_(join_path(path_, failures_name(partition.label()))),
      sources_(sources) {
  if (path_.empty()) throw StorageError("", "", "the output directory has no name", "a directory");
  made_ = make_directories(path_);
  try {
    itself_ = inode_at(path_);
    placement_ = try_directory(path_);
    for (std::string& name : sources_.below(path_)) {
      protected_.insert(join_path(path_, name));
    }
    for (const std::string& file :
         {join_path(path_, kRunRecordName), journal_path_, failures_.path()}) {
      sources_.check(file, "output");
    }
    read_record();
    check_lines(journal_path_, LinesKind::kJournal);
    check_lines(failures_.path(), LinesKind::kFailures);
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
  const std::string path = record_path();
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return;
    fail_storage(path, "cannot be looked at", errno);
  }
  if (S_ISLNK(status.st_mode)) refuse_link(path, "the record of a run, or nothing");
  Fingerprint there = read_run_record(path_);
  check_same_run(there, fingerprint_, path);
  fingerprint_ = std::move(there);  // which may have a default spelt out
  digest_ = fingerprint_.digest();
  record_found_ = true;
}

std::string RunDirectory::output_path(std::string_view name) const {
  return join_path(path_, name).append(ending_of(format_));
}

std::string RunDirectory::record_path() const { return join_path(path_, kRunRecordName); }

const OutputRecords& RunDirectory::records() const {
  if (!records_) records_.emplace(path_);
  return *records_;
}

std::optional<JournalEntry> RunDirectory::record_of(std::string_view name) const {
  std::optional<JournalEntry> record = records().find(name);
  if (record && !may_be_of(*record, digest_)) record.reset();
  return record;
}

void RunDirectory::check_folder(std::string_view folder) const {
  for (std::size_t end = 0; end < folder.size(); ++end) {
    end = std::min(folder.find('/', end), folder.size());
    const std::string path = join_path(path_, folder.substr(0, end));
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) {
      if (errno == ENOENT) return;
      fail_storage(path, "cannot be looked at", errno);
    }
    if (S_ISLNK(status.st_mode)) refuse_link(path, "a folder, or nothing of that name");
    if (!S_ISDIR(status.st_mode)) {
      throw UsageError(path, "", "is a file where a folder is needed",
                       "another output directory, or names that need no such folder");
    }
  }
}

FoundOutput RunDirectory::scan(std::string_view name, bool verify,
                               const std::set<std::string>& clips) const {
  FoundOutput found;
  const std::string path = output_path(name);
  check_is_free(path);
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return found;
    fail_storage(path, "cannot be looked at", errno);
  }
  const auto not_ours = [&](std::string_view problem) {
    return UsageError(path, "", problem, "an output of this run, or another output directory");
  };
  if (!S_ISREG(status.st_mode)) throw not_ours("is no regular file");
  found.record = record_of(name);
  const bool npy = format_ == OutputFormat::npy;
  // Without a run record, one that does not name its run says nothing.
  const auto is_of_run = [&](const std::optional<JournalEntry>& record) {
    return record && (record_found_ || record->fingerprint == digest_);
  };
  if (npy && !found.record && records().find(name)) throw not_ours("belongs to another run");
  found.scan = scan_output(path, verify, npy && found.record ? found.record->sha256 : "");
  const OutputScan& seen = found.scan;
  if (!seen.problem.empty() && seen.fingerprint.value_or(digest_) == digest_) {
    // What this run has not written is nobody's to replace: a record says that it has, or the file.
    const bool is_recorded = is_of_run(found.record) ||
                             std::any_of(clips.begin(), clips.end(), [&](const std::string& clip) {
                               return is_of_run(record_of(clip));
                             });
    const bool is_ours = is_recorded || seen.fingerprint || (!npy && was_output_of(path, digest_));
    if (!is_ours) throw not_ours("is no output of this run");
    found.state = OutputState::kDamaged;
    return found;
  }
  // A .npy file says nothing of its run: the record speaks for it.
  const std::string fingerprint =
      seen.fingerprint.value_or(record_found_ || is_of_run(found.record) ? digest_ : "");
  if (fingerprint != digest_) {
    // Its data are what the record of this run has: the fingerprint in it is what is damaged.
    if (record_found_ && found.record && found.record->fingerprint == digest_ && !seen.is_sealed &&
        !seen.sha256.empty() && found.record->sha256 == seen.sha256) {
      found.state = OutputState::kDamaged;
      return found;
    }
    throw not_ours(fingerprint.empty() ? "is no output of this program" : "belongs to another run");
  }
  found.state = OutputState::kFinished;
  return found;
}

void RunDirectory::adopt(JournalEntry output) { adopted_.push_back(std::move(output)); }

std::size_t RunDirectory::remove_stale_temporaries(std::string_view folder) const {
  std::string path = path_;
  if (!folder.empty()) path.append("/").append(folder);
  if (!exists(path)) return 0;
  return w2vbert::remove_stale_temporaries(path);
}

void RunDirectory::keep_record() {
  if (record_found_) return;
  try {
    write_durably(record_path(), run_record(fingerprint_));
  } catch (const StorageError&) {
    // Another process may have begun another run here meanwhile: say which field differs.
    read_record();
    if (!record_found_) throw;
  }
  record_found_ = true;
}

void RunDirectory::resume(std::size_t inputs, std::size_t finished) {
  if (record_found_ || exists(journal_path_)) begin_journal(inputs, finished);
}

void RunDirectory::start(std::size_t inputs, std::size_t finished) {
  keep_record();
  drop_failures();
  begin_journal(inputs, finished);
}

void RunDirectory::drop_failures() {
  failures_.begin();
  // What other divisions of the list could not do is this one's by now.
  for (const PartitionFile& file : failures_in(path_)) {
    if (file.partition.count == partition_.count) continue;
    try {
      FailureLines(file.path).begin();
    } catch (const StorageError&) {  // another program's
    }
  }
}

void RunDirectory::begin_journal(std::size_t inputs, std::size_t finished) {
  if (journal_) return;
  journal_.emplace(journal_path_, records().next_generation(), digest_);
  // Before the worker begins: they are not what it has done.
  for (const JournalEntry& output : adopted_) journal_->add(output);
  adopted_.clear();
  journal_->begin(inputs, finished);
}

void RunDirectory::record(const JournalEntry& output) {
  const std::lock_guard lock(journal_mutex_);
  journal_->add(output);
}

void RunDirectory::check_is_free(const std::string& path) const {
  if (protected_.contains(path)) sources_.check(path, "output");
}

void RunDirectory::check_index(const std::string& path) const {
  sources_.check(path, "output");
  check_lines(path, LinesKind::kIndex);
}

void RunDirectory::write_index(const std::string& path, const std::string& index) const {
  const Descriptor earlier = open_lines(path, LinesKind::kIndex, O_RDONLY);
  std::optional<FileIdentity> seen;
  struct stat status {};
  if (earlier.number() >= 0) {
    if (::fstat(earlier.number(), &status) != 0) fail_storage(path, "cannot be looked at", errno);
    seen = identity_of(status);
  }
  StagedFile(path, index).put_in_place_of(seen);
}

void RunDirectory::prepare(std::string_view name) {
  if (inode_at(path_) != itself_) {
    throw StorageError(path_, "", "is another directory than when the run began",
                       "the one that was there, or its disk");
  }
  std::string_view folder = directory_prefix(name);
  if (folder.empty()) return;
  folder.remove_suffix(1);
  check_folder(folder);
  // Not this directory: where it has gone, with its disk or by another hand, nothing belongs.
  make_directories(join_path(path_, folder), path_);
}

void RunDirectory::check_may_be_replaced(std::string_view name,
                                         const std::string& input_path) const {
  if (!OutputPlace(output_path(name)).is(input_path)) return;
  throw UsageError(input_path, "", "would be overwritten by its own output",
                   "another output directory");
}

std::string failure_line(const ClipFailure& failure) {
  const nlohmann::ordered_json line = {{"path", escaped_name(failure.path)},
                                       {"stage", failure.stage},
                                       {"kind", failure.kind},
                                       {"message", failure.message}};
  return json_line(line);
}

void RunDirectory::record(const ClipFailure& failure) { failures_.add(failure_line(failure)); }

}  // namespace w2vbert::tool
