// Models, clips and comparisons for the device engine, whatever computes its steps.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "engine/device/device_engine.h"
#include "engine/device/device_model.h"
#include "support/engine_cases.h"

namespace w2vbert::testing {

// `ops`: how the steps are computed, as by itself where null.
inline DeviceEngine device_engine(Wav2Vec2BertModel model, Precision precision = Precision::float32,
                                  std::shared_ptr<const DeviceOps> ops = nullptr,
                                  std::int64_t row_multiple = 1) {
  put_on_device_engine(*model, precision);
  DeviceEncoder& encoder = *device_encoder_of(*model);
  if (ops != nullptr) encoder.set_ops(std::move(ops));
  encoder.set_row_multiple(row_multiple);
  return DeviceEngine(std::move(model));
}

// As random_config(), with what this engine takes besides.
inline Wav2Vec2BertConfig random_device_config(std::mt19937& random) {
  Wav2Vec2BertConfig config = random_config(random);
  if (random() % 3 == 0) config.hidden_act = "gelu";
  if (random() % 3 == 0) config.attn_implementation = "eager";
  if (random() % 3 == 0) {
    config.add_adapter = true;
    config.num_adapter_layers = 1 + random() % 2;
    config.use_intermediate_ffn_before_adapter = random() % 2 == 0;
  }
  return config;
}

// Clips of which the adapter leaves something.
inline std::vector<EngineClip> random_device_clips(std::mt19937& random, std::int64_t features) {
  std::vector<EngineClip> clips;
  const auto count = 1 + random() % 6;
  for (std::size_t i = 0; i < count; ++i) {
    const std::int64_t frames = 8 + static_cast<std::int64_t>(random() % (i == 0 ? 300 : 120));
    clips.push_back(random_clip(random, frames, features));
  }
  return clips;
}

inline std::vector<StateId> every_state(const Wav2Vec2BertConfig& config) {
  std::vector<StateId> states = all_states(config.num_hidden_layers);
  states.push_back(StateId::last_hidden_state());
  return states;
}

// The distance of two sets of states in Euclidean norms, over all clips.
inline double relative_error(const std::vector<ClipStates>& states,
                             const std::vector<ClipStates>& exact, std::size_t state) {
  double squares = 0, of_exact = 0;
  for (std::size_t clip = 0; clip < states.size(); ++clip) {
    const auto wide = exact[clip].states[state].to(torch::kDouble);
    const auto error = states[clip].states[state].to(torch::kDouble) - wide;
    squares += error.square().sum().item<double>();
    of_exact += wide.square().sum().item<double>();
  }
  return std::sqrt(squares / of_exact);
}

}  // namespace w2vbert::testing
