#include "config/lora_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "support/temporary_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr const char* kPath = "adapter/adapter_config.json";

// With `fields`, which begin with a comma, or are empty.
LoraConfig parse(const std::string& fields = "") {
  return LoraConfig::from_json(R"({"peft_type":"LORA")" + fields + "}", kPath);
}

std::string error_of(const std::string& fields) {
  try {
    parse(fields);
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), StartsWith(kPath));
    EXPECT_LT(std::string(error.what()).size(), 2048U);
    return error.what();
  }
  return "accepted";
}

// As PEFT 0.21 saves it.
constexpr const char* kSaved = R"({"alora_invocation_tokens": null, "alpha_pattern": {"b": 2.5},
  "arrow_config": null, "auto_mapping": {"base_model_class": "Wav2Vec2BertForCTC"},
  "base_model_name_or_path": "facebook/w2v-bert-2.0", "bias": "lora_only", "corda_config": null,
  "ensure_weight_tying": false, "eva_config": null, "exclude_modules": null,
  "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true, "kasa_config": null,
  "layer_replication": null, "layers_pattern": null, "layers_to_transform": null,
  "loftq_config": {}, "lora_alpha": 16, "lora_bias": false, "lora_dropout": 0.1,
  "lora_ga_config": null, "megatron_config": null, "megatron_core": "megatron.core",
  "modules_to_save": ["lm_head"], "monteclora_config": null, "peft_type": "LORA",
  "peft_version": "0.21.2", "qalora_group_size": 16, "r": 4, "rank_pattern": {"a": 2},
  "revision": null, "target_modules": ["linear_q", "linear_v"], "target_parameters": null,
  "task_type": null, "trainable_token_indices": null, "use_bdlora": null, "use_dora": false,
  "use_qalora": false, "use_rslora": true, "velora_config": null})";

TEST(LoraConfig, ReadsWhatPeftSaves) {
  const LoraConfig config = LoraConfig::from_json(kSaved, kPath);
  EXPECT_EQ(config.r, 4);
  EXPECT_EQ(config.lora_alpha, 16);
  EXPECT_TRUE(config.use_rslora);
  EXPECT_EQ(config.bias, "lora_only");
  EXPECT_THAT(config.target_modules, ElementsAre("linear_q", "linear_v"));
  EXPECT_THAT(config.modules_to_save, ElementsAre("lm_head"));
  EXPECT_EQ(config.rank_of("x.a"), 2);
  EXPECT_EQ(config.scaling_of("x.b"), 2.5 / 2);  // over the root of 4
  const TemporaryDirectory directory;
  std::ofstream(directory / "adapter_config.json") << kSaved;
  EXPECT_EQ(LoraConfig::from_pretrained(directory.path()).r, 4);
}

TEST(LoraConfig, HasPeftsDefaults) {
  const LoraConfig config = parse();
  EXPECT_EQ(config.r, 8);
  EXPECT_EQ(config.lora_alpha, 8);
  EXPECT_FALSE(config.use_rslora);
  EXPECT_EQ(config.bias, "none");
  EXPECT_FALSE(config.lora_bias);
  EXPECT_THAT(config.target_modules, IsEmpty());
  EXPECT_FALSE(config.targets("linear_q"));
}

TEST(LoraConfig, RefusesOtherKindsOfAdapters) {
  for (const char* text :
       {"{}", R"({"peft_type":null})", R"({"peft_type":"IA3"})", R"({"peft_type":7})", "[]", "{"}) {
    EXPECT_THROW(LoraConfig::from_json(text, kPath), ConfigError) << text;
  }
  for (const char* field : {R"("use_dora":true)", R"("use_qalora":true)",
                            R"("use_bdlora":{"nblocks":1})", R"("alora_invocation_tokens":[1])",
                            R"("arrow_config":{"top_k":1})", R"("kasa_config":{"beta":1})",
                            R"("layer_replication":[[0,1]])", R"("megatron_config":{"a":1})",
                            R"("monteclora_config":{"a":1})", R"("target_parameters":["x"])",
                            R"("velora_config":{"a":1})", R"("trainable_token_indices":[1])"}) {
    EXPECT_THAT(error_of("," + std::string(field)),
                AllOf(HasSubstr("is not supported"), HasSubstr("plain LoRA")))
        << field;
  }
  EXPECT_THAT(error_of(R"(,"use_dora":true)"), HasSubstr("use_dora: true"));
  for (const char* word :
       {"pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga", "mica"}) {
    EXPECT_THAT(error_of(R"(,"init_lora_weights":")" + std::string(word) + '"'),
                AllOf(HasSubstr("init_lora_weights: \"" + std::string(word)),
                      HasSubstr("path_initial_model_for_weight_conversion")));
  }
  for (const char* value : {"true", "false", "null", "\"gaussian\"", "\"eva\"", "\"orthogonal\""}) {
    EXPECT_EQ(error_of(R"(,"init_lora_weights":)" + std::string(value)), "accepted");
  }
}

TEST(LoraConfig, RefusesAnUnknownKeyThatSaysSomething) {
  EXPECT_THAT(error_of(R"(,"use_next_thing":true)"), HasSubstr("use_next_thing: true under a key"));
  EXPECT_THAT(error_of(R"(,"next":{"a":1})"), HasSubstr("not known"));
  for (const char* value : {"null", "false", "[]", "{}", "\"\""}) {
    EXPECT_EQ(error_of(R"(,"use_next_thing":)" + std::string(value)), "accepted");
  }
}

TEST(LoraConfig, RefusesValuesThatAreNone) {
  EXPECT_THAT(error_of(R"(,"r":0)"), HasSubstr("r: 0, expected from 1"));
  EXPECT_THAT(error_of(R"(,"r":4.5)"), HasSubstr("r: 4.5"));
  EXPECT_THAT(error_of(R"(,"r":9999999999)"), HasSubstr("r: "));
  EXPECT_THAT(error_of(R"(,"lora_alpha":"8")"), HasSubstr("lora_alpha"));
  EXPECT_THAT(error_of(R"(,"lora_alpha":1e300)"), HasSubstr("lora_alpha"));
  EXPECT_THAT(error_of(R"(,"bias":"some")"), HasSubstr("bias: \"some\""));
  EXPECT_THAT(error_of(R"(,"use_rslora":1)"), HasSubstr("use_rslora"));
  EXPECT_THAT(error_of(R"(,"target_modules":7)"), HasSubstr("target_modules: 7"));
  EXPECT_THAT(error_of(R"(,"target_modules":[7])"), HasSubstr("holds 7"));
  EXPECT_THAT(error_of(R"(,"target_modules":[""])"), HasSubstr("target_modules"));
  EXPECT_THAT(error_of(R"(,"target_modules":"all-linear")"), HasSubstr("names of the modules"));
  EXPECT_THAT(error_of(R"(,"modules_to_save":"lm_head")"), HasSubstr("modules_to_save"));
  EXPECT_THAT(error_of(R"j(,"modules_to_save":["(lm_head)"])j"), HasSubstr("modules_to_save"));
  EXPECT_THAT(error_of(R"(,"rank_pattern":{"a":0})"), HasSubstr("rank_pattern: 0"));
  EXPECT_THAT(error_of(R"(,"rank_pattern":{"a":1.5})"), HasSubstr("rank_pattern: 1.5"));
  EXPECT_THAT(error_of(R"(,"rank_pattern":[1])"), HasSubstr("rank_pattern"));
  EXPECT_THAT(error_of(R"(,"alpha_pattern":{"a":"b"})"), HasSubstr("alpha_pattern"));
  EXPECT_THAT(error_of(R"(,"layers_to_transform":"1")"), HasSubstr("layers_to_transform"));
  EXPECT_THAT(error_of(R"j(,"layers_pattern":["a("])j"), HasSubstr("layers_pattern"));
  EXPECT_THAT(error_of(R"(,"target_modules":"a","layers_to_transform":[1])"),
              HasSubstr("layers_to_transform"));
}

TEST(LoraConfig, RefusesWhatIsNoRegularExpressionOfPython) {
  for (const char* pattern : {"(?<x>a)", "a**", "(", "*a", "(?i", "a(?i)", "[b-a]", ""}) {
    const std::string quoted = '"' + std::string(pattern) + '"';
    EXPECT_THAT(error_of(R"(,"target_modules":)" + quoted), HasSubstr("target_modules")) << pattern;
    EXPECT_THAT(error_of(R"(,"exclude_modules":)" + quoted), HasSubstr("exclude_modules"))
        << pattern;
    for (const char* key : {"rank_pattern", "alpha_pattern"}) {
      EXPECT_THAT(error_of(",\"" + std::string(key) + "\":{" + quoted + ":1}"), HasSubstr(key))
          << pattern;
    }
  }
}

TEST(LoraConfig, KnowsItsTargetsByTheEndsOfTheirNames) {
  const LoraConfig config = parse(R"(,"target_modules":["linear_q","ffn1.output_dense"])");
  EXPECT_TRUE(config.targets("linear_q"));
  EXPECT_TRUE(config.targets("encoder.layers.0.self_attn.linear_q"));
  EXPECT_TRUE(config.targets("encoder.layers.0.ffn1.output_dense"));
  EXPECT_FALSE(config.targets("encoder.layers.0.ffn2.output_dense"));
  EXPECT_FALSE(config.targets("encoder.layers.0.self_attn.my_linear_q"));
  EXPECT_FALSE(config.targets("encoder.layers.0.self_attn"));
}

TEST(LoraConfig, KnowsItsTargetsByARegularExpression) {
  const LoraConfig config =
      parse(R"j(,"target_modules":".*\\.(?:linear_[qk]|ffn\\d\\.output_dense)",)j"
            R"j("exclude_modules":".*\\.1\\..*")j");
  EXPECT_TRUE(config.targets("layers.0.self_attn.linear_k"));
  EXPECT_TRUE(config.targets("layers.0.ffn2.output_dense"));
  EXPECT_FALSE(config.targets("linear_k"));  // the whole name must fit
  EXPECT_FALSE(config.targets("layers.0.self_attn.linear_v"));
  EXPECT_FALSE(config.targets("layers.1.self_attn.linear_k"));
}

TEST(LoraConfig, LeavesOutWhatIsExcludedOrSavedWhole) {
  const LoraConfig config =
      parse(R"(,"target_modules":["linear_q","projection"],"exclude_modules":["adapter.linear_q"],)"
            R"("modules_to_save":["feature_projection"])");
  EXPECT_TRUE(config.targets("encoder.linear_q"));
  EXPECT_FALSE(config.targets("a.adapter.linear_q"));
  EXPECT_FALSE(config.targets("feature_projection.projection"));
  EXPECT_TRUE(config.saves("feature_projection"));
  EXPECT_TRUE(config.saves("wav2vec2_bert.feature_projection"));
  EXPECT_TRUE(config.saves("my_feature_projection"));  // PEFT: by the letters alone
  EXPECT_FALSE(config.saves("feature_projection.projection"));
}

TEST(LoraConfig, KeepsToTheLayersThatAreAsked) {
  const LoraConfig any = parse(R"(,"target_modules":["q","encoder.layers.1.v","v"],)"
                               R"("layers_to_transform":[0,2])");
  EXPECT_TRUE(any.targets("encoder.layers.0.q"));
  EXPECT_FALSE(any.targets("encoder.layers.1.q"));
  EXPECT_TRUE(any.targets("encoder.layers.1.v"));  // a whole name counts in any layer
  EXPECT_TRUE(any.targets("wav2vec2_bert.encoder.layers.2.x.v"));
  EXPECT_TRUE(any.targets("q"));
  EXPECT_FALSE(any.targets("layer.q"));
  EXPECT_FALSE(any.targets("tdnn.0.q"));  // PEFT wants two parts before the number
  const LoraConfig named =
      parse(R"(,"target_modules":["q"],"layers_to_transform":1,"layers_pattern":"layers")");
  EXPECT_TRUE(named.targets("layers.1.q"));
  EXPECT_FALSE(named.targets("layers.11.q"));
  EXPECT_FALSE(named.targets("encoder.blocks.1.q"));
}

TEST(LoraConfig, TakesRankAndAlphaOfTheFirstPatternThatFits) {
  const LoraConfig config =
      parse(R"(,"r":4,"lora_alpha":6,"rank_pattern":{"layers\\.0\\..*q":2,"q":3},)"
            R"("alpha_pattern":{"v|k":1.5})");
  EXPECT_EQ(config.rank_of("encoder.layers.0.q"), 2);
  EXPECT_EQ(config.rank_of("encoder.layers.1.q"), 3);
  EXPECT_EQ(config.rank_of("encoder.layers.1.my_q"), 4);
  EXPECT_EQ(config.rank_of("q"), 3);
  EXPECT_EQ(config.scaling_of("encoder.layers.0.q"), 6.0 / 2);
  EXPECT_EQ(config.scaling_of("encoder.v"), 1.5 / 4);
  EXPECT_EQ(config.scaling_of("encoder.k"), 1.5 / 4);
  LoraConfig stabilised = config;
  stabilised.use_rslora = true;
  EXPECT_EQ(stabilised.scaling_of("encoder.layers.1.q"), 6.0 / std::sqrt(3.0));
}

TEST(LoraConfig, IsNotBroughtDownByADeepExpression) {
  const std::string deep = std::string(500, '(') + "a" + std::string(500, ')');
  EXPECT_TRUE(parse(R"(,"target_modules":")" + deep + '"').targets("a"));
  EXPECT_THAT(error_of(R"(,"target_modules":")" + std::string(100'000, '(') + '"'),
              HasSubstr("target_modules"));
}

// Hundreds of groups that can share a name in any way.
std::string hostile(int groups) {
  std::string text;
  for (int i = 0; i < groups; ++i) text += "(.*)";
  return text;
}

std::string error_of_match(const std::string& fields) {
  const std::string module = "encoder.layers.0.self_attn.linear_q";
  try {
    const LoraConfig config = parse(fields);
    (void)config.targets(module);
    (void)config.scaling_of(module);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "matched";
}

TEST(LoraConfig, RefusesExpressionsThatTakeTooLongByTheirKeys) {
  const std::string slow = hostile(250) + "linear_q";
  const std::string quoted = '"' + slow + '"';
  for (const auto& [key, fields] :
       {std::pair<const char*, std::string>("target_modules", R"(,"target_modules":)" + quoted),
        {"exclude_modules", R"(,"exclude_modules":)" + quoted},
        {"layers_pattern", R"(,"target_modules":["linear_q"],"layers_to_transform":1,)"
                           R"("layers_pattern":)" +
                               quoted},
        {"rank_pattern", R"(,"rank_pattern":{)" + quoted + ":2}"},
        {"alpha_pattern", R"(,"alpha_pattern":{)" + quoted + ":2}"}}) {
    EXPECT_THAT(error_of_match(fields), AllOf(HasSubstr(key), HasSubstr("takes too long"))) << key;
  }
  std::string many;
  for (int i = 0; i < 1000; ++i) {
    many += (i == 0 ? "\"" : ",\"") + hostile(200) + "linear_q" + std::to_string(i) + "?\":2";
  }
  EXPECT_THAT(error_of_match(R"(,"rank_pattern":{)" + many + "}"),
              AllOf(HasSubstr("rank_pattern"), HasSubstr("takes too long")));
}

// PEFT writes such lists, with a name for each layer.
TEST(LoraConfig, HasEnoughOfABudgetForEveryLayerOfALargeModel) {
  std::string ranks;
  std::vector<std::string> names;
  for (int layer = 0; layer < 48; ++layer) {
    for (const char* part : {"self_attn.linear_q", "self_attn.linear_k", "self_attn.linear_v",
                             "self_attn.linear_out", "ffn1.output_dense", "ffn2.output_dense"}) {
      names.push_back("wav2vec2_bert.encoder.layers." + std::to_string(layer) + "." + part);
      ranks += (ranks.empty() ? "\"" : ",\"") + names.back() + "\":2";
    }
  }
  const LoraConfig config =
      parse(R"(,"rank_pattern":{)" + ranks + R"(},"alpha_pattern":{)" + ranks + "}");
  for (const std::string& name : names) {
    EXPECT_EQ(config.rank_of(name), 2);
    EXPECT_EQ(config.scaling_of(name), 1);
  }
}

}  // namespace
}  // namespace w2vbert::testing
