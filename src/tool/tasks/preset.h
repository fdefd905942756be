// What known projects do with this encoder.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "w2vbert/audio/audio_file.h"

namespace w2vbert::tool {

// A recipe from an audio file to the rows that a project takes from the encoder.
struct Preset {
  std::string_view name;
  std::string_view summary;    // for the help
  AudioOptions audio;          // the way from the file to what the feature extractor gets
  bool attention_mask = true;  // whether the model gets the extractor's
  std::int64_t state = 0;      // as HF numbers hidden_states
  bool stats = false;          // whether (x - mean) / sqrt(var) follows; then --stats is needed
  std::int64_t pool = 1;       // frames whose mean is one row, after that
};

const std::vector<Preset>& presets();

// `audio` with the preset's way from the file to the feature extractor; what no preset chooses
// stays.
AudioOptions with_way_of(const Preset& preset, AudioOptions audio);

}  // namespace w2vbert::tool
