// The directory a run writes into: checked before work, resumed, and never left half-written.
//
// The room `store` says what has been done: RunDirectory below holds the run record
// (fingerprint.h), the journal (journal.h) and the failures; outputs.h is where the tensors of each
// clip go, into files of their own (clip_files.h) or into shards of many (output_shards.h); and
// run_status.h tells how far a run is, and verify_run.h verifies it. Nothing here knows a model.
// Read this header first, then outputs.h.
#pragma once

#include <cstddef>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/file.h"
#include "tool/corpus/input_list.h"
#include "tool/corpus/partition.h"
#include "tool/store/fingerprint.h"
#include "tool/store/journal.h"
#include "tool/store/lines_file.h"
#include "tool/store/output_format.h"
#include "tool/store/output_scan.h"
#include "tool/store/writable.h"

namespace w2vbert::tool {

// One input that gave no output.
struct ClipFailure {
  std::string path;
  std::string stage;    // read, model or write
  std::string kind;     // not_found, not_a_file, unreadable, audio, memory, model
  std::string message;  // one line
};

inline constexpr std::string_view kRunRecordName = "run.json";
// The run record of a directory. Throws UsageError when it is absent or damaged, StorageError when
// it cannot be read or is no file.
Fingerprint read_run_record(const std::string& directory);

// A line of a list of failures.
std::string failure_line(const ClipFailure& failure);

// The failure of a row of a manifest.
ClipFailure failure_of(const BadRow& row);

enum class OutputState {
  kAbsent,
  kFinished,  // whole, and of this run
  kDamaged,   // no readable safetensors file, or its data are not what its header says
};

// What stands in an output's place.
struct FoundOutput {
  OutputState state = OutputState::kAbsent;
  OutputScan scan;
  std::optional<JournalEntry> record;  // as record_of()
};

// Whether a run directory may hold a file of that name which is no output.
bool is_name_of_record(std::string_view file_name);

// Holds outputs (<name>.safetensors or .npy, also in folders below, or shards with their indexes),
// the run record run.json, the journal of what was written and the failures of the last run:
// journal.jsonl and failures.jsonl, or journal.<index>-of-<count>.jsonl and so on for a partition.
class RunDirectory {
 public:
  // Makes the directory if need be, tries a file in it, and reads the run record. `sources`: what
  // the run reads, which it must not write over. Throws StorageError when the place cannot be
  // written or another program's file has the name of a journal or the like; UsageError when
  // another run's outputs are there, or one of `sources`.
  RunDirectory(std::string path, Fingerprint fingerprint, Partition partition = {},
               const ProtectedFiles& sources = {});
  // Takes away the directories that the constructor made, if nothing has been put into them.
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  const std::string& path() const noexcept { return path_; }
  const std::string& digest() const noexcept { return digest_; }
  OutputFormat format() const noexcept { return format_; }
  std::size_t shard_size() const noexcept { return shard_size_; }  // clips; 0: a file for each
  std::string output_path(std::string_view name) const;
  std::string record_path() const;  // run.json
  // How outputs are put in their places here.
  Placement placement() const noexcept { return placement_; }

  // Reads the output's header; with `verify` its data too. Throws UsageError for a file that this
  // run has not written, there or where a folder is needed, which is never touched, and
  // StorageError for one that cannot be read.
  // `clips`: of a shard, those whose records say that the run has written it.
  FoundOutput scan(std::string_view name, bool verify,
                   const std::set<std::string>& clips = {}) const;
  // What the journals that were there at the first call say of an output: the latest record of that
  // name, if it is of this run.
  std::optional<JournalEntry> record_of(std::string_view name) const;
  // Throws StorageError where `folder`, a path below this directory, leads through a link: the
  // outputs of a run are in its directory. UsageError where a file is in the way.
  void check_folder(std::string_view folder) const;
  // Records an output when the journal is begun: one that was found to be of its input in another
  // way than by its record, or to be outdated.
  void adopt(JournalEntry output);
  // Throws UsageError where the output is the input itself.
  void check_may_be_replaced(std::string_view name, const std::string& input_path) const;

  // Removes the temporaries of dead processes from `folder` ("" or a path below this directory).
  // Returns how many: 0 for a folder that is not there.
  std::size_t remove_stale_temporaries(std::string_view folder) const;

  // Writes the run record, unless it is there.
  void keep_record();
  // Begins the journal where the run has been begun before: to be called before anything is changed
  // and the model is loaded. A run whose model cannot be loaded leaves nothing in a new directory.
  // `inputs`, `finished`: of this partition, for the journal. Throws StorageError.
  void resume(std::size_t inputs, std::size_t finished);
  // Writes the run record, begins the journal if need be, drops the failures of runs that have
  // ended. To be called before the first output.
  void start(std::size_t inputs, std::size_t finished);
  // Makes the folder of `name`. Throws as check_folder(), and StorageError where this directory is
  // not the one any more that it was: what is at its path when a disk has gone is another one. Any
  // thread may call this.
  void prepare(std::string_view name);
  // Appends an output, which is in its place, to the journal. Any thread may call this.
  void record(const JournalEntry& output);
  // The index of a shard. Throws as the constructor does for a file that is not one, of which the
  // first says so before any work.
  void check_index(const std::string& path) const;
  void write_index(const std::string& path, const std::string& index) const;
  // Appends a line to the failures. It survives a kill; synchronise() makes it survive a power cut,
  // and so do the ones behind it, a second later.
  void record(const ClipFailure& failure);
  // To be called before the run says that it is done.
  void synchronise() { failures_.synchronise(); }

 private:
  void read_record();
  void begin_journal(std::size_t inputs, std::size_t finished);
  void drop_failures();
  const OutputRecords& records() const;
  // Throws UsageError for a path in this directory that the run reads.
  void check_is_free(const std::string& path) const;

  std::string path_;
  Inode itself_;
  Fingerprint fingerprint_;
  std::string digest_;
  OutputFormat format_;
  std::size_t shard_size_;
  mutable std::optional<OutputRecords> records_;
  std::vector<JournalEntry> adopted_;
  Partition partition_;
  std::string journal_path_;
  FailureLines failures_;
  ProtectedFiles sources_;
  std::set<std::string> protected_;  // paths of `sources_` below this directory
  Placement placement_ = Placement::kExclusive;
  std::mutex journal_mutex_;
  std::optional<Journal> journal_;
  std::vector<std::string> made_;  // directories made by the constructor, outermost first
  bool record_found_ = false;
};

}  // namespace w2vbert::tool
