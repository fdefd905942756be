// Why another engine's values are not PyTorch's: which module is the first, and what kind of
// mistake its values look like.
#pragma once

#include <torch/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tool/parity/reference.h"
#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert::tool {

enum class Divergence {
  none,       // every bit is PyTorch's
  rounding,   // within the tolerance
  padding,    // in masked frames alone, or in clips that are padded alone
  position,   // grows with the place in the clip, or distances are off
  operation,  // another operation, or other weights
};
// "none", "rounding", ...
std::string_view name_of(Divergence kind);

struct Diagnosis {
  Divergence kind = Divergence::none;
  std::string module;  // the first output that diverges; empty for none and rounding
  // Where the values are those of a known mistake: "symmetric_padding", "glu_halves",
  // "half_factor", "distance", "epsilon", "unbiased_variance", "mask", "head_split". Else empty.
  std::string cause;
  std::string text;  // a sentence for people
};

// One output that both sides have.
struct OutputPair {
  torch::Tensor expected;
  torch::Tensor actual;  // in the shape of `expected`
};

struct DiagnosedRow {
  std::string name;
  bool equal = false;   // every bit
  bool within = false;  // its tolerance
  std::string problem;  // why there are no values to compare, else empty
};

struct DiagnosisInputs {
  const Reference& reference;
  Wav2Vec2BertConfig config;       // of the reference's model
  std::vector<DiagnosedRow> rows;  // in forward order
  double tolerance = 0.0;          // scaled as in ParityTolerance
  std::function<OutputPair(const std::string& row)> read;
  // A parameter of the model by HF's name; undefined where it is not at hand.
  std::function<torch::Tensor(const std::string& parameter)> parameter;
};

Diagnosis diagnose(const DiagnosisInputs& inputs);

}  // namespace w2vbert::tool
