// What features and extract have in common: running over clips and saying how it went.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tool/cli/options.h"
#include "tool/run/clip_run.h"
#include "tool/store/fingerprint.h"

namespace w2vbert::tool {

class Messages;

// Runs over the clips and reports; returns the exit status. `about`: what --json says of the run
// besides.
int run_over_clips(const std::string& command, const ClipOptions& options,
                   const OutputOptions& output, const InputList& inputs, Fingerprint fingerprint,
                   ClipRunRequest request, Messages& messages,
                   const std::vector<std::pair<std::string, std::string>>& about = {});

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
