// Where a run puts what it makes of its clips: a file for each (clip_files.h), or shards of many
// (shard_files.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "w2vbert/checkpoint/safetensors_writer.h"
#include "w2vbert/pipeline/clip_run.h"

namespace w2vbert {

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

class Outputs {
 public:
  // Of one share of the inputs; indices into the input list, rising.
  struct Found {
    std::size_t finished = 0;
    std::size_t damaged = 0;  // of those pending
    std::vector<std::size_t> pending;
  };

  virtual ~Outputs() = default;

  // Looks at what is there and changes nothing; with `verify`, data are compared with their digest.
  // Throws UsageError for a file in an output's place that is none of this run.
  virtual Found look(const Shard& share, bool verify) = 0;
  // Removes what look() found to be damaged, and temporaries of dead processes: how many of these.
  virtual std::size_t clean() = 0;

  // The file that a clip's output is or will be in.
  virtual std::string path_of(std::size_t index) const = 0;

  // Threads that may call what follows.
  virtual int most_threads() const = 0;
  // Takes the tensors; what is durable already is in the journal. Throws StorageError, UsageError.
  virtual void write(Output& output) = 0;
  // There will be no output for that input.
  virtual void leave_out(std::size_t index) = 0;
  // Makes durable what is not yet. To be called once, by one thread, as the last.
  virtual void finish() = 0;
};

// As the directory's run record and the request say. All arguments outlive it.
std::unique_ptr<Outputs> make_outputs(const InputList& inputs, const ClipRunRequest& request,
                                      RunDirectory& directory);

}  // namespace w2vbert
