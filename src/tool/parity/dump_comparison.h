// What another engine computed against what PyTorch computed, output by output.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "tool/parity/dump.h"
#include "tool/parity/name_mapping.h"
#include "tool/parity/parity.h"
#include "tool/parity/reference.h"

namespace w2vbert::tool {

struct DumpOptions {
  std::optional<double> tolerance;  // instead of what docs/parity.md gives for the dump's dtype
  // Take the masked frames of each output as PyTorch's.
  bool ignore_padding = false;
  // A parameter of the model by HF's name; undefined where it is not at hand.
  std::function<torch::Tensor(const std::string& parameter)> parameter;
};

// An output of the dump may lack dimensions of size one, or have frames and channels exchanged.
// The outputs are those of a whole model, fed from the start. Throws CheckpointError; where no
// name of the dump is known, UsageError.
ParityResult compare_dump(const Reference& reference, const Dump& dump, const NameMapping& mapping,
                          const DumpOptions& options,
                          const std::function<void(std::size_t, std::size_t)>& progress = {});

}  // namespace w2vbert::tool
