// What is asked of an engine, checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "w2vbert/engine/engine.h"

namespace w2vbert {

struct WantedStates {
  // Numbers of hidden_states, one for each wanted state: last_hidden_state is made from the last.
  std::vector<std::int64_t> numbers;
  std::vector<std::int64_t> ascending;  // the same, each once
};

// Why an engine that adds biases by distance alone cannot run a model of that config, or nothing
// when it can: its position embeddings are of another kind.
std::optional<std::string> unsupported_positions(const Wav2Vec2BertConfig& config);

// Throws UsageError for a state that a model of `layers` layers does not have.
WantedStates sort_out(const std::vector<StateId>& wanted, std::int64_t layers);

// Throws c10::ValueError for what is not one clip of a model that takes `width` features a frame.
void check_clip(const EngineClip& clip, std::int64_t width);

}  // namespace w2vbert
