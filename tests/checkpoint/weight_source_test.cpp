#include "w2vbert/checkpoint/weight_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <memory>
#include <string>
#include <vector>

#include "checkpoint/safetensors_writer.h"
#include "checkpoint/state_dict.h"
#include "support/temporary_directory.h"
#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/checkpoint/load.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAreArray;

std::vector<float> rows_of(const WeightSource& source, const std::string& name, std::int64_t first,
                           std::int64_t count) {
  const auto& shape = source.find(name)->shape;
  const auto width = c10::multiply_integers(shape) / shape[0];
  std::vector<float> rows(static_cast<std::size_t>(count * width));
  source.read_rows(name, first, count, rows.data());
  return rows;
}

// The same weights in a module, in a file under its names, and in a file under others.
class WeightSourceTest : public ::testing::TestWithParam<torch::ScalarType> {
 protected:
  WeightSourceTest() {
    torch::manual_seed(17);
    module_->push_back(torch::nn::Linear(6, 7));
    module_->push_back(torch::nn::Conv1d(torch::nn::Conv1dOptions(4, 5, 3).bias(false)));
    const torch::NoGradGuard no_grad;
    for (auto& parameter : module_->parameters()) parameter.normal_();
    module_->to(GetParam());
    NamedTensors plain, prefixed;
    for (const auto& [name, tensor] : state_dict_of(*module_)) {
      plain.emplace_back(name, tensor.detach());
      prefixed.emplace_back("whole.wav2vec2_bert." + name, tensor.detach());
    }
    prefixed.emplace_back("other", torch::ones({2}));
    write_safetensors(directory_ / "plain", plain);
    write_safetensors(directory_ / "prefixed", prefixed);
    sources_ = {
        std::make_shared<ModuleWeights>(*module_),
        std::make_shared<Checkpoint>(Checkpoint::open(directory_ / "plain")),
        std::make_shared<MatchedWeights>(
            *module_, std::make_shared<Checkpoint>(Checkpoint::open(directory_ / "plain"))),
        std::make_shared<MatchedWeights>(
            *module_, std::make_shared<Checkpoint>(Checkpoint::open(directory_ / "prefixed")),
            LoadOptions{.prefix = "whole"})};
  }

  TemporaryDirectory directory_;
  torch::nn::Sequential module_;
  std::vector<std::shared_ptr<const WeightSource>> sources_;
};

TEST_P(WeightSourceTest, GivesEqualValuesWhereverTheyLie) {
  for (const auto& source : sources_) {
    EXPECT_THAT(source->names(), UnorderedElementsAreArray({"0.weight", "0.bias", "1.weight"}));
    for (const auto& [name, tensor] : state_dict_of(*module_)) {
      ASSERT_NE(source->find(name), nullptr) << name;
      EXPECT_EQ(source->find(name)->shape, tensor.sizes().vec());
      EXPECT_EQ(source->find(name)->dtype_name, sources_.front()->find(name)->dtype_name);
      for (const auto type : {torch::kFloat, torch::kBFloat16, torch::kHalf, torch::kDouble}) {
        const auto values = torch::empty(tensor.sizes(), type);
        source->read(name, values);
        EXPECT_TRUE(torch::equal(values, tensor.to(type))) << name << " as " << type;
      }
      const auto wide = tensor.detach().to(torch::kFloat);
      for (std::int64_t first = 0; first <= tensor.size(0); ++first) {
        for (std::int64_t count = 0; first + count <= tensor.size(0); ++count) {
          const auto expected = wide.narrow(0, first, count).contiguous();
          const float* values = expected.const_data_ptr<float>();
          EXPECT_EQ(rows_of(*source, name, first, count),
                    std::vector<float>(values, values + expected.numel()))
              << name << ", rows from " << first;
        }
      }
    }
  }
}

TEST_P(WeightSourceTest, RefusesRowsShapesAndNamesThatAreNotThere) {
  for (const auto& source : sources_) {
    std::vector<float> room(100);
    for (const auto& [first, count] : {std::pair<std::int64_t, std::int64_t>{-1, 1},
                                       {0, 8},
                                       {7, 1},
                                       {0, -1},
                                       {INT64_MAX, 1},
                                       {1, INT64_MAX}}) {
      EXPECT_THROW(source->read_rows("0.weight", first, count, room.data()), c10::ValueError)
          << first << ", " << count;
    }
    EXPECT_THROW(source->read("0.weight", torch::empty({6, 7})), c10::ValueError);
    EXPECT_THROW(source->read("0.weight", torch::Tensor()), c10::ValueError);
    EXPECT_EQ(source->find("2.weight"), nullptr);
    EXPECT_THROW(source->read("2.weight", torch::empty({7, 6})), CheckpointError);
    EXPECT_THROW(source->read_rows("2.weight", 0, 1, room.data()), CheckpointError);
  }
}

INSTANTIATE_TEST_SUITE_P(All, WeightSourceTest,
                         ::testing::Values(torch::kFloat, torch::kBFloat16, torch::kHalf),
                         [](const auto& of) { return std::string(c10::toString(of.param)); });

struct Whole : torch::nn::Module {
  Whole() { register_module("wav2vec2_bert", torch::nn::Linear(2, 3)); }
};

TEST(MatchedWeights, NamesTheTensorsAsTheModuleDoes) {
  const TemporaryDirectory directory;
  write_safetensors(directory / "base", {{"bias", torch::randn({3})},
                                         {"weight", torch::randn({3, 2})},
                                         {"further", torch::randn({1})}});
  const auto file = std::make_shared<Checkpoint>(Checkpoint::open(directory / "base"));
  const MatchedWeights headed(Whole(), file);
  EXPECT_THAT(headed.names(),
              UnorderedElementsAreArray({"wav2vec2_bert.weight", "wav2vec2_bert.bias"}));
  EXPECT_EQ(headed.name_in_source("wav2vec2_bert.bias"), "bias");
  EXPECT_THAT(headed.report().unexpected, ElementsAre("further"));
  EXPECT_EQ(headed.find("weight"), nullptr);
  EXPECT_EQ(headed.find("further"), nullptr);
  EXPECT_EQ(rows_of(headed, "wav2vec2_bert.weight", 1, 2), rows_of(*file, "weight", 1, 2));
  EXPECT_EQ(headed.path(), file->path());
}

TEST(ModuleWeights, SaysWhichModuleLacksAName) {
  torch::nn::Linear module(2, 3);
  try {
    ModuleWeights(*module).read("scale", torch::empty({3}));
    FAIL();
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), HasSubstr("scale: is not in the module"));
    EXPECT_THAT(error.what(), HasSubstr("LinearImpl"));
  }
}

TEST(ModuleWeights, ReadsWhatIsInTheModuleNow) {
  torch::nn::Linear module(2, 3);
  const ModuleWeights weights(*module);
  {
    const torch::NoGradGuard no_grad;
    module->weight.fill_(5);
  }
  EXPECT_EQ(rows_of(weights, "weight", 1, 1), (std::vector<float>{5, 5}));
}

}  // namespace
}  // namespace w2vbert::testing
