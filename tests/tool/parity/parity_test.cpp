// The mirror against transformers itself: each submodule fed with PyTorch's input for it, bottom
// up, and the whole chain fed from the start. W2VBERT_FIXTURES names the folder that
// tests/tool/parity/export_suite.py has filled.
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <fstream>

#include "tool/parity/fixture.h"
#include "tool/parity/parity.h"
#include "w2vbert/checkpoint/load.h"
#include "w2vbert/models/semantic_encoder.h"

namespace w2vbert::tool::testing {
namespace {

// The values of the fixtures were computed by the same LibTorch on this machine, so the limit is 0
// bits; the committed golden fixtures come from another machine and have a tolerance.
bool golden() { return std::getenv("W2VBERT_GOLDEN") != nullptr; }
// Measured between AVX2 and AVX-512, one and two threads: up to 2e-6 a layer.
double tolerance() { return golden() ? 2e-5 : 0.0; }

std::string line_of(const ParityRow& row) {
  if (!row.error.empty()) return row.name + ": " + row.error;
  if (!row.comparison.same_shape) return row.name + ": another shape";
  return row.name + ": " + std::to_string(row.comparison.differing) + " of " +
         std::to_string(row.comparison.values) + " values differ, by up to " +
         std::to_string(row.comparison.largest) + ", " + std::to_string(row.comparison.ulps) +
         " ULPs";
}

std::vector<std::string> lines_outside(const std::vector<ParityRow>& rows) {
  std::vector<std::string> lines;
  for (const ParityRow& row : rows) {
    if (!row.within) lines.push_back(line_of(row));
  }
  return lines;
}

ParityResult check(const Case& one, bool modules, bool chain) {
  at::set_num_threads(one.reference.threads());
  ParityOptions options;
  options.load.dtype = one.reference.dtype();
  options.load.attn_implementation = one.reference.setting("attn_implementation");
  options.tolerance = tolerance();
  options.modules = modules;
  options.chain = chain;
  return check_parity(one.model_directory, one.reference, options);
}

class Parity : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* root = std::getenv("W2VBERT_FIXTURES");
    ASSERT_NE(root, nullptr) << "set W2VBERT_FIXTURES to a folder made by export_suite.py";
    cases_ = read_cases(root);
    ASSERT_FALSE(cases_.empty()) << root;
  }

  std::vector<Case> cases_;
};

TEST_F(Parity, EverySubmoduleGivesPyTorchsBitsForPyTorchsInput) {
  std::size_t compared = 0;
  for (const Case& one : cases_) {
    const ParityResult result = check(one, /*modules=*/true, /*chain=*/false);
    compared += result.modules.size();
    EXPECT_THAT(lines_outside(result.modules), ::testing::IsEmpty()) << one.name;
    EXPECT_THAT(result.missing, ::testing::IsEmpty()) << one.name;
    for (const std::string& name : result.not_compared) {
      EXPECT_THAT(name, ::testing::ContainsRegex("drop|^encoder$|^wav2vec2_bert(.encoder)?$"))
          << one.name;
    }
  }
  std::cout << compared << " module outputs of " << cases_.size() << " cases compared\n";
  EXPECT_GT(compared, 0U);
}

TEST_F(Parity, TheWholeModelAndItsGradientsGivePyTorchsBits) {
  std::size_t compared = 0;
  std::size_t gradients = 0;
  for (const Case& one : cases_) {
    const ParityResult result = check(one, /*modules=*/false, /*chain=*/true);
    compared += result.chain.size();
    gradients += result.gradients.size();
    EXPECT_FALSE(result.chain.empty()) << one.name;
    EXPECT_EQ(result.gradients.empty(), !one.reference.flag("grad")) << one.name;
    EXPECT_THAT(lines_outside(result.chain), ::testing::IsEmpty()) << one.name;
    EXPECT_THAT(lines_outside(result.gradients), ::testing::IsEmpty()) << one.name;
  }
  std::cout << compared << " outputs and " << gradients << " gradients of " << cases_.size()
            << " cases compared\n";
}

TEST_F(Parity, NamesAndShapesAreThoseOfTheCheckpointThatTransformersSaved) {
  for (const Case& one : cases_) {
    const auto checkpoint = Checkpoint::open(one.model_directory);
    const AnyModel model(Wav2Vec2BertConfig::from_pretrained(one.model_directory));
    const auto report = compare_state_dict(*model, checkpoint);
    EXPECT_THAT(report.missing, ::testing::IsEmpty()) << one.name;
    EXPECT_THAT(report.unexpected, ::testing::IsEmpty()) << one.name;
    EXPECT_THAT(report.mismatched, ::testing::IsEmpty()) << one.name;
    EXPECT_EQ(static_cast<std::size_t>(report.loaded), checkpoint.tensors().size());
  }
}

TEST_F(Parity, TheSameSeedGivesTheSameNewWeightsAsInPython) {
  if (golden()) GTEST_SKIP() << "random numbers are compared with this machine's PyTorch";
  int compared = 0;
  for (const Case& one : cases_) {
    std::ifstream seed_file(one.model_directory + "/seed.txt");
    std::uint64_t seed = 0;
    if (!(seed_file >> seed)) continue;  // this model's weights are not as they were initialised
    ++compared;
    torch::manual_seed(seed);
    const AnyModel model(Wav2Vec2BertConfig::from_pretrained(one.model_directory));
    const auto checkpoint = Checkpoint::open(one.model_directory);
    for (const auto& parameter : model->named_parameters()) {
      EXPECT_TRUE(parameter.value().equal(checkpoint.read(parameter.key())))
          << one.model_directory << ": " << parameter.key();
    }
  }
  EXPECT_GT(compared, 0);
}

TEST_F(Parity, StoppingEarlyGivesTheSameBitsAsRunningAllLayers) {
  for (const Case& one : cases_) {
    const Reference& reference = one.reference;
    if (reference.flag("train")) continue;
    at::set_num_threads(reference.threads());
    const torch::AutoGradMode grad(reference.flag("grad"));
    auto model = one.load<Wav2Vec2BertModel>();
    const auto inputs = reference.inputs();
    // The adapter's output takes the place of the encoder's last state, which stopping gives.
    const std::int64_t replaced =
        model->config.add_adapter && model->config.ties_last_hidden_state() ? 1 : 0;
    for (std::int64_t state = 0; state <= model->config.num_hidden_layers - replaced; ++state) {
      ForwardOptions options;
      options.stop_after = state;
      const std::string name = "hidden_states." + std::to_string(state);
      const auto found = [&] {
        const auto output = model->forward(inputs.input_features, inputs.attention_mask,
                                           inputs.mask_time_indices, options);
        return lines_outside(
            {row_of(name, output.last_hidden_state.detach(), reference.output(name), tolerance())});
      };
      // A difference that the same model does not make again is not one of its arithmetic.
      EXPECT_THAT(found(), ::testing::IsEmpty())
          << one.name << ", and once more: " << ::testing::PrintToString(found());
    }
  }
}

TEST_F(Parity, TheSemanticEncoderIsANormalisedState) {
  const auto found = std::find_if(cases_.begin(), cases_.end(), [](const Case& candidate) {
    return !candidate.reference.flag("train") && !candidate.reference.flag("grad");
  });
  ASSERT_NE(found, cases_.end());
  const Reference& reference = found->reference;
  at::set_num_threads(reference.threads());
  auto model = found->load<Wav2Vec2BertModel>();
  const auto width = model->config.hidden_size;
  const auto mean = torch::randn({width}).to(reference.dtype());
  const auto var = (torch::rand({width}) + 0.5).to(reference.dtype());
  SemanticEncoder encoder(model, mean, var, 1);
  const auto inputs = reference.inputs();
  const auto state = reference.output("hidden_states.1");
  const auto ours = encoder->encode(inputs.input_features, inputs.attention_mask);
  const auto row = row_of("normalised", ours, (state - mean) / torch::sqrt(var), tolerance());
  EXPECT_THAT(lines_outside({row}), ::testing::IsEmpty()) << found->name;
}

}  // namespace
}  // namespace w2vbert::tool::testing
