// What features and extract have in common: running over clips and saying how it went.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/file_lock.h"
#include "tool/cli/options.h"
#include "tool/run/clip_run.h"
#include "tool/store/fingerprint.h"
#include "tool/store/writable.h"

namespace w2vbert::tool {

class Messages;

// Runs over the clips and reports; returns the exit status. `sources`: what is read besides the
// clips and the manifest. `about`: what --json says of the run besides.
int run_over_clips(const std::string& command, const ClipOptions& options,
                   const OutputOptions& output, const InputList& inputs, Fingerprint fingerprint,
                   ClipRunRequest request, ProtectedFiles sources, Messages& messages,
                   const std::vector<std::pair<std::string, std::string>>& about = {});

// What a run says of its audio files: what was odd about one or lost of it, once a file; and what
// was made of several channels, once.
class AudioNotes {
 public:
  AudioNotes(const AudioOptions& audio, Messages& messages);
  void note(const std::string& path, const std::string& note);
  void count_channels(int channels);  // of a clip that is done
  void say_channels();                // at the end

 private:
  const AudioOptions& audio_;
  Messages& messages_;
  std::set<std::string> noted_;
  std::size_t clips_ = 0;  // of files with several channels
  int fewest_ = 0, most_ = 0;
};

// Tells of waits for locks that other processes hold, and ends them at a signal.
LockWaitEvents told_lock_waits(Messages& messages);

// How a run over clips went: "2 clips done, 0 failed, ...".
std::string summary_line(std::size_t done, std::size_t failed, double audio_seconds,
                         double elapsed_seconds);

// The warnings of a load, one line each.
void say_warnings(const LoadReport& report, Messages& messages);

// What the list tells, and what divides it, or would: a line each.
void say_notes(const InputList& inputs, const PartitionChoice& choice, Messages& messages);
// Which share this process does, when it leaves inputs out: `own` of all.
void say_share(const InputList& inputs, const PartitionChoice& choice, std::size_t own,
               Messages& messages);

// One line when another engine runs than the one that was asked for.
void say_engine(const EngineChoice& engine, Messages& messages);

}  // namespace w2vbert::tool
