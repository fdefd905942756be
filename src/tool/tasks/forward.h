// Tensors in, HuggingFace's output fields out.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/safetensors_writer.h"
#include "tool/tasks/extraction.h"
#include "w2vbert/checkpoint/load.h"

namespace w2vbert::tool {

struct ForwardRequest {
  ModelRequest model;
  std::string input;
  std::string output;
  bool output_hidden_states = false;
  bool output_attentions = false;
};

struct ForwardSummary {
  std::string architecture;
  EngineChoice engine;
  std::string attn_implementation;   // "sdpa" or "eager"
  std::vector<std::string> outputs;  // names of the tensors written
  double load_seconds = 0;
  double compute_seconds = 0;
  LoadReport report;
};

// Runs the class that config.json names in architectures[0] (models/any_model.h) in eval mode on
// the tensors of `input` (input_features (B, T, F), cast to the computation dtype; optional
// attention_mask (B, T); mask_time_indices (B, T) for the base model, labels as HF takes them for
// the others; those of one clip, (T, F) and so on, are a batch of one) and writes what it returns
// under HF's names, with labels also the loss. Throws ConfigError, CheckpointError; UsageError for
// an input tensor that is missing, unknown or does not fit; RangeError for an output that is beyond
// the computation dtype; StorageError, before the model is loaded if the place is bad.
ForwardSummary run_forward(const ForwardRequest& request);

}  // namespace w2vbert::tool
