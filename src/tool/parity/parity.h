// A model against what PyTorch computed with it, module by module.
//
// The room `parity`: reference.h reads what PyTorch computed, replay.h computes the same here,
// comparison.h compares two tensors. dump_comparison.h does it with what another engine computed,
// and diagnosis.h says why that differs. Read this header first.
#pragma once

#include <torch/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tool/parity/comparison.h"
#include "tool/parity/diagnosis.h"
#include "tool/parity/reference.h"
#include "w2vbert/checkpoint/from_pretrained.h"

namespace w2vbert::tool {

// A value may be off by `scaled` x max(1, |PyTorch's value|).
struct ParityTolerance {
  double module = 0.0;  // of a module that was fed with PyTorch's input
  double chain = 0.0;   // of the whole model's outputs
  std::string reason;   // a clause for people
};

struct ParityRow {
  std::string name;  // "encoder.layers.0.conv_module", "hidden_states.3"
  Comparison comparison;
  bool within = true;
  std::string error;  // what the module threw; the comparison is then empty
};

// Compares `ours` with `theirs`; the row is within for 0 differing values, or a finite difference
// up to `tolerance`, scaled as above.
ParityRow row_of(const std::string& name, const torch::Tensor& ours, const torch::Tensor& theirs,
                 double tolerance);

struct ParityResult {
  std::vector<ParityRow>
      modules;  // in PyTorch's order, inner ones first; "name[1]" is a second output
  std::vector<ParityRow> chain;      // hidden states first, then what follows from them
  std::vector<ParityRow> gradients;  // of a reference made with gradients
  // Modules of PyTorch that are not compared by themselves: Dropout, and the encoder, whose input
  // is the chain's.
  std::vector<std::string> not_compared;
  std::vector<std::string> missing;  // modules of PyTorch that this model does not have
  // For a dump that another engine made (dump_comparison.h): why it differs; outputs of PyTorch
  // that it does not have; its names that are no output's.
  std::optional<Diagnosis> diagnosis;
  std::vector<std::string> absent;
  std::vector<std::string> unused;
  ParityTolerance tolerance;
  // The settings that bits depend on, by name.
  Settings theirs;
  Settings ours;

  // The first row outside its tolerance, modules before chain before gradients; null where all are
  // within theirs.
  const ParityRow* first_outside() const;
  // f(row) for every row, in that order.
  template <class Function>
  void for_each_row(const Function& f) const {
    for (const auto* rows : {&modules, &chain, &gradients}) {
      for (const ParityRow& row : *rows) f(row);
    }
  }
  double tolerance_of(const ParityRow& row) const;
  bool within() const { return missing.empty() && first_outside() == nullptr; }
  // Over all rows.
  std::int64_t values() const;
  std::int64_t differing() const;
  double largest() const;  // |Δ|
};

struct ParityOptions {
  FromPretrainedOptions load;  // device, dtype, attention; architecture is the reference's
  // Whose behaviour is compared. Absent: of the release that made the reference.
  std::optional<HfVersion> hf_version;
  // Instead of the default_tolerance().
  std::optional<double> tolerance;
  bool modules = true;
  bool chain = true;  // and the gradients
};

// The tolerance for what `theirs` and `ours` differ in: zero where LibTorch, CPU kernels, threads,
// device, attention and dtype are the same; what was measured for another of these
// (docs/parity.md); and for another dtype anything finite, as what its rounding is worth depends on
// the model.
ParityTolerance default_tolerance(const Settings& theirs, const Settings& ours);

// The same for what another engine computed: what was measured for the coarser dtype of both.
ParityTolerance default_dump_tolerance(const Settings& theirs, const Settings& ours);

// Loads `model` (a directory or Hub id) and replays the reference. `progress` gets rows done and
// the number of modules. Throws ConfigError, CheckpointError; what a module throws is in its row.
ParityResult check_parity(const std::string& model, Reference reference,
                          const ParityOptions& options,
                          const std::function<void(std::size_t, std::size_t)>& progress = {});

}  // namespace w2vbert::tool
