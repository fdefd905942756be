// Where a run puts what it makes of its clips: a file for each (clip_files.h), or shards of many
// (output_shards.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/safetensors_writer.h"
#include "tool/store/input_identity.h"
#include "tool/store/run_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {

// How one clip was read, computed and written.
struct ClipReport {
  std::string path;
  std::string name;
  std::string output;
  std::int64_t frames = 0;   // rows of input_features
  std::int64_t samples = 0;  // after resampling
  int sample_rate_hz = 0;    // of them
  int source_sample_rate_hz = 0;
  int source_channels = 0;
  double audio_seconds = 0;    // after resampling
  double read_seconds = 0;     // decoding and resampling
  double compute_seconds = 0;  // features, and of the model's batch this clip's part by its frames
  double write_seconds = 0;
  InputIdentity input = {};
  std::string note = {};  // what was odd about the file or its tensors; mostly ""

  void add_note(const std::string& more) {
    note += (note.empty() || more.empty() ? "" : "; ") + more;
  }
};

// What was made of one clip.
struct Output {
  std::size_t index = 0;  // into the input list
  ClipReport report;
  NamedTensors tensors;  // on the CPU

  std::int64_t bytes() const {
    std::int64_t sum = 0;
    for (const auto& [name, tensor] : tensors) sum += static_cast<std::int64_t>(tensor.nbytes());
    return sum;
  }
};

// Add to an output's metadata what the report says of the clip, and, of its input, the bytes alone:
// an output must not depend on where the input lies, or since when.
void add_clip_metadata(SafetensorsMetadata& metadata, const ClipReport& report,
                       const std::string& frame_rate_hz);
void add_input_metadata(SafetensorsMetadata& metadata, const InputIdentity& input);

// What every output of a run holds.
struct OutputContent {
  std::vector<std::string> tensor_names;
  std::vector<std::int64_t> row_bytes;  // of each of them, where it is known
  double frame_rate_hz = 0;             // rows of the tensors a second
};

// Thrown by Outputs::write() where something of the clip has been written already: it has neither
// failed nor come out whole, and nothing may follow it.
struct WritingEnded {
  std::exception_ptr cause;
};
// For the handlers of write(): throws what was caught as something that ends the run.
[[noreturn]] inline void end_writing() {
  try {
    throw;
  } catch (const StorageError&) {
    throw;
  } catch (const UsageError&) {
    throw;
  } catch (...) {
    // NOLINTNEXTLINE(bugprone-std-exception-baseclass): no handler of errors may take it
    throw WritingEnded{std::current_exception()};
  }
}

// What clips' outputs are handed to, for an OutputWriter.
class OutputSink {
 public:
  virtual ~OutputSink() = default;

  // Threads that may call what follows.
  virtual int max_threads() const = 0;
  // Takes the tensors; what is durable already is in the journal. Throws StorageError, UsageError
  // and WritingEnded, which end the run; behind anything else skip() is to be called for the clip.
  virtual void write(Output& output) = 0;
  // There will be no new output for that input; an earlier one stays.
  virtual void skip(std::size_t index) = 0;
  // Makes durable what is not yet. To be called once, by one thread, as the last.
  virtual void finish() = 0;
};

class Outputs : public OutputSink {
 public:
  // What is there of one partition. `pending`: indices into the input list, ascending.
  struct ScanResult {
    std::size_t finished = 0;
    std::size_t damaged = 0;   // of those pending
    std::size_t replaced = 0;  // of those pending: whose output is of an earlier input
    // Among those finished: without a word of which input they are of; whose input cannot be read
    // to tell.
    std::size_t unrecorded = 0;
    std::size_t unreadable = 0;
    std::string first_unreadable;
    bool is_unlocked = false;  // this file system has no locks to protect shards by
    std::vector<std::size_t> pending;
  };

  // Looks at what is there and changes nothing; with `verify`, data are compared with their digest.
  // Throws UsageError for a file in an output's place that is not of this run or of another input,
  // StorageError for one that cannot be read.
  virtual ScanResult scan(const Partition& partition, bool verify) = 0;
  // Removes temporaries of dead processes, and returns how many. What scan() found to be damaged or
  // of an earlier input stays until write() replaces it.
  virtual std::size_t clean() = 0;

  // The file that a clip's output is or will be in.
  virtual std::string path_of(std::size_t index) const = 0;
};

// As the directory's run record says. `inputs` and `directory` outlive it.
std::unique_ptr<Outputs> make_outputs(const InputList& inputs, const OutputContent& content,
                                      RunDirectory& directory);

}  // namespace w2vbert::tool
