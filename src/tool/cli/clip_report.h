// What features and extract have in common: running over clips and saying how it went.
#pragma once

#include <string>
#include <utility>
#include <vector>

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

// The warnings of a load, one line each.
void say_warnings(const LoadReport& report, Messages& messages);

// One line when another engine runs than the one that was asked for.
void say_engine(const EngineChoice& engine, Messages& messages);

}  // namespace w2vbert::tool
