// What is not a number, infinite, very large or very small in a weight or an input: the fused
// engine shows it where the mirror does.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "engine/fused_engine.h"
#include "engine/reference_engine.h"
#include "support/engine_products.h"
#include "support/random_parameters.h"
#include "support/small_config.h"
#include "w2vbert/engine/fuse.h"

namespace w2vbert::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kTiny = 1e-40F;  // not a normal number: 1 / kTiny is infinite
constexpr float kHuge = 3e38F;
// As in fused_engine_test.cpp, but for values of up to 1e6.
constexpr double kTolerance = 1e-3;

Wav2Vec2BertConfig config_of(bool positions, bool adapter) {
  Wav2Vec2BertConfig config = small_config();
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.feature_projection_input_dim = 160;
  if (!positions) config.position_embeddings_type.reset();
  if (adapter) {
    config.add_adapter = true;
    config.use_intermediate_ffn_before_adapter = true;
    config.output_hidden_size = 28;
  }
  return config;
}

Wav2Vec2BertModel model_of(const Wav2Vec2BertConfig& config) {
  Wav2Vec2BertModel model(config);
  randomize_parameters(*model, 1);
  model->eval();
  return model;
}

// The weights whose huge values overflow on one way alone: the engine scales the queries before
// their product with the keys, the mirror behind it.
bool makes_scores(const std::string& name) {
  for (const char* part : {"self_attn_layer_norm", "linear_q", "linear_k", "distance_embedding"}) {
    if (name.find(part) != std::string::npos) return true;
  }
  return false;
}

void plant(Wav2Vec2BertModel& model, const std::string& name, std::int64_t place, float value) {
  const torch::NoGradGuard no_grad;
  for (auto& parameter : model->named_parameters()) {
    if (parameter.key() == name) parameter.value().view({-1})[place] = value;
  }
}

std::vector<StateId> wanted_of(const Wav2Vec2BertConfig& config) {
  std::vector<StateId> wanted;
  for (std::int64_t state = 0; state <= config.num_hidden_layers; ++state) {
    wanted.emplace_back(state);
  }
  if (config.add_adapter) wanted.push_back(StateId::last_hidden_state());
  return wanted;
}

// Where the mirror has a NaN, `states` have one; where its values are ordinary, theirs are finite,
// and in float32 what is infinite is so in both.
// With `nan_alone` only the first: values that overflow on the way, or nearly so, do it at another
// place in another order, and scaled_dot_product_attention gives zeros for a query whose scores are
// all NaN, where the engine gives NaN.
void expect_shown(const ClipStates& states, const ClipStates& mirror, Precision precision,
                  bool nan_alone, const std::string& about) {
  // Far below what overflows on the way; states of float16 end at 65,504.
  const double largest_ordinary = precision == Precision::float16 ? 6e4 : 1e6;
  for (std::size_t i = 0; i < mirror.states.size(); ++i) {
    const torch::Tensor got = states.states[i].to(torch::kFloat);
    const torch::Tensor expected = mirror.states[i];
    const auto at = [&] { return about + ", entry " + std::to_string(i); };
    const torch::Tensor hidden = expected.isnan().logical_and(got.isnan().logical_not());
    EXPECT_FALSE(hidden.any().item<bool>())
        << at() << ": " << hidden.sum().item<std::int64_t>() << " NaN do not show";
    if (nan_alone) continue;
    const torch::Tensor ordinary = expected.abs().lt(largest_ordinary);
    const torch::Tensor lost = ordinary.logical_and(got.isfinite().logical_not());
    EXPECT_FALSE(lost.any().item<bool>())
        << at() << ": " << lost.sum().item<std::int64_t>() << " values are lost";
    const torch::Tensor masked = expected.isinf().logical_and(got.isfinite());
    EXPECT_FALSE(masked.any().item<bool>())
        << at() << ": " << masked.sum().item<std::int64_t>() << " infinities are finite";
    if (precision != Precision::float32) continue;
    const torch::Tensor off = (got - expected).abs() / torch::clamp_min(expected.abs(), 1.0);
    const torch::Tensor worst = off.masked_select(ordinary.logical_and(lost.logical_not()));
    if (worst.numel() == 0) continue;
    EXPECT_LT(worst.max().item<double>(), kTolerance) << at();
  }
}

class ExtremeValuesIn : public InEngineProducts {
 protected:
  ExtremeValuesIn() {
    torch::manual_seed(1);
    at::set_num_threads(1);  // for clips of a few frames
  }
  ~ExtremeValuesIn() override { at::set_num_threads(threads_); }

  // Fewer where the products are slow: without instructions for them.
  static bool is_fast() { return precision() == Precision::float32; }
  static std::vector<std::int64_t> places_in(std::int64_t count) {
    if (!is_fast()) return {count - 1 - count / 5};
    return {count / 5, count - 1 - count / 5};
  }
  static std::vector<float> values() {
    if (!is_fast()) return {kNan, kTiny};
    return {kNan, kInfinity, -kInfinity, kTiny, kHuge, -kHuge};
  }

 private:
  int threads_ = at::get_num_threads();
};

TEST_P(ExtremeValuesIn, AnyWeightShowWhereTheMirrorShowsThem) {
  for (const auto& config : {config_of(true, true), config_of(false, false)}) {
    const std::vector<EngineClip> clips = {
        {torch::randn({19, 160}), {}},
        {torch::randn({9, 160}), torch::arange(9).lt(7).to(torch::kLong)}};
    const auto wanted = wanted_of(config);
    for (const auto& parameter : model_of(config)->named_parameters()) {
      if (parameter.key() == "masked_spec_embed") continue;  // of training
      const std::int64_t count = parameter.value().numel();
      for (const std::int64_t place : places_in(count)) {
        for (const float value : values()) {
          const bool overflows = std::abs(value) == kHuge;
          if (overflows && makes_scores(parameter.key())) continue;
          auto model = model_of(config);
          plant(model, parameter.key(), place, value);
          const auto mirror = ReferenceEngine(model).compute(clips, wanted);
          fuse(*model, precision());
          const auto fused = FusedEngine(std::move(model)).compute(clips, wanted);
          for (std::size_t clip = 0; clip < clips.size(); ++clip) {
            expect_shown(fused[clip], mirror[clip], precision(), overflows || std::isnan(value),
                         ::testing::PrintToString(value) + " at " + std::to_string(place) + " of " +
                             parameter.key() + ", clip " + std::to_string(clip));
          }
        }
      }
    }
  }
}

TEST_P(ExtremeValuesIn, AWholeRowOfAWeightShowWhereTheMirrorShowsThem) {
  const auto config = config_of(true, true);
  const std::vector<EngineClip> clips = {{torch::randn({19, 160}), {}}};
  const auto wanted = wanted_of(config);
  for (const auto& parameter : model_of(config)->named_parameters()) {
    if (parameter.value().dim() < 2) continue;
    for (const float value : {kNan, kTiny, -kTiny, 0.0F, 1e-38F}) {
      auto model = model_of(config);
      const std::int64_t width = parameter.value()[0].numel();
      for (std::int64_t i = 0; i < width; ++i) plant(model, parameter.key(), width + i, value);
      const auto mirror = ReferenceEngine(model).compute(clips, wanted);
      fuse(*model, precision());
      const auto fused = FusedEngine(std::move(model)).compute(clips, wanted);
      expect_shown(fused[0], mirror[0], precision(), /*nan_alone=*/std::isnan(value),
                   ::testing::PrintToString(value) + " in row 1 of " + parameter.key());
    }
  }
}

TEST_P(ExtremeValuesIn, AnInputShowWhereTheMirrorShowsThem) {
  for (const auto& config : {config_of(true, true), config_of(false, false)}) {
    auto model = model_of(config);
    const auto wanted = wanted_of(config);
    for (const float value : {kNan, kInfinity, -kInfinity, kTiny, kHuge, 1e30F, 1e6F}) {
      EngineClip clip{torch::randn({19, 160}), {}};
      clip.input_features[7][33] = value;
      const auto mirror = ReferenceEngine(model).compute({clip}, wanted);
      auto copy = model_of(config);
      fuse(*copy, precision());
      const auto fused = FusedEngine(std::move(copy)).compute({clip}, wanted);
      expect_shown(fused[0], mirror[0], precision(), std::abs(value) > 1e20F,
                   ::testing::PrintToString(value));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, ExtremeValuesIn, ::testing::ValuesIn(kEngineProducts),
                         [](const auto& of) { return name_of(of.param); });

}  // namespace
}  // namespace w2vbert::testing
