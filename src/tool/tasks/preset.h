// What known projects do with this encoder.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tool/tasks/audio_choice.h"
#include "w2vbert/audio/audio_file.h"

namespace w2vbert::tool {

// A recipe from an audio file to the rows that a project takes from the encoder. The steps behind
// the states come in the order of the members.
struct Preset {
  std::string_view name;
  std::string_view summary;    // for the help
  AudioOptions audio;          // the way from the file to what the feature extractor gets
  bool attention_mask = true;  // whether the model gets the extractor's
  std::string_view states;     // as --states has them
  bool stats = false;          // whether (x - mean) / sqrt(var) follows; then --stats is needed
  bool layer_norm = false;     // of each row, without weights
  std::int64_t pool = 1;       // frames whose mean is one row
  double rows_per_second = 0;  // to so many rows a second the nearest ones are taken; 0: all
};

const std::vector<Preset>& presets();
// Throws UsageError for an unknown name.
const Preset& preset_named(const std::string& name);

// `audio` with the preset's way from the file to the feature extractor; what no preset chooses
// stays.
AudioOptions with_way_of(const Preset& preset, AudioOptions audio);

// What was asked for beside a preset; what was not given is absent.
struct BesidePreset {
  std::string states, state_weights, stats;
  std::optional<AudioOptions::Resampler> resampler;
  std::optional<ChannelChoice> channels;
};
// Throws UsageError where that says another thing than the preset, or lacks what it needs.
void check_beside(const Preset& preset, const BesidePreset& given);

}  // namespace w2vbert::tool
