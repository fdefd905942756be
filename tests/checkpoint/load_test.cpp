#include "w2vbert/checkpoint/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/safetensors_writer.h"
#include "support/default_dtype.h"
#include "support/raw_safetensors.h"
#include "support/temporary_directory.h"
#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/core/device.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

// A base model and a head on it, in the way of HF's classes; loading knows neither.
struct BaseImpl : torch::nn::Module {
  BaseImpl() {
    embed = register_parameter("embed", torch::zeros({3}));
    dense = register_module("dense", torch::nn::Linear(4, 2));
    norm = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({2})));
  }
  torch::Tensor embed;
  torch::nn::Linear dense{nullptr};
  torch::nn::LayerNorm norm{nullptr};
};
TORCH_MODULE(Base);

struct HeadedImpl : torch::nn::Module {
  HeadedImpl() {
    wav2vec2_bert = register_module("wav2vec2_bert", Base());
    lm_head = register_module("lm_head", torch::nn::Linear(2, 5));
  }
  Base wav2vec2_bert{nullptr};
  torch::nn::Linear lm_head{nullptr};
};
TORCH_MODULE(Headed);

NamedTensors random_base(const std::string& prefix = "") {
  return {{prefix + "embed", torch::randn({3})},
          {prefix + "dense.weight", torch::randn({2, 4})},
          {prefix + "dense.bias", torch::randn({2})},
          {prefix + "norm.weight", torch::randn({2})},
          {prefix + "norm.bias", torch::randn({2})}};
}

NamedTensors joined(NamedTensors a, const NamedTensors& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

NamedTensors head() {
  return {{"lm_head.weight", torch::randn({5, 2})}, {"lm_head.bias", torch::randn({5})}};
}

class LoadStateDict : public ::testing::Test {
 protected:
  Checkpoint checkpoint(const NamedTensors& tensors) {
    const std::string path = directory_ / std::to_string(++files_);
    write_safetensors(path, tensors);
    return Checkpoint::open(path);
  }
  std::string error_of(torch::nn::Module& module, const NamedTensors& tensors,
                       const LoadOptions& options = {}) {
    std::vector<torch::Tensor> before;
    for (const auto& parameter : module.parameters()) before.push_back(parameter.detach().clone());
    std::string message = "no CheckpointError";
    try {
      load_state_dict(module, checkpoint(tensors), options);
    } catch (const CheckpointError& error) {
      message = error.what();
    }
    // All is compared before any copy.
    for (std::size_t i = 0; i < before.size(); ++i) {
      EXPECT_TRUE(torch::equal(module.parameters()[i], before[i]));
    }
    EXPECT_LT(message.size(), 2048U);
    EXPECT_THAT(message, Not(HasSubstr("\n")));
    return message;
  }
  static void expect_base(const Base& base, const NamedTensors& tensors) {
    const auto parameters = base->named_parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      EXPECT_TRUE(torch::equal(parameters[i].value(), tensors[i].second)) << parameters[i].key();
    }
  }
  TemporaryDirectory directory_;
  int files_ = 0;
};

TEST_F(LoadStateDict, FillsEveryParameterByName) {
  Base base;
  const NamedTensors tensors = random_base();
  const LoadReport report = load_state_dict(*base, checkpoint(tensors));
  expect_base(base, tensors);
  EXPECT_EQ(report.loaded, 5);
  EXPECT_TRUE(report.complete());
  EXPECT_THAT(report.warnings, IsEmpty());
  EXPECT_THAT(report.unexpected, IsEmpty());
  EXPECT_EQ(report.summary(), "5 loaded, 0 missing, 0 of another shape or dtype, 0 unexpected");
  for (const auto& parameter : base->parameters()) EXPECT_TRUE(parameter.requires_grad());
}

TEST_F(LoadStateDict, StripsTheBasePrefixForTheBaseModel) {
  Base base;
  const NamedTensors tensors = random_base("wav2vec2_bert.");
  const LoadReport report = load_state_dict(*base, checkpoint(joined(tensors, head())));
  expect_base(base, tensors);
  EXPECT_THAT(report.unexpected, UnorderedElementsAre("lm_head.weight", "lm_head.bias"));
}

TEST_F(LoadStateDict, AddsTheBasePrefixForAModelWithAHead) {
  Headed headed;
  const NamedTensors tensors = random_base();
  load_state_dict(*headed, checkpoint(joined(tensors, head())));
  expect_base(headed->wav2vec2_bert, tensors);
}

TEST_F(LoadStateDict, TakesTheNamesOfAModelWithAHeadAsTheyAre) {
  Headed headed;
  const NamedTensors tensors = random_base("wav2vec2_bert.");
  load_state_dict(*headed, checkpoint(joined(tensors, head())));
  expect_base(headed->wav2vec2_bert, tensors);
}

TEST_F(LoadStateDict, DecidesOnThePrefixKeyByKey) {
  NamedTensors tensors = random_base();
  tensors[1].first = "wav2vec2_bert.dense.weight";
  tensors[3].first = "wav2vec2_bert.norm.weight";
  Base base;
  load_state_dict(*base, checkpoint(tensors));
  expect_base(base, tensors);
  Headed headed;
  load_state_dict(*headed, checkpoint(joined(tensors, head())));
  expect_base(headed->wav2vec2_bert, tensors);
}

TEST_F(LoadStateDict, RefusesTwoTensorsForOneName) {
  Base base;
  const NamedTensors tensors =
      joined(random_base(), {{"wav2vec2_bert.dense.bias", torch::randn({2})}});
  EXPECT_THAT(error_of(*base, tensors), AllOf(HasSubstr("dense.bias is in the file twice"),
                                              HasSubstr("wav2vec2_bert.dense.bias")));
}

TEST_F(LoadStateDict, RefusesAForeignPrefixAndNamesIt) {
  for (const std::string prefix :
       {"semantic_model.", "model.", "module.", "a.b.c.", "wav2vec2_bert.wav2vec2_bert."}) {
    Base base;
    EXPECT_THAT(error_of(*base, random_base(prefix)), HasSubstr("with the prefix " + prefix));
    // Loading leniently would leave random weights only.
    EXPECT_THAT(error_of(*base, random_base(prefix), {.prefix = "", .lenient = true}),
                HasSubstr("with the prefix " + prefix));
    for (const std::string& given : {prefix, prefix.substr(0, prefix.size() - 1)}) {
      const NamedTensors tensors = random_base(prefix);
      load_state_dict(*base, checkpoint(tensors), {.prefix = given});
      expect_base(base, tensors);
    }
  }
}

TEST_F(LoadStateDict, FindsAPrefixBeforeAModelWithAHead) {
  NamedTensors tensors = joined(random_base("wav2vec2_bert."), head());
  for (auto& [name, tensor] : tensors) name = "model." + name;
  Headed headed;
  EXPECT_THAT(error_of(*headed, tensors), HasSubstr("with the prefix model."));
  load_state_dict(*headed, checkpoint(tensors), {.prefix = "model"});
  expect_base(headed->wav2vec2_bert, tensors);
}

// torch.compile and FSDP put their names in, around the whole, the base model or a part of it.
TEST_F(LoadStateDict, PassesOverTheNamesOfWrappers) {
  for (const auto& [before_base, before_head] :
       {std::pair<std::string, std::string>{"_orig_mod.wav2vec2_bert.", "_orig_mod."},
        {"wav2vec2_bert._orig_mod.", ""},
        {"_fsdp_wrapped_module.wav2vec2_bert._fsdp_wrapped_module.", "_fsdp_wrapped_module."},
        {"_orig_mod.", "_orig_mod."}}) {
    const NamedTensors base_tensors = random_base(before_base);
    NamedTensors tensors = head();
    for (auto& [name, tensor] : tensors) name = before_head + name;
    tensors = joined(base_tensors, tensors);
    for (const std::string& given : {std::string(), std::string("wav2vec2_bert._orig_mod.")}) {
      if (!given.empty() && before_base != given) continue;  // what was suggested works, too
      Headed headed;
      EXPECT_EQ(load_state_dict(*headed, checkpoint(tensors), {.prefix = given}).loaded, 7);
      expect_base(headed->wav2vec2_bert, base_tensors);
      Base base;
      load_state_dict(*base, checkpoint(base_tensors), {.prefix = given});
      expect_base(base, base_tensors);
    }
  }
  NamedTensors inside = random_base();
  inside[1].first = "dense._orig_mod.weight";
  Base base;
  load_state_dict(*base, checkpoint(inside));
  expect_base(base, inside);
}

// A prefix that is inside of the base model leaves the head where it is.
TEST_F(LoadStateDict, FindsAHeadBesideAPrefixInsideOfTheBaseModel) {
  for (const std::string before : {"", "model.", "a.b."}) {
    NamedTensors tensors = random_base(before + "wav2vec2_bert.module.");
    NamedTensors of_head = head();
    for (auto& [name, tensor] : of_head) name = before + name;
    Headed headed;
    const std::string prefix = before + "wav2vec2_bert.module.";
    EXPECT_THAT(error_of(*headed, joined(tensors, of_head)),
                HasSubstr(before.empty() ? "with the prefix " + prefix : "with the prefix "));
    const LoadReport report =
        load_state_dict(*headed, checkpoint(joined(tensors, of_head)), {.prefix = prefix});
    EXPECT_EQ(report.loaded, 7);
    expect_base(headed->wav2vec2_bert, tensors);
  }
}

TEST_F(LoadStateDict, NamesThePrefixAsTheSettingThatHelps) {
  Base base;
  try {
    load_state_dict(*base, checkpoint(random_base("semantic_model.")));
    FAIL() << "loaded";
  } catch (const CheckpointError& error) {
    EXPECT_EQ(error.setting(), "prefix semantic_model.");
  }
}

// transformers loads such a checkpoint with a warning, too.
TEST_F(LoadStateDict, InitialisesWhatOnlyTrainingUses) {
  struct Trained : torch::nn::Module {
    Trained() {
      register_parameter("masked_spec_embed", torch::full({64}, NAN));
      register_parameter("weight", torch::zeros({2}));
    }
  };
  Trained module;
  const torch::Tensor weight = torch::randn({2});
  const Checkpoint file = checkpoint({{"weight", weight}});
  const LoadReport compared = compare_state_dict(module, file);
  EXPECT_TRUE(compared.complete());
  EXPECT_THAT(compared.initialized, ElementsAre("masked_spec_embed"));
  const LoadReport report = load_state_dict(module, file);
  EXPECT_THAT(report.missing, IsEmpty());
  EXPECT_THAT(report.warnings, ElementsAre(HasSubstr("masked_spec_embed: is missing")));
  const torch::Tensor embed = module.named_parameters()["masked_spec_embed"].detach();
  EXPECT_TRUE((embed.ge(0) & embed.lt(1)).all().item<bool>());  // HF: uniform_()
  EXPECT_GT(embed.std().item<float>(), 0.1);
  EXPECT_TRUE(torch::equal(module.named_parameters()["weight"], weight));
  EXPECT_THAT(error_of(module, {{"other", weight}}), HasSubstr("weight is missing"));
}

TEST_F(LoadStateDict, SaysThatAnAdapterIsNotMerged) {
  NamedTensors tensors = random_base("base_model.model.");
  tensors[1].first = "base_model.model.dense.base_layer.weight";
  tensors.emplace_back("base_model.model.dense.lora_A.default.weight", torch::randn({1, 4}));
  Base base;
  EXPECT_THAT(error_of(*base, tensors),
              AllOf(HasSubstr("LoRA adapter"), HasSubstr("unmerged"), HasSubstr("merge_and_unload"),
                    Not(HasSubstr("with the prefix"))));
}

TEST_F(LoadStateDict, DoesNotReadWhatIsReplaced) {
  Headed headed;
  const torch::Tensor before = headed->lm_head->weight.detach().clone();
  const NamedTensors tensors = random_base();
  const LoadOptions options{.prefix = "", .replaced = {"lm_head.weight", "lm_head.bias"}};
  LoadReport report = load_state_dict(*headed, checkpoint(tensors), options);
  EXPECT_TRUE(report.complete());
  EXPECT_THAT(report.warnings, IsEmpty());
  EXPECT_THAT(report.replaced, UnorderedElementsAre("lm_head.weight", "lm_head.bias"));
  report = load_state_dict(
      *headed, checkpoint(joined(tensors, {{"lm_head.weight", torch::randn({9, 2})}})), options);
  EXPECT_THAT(report.warnings, ElementsAre(AllOf(HasSubstr("(9, 2)"), HasSubstr("(5, 2)"))));
  EXPECT_TRUE(torch::equal(headed->lm_head->weight, before));
  expect_base(headed->wav2vec2_bert, tensors);
}

TEST_F(LoadStateDict, NamesTheRightPrefixWhenAnotherWasGiven) {
  Base base;
  EXPECT_THAT(error_of(*base, random_base("right."), {.prefix = "wrong."}),
              HasSubstr("with the prefix right."));
  EXPECT_THAT(error_of(*base, random_base("longer."), {.prefix = "long"}),
              HasSubstr("with the prefix longer."));
}

TEST_F(LoadStateDict, GivesNoHintWhereTheNamesAreSimplyOthers) {
  Base base;
  EXPECT_THAT(error_of(*base, {{"foo.weight", torch::ones({2})}, {"x.embed", torch::ones({3})}}),
              AllOf(HasSubstr("5 missing"), Not(HasSubstr("with the prefix"))));
  EXPECT_THAT(error_of(*base, {}), HasSubstr("5 missing"));
}

TEST_F(LoadStateDict, ListsEveryProblemInOneError) {
  NamedTensors tensors = random_base();
  tensors[0].first = "renamed";
  tensors[1].second = tensors[1].second.t();  // transposed
  tensors[2].second = torch::ones({2}, torch::kLong);
  tensors[3].second = tensors[3].second.unsqueeze(0);
  Base base;
  EXPECT_THAT(error_of(*base, tensors),
              AllOf(HasSubstr("1 loaded, 1 missing, 3 of another shape or dtype, 1 unexpected"),
                    HasSubstr("dense.weight has shape (4, 2), expected (2, 4)"),
                    HasSubstr("dense.bias has dtype I64, expected F32, F16, BF16 or F64"),
                    HasSubstr("norm.weight has shape (1, 2), expected (2)"),
                    HasSubstr("embed is missing")));
}

TEST_F(LoadStateDict, NeverMatchesByPosition) {
  NamedTensors tensors = random_base();
  for (auto& [name, tensor] : tensors) name += "_v2";
  Base base;
  EXPECT_THAT(error_of(*base, tensors), HasSubstr("0 loaded, 5 missing"));
}

TEST_F(LoadStateDict, ListsTwentyProblemsAndCountsTheRest) {
  torch::nn::Sequential many;
  for (int i = 0; i < 500; ++i) many->push_back(torch::nn::Linear(1, 1));
  const std::string message = error_of(*many, {{"0.weight", torch::ones({1, 1})}});
  EXPECT_THAT(message, AllOf(HasSubstr("0.bias is missing"), HasSubstr("and 979 more")));
  // Long names fill the line sooner; the count stays.
  struct LongNames : torch::nn::Module {
    LongNames() {
      for (int i = 0; i < 30; ++i) {
        register_parameter(std::string(180, 'n') + std::to_string(i), torch::zeros({1}));
      }
    }
  } names;
  EXPECT_THAT(error_of(names, {}),
              AllOf(HasSubstr("30 missing"), ContainsRegex("; and [0-9]+ more, expected")));
}

TEST_F(LoadStateDict, ShowsNoControlBytesOfTheFile) {
  Base base;
  NamedTensors tensors = random_base();
  tensors.emplace_back("wav2vec2_bert.\x1B[31mnorm", torch::ones({2}));
  tensors.erase(tensors.begin());
  EXPECT_THAT(error_of(*base, tensors), Not(HasSubstr("\x1B")));
}

TEST_F(LoadStateDict, ConvertsToTheParametersDtype) {
  for (const auto stored : {torch::kHalf, torch::kBFloat16, torch::kFloat, torch::kDouble}) {
    for (const auto wanted : {torch::kHalf, torch::kBFloat16, torch::kFloat, torch::kDouble}) {
      NamedTensors tensors = random_base();
      for (auto& [name, tensor] : tensors) tensor = tensor.to(stored);
      Base base;
      base->to(wanted);
      load_state_dict(*base, checkpoint(tensors));
      for (auto& [name, tensor] : tensors) tensor = tensor.to(wanted);
      expect_base(base, tensors);
      EXPECT_EQ(base->embed.scalar_type(), wanted);
    }
  }
}

TEST_F(LoadStateDict, KeepsInitialValuesWhenLenientAndWarnsOfEach) {
  NamedTensors tensors = random_base();
  tensors[1].second = tensors[1].second.t();
  tensors.erase(tensors.begin());  // embed
  Base base;
  torch::nn::init::constant_(base->embed, 7);
  const torch::Tensor weight = base->dense->weight.detach().clone();
  const LoadReport report =
      load_state_dict(*base, checkpoint(tensors), {.prefix = "", .lenient = true});
  EXPECT_TRUE(torch::equal(base->embed, torch::full({3}, 7.0F)));
  EXPECT_TRUE(torch::equal(base->dense->weight, weight));
  EXPECT_TRUE(torch::equal(base->dense->bias, tensors[1].second));
  EXPECT_THAT(
      report.warnings,
      ElementsAre(
          "[Wav2Vec-BERT] " + report.path + ": embed: is missing and keeps its initial values",
          "[Wav2Vec-BERT] " + report.path +
              ": dense.weight: has shape (4, 2), expected (2, 4); it keeps its initial "
              "values"));
  EXPECT_EQ(report.loaded, 3);
  EXPECT_FALSE(report.complete());
}

TEST_F(LoadStateDict, WarnsOfWeightsThatAreNaNThroughout) {
  NamedTensors tensors = random_base();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  tensors[1].second.fill_(nan);
  tensors[3].second[0] = nan;  // one value may be
  Base base;
  const LoadReport report = load_state_dict(*base, checkpoint(tensors));
  EXPECT_THAT(report.warnings, ElementsAre(EndsWith("/1: dense.weight: every value is NaN")));
}

TEST_F(LoadStateDict, WarnsOfWeightsThatAreNaNUnderAnyDefaultDtype) {
  NamedTensors tensors = joined(random_base(), head());
  tensors[1].second.fill_(std::numeric_limits<float>::quiet_NaN());
  const auto file = std::make_shared<Checkpoint>(checkpoint(tensors));
  const DefaultDtype wide(torch::kDouble);
  Headed headed;
  EXPECT_THAT(load_state_dict(*headed, *file).warnings,
              ElementsAre(EndsWith("/1: dense.weight: every value is NaN")));
  EXPECT_TRUE(torch::equal(headed->lm_head->weight, tensors[5].second.to(torch::kDouble)));
  // Also of what the module does not have any more, which is read on its own.
  const MatchedWeights weights(*headed, file);
  headed->unregister_module("wav2vec2_bert");
  EXPECT_THAT(load_matched(*headed, weights).warnings,
              ElementsAre(EndsWith("/1: dense.weight: every value is NaN")));
}

TEST_F(LoadStateDict, LoadsWhatIsLeftOfTheModuleThatWasMatched) {
  Headed headed;
  NamedTensors tensors = joined(random_base(), head());
  tensors[1].second.fill_(std::numeric_limits<float>::quiet_NaN());
  const MatchedWeights weights(*headed, std::make_shared<Checkpoint>(checkpoint(tensors)));
  EXPECT_EQ(weights.report().loaded, 7);
  EXPECT_EQ(headed->lm_head->weight.equal(tensors[5].second), false);  // nothing is read yet

  headed->unregister_module("wav2vec2_bert");
  const LoadReport report = load_matched(*headed, weights);
  EXPECT_TRUE(torch::equal(headed->lm_head->weight, tensors[5].second));
  EXPECT_TRUE(torch::equal(headed->lm_head->bias, tensors[6].second));
  EXPECT_EQ(report.loaded, 7);
  // Also of what the module does not have any more.
  EXPECT_THAT(report.warnings, ElementsAre(EndsWith("/1: dense.weight: every value is NaN")));

  Base other;
  EXPECT_THROW(load_matched(*other, weights), c10::ValueError);
}

TEST_F(LoadStateDict, RefusesToMatchWhatDoesNotFit) {
  Headed headed;
  NamedTensors tensors = joined(random_base(), head());
  tensors[1].second = torch::randn({4, 2});
  const auto file = std::make_shared<Checkpoint>(checkpoint(tensors));
  EXPECT_THROW(MatchedWeights(*headed, file), CheckpointError);
  const MatchedWeights lenient(*headed, file, {.prefix = "", .lenient = true});
  EXPECT_THAT(lenient.report().warnings, ElementsAre(HasSubstr("has shape (4, 2)")));
  EXPECT_TRUE(lenient.find("wav2vec2_bert.dense.weight") == nullptr);
  const auto before = headed->wav2vec2_bert->dense->weight.detach().clone();
  load_matched(*headed, lenient);
  EXPECT_TRUE(torch::equal(headed->wav2vec2_bert->dense->weight, before));
  EXPECT_TRUE(torch::equal(headed->wav2vec2_bert->dense->bias, tensors[2].second));
}

TEST_F(LoadStateDict, CopiesFromAnotherModuleAsFromAFile) {
  Base base;
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : base->parameters()) parameter.normal_();
  }
  Headed headed;
  EXPECT_THROW(load_state_dict(*headed, ModuleWeights(*base)), CheckpointError);  // no head
  const LoadReport report = load_state_dict(*headed->wav2vec2_bert, ModuleWeights(*base));
  EXPECT_EQ(report.loaded, 5);
  for (std::size_t i = 0; i < base->parameters().size(); ++i) {
    EXPECT_TRUE(torch::equal(headed->wav2vec2_bert->parameters()[i], base->parameters()[i]));
  }
}

TEST_F(LoadStateDict, HandsOnTheCheckpointsWarnings) {
  write_safetensors(directory_ / "model.safetensors", random_base());
  write_text(directory_ / "model.safetensors.index.json", "not even read");
  Base base;
  EXPECT_THAT(load_state_dict(*base, Checkpoint::open(directory_.path())).warnings,
              ElementsAre(HasSubstr("is not used")));
}

TEST_F(LoadStateDict, LoadsBuffersLikeParameters) {
  torch::nn::BatchNorm1d norm(2);
  EXPECT_THAT(error_of(*norm, {{"weight", torch::ones({2})}, {"bias", torch::ones({2})}}),
              HasSubstr("running_mean is missing"));
  load_state_dict(*norm, checkpoint({{"weight", torch::ones({2})},
                                     {"bias", torch::ones({2})},
                                     {"running_mean", torch::full({2}, 3.0F)},
                                     {"running_var", torch::ones({2})},
                                     {"num_batches_tracked", torch::tensor(9)}}));
  EXPECT_EQ(norm->running_mean[0].item<float>(), 3.0F);
  EXPECT_EQ(norm->num_batches_tracked.item<int>(), 9);
}

// With a buffer of integers behind its parameter.
struct CountingImpl : torch::nn::Module {
  CountingImpl() {
    weight = register_parameter("weight", torch::zeros({2}));
    counts = register_buffer("counts", torch::full({2}, 7, torch::kLong));
  }
  torch::Tensor weight, counts;
};
TORCH_MODULE(Counting);

TEST_F(LoadStateDict, LoadsIntegersFromIntegersAlone) {
  const torch::Tensor weight = torch::randn({2});
  for (const auto dtype : {torch::kFloat, torch::kDouble, torch::kHalf, torch::kBFloat16}) {
    Counting counting;
    EXPECT_THAT(
        error_of(*counting, {{"weight", weight}, {"counts", torch::full({2}, 2.5, dtype)}}),
        AllOf(HasSubstr("counts has dtype"), HasSubstr("expected an integer dtype or BOOL")));
  }
  for (const auto dtype : {torch::kLong, torch::kInt, torch::kShort, torch::kByte, torch::kBool}) {
    Counting counting;
    load_state_dict(*counting,
                    checkpoint({{"weight", weight}, {"counts", torch::ones({2}, dtype)}}));
    EXPECT_TRUE(torch::equal(counting->counts, torch::ones({2}, torch::kLong))) << dtype;
    EXPECT_TRUE(torch::equal(counting->weight, weight));
  }
}

TEST_F(LoadStateDict, RefusesADtypeThatCannotBeReadBeforeItCopies) {
  // Half a byte each: LibTorch does not have the type.
  write_raw_safetensors(directory_ / "f4",
                        R"({"weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                        R"("counts":{"dtype":"F4","shape":[2],"data_offsets":[8,9]}})",
                        std::string(8, '\x3f') + '\x22');
  const Checkpoint file = Checkpoint::open(directory_ / "f4");
  Counting counting;
  EXPECT_THROW(load_state_dict(*counting, file), CheckpointError);
  EXPECT_TRUE(torch::equal(counting->weight, torch::zeros({2})));
}

TEST_F(LoadStateDict, ComparesWithoutChangingTheModule) {
  Base base;
  const torch::Tensor weight = base->dense->weight.detach().clone();
  NamedTensors tensors = random_base();
  tensors.pop_back();
  const LoadReport report = compare_state_dict(*base, checkpoint(tensors));
  EXPECT_THAT(report.missing, ElementsAre("norm.bias"));
  EXPECT_EQ(report.loaded, 4);
  EXPECT_TRUE(torch::equal(base->dense->weight, weight));
}

TEST_F(LoadStateDict, LooksForPrefixesInHugeFilesWithoutDelay) {
  torch::nn::Sequential many;
  for (int i = 0; i < 300; ++i) many->push_back(torch::nn::Linear(1, 1));
  std::string header = "{";
  for (int i = 0; i < 100'000; ++i) {
    header += (i == 0 ? "\"" : ",\"") + std::string("foreign.") + std::to_string(i) +
              R"(.weight":{"dtype":"F32","shape":[0],"data_offsets":[0,0]})";
  }
  write_raw_safetensors(directory_ / "huge", header + "}", "");
  const Checkpoint huge = Checkpoint::open(directory_ / "huge");
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(load_state_dict(*many, huge), CheckpointError);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

TEST_F(LoadStateDict, LoadsIntoAModuleOnCuda) {
  if (const std::string problem = load_cuda_backend(); !problem.empty()) GTEST_SKIP() << problem;
  NamedTensors tensors = random_base();
  tensors[1].second = tensors[1].second.to(torch::kHalf);
  Base base;
  base->to(torch::kCUDA);
  load_state_dict(*base, checkpoint(tensors));
  for (auto& [name, tensor] : tensors) tensor = tensor.to(torch::kCUDA, torch::kFloat);
  expect_base(base, tensors);
}

}  // namespace
}  // namespace w2vbert::testing
