// Runs without a model: a directory, a list of clips and what is "computed" for them.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tool/corpus/input_list.h"
#include "tool/store/outputs.h"

namespace w2vbert::tool::testing {

inline const OutputContent kContent{{"state"}, {}, 50.0};

// `count` inputs: /in/clip-0.wav and so on.
inline InputList made_inputs(std::size_t count) {
  InputList inputs("/");
  for (std::size_t i = 0; i < count; ++i) inputs.add("/in/clip-" + std::to_string(i) + ".wav");
  if (count == 1) inputs.add("/in/other.wav");
  inputs.finish();
  return inputs;
}

// Makes clip `index`'s: `index` + 2 rows of two numbers, which no other clip has; a second of audio
// a row.
inline Output made_output(const InputList& inputs, const Outputs& outputs, std::size_t index) {
  Output output;
  output.index = index;
  const auto rows = static_cast<std::int64_t>(index) + 2;
  output.report.path = inputs.path(index);
  output.report.name = inputs.name(index);
  output.report.output = outputs.path_of(index);
  output.report.frames = rows;
  output.report.samples = 16000 * rows;
  output.report.sample_rate_hz = 16000;
  output.report.source_sample_rate_hz = 44100;
  output.report.source_channels = 2;
  output.report.audio_seconds = static_cast<double>(rows);
  output.tensors.emplace_back(
      "state",
      (at::arange(2 * rows, at::kFloat) + 100 * static_cast<double>(index)).view({rows, 2}));
  return output;
}

inline Fingerprint made_run(std::size_t shard_size = 0) {
  Fingerprint run{{{"model", "abc"}}};
  add_shard_size(run, shard_size);
  return run;
}

}  // namespace w2vbert::tool::testing
