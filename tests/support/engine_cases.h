// Models and clips that every engine has to compute as the mirror does, and checks that every
// engine has to pass.
#pragma once

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "support/namespaces.h"
#include "support/random_parameters.h"
#include "w2vbert/engine/engine.h"
#include "w2vbert/nn/encoder_layer.h"

namespace w2vbert::testing {

// The limit for float32 states, relative to max(1, |x|): docs/numerics.md has what was measured.
inline constexpr double kTolerance = 2e-5;

inline double difference(const torch::Tensor& fused, const torch::Tensor& mirror) {
  const auto error = (fused - mirror).abs() / torch::clamp_min(mirror.abs(), 1.0);
  return error.max().item<double>();
}

inline Wav2Vec2BertModel model_of(const Wav2Vec2BertConfig& config, std::uint64_t seed) {
  torch::manual_seed(seed);
  Wav2Vec2BertModel model(config);
  randomize_parameters(*model, seed);
  model->eval();
  return model;
}

inline Wav2Vec2BertConfig small_engine_config() {
  Wav2Vec2BertConfig config;
  config.hidden_size = 48;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 4;
  config.intermediate_size = 72;
  config.vocab_size = 30;
  return config;
}

inline Wav2Vec2BertConfig random_config(std::mt19937& random) {
  const auto one_of = [&](std::vector<std::int64_t> values) {
    return values[random() % values.size()];
  };
  Wav2Vec2BertConfig config;
  config.num_attention_heads = one_of({1, 2, 3, 4, 8});
  // Not a few channels: a LayerNorm over them divides by differences that are mostly rounding.
  config.hidden_size = config.num_attention_heads * one_of({16, 18, 20, 64, 72});
  config.num_hidden_layers = one_of({1, 2, 4});
  config.intermediate_size = one_of({8, 60, 64, 130, 512, 1040});
  config.conv_depthwise_kernel_size = one_of({1, 3, 7, 31});
  config.left_max_position_embeddings = one_of({0, 3, 64, 200});
  config.right_max_position_embeddings = one_of({0, 1, 8, 90});
  config.feature_projection_input_dim = one_of({32, 160});
  config.layer_norm_eps = random() % 2 ? 1e-5 : 1e-3;
  if (random() % 4 == 0) config.position_embeddings_type.reset();
  return config;
}

inline EngineClip random_clip(std::mt19937& random, std::int64_t frames, std::int64_t features) {
  EngineClip clip{torch::randn({frames, features}), {}};
  switch (random() % 5) {
    case 0:  // holes
      clip.attention_mask = torch::rand({frames}).gt(0.3).to(torch::kLong);
      break;
    case 1:  // padding behind, as the extractor leaves it
      clip.attention_mask = torch::ones({frames}, torch::kLong);
      clip.attention_mask.slice(0, frames - frames / 3).zero_();
      break;
    case 2:
      clip.attention_mask = torch::ones({frames}, torch::kLong);
      break;
    default:
      break;
  }
  return clip;
}

inline std::vector<EngineClip> random_clips(std::mt19937& random, std::int64_t features) {
  std::vector<EngineClip> clips;
  const auto count = 1 + random() % 4;
  for (std::size_t i = 0; i < count; ++i) {
    const std::int64_t frames = 1 + static_cast<std::int64_t>(random() % (i == 0 ? 1300 : 150));
    clips.push_back(random_clip(random, frames, features));
  }
  return clips;
}

inline std::vector<StateId> all_states(std::int64_t layers) {
  std::vector<StateId> states;
  for (std::int64_t state = 0; state <= layers; ++state) states.emplace_back(state);
  return states;
}

inline double cosine(const torch::Tensor& one, const torch::Tensor& other) {
  return torch::cosine_similarity(one.flatten().to(torch::kDouble),
                                  other.flatten().to(torch::kDouble), 0)
      .item<double>();
}

inline std::vector<Wav2Vec2BertConfig> adapter_configs() {
  auto plain = small_engine_config();
  plain.add_adapter = true;
  auto two_layers = plain;
  two_layers.num_adapter_layers = 2;
  two_layers.use_intermediate_ffn_before_adapter = true;
  auto narrow = plain;
  narrow.output_hidden_size = 36;
  narrow.adapter_kernel_size = 5;
  narrow.adapter_stride = 3;
  narrow.adapter_act = "gelu";
  narrow.attn_implementation = "eager";
  auto long_kernel = plain;
  long_kernel.adapter_kernel_size = 8;
  long_kernel.adapter_stride = 1;
  auto learnt_activation = plain;
  learnt_activation.adapter_act = "prelu";
  return {plain, two_layers, narrow, long_kernel, learnt_activation};
}

// What every engine has to do, of small_engine_config()'s model.

// NaN and large values in padding frames change no bit of any state.
inline void expect_nothing_out_of_padding(Engine& engine) {
  EngineClip clip{torch::randn({90, 160}), torch::ones({90}, torch::kLong)};
  clip.attention_mask.slice(0, 80).zero_();
  clip.attention_mask.slice(0, 20, 25).zero_();
  const auto states = all_states(engine.num_hidden_layers());
  const auto before = engine.compute({clip}, states).front().states;
  const auto padded = clip.attention_mask.eq(0);
  for (const float poison :
       {std::numeric_limits<float>::quiet_NaN(), 1e30f, -std::numeric_limits<float>::infinity()}) {
    clip.input_features.index_put_({padded}, torch::full({1}, poison));
    const auto after = engine.compute({clip}, states).front().states;
    for (std::size_t state = 0; state < states.size(); ++state) {
      EXPECT_TRUE(torch::equal(after[state], before[state])) << poison << ", state " << state;
    }
  }
}

// It asks more than `steps_of_a_layer` times a layer, stops at any of them, and works afterwards.
inline void expect_stops_when_asked(Engine& engine, int steps_of_a_layer) {
  const std::vector<EngineClip> clips = {{torch::randn({40, 160}), torch::Tensor()}};
  const auto before = engine.compute(clips, {3}).front().states.front();
  int steps = 0;
  engine.interrupt_when([&] { return ++steps < 0; });
  (void)engine.compute(clips, {3});
  const int all = steps;
  EXPECT_GT(all, 3 * steps_of_a_layer);  // of three layers
  for (const int last : {1, all / 2, all}) {
    steps = 0;
    engine.interrupt_when([&] { return ++steps == last; });
    EXPECT_THROW(engine.compute(clips, {3}), Interrupted) << last;
    EXPECT_EQ(steps, last);
  }
  engine.interrupt_when({});
  EXPECT_TRUE(torch::equal(engine.compute(clips, {3}).front().states.front(), before));
}

inline Wav2Vec2BertModel model_with_a_bad_last_layer() {
  auto model = model_of(small_engine_config(), 8);
  const torch::NoGradGuard no_grad;
  model->encoder->layers[2]->as<Wav2Vec2BertEncoderLayer>()->final_layer_norm->bias.fill_(
      std::numeric_limits<float>::quiet_NaN());
  return model;
}

// The engine runs model_with_a_bad_last_layer().
inline void expect_no_last_layer_unless_asked_for(Engine& engine) {
  const std::vector<EngineClip> clips = {{torch::randn({20, 160}), {}}};
  EXPECT_TRUE(engine.compute(clips, {2}).front().states.front().isfinite().all().item<bool>());
  EXPECT_TRUE(engine.compute(clips, {3}).front().states.front().isnan().all().item<bool>());
}

}  // namespace w2vbert::testing
