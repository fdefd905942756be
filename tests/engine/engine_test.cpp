#include "engine/reference_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "engine/reference_memory.h"
#include "support/random_parameters.h"
#include "support/resident_memory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

class ReferenceEngineTest : public ::testing::Test {
 protected:
  ReferenceEngineTest() {
    Wav2Vec2BertConfig config;
    config.hidden_size = 32;
    config.num_hidden_layers = 3;
    config.num_attention_heads = 4;
    config.intermediate_size = 48;
    torch::manual_seed(5);
    model_ = Wav2Vec2BertModel(config);
    randomize_parameters(*model_, 5);
    model_->eval();
  }
  static EngineClip clip(std::int64_t frames) {
    EngineClip made{torch::randn({frames, 160}), torch::ones({frames}, torch::kLong)};
    made.attention_mask[frames - 1] = 0;  // the odd last frame that the extractor pads
    return made;
  }
  std::vector<torch::Tensor> states_of_model(const EngineClip& of) {
    const torch::NoGradGuard no_grad;
    ForwardOptions options;
    options.output_hidden_states = true;
    return *model_
                ->forward(of.input_features.unsqueeze(0), of.attention_mask.unsqueeze(0), {},
                          options)
                .hidden_states;
  }
  Wav2Vec2BertModel model_{nullptr};
};

TEST_F(ReferenceEngineTest, RefusesWhatMemoryDoesNotHoldBeforeAnyWork) {
  ReferenceEngine engine(model_);
  constexpr std::int64_t kFrames = std::int64_t{1} << 34;
  try {
    engine.compute({{torch::zeros({1, 160}).expand({kFrames, 160}), {}}}, {1});
    FAIL() << "accepted";
  } catch (const c10::OutOfMemoryError& error) {
    EXPECT_THAT(error.what_without_backtrace(),
                AllOf(HasSubstr("1 x 17179869184 frames need at least "),
                      HasSubstr(" MB of memory, "), HasSubstr(" are there")));
  }
  EXPECT_THAT(engine.compute({clip(9)}, {1}), SizeIs(1));
}

#ifndef __SANITIZE_ADDRESS__  // which keeps memory of its own for each byte
// What is refused would not have fitted.
TEST(ReferenceMemory, IsLessThanAForwardTakes) {
  const torch::NoGradGuard no_grad;
  constexpr std::int64_t kFrames = 1200;
  int counted = 0;
  for (const char* positions : {"relative_key", "relative", "rotary", ""}) {
    for (const char* attention : {"eager", "sdpa"}) {
      for (const std::int64_t heads : {2, 16}) {
        Wav2Vec2BertConfig config;
        config.hidden_size = 128;
        config.num_hidden_layers = 1;
        config.intermediate_size = 16;
        config.num_attention_heads = heads;
        config.position_embeddings_type = positions;
        if (*positions == 0) config.position_embeddings_type.reset();
        config.attn_implementation = attention;
        Wav2Vec2BertModel model(config);
        model->eval();
        const auto features = torch::randn({1, kFrames, 160});
        model->forward(features.narrow(1, 0, 40));  // what each process and thread takes once
        if (!forget_peak()) GTEST_SKIP() << "the peak cannot be reset here";
        const std::int64_t before = resident("VmRSS");
        model->forward(features);
        const std::int64_t taken = resident("VmHWM") - before;
        const std::int64_t least = min_reference_bytes(config, 1, kFrames, torch::kFloat);
        const std::string name = std::string(positions) + " " + attention + " " +
                                 std::to_string(heads) + ": " + std::to_string(least) + " of " +
                                 std::to_string(taken);
        EXPECT_LE(least, taken) << name;
        if (least == 0) continue;
        EXPECT_GE(least, taken / 5) << name;
        ++counted;
      }
    }
  }
  EXPECT_EQ(counted, 12);
}
#endif

TEST(ReferenceMemory, HasSizesBeyondAnyNumber) {
  Wav2Vec2BertConfig config;
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(min_reference_bytes(config, most, most, torch::kFloat), most);
  EXPECT_EQ(min_reference_bytes(config, 1, 1000, torch::kBFloat16), 1000 * 1000 * (16 + 64) * 2);
}

TEST_F(ReferenceEngineTest, GivesTheAskedStatesInTheirOrder) {
  ReferenceEngine engine(model_);
  EXPECT_EQ(engine.num_hidden_layers(), 3);
  const EngineClip one = clip(9);
  const auto all = states_of_model(one);
  const auto states = engine.compute({one}, {3, 0, StateId::last_hidden_state(), 1});
  ASSERT_THAT(states, SizeIs(1));
  ASSERT_THAT(states[0].states, SizeIs(4));
  EXPECT_TRUE(torch::equal(states[0].states[0], all[3][0]));
  EXPECT_TRUE(torch::equal(states[0].states[1], all[0][0]));
  EXPECT_TRUE(torch::equal(states[0].states[2], all[3][0]));
  EXPECT_TRUE(torch::equal(states[0].states[3], all[1][0]));
  EXPECT_EQ(states[0].states[0].sizes(), (std::vector<std::int64_t>{9, 32}));
  EXPECT_FALSE(states[0].states[0].requires_grad());
}

TEST_F(ReferenceEngineTest, GivesEachClipTheRowsItHasAlone) {
  ReferenceEngine engine(model_);
  const std::vector<EngineClip> clips = {clip(5), clip(12), clip(2)};
  const auto together = engine.compute(clips, {2, 3});
  for (std::size_t i = 0; i < clips.size(); ++i) {
    const auto alone = engine.compute({clips[i]}, {2, 3});
    EXPECT_TRUE(torch::equal(together[i].states[0], alone[0].states[0]));
    EXPECT_TRUE(torch::equal(together[i].states[1], alone[0].states[1]));
    EXPECT_TRUE(torch::equal(alone[0].states[0], states_of_model(clips[i])[2][0]));
  }
}

TEST_F(ReferenceEngineTest, ComputesNoLayerThatNobodyAsksFor) {
  // Poison the last layer: a NaN would show in any state after it.
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model_->encoder->layers->children().back()->parameters()) {
      parameter.fill_(NAN);
    }
  }
  ReferenceEngine engine(model_);
  const auto states = engine.compute({clip(6)}, {2});
  EXPECT_FALSE(states[0].states[0].isnan().any().item<bool>());
  EXPECT_TRUE(engine.compute({clip(6)}, {3})[0].states[0].isnan().any().item<bool>());
  // Layers are not even run: without the last one's weights there is nothing to multiply with.
  for (auto& parameter : model_->encoder->layers->children().back()->parameters()) {
    parameter.set_data(torch::empty({0}));
  }
  EXPECT_NO_THROW(engine.compute({clip(6)}, {0, 1, 2}));
  EXPECT_ANY_THROW(engine.compute({clip(6)}, {3}));
  EXPECT_ANY_THROW(engine.compute({clip(6)}, {0, StateId::last_hidden_state()}));
}

TEST_F(ReferenceEngineTest, TakesAllFramesAsValidWithoutAMask) {
  ReferenceEngine engine(model_);
  EngineClip one = clip(6);
  one.attention_mask = torch::ones({6}, torch::kLong);
  const auto with = engine.compute({one}, {3});
  one.attention_mask = torch::Tensor();
  EXPECT_TRUE(torch::equal(with[0].states[0], engine.compute({one}, {3})[0].states[0]));
}

TEST_F(ReferenceEngineTest, CastsFeaturesToTheModelsDtype) {
  model_->to(torch::kBFloat16);
  ReferenceEngine engine(model_);
  EXPECT_EQ(engine.compute({clip(6)}, {3})[0].states[0].scalar_type(), torch::kBFloat16);
}

// Both are the mirror in float32, over other shapes: LibTorch sums the products of a larger matrix
// in another order. Over 24 layers such sums are up to 1.1e-5 off float64 (docs/numerics.md, mirror
// - float64), two of them twice that from one another; three layers have an eighth of it. The
// largest difference is a property of the test (largest_difference).
TEST_F(ReferenceEngineTest, GivesTheSameInPaddedBatchesButForRounding) {
  constexpr double kTolerance = 1e-5;
  double largest = 0;
  for (const bool with_adapter : {false, true}) {
    if (with_adapter) {
      Wav2Vec2BertConfig config = model_->config;
      config.add_adapter = true;
      config.output_hidden_size = config.hidden_size;
      model_ = Wav2Vec2BertModel(config);
      randomize_parameters(*model_, 6);
      model_->eval();
    }
    ReferenceEngine alone(model_);
    ReferenceEngine padded(model_, ReferenceEngine::Batches::padded);
    std::vector<EngineClip> clips;
    for (const std::int64_t frames : {30, 7, 33, 32, 31, 30, 8, 100}) clips.push_back(clip(frames));
    clips[2].attention_mask = torch::Tensor();
    clips[3].attention_mask = clips[3].attention_mask.to(torch::kInt);
    const std::vector<StateId> wanted = {StateId::last_hidden_state(), 0, 2, 3};
    const auto expected = alone.compute(clips, wanted);
    const auto got = padded.compute(clips, wanted);
    for (std::size_t i = 0; i < clips.size(); ++i) {
      for (std::size_t entry = 0; entry < wanted.size(); ++entry) {
        const torch::Tensor &one = got[i].states[entry], &other = expected[i].states[entry];
        ASSERT_EQ(one.sizes(), other.sizes());
        EXPECT_TRUE(torch::allclose(one, other, kTolerance, kTolerance)) << i << " " << entry;
        largest = std::max(largest, (one - other).abs().max().item<double>());
      }
    }
    // What is no number in one clip reaches no other.
    clips[4].input_features[5][3] = NAN;
    const auto poisoned = padded.compute(clips, wanted);
    for (std::size_t i = 0; i < clips.size(); ++i) {
      const bool nan = poisoned[i].states[0].isnan().any().item<bool>();
      EXPECT_EQ(nan, i == 4) << i;
    }
  }
  RecordProperty("largest_difference", ::testing::PrintToString(largest));
}

TEST_F(ReferenceEngineTest, StopsBetweenTwoClipsWhenAsked) {
  ReferenceEngine engine(model_);
  int asked = 0;
  engine.interrupt_when([&] { return ++asked > 2; });
  EXPECT_THROW(engine.compute({clip(5), clip(6), clip(7)}, {3}), Interrupted);
  EXPECT_EQ(asked, 3);
  engine.interrupt_when({});
  EXPECT_THAT(engine.compute({clip(5)}, {3}), SizeIs(1));
}

TEST_F(ReferenceEngineTest, RefusesStatesTheModelHasNot) {
  ReferenceEngine engine(model_);
  for (const std::int64_t state : {4, -1, -2, 1000}) {
    try {
      engine.compute({clip(6)}, {0, state});
      FAIL() << state;
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), HasSubstr("state " + std::to_string(state)));
      EXPECT_THAT(error.what(), HasSubstr("0 to 3"));
    }
  }
}

TEST_F(ReferenceEngineTest, KeepsTheFunctionThatAComputationBeganWith) {
  ReferenceEngine engine(model_);
  int asked = 0;
  engine.interrupt_when([&] {
    engine.interrupt_when({});
    return ++asked == 2;
  });
  EXPECT_THROW(engine.compute({clip(5), clip(6), clip(7)}, {3}), Interrupted);
  EXPECT_EQ(asked, 2);
  EXPECT_THAT(engine.compute({clip(5), clip(6), clip(7)}, {3}), SizeIs(3));
  EXPECT_EQ(asked, 2);
}

// In a padded batch a narrower clip, or a mask of one frame, would be broadcast over it.
TEST_F(ReferenceEngineTest, RefusesWhatIsNoClipOfTheModel) {
  using Batches = ReferenceEngine::Batches;
  for (const Batches batches : {Batches::one_by_one, Batches::padded}) {
    ReferenceEngine engine(model_, batches);
    const auto refuses = [&](const EngineClip& bad, const std::string& text) {
      try {
        engine.compute({clip(6), bad, clip(6)}, {3});
        ADD_FAILURE() << "accepted, expected: " << text;
      } catch (const c10::ValueError& error) {
        EXPECT_THAT(error.what_without_backtrace(), HasSubstr(text));
      }
    };
    const auto features = torch::randn({6, 160});
    refuses({features.slice(1, 0, 1), {}},
            "input_features of one clip: shape [6, 1], expected (T, 160)");
    refuses({features.slice(0, 0, 0), {}}, "shape [0, 160]");
    refuses({features.to(torch::kLong), {}}, "Long");
    refuses({features.to_sparse(), {}}, "expected a dense tensor");
    const auto mask = torch::ones({6});
    refuses({features, mask.slice(0, 0, 1)}, "attention_mask of one clip: shape [1], expected (6)");
    refuses({features, mask * 0.5}, "expected zeros and ones");
    refuses({features, mask.to(torch::kLong) * 2}, "expected zeros and ones");
    refuses({features, mask * NAN}, "expected zeros and ones");
    refuses({features, mask.to(torch::kComplexFloat)}, "ComplexFloat");
    for (const auto dtype : {torch::kFloat, torch::kBool, torch::kByte, torch::kLong}) {
      EXPECT_THAT(engine.compute({clip(6), {features, mask.to(dtype)}}, {3}), SizeIs(2)) << dtype;
    }
    EXPECT_THAT(engine.compute({clip(6), {features.to(torch::kDouble), {}}}, {3}), SizeIs(2));
  }
}

TEST_F(ReferenceEngineTest, RefusesABatchWhereAClipIsDue) {
  ReferenceEngine engine(model_);
  EngineClip one = clip(6);
  one.input_features = one.input_features.unsqueeze(0);
  EXPECT_THROW(engine.compute({one}, {0}), c10::ValueError);
  one = clip(6);
  one.attention_mask = one.attention_mask.unsqueeze(0);
  EXPECT_THROW(engine.compute({one}, {0}), c10::ValueError);
  EXPECT_THROW(engine.compute({EngineClip{}}, {0}), c10::ValueError);
}

}  // namespace
}  // namespace w2vbert::testing
