// What is refused, and how names find one another. That merging gives PEFT's bits is compared with
// PEFT itself (compare_lora.py).
#include "w2vbert/checkpoint/lora.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/safetensors_writer.h"
#include "support/random_parameters.h"
#include "support/raw_safetensors.h"
#include "support/temporary_directory.h"
#include "w2vbert/checkpoint/from_pretrained.h"
#include "w2vbert/checkpoint/save_pretrained.h"
#include "w2vbert/core/error.h"
#include "w2vbert/models/wav2vec2_bert_for_ctc.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

using Tensors = std::map<std::string, torch::Tensor>;

const std::string kBase = "base_model.model.";
const std::string kQ0 = kBase + "wav2vec2_bert.encoder.layers.0.self_attn.linear_q";
const std::string kQ1 = kBase + "wav2vec2_bert.encoder.layers.1.self_attn.linear_q";
const std::string kHead = kBase + "lm_head";

class Lora : public ::testing::Test {
 protected:
  Lora() {
    config_.hidden_size = 16;
    config_.num_hidden_layers = 2;
    config_.num_attention_heads = 2;
    config_.intermediate_size = 24;
    config_.conv_depthwise_kernel_size = 5;
    config_.vocab_size = 7;
    torch::manual_seed(1);
    ctc_ = Wav2Vec2BertForCTC(config_);
    randomize_parameters(*ctc_, 1);
  }

  // An adapter of a CTC model: linear_q of both layers, and a new head.
  static Tensors adapter_tensors() {
    torch::manual_seed(2);
    Tensors tensors;
    for (const std::string& name : {kQ0, kQ1}) {
      tensors[name + ".lora_A.weight"] = torch::randn({2, 16});
      tensors[name + ".lora_B.weight"] = torch::randn({16, 2});
    }
    tensors[kHead + ".weight"] = torch::randn({7, 16});
    tensors[kHead + ".bias"] = torch::randn({7});
    return tensors;
  }
  static constexpr const char* kConfig =
      R"({"peft_type":"LORA","r":2,"lora_alpha":3,"target_modules":["linear_q"],)"
      R"("modules_to_save":["lm_head"])";  // and what more is asked for, and a brace

  std::string write_adapter(const Tensors& tensors, const std::string& config) {
    std::string directory = directory_ / ("adapter" + std::to_string(++adapters_));
    std::filesystem::create_directory(directory);
    write_text(directory + "/adapter_config.json", config);
    write_safetensors(directory + "/adapter_model.safetensors", {tensors.begin(), tensors.end()},
                      {{"format", "pt"}});
    return directory;
  }
  std::string write_adapter(const Tensors& tensors = adapter_tensors()) {
    return write_adapter(tensors, std::string(kConfig) + "}");
  }

  // Names without those of a head.
  static Tensors of_base(const Tensors& tensors) {
    Tensors base;
    for (const auto& [name, tensor] : tensors) {
      const auto at = name.find("wav2vec2_bert.");
      if (at != std::string::npos) base[kBase + name.substr(at + 14)] = tensor;
    }
    return base;
  }

  // One line, and the module is as it was.
  std::string error_of(torch::nn::Module& module, const std::string& adapter,
                       const MergeLoraOptions& options = {}) {
    std::vector<torch::Tensor> before;
    for (const auto& parameter : module.parameters()) before.push_back(parameter.detach().clone());
    std::string message = "merged";
    try {
      merge_lora(module, adapter, options);
    } catch (const Error& error) {
      message = error.what();
    }
    for (std::size_t i = 0; i < before.size() && message != "merged"; ++i) {
      EXPECT_TRUE(torch::equal(module.parameters()[i], before[i])) << message;
    }
    EXPECT_LT(message.size(), 2048U);
    EXPECT_THAT(message, Not(HasSubstr("\n")));
    return message;
  }
  std::string error_of(const std::function<void(Tensors&)>& change,
                       const std::string& more_config = "") {
    Tensors tensors = adapter_tensors();
    change(tensors);
    return error_of(*ctc_, write_adapter(tensors, kConfig + more_config + "}"));
  }

  TemporaryDirectory directory_;
  int adapters_ = 0;
  Wav2Vec2BertConfig config_;
  Wav2Vec2BertForCTC ctc_{nullptr};
};

// The parameters before, by name.
std::map<std::string, torch::Tensor> copies_of(const torch::nn::Module& module) {
  std::map<std::string, torch::Tensor> copies;
  for (const auto& item : module.named_parameters()) {
    copies[item.key()] = item.value().detach().clone();
  }
  return copies;
}

torch::Tensor merged_q(const Tensors& before, const Tensors& adapter, const std::string& name) {
  const torch::Tensor product =
      torch::matmul(adapter.at(name + ".lora_B.weight"), adapter.at(name + ".lora_A.weight"));
  return before.at(name.substr(kBase.size()) + ".weight") + product * 1.5;  // 3 / 2
}

TEST_F(Lora, ChangesWhatTheAdapterNamesAndNothingElse) {
  const Tensors adapter = adapter_tensors(), before = copies_of(*ctc_);
  const LoraReport report = merge_lora(*ctc_, write_adapter());
  EXPECT_EQ(report.merged, 2);
  EXPECT_EQ(report.replaced, 2);
  EXPECT_THAT(report.unused, IsEmpty());
  EXPECT_THAT(report.warnings, IsEmpty());
  for (const auto& item : ctc_->named_parameters()) {
    torch::Tensor expected = before.at(item.key());
    const std::string name = kBase + item.key();
    if (name == kQ0 + ".weight") expected = merged_q(before, adapter, kQ0);
    if (name == kQ1 + ".weight") expected = merged_q(before, adapter, kQ1);
    if (name.starts_with(kHead)) expected = adapter.at(name);
    EXPECT_TRUE(torch::equal(item.value(), expected)) << item.key();
    EXPECT_TRUE(item.value().requires_grad());
    EXPECT_TRUE(item.value().is_leaf());
  }
}

TEST_F(Lora, FindsItsNamesInTheBaseModelAndSaysWhatItCannotUse) {
  const Tensors adapter = adapter_tensors(), before = copies_of(*ctc_);
  Wav2Vec2BertModel base = ctc_->wav2vec2_bert;
  const LoraReport report = merge_lora(*base, write_adapter());
  EXPECT_EQ(report.merged, 2);
  EXPECT_THAT(report.unused, ElementsAre(kHead + ".bias", kHead + ".weight"));
  EXPECT_THAT(report.warnings,
              ElementsAre(AllOf(HasSubstr("adapter_model.safetensors"), HasSubstr(kHead))));
  EXPECT_TRUE(
      torch::equal(*base->named_parameters().find("encoder.layers.1.self_attn.linear_q.weight"),
                   merged_q(before, adapter, kQ1)));
}

TEST_F(Lora, FindsTheNamesOfABaseModelInAModelWithAHead) {
  const Tensors adapter = adapter_tensors(), before = copies_of(*ctc_);
  const LoraReport report = merge_lora(*ctc_, write_adapter(of_base(adapter)));
  EXPECT_EQ(report.merged, 2);
  EXPECT_EQ(report.replaced, 0);
  EXPECT_TRUE(torch::equal(
      *ctc_->named_parameters().find("wav2vec2_bert.encoder.layers.0.self_attn.linear_q.weight"),
      merged_q(before, adapter, kQ0)));
}

TEST_F(Lora, MayBeForTheHeadAlone) {
  const Tensors head = {{kHead + ".weight", torch::randn({7, 16})},
                        {kHead + ".bias", torch::randn({7})}};
  const std::string adapter = write_adapter(
      head, R"({"peft_type":"LORA","target_modules":[],"modules_to_save":["lm_head"]})");
  EXPECT_EQ(merge_lora(*ctc_, adapter).replaced, 2);
  EXPECT_TRUE(torch::equal(ctc_->lm_head->weight, head.at(kHead + ".weight")));
  EXPECT_THAT(error_of(*ctc_->wav2vec2_bert, adapter), HasSubstr("lm_head"));
}

TEST_F(Lora, FitsADeeperModelOnlyWhereThatIsAllowed) {
  config_.num_hidden_layers = 1;
  Wav2Vec2BertForCTC shallow(config_);
  EXPECT_THAT(error_of(*shallow, write_adapter()),
              AllOf(HasSubstr(kQ1 + ".lora_A.weight"), HasSubstr("no module of the model")));
  MergeLoraOptions options;
  options.fewer_layers = true;
  const LoraReport report = merge_lora(*shallow, write_adapter(), options);
  EXPECT_EQ(report.merged, 1);
  EXPECT_THAT(report.unused, ElementsAre(kQ1 + ".lora_A.weight", kQ1 + ".lora_B.weight"));
}

TEST_F(Lora, KeepsADtypeAndComputesWide) {
  const Tensors adapter = adapter_tensors();
  ctc_->to(torch::kBFloat16);
  const Tensors before = copies_of(*ctc_);
  merge_lora(*ctc_, write_adapter());
  const torch::Tensor weight =
      *ctc_->named_parameters().find("wav2vec2_bert.encoder.layers.0.self_attn.linear_q.weight");
  EXPECT_EQ(weight.scalar_type(), torch::kBFloat16);
  EXPECT_TRUE(torch::equal(weight, merged_q(before, adapter, kQ0).to(torch::kBFloat16)));
}

TEST_F(Lora, RefusesTensorsThatDoNotFit) {
  const auto rename = [](const std::string& from, const std::string& to) {
    return [=](Tensors& tensors) {
      tensors[to] = tensors.at(from);
      tensors.erase(from);
    };
  };
  EXPECT_THAT(error_of([](Tensors& t) { t.erase(kQ0 + ".lora_B.weight"); }),
              AllOf(HasSubstr(kQ0 + ".lora_B.weight: is missing"), HasSubstr("shape (16, 2)")));
  EXPECT_THAT(error_of([](Tensors& t) { t.erase(kQ0 + ".lora_A.weight"); }),
              HasSubstr(kQ0 + ".lora_A.weight: is missing"));
  EXPECT_THAT(error_of([](Tensors& t) {
                t[kQ1 + ".lora_A.weight"] = torch::ones({4, 16});
              }),
              AllOf(HasSubstr("has shape (4, 16), expected (2, 16)"), HasSubstr("rank 2")));
  EXPECT_THAT(error_of([](Tensors& t) {
                t[kQ1 + ".lora_B.weight"] = torch::ones({2, 16});
              }),
              HasSubstr("has shape (2, 16), expected (16, 2)"));
  EXPECT_THAT(error_of([](Tensors&) {}, R"(,"rank_pattern":{"layers.1.self_attn.linear_q":4})"),
              AllOf(HasSubstr(kQ1 + ".lora_A.weight"), HasSubstr("expected (4, 16)")));
  EXPECT_THAT(error_of([](Tensors& t) {
                t[kQ1 + ".lora_A.weight"] = torch::ones({2, 16}, torch::kLong);
              }),
              HasSubstr("has dtype I64, expected F32"));
  EXPECT_THAT(error_of(rename(kHead + ".bias", kHead + ".scale")),
              HasSubstr(kHead + ".bias: is missing"));
  EXPECT_THAT(error_of([](Tensors& t) { t[kHead + ".scale"] = torch::ones({7}); }),
              AllOf(HasSubstr(kHead + ".scale"), HasSubstr("no place in the model")));
  EXPECT_THAT(error_of([](Tensors& t) { t[kHead + ".bias"] = torch::ones({8}); }),
              HasSubstr("has shape (8), expected (7)"));
  EXPECT_THAT(error_of([](Tensors& t) {
                t["lm_head.weight"] = torch::ones({7, 16});
              }),
              AllOf(HasSubstr("lm_head.weight: is no tensor of an adapter"), HasSubstr(kBase)));
  EXPECT_THAT(error_of([](Tensors& t) {
                t[kBase + "wav2vec2_bert.decoder.lora_A.weight"] = torch::ones({2, 16});
              }),
              HasSubstr("decoder.lora_A.weight: belongs to no module"));
  const std::string linear_k = kBase + "wav2vec2_bert.encoder.layers.0.self_attn.linear_k";
  EXPECT_THAT(error_of([&](Tensors& t) {
                t[linear_k + ".lora_A.weight"] = torch::ones({2, 16});
              }),
              AllOf(HasSubstr(linear_k), HasSubstr("target_modules of adapter_config.json")));
  EXPECT_THAT(error_of(rename(kQ0 + ".lora_A.weight",
                              kBase + "." + kQ0.substr(kBase.size()) + ".lora_A.weight")),
              HasSubstr(kQ0 + ".lora_A.weight: is missing"));
  // Else names of a megabyte would take hours to look for.
  EXPECT_THAT(error_of([](Tensors& t) { t[kBase + std::string(1008, '.')] = torch::ones({1}); }),
              HasSubstr("has a name of 1025 bytes, expected at most 1024"));
  EXPECT_THAT(error_of([](Tensors& t) { t[kQ0 + ".lora_magnitude_vector"] = torch::ones({16}); }),
              HasSubstr("lora_magnitude_vector: has no place"));
  EXPECT_THAT(error_of([](Tensors& t) {
                t[kQ0 + ".base_layer.weight"] = torch::ones({16, 8});
              }),
              HasSubstr("has shape (16, 8), expected (16, 16)"));
}

TEST_F(Lora, WantsTheBiasesThatTheConfigSpeaksOf) {
  EXPECT_THAT(error_of([](Tensors& t) { t[kQ0 + ".base_layer.bias"] = torch::ones({16}); }),
              AllOf(HasSubstr("base_layer.bias"), HasSubstr("with bias \"none\"")));
  EXPECT_THAT(error_of([](Tensors&) {}, R"(,"bias":"lora_only")"),
              HasSubstr(kQ0 + ".base_layer.bias: is missing"));
  EXPECT_THAT(error_of([](Tensors&) {}, R"(,"bias":"all")"), HasSubstr(".bias: is missing"));
  EXPECT_THAT(error_of([](Tensors&) {}, R"(,"lora_bias":true)"),
              HasSubstr(kQ0 + ".lora_B.bias: is missing"));
  EXPECT_THAT(error_of([](Tensors& t) { t[kQ0 + ".lora_B.bias"] = torch::ones({16}); }),
              HasSubstr("lora_B.bias"));
}

TEST_F(Lora, RefusesTargetsThatPeftCannotMerge) {
  const auto with_target = [&](const std::string& target, const std::string& more = "") {
    return error_of(
        *ctc_, write_adapter(adapter_tensors(), R"({"peft_type":"LORA","r":2,"target_modules":[")" +
                                                    target + "\"]" + more + "}"));
  };
  EXPECT_THAT(with_target("final_layer_norm"),
              AllOf(HasSubstr("adapter_config.json: target_modules"),
                    HasSubstr("layers.0.final_layer_norm, a module of another kind")));
  EXPECT_THAT(with_target("depthwise_conv"), HasSubstr("16 groups, which PEFT cannot merge"));
  Tensors tensors;
  for (const char* layer : {"0", "1"}) {
    const std::string name =
        kBase + "wav2vec2_bert.encoder.layers." + layer + ".conv_module.pointwise_conv1";
    tensors[name + ".lora_A.weight"] = torch::ones({2, 16, 1});
    tensors[name + ".lora_B.weight"] = torch::ones({32, 2, 1});
  }
  EXPECT_THAT(
      error_of(*ctc_, write_adapter(tensors, R"({"peft_type":"LORA","r":2,"lora_bias":true,)"
                                             R"("target_modules":["pointwise_conv1"]})")),
      AllOf(HasSubstr("lora_bias: true"), HasSubstr("has no bias")));
}

TEST_F(Lora, RefusesWhatIsNoAdapterAndNeverReadsAPickle) {
  const auto without = [&](const std::string& file) {
    std::string adapter = write_adapter();
    std::filesystem::remove(adapter + "/" + file);
    return adapter;
  };
  const std::string pickled = without("adapter_model.safetensors");
  EXPECT_THAT(error_of(*ctc_, pickled), HasSubstr("has no adapter_model.safetensors"));
  write_text(pickled + "/adapter_model.bin", "PK");
  EXPECT_THAT(error_of(*ctc_, pickled),
              AllOf(HasSubstr("adapter_model.bin: is a pickle, which is never read"),
                    HasSubstr("adapter_model.safetensors")));
  EXPECT_THAT(error_of(*ctc_, without("adapter_config.json")),
              HasSubstr("has no adapter_config.json"));
  EXPECT_THAT(error_of(*ctc_, directory_ / "none"), HasSubstr("does not exist"));
  write_text(directory_ / "file", "");
  EXPECT_THAT(error_of(*ctc_, directory_ / "file"), HasSubstr("is not a directory"));
  const std::string cut = write_adapter();
  std::filesystem::resize_file(cut + "/adapter_model.safetensors", 700);
  EXPECT_THAT(error_of(*ctc_, cut), HasSubstr("truncated"));
  EXPECT_THAT(error_of(*ctc_, write_adapter({}, R"({"peft_type":"LORA","target_modules":[]})")),
              HasSubstr("has nothing for this model"));
}

TEST_F(Lora, IsMergedByFromPretrained) {
  const std::string model = directory_ / "model", adapter = write_adapter();
  save_pretrained(ctc_, model);
  FromPretrainedOptions options;
  options.lora = adapter;
  const auto loaded = load_pretrained<Wav2Vec2BertForCTC>(model, options);
  EXPECT_THAT(loaded.report.warnings, IsEmpty());
  merge_lora(*ctc_, adapter);
  for (const auto& item : ctc_->named_parameters()) {
    EXPECT_TRUE(torch::equal(item.value(), *loaded.model->named_parameters().find(item.key())));
  }
  options.num_hidden_layers = 1;
  const auto shallow = load_pretrained<Wav2Vec2BertModel>(model, options);
  EXPECT_THAT(shallow.report.warnings, ElementsAre(HasSubstr("4 tensors are for parts")));
  options.lora = directory_ / "none";
  EXPECT_THROW(from_pretrained<Wav2Vec2BertForCTC>(model, options), CheckpointError);
}

// The layer that was saved with its matrices goes below them.
TEST_F(Lora, TakesALayerThatWasSavedWithItsMatrices) {
  Tensors adapter = adapter_tensors();
  adapter[kQ0 + ".base_layer.weight"] = torch::randn({16, 16});
  adapter[kQ0 + ".base_layer.bias"] = torch::randn({16});
  Tensors before = copies_of(*ctc_);
  before[kQ0.substr(kBase.size()) + ".weight"] = adapter.at(kQ0 + ".base_layer.weight");
  const LoraReport report = merge_lora(*ctc_, write_adapter(adapter, std::string(kConfig) + "}"));
  EXPECT_EQ(report.replaced, 4);
  const Tensors after = copies_of(*ctc_);
  EXPECT_TRUE(
      torch::equal(after.at(kQ0.substr(kBase.size()) + ".weight"), merged_q(before, adapter, kQ0)));
  EXPECT_TRUE(torch::equal(after.at(kQ0.substr(kBase.size()) + ".bias"),
                           adapter.at(kQ0 + ".base_layer.bias")));
}

// Each spelling of an adapter's names gives what the plain one gives.
TEST_F(Lora, FindsItsNamesHoweverTheyAreSpelled) {
  const Tensors before = copies_of(*ctc_), adapter = adapter_tensors();
  const auto merged_as = [&](const std::function<std::string(std::string)>& spelled,
                             const MergeLoraOptions& options = {}) {
    ctc_ = Wav2Vec2BertForCTC(config_);
    randomize_parameters(*ctc_, 1);
    Tensors tensors;
    for (const auto& [name, tensor] : adapter) {
      tensors[kBase + spelled(name.substr(kBase.size()))] = tensor;
    }
    merge_lora(*ctc_, write_adapter(tensors, std::string(kConfig) + "}"), options);
    return copies_of(*ctc_);
  };
  const auto replaced = [](std::string text, const std::string& from, const std::string& to) {
    const auto at = text.find(from);
    return at == std::string::npos ? text : text.replace(at, from.size(), to);
  };
  const Tensors expected = merged_as([](const std::string& name) { return name; });
  ASSERT_FALSE(torch::equal(expected.at("lm_head.weight"), before.at("lm_head.weight")));
  const auto expect_same = [&](const Tensors& merged, const std::string& spelling) {
    for (const auto& [name, tensor] : expected) {
      EXPECT_TRUE(torch::equal(tensor, merged.at(name))) << spelling << ": " << name;
    }
  };
  for (const std::string before_all :
       {"_orig_mod.", "module.", "model.", "a.b.", "module._orig_mod.", "_fsdp_wrapped_module."}) {
    expect_same(merged_as([&](const std::string& name) { return before_all + name; }), before_all);
  }
  for (const std::string inside : {"_orig_mod.", "module.", "model._orig_mod."}) {
    expect_same(merged_as([&](const std::string& name) {
                  return replaced(name, "wav2vec2_bert.", "wav2vec2_bert." + inside);
                }),
                "wav2vec2_bert." + inside);
  }
  expect_same(merged_as([&](const std::string& name) {
                return replaced(name, "self_attn.", "self_attn._checkpoint_wrapped_module.");
              }),
              "a wrapper of each layer");
  expect_same(merged_as([&](const std::string& name) {
                return replaced(replaced(name, "lora_A.", "lora_A.default."), "lora_B.",
                                "lora_B.default.");
              }),
              "the adapter's name");
  for (const std::string saved : {"modules_to_save.default.", "modules_to_save.french."}) {
    expect_same(merged_as([&](const std::string& name) {
                  return replaced(name, "lm_head.", "lm_head." + saved);
                }),
                saved);
  }
}

TEST_F(Lora, ChoosesAmongSeveralPlacesOnlyWhereItIsTold) {
  const Tensors plain = of_base(adapter_tensors());
  Tensors tensors;
  for (const auto& [name, tensor] : plain) {
    tensors[kBase + "first." + name.substr(kBase.size())] = tensor;
    tensors[kBase + "second." + name.substr(kBase.size())] = 2 * tensor;
  }
  const std::string adapter = write_adapter(tensors, std::string(kConfig) + "}");
  Wav2Vec2BertModel base = ctc_->wav2vec2_bert;
  EXPECT_THAT(error_of(*base, adapter), AllOf(HasSubstr("first., second."), HasSubstr("several")));
  const Tensors before = copies_of(*ctc_);
  const LoraReport report = merge_lora(*base, adapter, {.prefix = "first"});
  EXPECT_EQ(report.merged, 2);
  EXPECT_THAT(report.unused, SizeIs(4));
  EXPECT_THAT(report.warnings, ElementsAre(HasSubstr("4 tensors are for parts")));
  EXPECT_TRUE(
      torch::equal(*base->named_parameters().find("encoder.layers.0.self_attn.linear_q.weight"),
                   merged_q(before, adapter_tensors(), kQ0)));
}

TEST_F(Lora, RefusesTwoTensorsOfOneNameThatDiffer) {
  EXPECT_THAT(error_of([](Tensors& t) {
                t[kQ0 + ".lora_A.default.weight"] = 2 * t.at(kQ0 + ".lora_A.weight");
              }),
              HasSubstr("has other values than"));
  Tensors tensors = adapter_tensors();
  tensors[kQ0 + ".lora_A.default.weight"] = tensors.at(kQ0 + ".lora_A.weight").clone();
  tensors[kHead + ".original_module.weight"] = torch::ones({7, 16});  // which PEFT drops
  EXPECT_EQ(merge_lora(*ctc_, write_adapter(tensors, std::string(kConfig) + "}")).merged, 2);
}

// The head comes with the adapter, whether the checkpoint has one, and of whatever size.
TEST_F(Lora, BringsAHeadToAModelWithoutOneOrWithAnother) {
  Tensors adapter = adapter_tensors();
  adapter[kHead + ".weight"] = torch::randn({9, 16});
  adapter[kHead + ".bias"] = torch::randn({9});
  FromPretrainedOptions options;
  options.lora = write_adapter(adapter, std::string(kConfig) + "}");
  const Tensors before = copies_of(*ctc_);
  const std::string with_head = directory_ / "with-head", bare = directory_ / "bare";
  save_pretrained(ctc_, with_head);
  Wav2Vec2BertConfig of_base = config_;
  of_base.vocab_size.reset();
  save_pretrained(*ctc_->wav2vec2_bert, of_base, bare);
  for (const std::string& model : {with_head, bare}) {
    const auto loaded = load_pretrained<Wav2Vec2BertForCTC>(model, options);
    EXPECT_EQ(loaded.config.vocab_size, 9);
    const Tensors after = copies_of(*loaded.model);
    EXPECT_TRUE(torch::equal(after.at("lm_head.weight"), adapter.at(kHead + ".weight")));
    EXPECT_TRUE(torch::equal(after.at("lm_head.bias"), adapter.at(kHead + ".bias")));
    EXPECT_TRUE(torch::equal(after.at(kQ0.substr(kBase.size()) + ".weight"),
                             merged_q(before, adapter, kQ0)));
    if (model == bare) {
      EXPECT_THAT(loaded.report.warnings, IsEmpty());
    } else {
      EXPECT_THAT(loaded.report.warnings,
                  ::testing::UnorderedElementsAre(
                      AllOf(HasSubstr("lm_head.weight has shape (7, 16)"), HasSubstr("(9, 16)")),
                      AllOf(HasSubstr("lm_head.bias has shape (7)"), HasSubstr("(9)"))));
    }
  }
  // Without the adapter the bare model stays one without a head.
  EXPECT_THROW(load_pretrained<Wav2Vec2BertForCTC>(bare), Error);
}

TEST_F(Lora, SaysThatFanInFanOutHasNoEffect) {
  const LoraReport report = merge_lora(
      *ctc_, write_adapter(adapter_tensors(), std::string(kConfig) + R"(,"fan_in_fan_out":true})"));
  EXPECT_THAT(report.warnings, ElementsAre(HasSubstr("fan_in_fan_out")));
}

}  // namespace
}  // namespace w2vbert::testing
