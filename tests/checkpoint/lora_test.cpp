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
  EXPECT_THAT(error_of([](Tensors& t) { t[kQ0 + ".lora_magnitude_vector"] = torch::ones({16}); }),
              HasSubstr("lora_magnitude_vector: has no place"));
  EXPECT_THAT(error_of([](Tensors& t) {
                t[kQ0 + ".base_layer.weight"] = torch::ones({16, 16});
              }),
              HasSubstr("base_layer.weight: has no place"));
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
  EXPECT_THAT(error_of(*ctc_, directory_ / "file"), HasSubstr("is no directory"));
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

TEST_F(Lora, SaysThatFanInFanOutHasNoEffect) {
  const LoraReport report = merge_lora(
      *ctc_, write_adapter(adapter_tensors(), std::string(kConfig) + R"(,"fan_in_fan_out":true})"));
  EXPECT_THAT(report.warnings, ElementsAre(HasSubstr("fan_in_fan_out")));
}

}  // namespace
}  // namespace w2vbert::testing
