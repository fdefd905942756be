// The mirror against transformers itself: each submodule fed with PyTorch's input for it, bottom up,
// and the whole chain fed from the start. W2VBERT_FIXTURES names the folder that
// scripts/export_parity_fixtures.py has filled.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "fixture.h"
#include "w2vbert/models/semantic_encoder.h"

namespace w2vbert::testing {
namespace {

// The values of the fixtures were computed by the same LibTorch on this machine, so the limit is 0
// bits; the committed golden fixtures come from another machine and have a tolerance.
struct Tolerance {
  double absolute;
  bool bits;
};
Tolerance tolerance() {
  const char* golden = std::getenv("W2VBERT_GOLDEN");
  // Measured between AVX2 and AVX-512, one and two threads: up to 2e-6 a layer.
  return golden ? Tolerance{2e-5, false} : Tolerance{0.0, true};
}

class Parity : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* root = std::getenv("W2VBERT_FIXTURES");
    ASSERT_NE(root, nullptr) << "set W2VBERT_FIXTURES to a folder made by export_parity_fixtures.py";
    cases_ = read_cases(root);
    ASSERT_FALSE(cases_.empty()) << root;
  }

  std::vector<Case> cases_;
};

// Records the first and all differing outputs of one case.
class Findings {
 public:
  void compare(const std::string& what, const torch::Tensor& ours, const torch::Tensor& theirs) {
    ++compared_;
    if (!theirs.defined() || ours.sizes() != theirs.sizes()) {
      lines_.push_back(what + ": shape " + c10::str(ours.sizes()) + " against " +
                       (theirs.defined() ? c10::str(theirs.sizes()) : "nothing"));
      return;
    }
    const auto delta = difference(ours, theirs);
    const auto limit = tolerance();
    if (limit.bits ? delta.values != 0 : !(delta.largest <= limit.absolute)) {
      lines_.push_back(what + ": " + std::to_string(delta.values) + " of " +
                       std::to_string(ours.numel()) + " values differ, by up to " +
                       std::to_string(delta.largest));
    }
  }
  int compared() const { return compared_; }
  const std::vector<std::string>& lines() const { return lines_; }

 private:
  int compared_ = 0;
  std::vector<std::string> lines_;
};

TEST_F(Parity, EverySubmoduleGivesPyTorchsBitsForPyTorchsInput) {
  int compared = 0;
  for (const Case& one : cases_) {
    if (one.flag("train")) continue;  // random draws: only the whole chain can be compared
    at::set_num_threads(std::stoi(one.settings.at("threads")));
    const torch::AutoGradMode grad(one.flag("grad"));
    auto model = one.load<AnyModel>();
    Findings findings;
    for (const auto& item : model->named_modules("", /*include_self=*/false)) {
      const auto outputs = replay(*item.value(), one, item.key());
      for (std::size_t i = 0; i < outputs.size(); ++i) {
        findings.compare(item.key() + " output " + std::to_string(i), outputs[i],
                         one.tensor("modules/" + item.key() + "/output/" + std::to_string(i)));
      }
    }
    compared += findings.compared();
    EXPECT_THAT(findings.lines(), ::testing::IsEmpty()) << one.name;
  }
  std::cout << compared << " module outputs of " << cases_.size() << " cases compared\n";
  EXPECT_GT(compared, 0);
}

TEST_F(Parity, TheWholeModelGivesPyTorchsBits) {
  int compared = 0;
  for (const Case& one : cases_) {
    at::set_num_threads(std::stoi(one.settings.at("threads")));
    const torch::AutoGradMode grad(one.flag("grad"));
    auto model = one.load<AnyModel>();
    const auto seed = std::stoull(one.settings.at("seed"));
    NumpyRandom spec_augment(static_cast<std::uint32_t>(seed));
    ForwardOptions options;
    options.output_hidden_states = true;
    options.output_attentions = true;
    options.spec_augment_random = &spec_augment;
    torch::manual_seed(seed);
    const auto outputs = model.forward(one.inputs(), options);
    Findings findings;
    for (const auto& [name, output] : outputs) findings.compare(name, output, one.output(name));
    EXPECT_EQ(outputs.size(), one.output_count()) << one.name;
    compared += findings.compared();
    EXPECT_THAT(findings.lines(), ::testing::IsEmpty()) << one.name;
  }
  std::cout << compared << " tensors of " << cases_.size() << " cases compared\n";
  EXPECT_GT(compared, 0);
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
  if (!tolerance().bits) GTEST_SKIP() << "random numbers are compared with this machine's PyTorch";
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
    if (one.flag("train")) continue;
    at::set_num_threads(std::stoi(one.settings.at("threads")));
    const torch::AutoGradMode grad(one.flag("grad"));
    auto model = one.load<Wav2Vec2BertModel>();
    Findings findings;
    for (std::int64_t state = 0; state <= model->config.num_hidden_layers; ++state) {
      ForwardOptions options;
      options.stop_after = state;
      const auto output =
          model->forward(one.tensor("inputs/input_features"), one.tensor("inputs/attention_mask"),
                         one.tensor("inputs/mask_time_indices"), options);
      findings.compare("state " + std::to_string(state), output.last_hidden_state,
                       one.output("hidden_states." + std::to_string(state)));
    }
    EXPECT_THAT(findings.lines(), ::testing::IsEmpty()) << one.name;
  }
}

TEST_F(Parity, TheSemanticEncoderIsANormalisedState) {
  const auto found = std::find_if(cases_.begin(), cases_.end(), [](const Case& candidate) {
    return !candidate.flag("train") && !candidate.flag("grad");
  });
  ASSERT_NE(found, cases_.end());
  const Case& one = *found;
  at::set_num_threads(std::stoi(one.settings.at("threads")));
  auto model = one.load<Wav2Vec2BertModel>();
  const auto width = model->config.hidden_size;
  const auto mean = torch::randn({width}).to(one.dtype());
  const auto var = (torch::rand({width}) + 0.5).to(one.dtype());
  SemanticEncoder encoder(model, mean, var, 1);
  const auto state = one.output("hidden_states.1");
  Findings findings;
  findings.compare("state 1", encoder->encode(one.tensor("inputs/input_features"),
                                              one.tensor("inputs/attention_mask")),
                   (state - mean) / torch::sqrt(var));
  EXPECT_THAT(findings.lines(), ::testing::IsEmpty()) << one.name;
}

}  // namespace
}  // namespace w2vbert::testing
