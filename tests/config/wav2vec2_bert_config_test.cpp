#include "w2vbert/config/wav2vec2_bert_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "support/error_message.h"
#include "support/temporary_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;

constexpr const char* kPath = "dir/config.json";

Wav2Vec2BertConfig parse(std::string_view text) {
  return Wav2Vec2BertConfig::from_json(text, kPath);
}

std::string error_of(std::string_view text) {
  return message_of<ConfigError>([&] { parse(text); });
}

// A config with one key.
std::string with(const std::string& key, const std::string& value) {
  return "{\"" + key + "\": " + value + "}";
}

// "path: key: value, expected ..." for each of the values.
void expect_refused(const std::string& key, const std::vector<std::string>& values,
                    const std::string& expected) {
  for (const std::string& value : values) {
    EXPECT_THAT(error_of(with(key, value)),
                AllOf(HasSubstr(std::string(kPath) + ": " + key + ": "), HasSubstr(expected)))
        << value;
  }
}

TEST(Wav2Vec2BertConfig, HasDefaultsForEveryAbsentKey) {
  const Wav2Vec2BertConfig config = parse("{}");
  EXPECT_EQ(config.hidden_size, 1024);
  EXPECT_EQ(config.num_hidden_layers, 24);
  EXPECT_EQ(config.position_embeddings_type, "relative_key");
  EXPECT_EQ(config.vocab_size, std::nullopt);
  EXPECT_EQ(config.dtype, std::nullopt);
  EXPECT_EQ(config.attn_implementation, "sdpa");
  EXPECT_EQ(config.head_size(), 64);
}

// The keys and values of facebook/w2v-bert-2.0's config.json, dead ones included.
TEST(Wav2Vec2BertConfig, ReadsThePublishedFile) {
  const Wav2Vec2BertConfig config = parse(R"({
    "activation_dropout": 0.0, "adapter_act": "relu", "adapter_kernel_size": 3,
    "adapter_stride": 2, "add_adapter": false, "apply_spec_augment": false,
    "architectures": ["Wav2Vec2BertModel"], "attention_dropout": 0.0, "bos_token_id": 1,
    "classifier_proj_size": 768, "codevector_dim": 768, "conformer_conv_dropout": 0.1,
    "contrastive_logits_temperature": 0.1, "conv_depthwise_kernel_size": 31,
    "ctc_loss_reduction": "sum", "ctc_zero_infinity": false, "diversity_loss_weight": 0.1,
    "eos_token_id": 2, "feat_proj_dropout": 0.0, "feat_quantizer_dropout": 0.0,
    "feature_projection_input_dim": 160, "final_dropout": 0.1, "hidden_act": "swish",
    "hidden_dropout": 0.0, "hidden_size": 1024, "initializer_range": 0.02,
    "intermediate_size": 4096, "layer_norm_eps": 1e-05, "layerdrop": 0.1,
    "left_max_position_embeddings": 64, "mask_feature_length": 10, "mask_feature_min_masks": 0,
    "mask_feature_prob": 0.0, "mask_time_length": 10, "mask_time_min_masks": 2,
    "mask_time_prob": 0.05, "max_source_positions": 5000, "model_type": "wav2vec2-bert",
    "num_adapter_layers": 1, "num_attention_heads": 16, "num_codevector_groups": 2,
    "num_codevectors_per_group": 320, "num_hidden_layers": 24, "num_negatives": 100,
    "output_hidden_size": 1024, "pad_token_id": 0, "position_embeddings_type": "relative_key",
    "proj_codevector_dim": 768, "right_max_position_embeddings": 8, "rotary_embedding_base": 10000,
    "tdnn_dilation": [1, 2, 3, 1, 1], "tdnn_dim": [512, 512, 512, 512, 1500],
    "tdnn_kernel": [5, 3, 3, 1, 1], "torch_dtype": "float32",
    "transformers_version": "4.37.0.dev0", "use_intermediate_ffn_before_adapter": false,
    "use_weighted_layer_sum": false, "vocab_size": null, "xvector_output_dim": 512
  })");
  EXPECT_FALSE(config.apply_spec_augment);
  EXPECT_EQ(config.layer_norm_eps, 1e-5);
  EXPECT_EQ(config.dtype, "float32");
  EXPECT_THAT(config.architectures, ElementsAre("Wav2Vec2BertModel"));
  EXPECT_EQ(config.parameter_count(), 580'493'120);
}

TEST(Wav2Vec2BertConfig, IsReadFromItsDirectory) {
  const TemporaryDirectory directory;
  EXPECT_THAT(
      message_of<ConfigError>([&] { Wav2Vec2BertConfig::from_pretrained(directory.path()); }),
      AllOf(HasSubstr(directory / "config.json"), HasSubstr("No such file")));
  std::ofstream(directory / "config.json") << R"({"num_hidden_layers": 3})";
  EXPECT_EQ(Wav2Vec2BertConfig::from_pretrained(directory.path()).num_hidden_layers, 3);
  std::ofstream(directory / "config.json") << std::string((1 << 20) + 1, ' ');
  EXPECT_THAT(
      message_of<ConfigError>([&] { Wav2Vec2BertConfig::from_pretrained(directory.path()); }),
      HasSubstr("has 1048577 bytes, expected at most 1048576"));
}

TEST(Wav2Vec2BertConfig, IsAJsonObject) {
  for (const char* text : {"[]", "1", "null", "\"a\""}) {
    EXPECT_THAT(error_of(text), HasSubstr("expected a JSON object")) << text;
  }
  for (const char* text : {"", "{", "{}x", "{,}", "\xEF\xBB\xBF{}", "{\"a\":1,}"}) {
    EXPECT_THAT(error_of(text), HasSubstr(kPath)) << text;
  }
  EXPECT_THAT(error_of(R"({"hidden_size":64,"hidden_size":64})"),
              HasSubstr("\"hidden_size\" stands twice"));
  EXPECT_THAT(error_of(R"({"layer_norm_eps": NaN})"), HasSubstr("layer_norm_eps: NaN, expected"));
  EXPECT_THAT(error_of(R"({"hidden_dropout": Infinity})"), HasSubstr("hidden_dropout: Infinity"));
  EXPECT_THAT(error_of(R"({"hidden_size": NaN})"),
              HasSubstr("hidden_size: NaN, expected an integer"));
  EXPECT_THAT(error_of(R"({"eos_token_id": [NaN]})"), HasSubstr("eos_token_id: NaN"));
  EXPECT_THAT(error_of(R"({"architectures": NaN})"), HasSubstr("architectures: NaN"));
  EXPECT_THAT(error_of(R"({"add_adapter": -Infinity})"), HasSubstr("add_adapter: -Infinity"));
  EXPECT_THAT(error_of(R"({"x": -NaN})"), HasSubstr("malformed JSON"));
  // Python's json.dump writes it, and nobody reads it.
  EXPECT_EQ(error_of(R"({"best_metric": NaN, "x": [Infinity, -Infinity]})"), "accepted");
  EXPECT_THAT(error_of("{}" + std::string(1 << 20, ' ')), HasSubstr("at most 1048576"));
}

TEST(Wav2Vec2BertConfig, IgnoresUnknownKeysWhateverTheyHold) {
  for (const char* value : {"null", "1", "-1e999", "123456789012345678901234567890", "[[{}]]",
                            "\"x\"", "{\"hidden_size\": 7}"}) {
    EXPECT_EQ(error_of(with("codevector_dim", value)), "accepted") << value;
  }
}

TEST(Wav2Vec2BertConfig, TakesIntegersOnlyWhereIntegersAreDue) {
  for (const char* key :
       {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
        "feature_projection_input_dim", "mask_time_length", "mask_time_min_masks",
        "mask_feature_length", "mask_feature_min_masks", "classifier_proj_size",
        "xvector_output_dim", "adapter_kernel_size", "adapter_stride", "num_adapter_layers",
        "rotary_embedding_base", "max_source_positions", "left_max_position_embeddings",
        "right_max_position_embeddings", "conv_depthwise_kernel_size"}) {
    expect_refused(key,
                   {"true", "64.0", "6.4e1", "\"64\"", "null", "[64]", "{}", "-0", "1e400",
                    "18446744073709551616"},
                   "expected an integer");
    // What no real model has: 2^32 + 1024 must not wrap to 1024.
    expect_refused(key, {"-1", "-9223372036854775808", "9223372036854775807"}, "expected from ");
    if (std::string(key) != "rotary_embedding_base") {
      expect_refused(key, {"4294968320"}, "expected from ");
    }
    EXPECT_EQ(error_of(with(key, "18446744073709551615")),
              std::string(kPath) + ": " + key + ": 18446744073709551615, expected an integer");
  }
}

TEST(Wav2Vec2BertConfig, RefusesZeroWhereItMakesNoModel) {
  for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads",
                          "intermediate_size", "feature_projection_input_dim", "mask_time_length",
                          "mask_feature_length", "classifier_proj_size", "xvector_output_dim",
                          "adapter_kernel_size", "adapter_stride", "rotary_embedding_base",
                          "max_source_positions", "conv_depthwise_kernel_size", "vocab_size"}) {
    expect_refused(key, {"0"}, "0, expected from 1 to ");
  }
  for (const char* key : {"mask_time_min_masks", "mask_feature_min_masks", "num_adapter_layers",
                          "left_max_position_embeddings", "right_max_position_embeddings",
                          "output_hidden_size", "pad_token_id", "bos_token_id"}) {
    EXPECT_EQ(error_of(with(key, "0")), "accepted") << key;
  }
}

TEST(Wav2Vec2BertConfig, SaysWhatAKeyMeansWhenItsNumberIsOutOfRange) {
  EXPECT_EQ(
      error_of(with("num_hidden_layers", "1000000")),
      "dir/config.json: num_hidden_layers: 1000000, expected from 1 to 4096 (encoder layers)");
  EXPECT_EQ(error_of(with("hidden_dropout", "2.5")),
            "dir/config.json: hidden_dropout: 2.5, expected from 0 to 1 (dropout before the layers "
            "and in the FFNs)");
}

TEST(Wav2Vec2BertConfig, TakesNullWhereTransformersDoes) {
  for (const char* key :
       {"vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "output_hidden_size",
        "position_embeddings_type", "dtype", "torch_dtype", "architectures", "problem_type",
        "id2label", "label2id", "quantization_config", "attn_implementation"}) {
    EXPECT_EQ(error_of(with(key, "null")), "accepted") << key;
  }
  const auto config = parse(R"({"vocab_size":null,"pad_token_id":null,"bos_token_id":null,
      "eos_token_id":null,"position_embeddings_type":null})");
  EXPECT_EQ(config.pad_token_id, std::nullopt);
  EXPECT_EQ(config.bos_token_id, std::nullopt);
  EXPECT_THAT(config.eos_token_id, IsEmpty());
  EXPECT_EQ(config.position_embeddings_type, std::nullopt);
  for (const char* key : {"vocab_size", "pad_token_id", "bos_token_id", "output_hidden_size"}) {
    expect_refused(key, {"true", "1.0", "\"1\"", "[1]", "-0"}, "expected an integer or null");
  }
}

TEST(Wav2Vec2BertConfig, TakesIntegersForFloats) {
  EXPECT_EQ(parse(R"({"hidden_dropout": 1})").hidden_dropout, 1.0);
  EXPECT_EQ(parse(R"({"initializer_range": 0})").initializer_range, 0.0);
  EXPECT_EQ(parse(R"({"layerdrop": -0})").layerdrop, 0.0);
  EXPECT_EQ(parse(R"({"layer_norm_eps": 1})").layer_norm_eps, 1.0);
}

TEST(Wav2Vec2BertConfig, KeepsProbabilitiesBetweenZeroAndOne) {
  for (const char* key : {"hidden_dropout", "activation_dropout", "attention_dropout",
                          "feat_proj_dropout", "final_dropout", "layerdrop", "mask_time_prob",
                          "mask_feature_prob", "conformer_conv_dropout"}) {
    expect_refused(key, {"-0.1", "1.0000001", "-1", "2", "1e300"}, "expected from 0 to 1 (");
    expect_refused(key, {"true", "null", "\"0.1\"", "[0.1]", "1e400"}, "expected a number");
    EXPECT_EQ(error_of(with(key, "0.25")), "accepted");
  }
}

TEST(Wav2Vec2BertConfig, WantsAPositiveEpsilon) {
  expect_refused("layer_norm_eps", {"0", "0.0", "-0.0"}, "expected a number above 0");
  expect_refused("layer_norm_eps", {"-1e-5", "2"}, "expected from 0 to 1");
  Wav2Vec2BertConfig config;
  for (const double wrong : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    config.layer_norm_eps = wrong;
    EXPECT_THAT(message_of<ConfigError>([&] { config.validate(); }),
                HasSubstr("config: layer_norm_eps: "));
  }
}

TEST(Wav2Vec2BertConfig, TakesFlagsOnlyWhereFlagsAreDue) {
  for (const char* key : {"apply_spec_augment", "ctc_zero_infinity", "use_weighted_layer_sum",
                          "add_adapter", "use_intermediate_ffn_before_adapter"}) {
    expect_refused(key, {"1", "0", "\"true\"", "null", "[]"}, "expected true or false");
    EXPECT_EQ(error_of(with(key, "false")), "accepted");
  }
  for (const char* key : {"output_hidden_states", "output_attentions", "is_causal"}) {
    expect_refused(key, {"1", "0", "\"true\"", "[]"}, "expected true, false or null");
    EXPECT_EQ(error_of(with(key, "false")), "accepted");
    EXPECT_EQ(error_of(with(key, "null")), "accepted");
  }
}

TEST(Wav2Vec2BertConfig, ReadsWhatForwardsReturnUnlessTheyAreTold) {
  EXPECT_TRUE(parse(R"({"output_hidden_states":true})").output_hidden_states);
  EXPECT_FALSE(parse(R"({"output_hidden_states":null})").output_hidden_states);
  EXPECT_TRUE(parse(R"({"output_attentions":true})").output_attentions);
  EXPECT_TRUE(
      parse(R"({"output_attentions":true,"attn_implementation":"eager"})").output_attentions);
  EXPECT_EQ(error_of(R"({"output_attentions":true,"_attn_implementation":"sdpa"})"),
            std::string(kPath) +
                ": output_attentions: true is not supported with "
                "attn_implementation = sdpa, expected attn_implementation = eager");
}

TEST(Wav2Vec2BertConfig, KnowsTheActivationsOfTransformers) {
  for (const char* key : {"hidden_act", "adapter_act"}) {
    for (const char* word :
         {"gelu", "gelu_new", "relu", "silu", "swish", "tanh", "linear", "prelu"}) {
      EXPECT_EQ(error_of(with(key, std::string("\"") + word + "\"")), "accepted") << word;
    }
    expect_refused(
        key, {"\"Swish\"", "\"\"", "\"xielu\"", "\"selu\"", "\"swish\\u0000\""},
        "expected one of gelu, gelu_10, gelu_accurate, gelu_fast, gelu_new, gelu_python, "
        "gelu_python_tanh, gelu_pytorch_tanh, hardswish, laplace, leaky_relu, linear, "
        "mish, prelu, quick_gelu, relu, relu2, relu6, sigmoid, silu, sqrtsoftplus, swish, tanh");
    expect_refused(key, {"null", "1", "[\"relu\"]", "true"}, "expected a string");
  }
}

TEST(Wav2Vec2BertConfig, AnswersAnUnknownWordWithTheKnownOnes) {
  expect_refused("position_embeddings_type", {"\"\"", "\"none\"", "\"absolute\"", "\"Rotary\""},
                 "expected one of relative_key, relative, rotary, null");
  expect_refused("ctc_loss_reduction", {"\"average\""}, "expected one of sum, mean, none");
  expect_refused("problem_type", {"\"multi\""},
                 "expected one of regression, single_label_classification, "
                 "multi_label_classification, null");
  for (const char* key : {"dtype", "torch_dtype"}) {
    expect_refused(key, {"\"torch.float16\"", "\"auto\"", "\"half\"", "\"int8\""},
                   "expected one of float32, float16, bfloat16, float64");
    expect_refused(key, {"16", "true"}, "expected a string");
  }
  for (const char* key : {"attn_implementation", "_attn_implementation"}) {
    expect_refused(key, {"\"flash_attention_2\"", "\"flex_attention\""},
                   "expected one of sdpa, eager");
  }
}

TEST(Wav2Vec2BertConfig, PrefersDtypeToItsOlderName) {
  EXPECT_EQ(parse(R"({"torch_dtype":"float16"})").dtype, "float16");
  EXPECT_EQ(parse(R"({"dtype":"bfloat16","torch_dtype":"float16"})").dtype, "bfloat16");
  EXPECT_EQ(parse(R"({"torch_dtype":"float16","dtype":"bfloat16"})").dtype, "bfloat16");
  EXPECT_EQ(parse(R"({"torch_dtype":"float16","dtype":null})").dtype, "float16");
}

TEST(Wav2Vec2BertConfig, ReadsTheAttentionUnderBothNames) {
  EXPECT_EQ(parse(R"({"attn_implementation":"eager"})").attn_implementation, "eager");
  EXPECT_EQ(parse(R"({"_attn_implementation":"eager"})").attn_implementation, "eager");
  EXPECT_EQ(
      parse(R"({"_attn_implementation":"eager","attn_implementation":"sdpa"})").attn_implementation,
      "eager");
  // The second counts where it is there, as null too.
  EXPECT_EQ(
      parse(R"({"attn_implementation":"eager","_attn_implementation":null})").attn_implementation,
      "sdpa");
}

TEST(Wav2Vec2BertConfig, LetsTheCallerChooseTheAttention) {
  const auto chosen = [](const char* text, const char* attention) {
    return Wav2Vec2BertConfig::from_json(text, kPath, kNewestHfVersion, attention)
        .attn_implementation;
  };
  for (const char* key : {"attn_implementation", "_attn_implementation"}) {
    for (const char* value : {"\"sdpa\"", "\"flash_attention_2\"", "3", "null"}) {
      EXPECT_EQ(chosen(with(key, value).c_str(), "eager"), "eager") << key << value;
    }
    EXPECT_EQ(error_of(with(key, "\"fast\"")),
              std::string(kPath) + ": " + key + ": \"fast\", expected one of sdpa, eager");
    try {
      parse(with(key, "\"fast\""));
    } catch (const ConfigError& error) {
      EXPECT_EQ(error.setting(), "attn_implementation sdpa");
    }
  }
  EXPECT_EQ(chosen(R"({"output_attentions":true,"attn_implementation":"sdpa"})", "eager"), "eager");
  for (const char* text : {R"({"output_attentions":true,"attn_implementation":"eager"})",
                           R"({"output_attentions":true})"}) {
    try {
      chosen(text, "sdpa");
      ADD_FAILURE() << text;
    } catch (const ConfigError& error) {
      EXPECT_EQ(error.key(), "output_attentions");
      EXPECT_EQ(error.setting(), "attn_implementation eager");
    }
  }
  EXPECT_THROW(chosen("{}", "fast"), ConfigError);
}

TEST(Wav2Vec2BertConfig, IsForThisModelOnly) {
  EXPECT_EQ(error_of(with("model_type", "\"wav2vec2-bert\"")), "accepted");
  expect_refused("model_type", {"\"wav2vec2\"", "\"wav2vec2-conformer\"", "\"\"", "null", "1"},
                 "expected \"wav2vec2-bert\"");
}

TEST(Wav2Vec2BertConfig, RefusesWhatWouldChangeTheComputationUnseen) {
  expect_refused("quantization_config", {"{\"bits\": 4}", "{}", "true"},
                 "is not supported, expected null: a checkpoint in");
  expect_refused("is_causal", {"true"}, "true is not supported, expected false");
  expect_refused("per_layer_config", {"{\"0\": {\"intermediate_size\": 8}}", "[]"},
                 "is not supported, expected null or an empty object");
  expect_refused("transformers_weights", {"\"other.safetensors\""},
                 "\"other.safetensors\" is not supported, expected null");
  for (const char* key :
       {"fusion_config", "layer_types", "mtp_layer_types", "rope_parameters", "rope_scaling"}) {
    expect_refused(key, {"{\"x\": 1}", "true"}, "is not supported, expected null");
    EXPECT_EQ(error_of(with(key, "null")), "accepted") << key;
  }
  EXPECT_NO_THROW(
      Wav2Vec2BertConfig::from_json(R"({"mtp_layer_types": 1})", kPath, HfVersion::v5_17));
  expect_refused("attribute_map", {"{\"hidden_size\": \"vocab_size\"}", "null"},
                 "is not supported, expected no such key");
  expect_refused("return_dict", {"false"}, "false is not supported, expected true or null");
  for (const char* key : {"per_layer_config", "attribute_map"}) {
    EXPECT_EQ(error_of(with(key, "{}")), "accepted") << key;
  }
  for (const char* key :
       {"per_layer_config", "transformers_weights", "quantization_config", "return_dict"}) {
    EXPECT_EQ(error_of(with(key, "null")), "accepted") << key;
  }
}

TEST(Wav2Vec2BertConfig, RefusesKeysThatHuggingFaceComputes) {
  for (const char* key :
       {"inputs_to_logits_ratio", "is_heterogeneous", "per_layer_attributes", "use_return_dict"}) {
    expect_refused(key, {"320", "true", "null"}, "is not supported, expected no such key");
  }
  expect_refused("sub_configs", {"{}", "true", "null"}, "is not supported, expected no such key");
  for (const HfVersion version : {HfVersion::v5_17, HfVersion::v5_19}) {
    EXPECT_NO_THROW(Wav2Vec2BertConfig::from_json(R"({"sub_configs": {}})", kPath, version));
  }
}

TEST(Wav2Vec2BertConfig, TiesTheLastStateWhereTheReleaseHeedsTheKey) {
  constexpr const char* kKey = "tie_last_hidden_states";
  expect_refused(kKey, {"1", "\"true\"", "[]"}, "expected ");
  for (const char* absent : {"{}", R"({"tie_last_hidden_states": null})"}) {
    EXPECT_EQ(parse(absent).tie_last_hidden_states, std::nullopt);
    EXPECT_FALSE(parse(absent).ties_last_hidden_state());
    EXPECT_THAT(parse(absent).to_json(), Not(HasSubstr(kKey)));
  }
  for (const std::string flag : {"true", "false"}) {
    const std::string text = with(kKey, flag);
    EXPECT_EQ(parse(text).ties_last_hidden_state(), flag == "true");
    EXPECT_THAT(parse(text).to_json(), HasSubstr("\"tie_last_hidden_states\": " + flag));
    const auto older = Wav2Vec2BertConfig::from_json(text, kPath, HfVersion::v5_17);
    EXPECT_FALSE(older.ties_last_hidden_state());
    EXPECT_EQ(older.to_json(), parse(text).to_json());
  }
}

TEST(Wav2Vec2BertConfig, ChecksTheTypesOfWhatHasNoEffect) {
  expect_refused("chunk_size_feed_forward", {"\"a\"", "true", "null", "1.5"},
                 "expected an integer");
  expect_refused("is_encoder_decoder", {"1", "null"}, "expected true or false");
  expect_refused("transformers_version", {"3", "[]"}, "expected a string or null");
}

TEST(Wav2Vec2BertConfig, ReadsListsOfIntegers) {
  EXPECT_THAT(parse(R"({"tdnn_dim":[8],"tdnn_kernel":[3],"tdnn_dilation":[1]})").tdnn_dim,
              ElementsAre(8));
  for (const char* key : {"tdnn_dim", "tdnn_kernel", "tdnn_dilation"}) {
    expect_refused(key, {"5", "null", "[1.5]", "[true]", "[[1]]", "[\"1\"]", "{}"},
                   "expected a list of integers");
    expect_refused(key, {"[1,2,3,1,0]", "[1,-2,3,1,1]"}, "expected from 1 to ");
  }
  EXPECT_THAT(
      error_of(with("tdnn_dim", "[512]")),
      HasSubstr("tdnn_kernel: [5, 3, 3, 1, 1], expected as many numbers as tdnn_dim = [512]"));
  EXPECT_THAT(error_of(with("tdnn_dilation", "[]")),
              HasSubstr("tdnn_dilation: [], expected as many numbers as tdnn_dim = [512, 512, "));
}

TEST(Wav2Vec2BertConfig, ReadsOneEndTokenOrSeveral) {
  EXPECT_THAT(parse("{}").eos_token_id, ElementsAre(2));
  EXPECT_THAT(parse(R"({"eos_token_id":7})").eos_token_id, ElementsAre(7));
  EXPECT_THAT(parse(R"({"eos_token_id":[7,8]})").eos_token_id, ElementsAre(7, 8));
  expect_refused("eos_token_id", {"true", "1.0", "\"2\"", "[1.0]", "[null]", "{}"},
                 "expected an integer, a list of integers or null");
}

TEST(Wav2Vec2BertConfig, ReadsArchitecturesAsAList) {
  EXPECT_THAT(parse(R"({"architectures":["Wav2Vec2BertForCTC"]})").architectures,
              ElementsAre("Wav2Vec2BertForCTC"));
  expect_refused("architectures", {"\"Wav2Vec2BertForCTC\"", "1", "{}"},
                 "expected a list of strings");
  expect_refused("architectures", {"[1]", "[null]"}, "expected a string");
}

TEST(Wav2Vec2BertConfig, CountsItsLabels) {
  EXPECT_EQ(parse("{}").num_labels, 2);
  EXPECT_EQ(parse(R"({"num_labels":5})").num_labels, 5);
  const auto named = parse(R"({"id2label":{"0":"no","10":"yes","2":"may be"}})");
  EXPECT_EQ(named.num_labels, 3);
  EXPECT_THAT(named.id2label, ElementsAre(Pair(0, "no"), Pair(2, "may be"), Pair(10, "yes")));
  EXPECT_THAT(parse(R"({"id2label":{"0":"a"},"num_labels":1})").id2label,
              ElementsAre(Pair(0, "a")));
  // Another number of labels takes the names away.
  const auto renamed = parse(R"({"id2label":{"0":"a","1":"b"},"num_labels":3})");
  EXPECT_EQ(renamed.num_labels, 3);
  EXPECT_THAT(renamed.id2label, IsEmpty());
  EXPECT_EQ(parse(R"({"label2id":{"a":0,"b":1,"c":2}})").num_labels, 2);
  EXPECT_EQ(parse(R"({"label2id":{"a":0,"b":1,"c":2}})").label2id, std::nullopt);
}

TEST(Wav2Vec2BertConfig, RefusesLabelsThatAreNone) {
  expect_refused("id2label", {"[\"a\"]", "\"a\"", "1"}, "expected an object of numbers and names");
  expect_refused("id2label",
                 {"{\"a\":\"b\"}", "{\"\":\"b\"}", "{\"1.0\":\"b\"}", "{\" 1\":\"b\"}",
                  "{\"99999999999999999999\":\"b\"}"},
                 "expected an integer");
  expect_refused("id2label", {"{\"0\":1}", "{\"0\":null}"}, "expected a string");
  expect_refused("id2label", {"{\"0\":\"a\",\"00\":\"b\"}"}, "expected each number once");
  expect_refused("label2id", {"[\"a\"]", "1", R"({"a":1.5})", R"({"a":null})", R"({"a":[0]})"},
                 "expected an object of names and numbers");
  expect_refused("num_labels", {"1.5", "true", "\"2\"", "null"}, "expected an integer");
  EXPECT_EQ(parse(R"({"num_labels":null,"id2label":{"0":"a"}})").num_labels, 1);
  expect_refused("num_labels", {"0", "-1", "4294967296"}, "expected from 1 to ");
  EXPECT_THAT(error_of(R"({"id2label":{}})"),
              HasSubstr("id2label: an empty object, which makes num_labels = 0, expected"));
}

TEST(Wav2Vec2BertConfig, WantsTwoLabelsToTellApart) {
  EXPECT_THAT(error_of(R"({"problem_type":"single_label_classification","num_labels":1})"),
              HasSubstr("problem_type: single_label_classification with num_labels = 1"));
  EXPECT_EQ(error_of(R"({"problem_type":"regression","num_labels":1})"), "accepted");
}

TEST(Wav2Vec2BertConfig, WantsEqualHeads) {
  EXPECT_THAT(error_of(R"({"hidden_size":1000})"),
              AllOf(HasSubstr("hidden_size: 1000"), HasSubstr("num_attention_heads = 16")));
  EXPECT_EQ(error_of(R"({"hidden_size":1008})"), "accepted");
  EXPECT_THAT(error_of(R"({"hidden_size":1008,"position_embeddings_type":"rotary"})"),
              AllOf(HasSubstr("heads of odd size 63"), HasSubstr("rotary")));
  EXPECT_THAT(error_of(R"({"add_adapter":true,"output_hidden_size":1000})"),
              AllOf(HasSubstr("output_hidden_size: 1000"), HasSubstr("num_attention_heads = 16")));
  EXPECT_EQ(error_of(R"({"output_hidden_size":1000})"), "accepted");
}

TEST(Wav2Vec2BertConfig, WantsAnOddDepthwiseKernel) {
  expect_refused("conv_depthwise_kernel_size", {"30", "2"}, "expected an odd number");
  EXPECT_EQ(error_of(with("conv_depthwise_kernel_size", "1")), "accepted");
}

TEST(Wav2Vec2BertConfig, WantsAnAdapterBehindTheIntermediateFfn) {
  EXPECT_THAT(error_of(R"({"use_intermediate_ffn_before_adapter":true})"),
              AllOf(HasSubstr("use_intermediate_ffn_before_adapter"), HasSubstr("add_adapter")));
  EXPECT_EQ(error_of(R"({"use_intermediate_ffn_before_adapter":true,"add_adapter":true})"),
            "accepted");
}

TEST(Wav2Vec2BertConfig, FillsInTheAdaptersWidth) {
  EXPECT_EQ(parse(R"({"hidden_size":64})").output_hidden_size, 64);
  EXPECT_EQ(parse(R"({"hidden_size":64,"output_hidden_size":0})").output_hidden_size, 64);
  EXPECT_EQ(parse(R"({"hidden_size":64,"output_hidden_size":null})").output_hidden_size, 64);
  EXPECT_EQ(parse(R"({"hidden_size":64,"output_hidden_size":32})").output_hidden_size, 32);
}

TEST(Wav2Vec2BertConfig, RefusesAModelThatNoMachineHolds) {
  EXPECT_THAT(error_of(R"({"hidden_size":1048576,"intermediate_size":1048576})"),
              AllOf(HasSubstr("hidden_size = 1048576, intermediate_size = 1048576, "),
                    HasSubstr("parameters"), HasSubstr("1e+11")));
  EXPECT_THAT(
      error_of(R"({"add_adapter":true,"num_adapter_layers":4096,"adapter_kernel_size":999})"),
      AllOf(HasSubstr("num_adapter_layers = 4096"), HasSubstr("parameters")));
}

TEST(Wav2Vec2BertConfig, ValidatesHandMadeConfigs) {
  Wav2Vec2BertConfig config;
  config.validate();
  config.hidden_size = -64;
  EXPECT_THAT(message_of<ConfigError>([&] { config.validate("mine"); }),
              HasSubstr("mine: hidden_size: -64"));
  config = {};
  config.attn_implementation = "flash";
  EXPECT_THAT(message_of<ConfigError>([&] { config.validate(); }),
              HasSubstr("attn_implementation"));
  config = {};
  config.dtype = "int8";
  EXPECT_THAT(message_of<ConfigError>([&] { config.validate(); }), HasSubstr("config: dtype: "));
  config = {};
  config.hidden_act = "no";
  EXPECT_THAT(message_of<ConfigError>([&] { config.validate(); }), HasSubstr("hidden_act: \"no\""));
}

TEST(Wav2Vec2BertConfig, DividesByNoHeadsOfAHandMadeConfig) {
  Wav2Vec2BertConfig config;
  EXPECT_EQ(config.head_size(), 64);
  for (const std::int64_t heads : {0, -1}) {
    config.num_attention_heads = heads;
    config.hidden_size = std::numeric_limits<std::int64_t>::min();
    const auto error = HasSubstr("num_attention_heads: " + std::to_string(heads));
    EXPECT_THAT(message_of<ConfigError>([&] { config.head_size(); }), error);
    EXPECT_THAT(message_of<ConfigError>([&] { config.parameter_count(); }), error);
    config.hidden_size = 1024;
    EXPECT_THAT(message_of<ConfigError>([&] { config.validate(); }), error);
  }
}

TEST(Wav2Vec2BertConfig, WritesTextThatReadsBackAsTheSame) {
  const std::string text = R"({"hidden_size":64,"num_attention_heads":4,"add_adapter":true,)"
                           R"("output_hidden_size":32,"vocab_size":7,"pad_token_id":null,)"
                           R"("eos_token_id":[5,6],"position_embeddings_type":null,)"
                           R"("hidden_dropout":1,"layer_norm_eps":1e-7,"tdnn_dim":[3,4],)"
                           R"("tdnn_kernel":[1,2],"tdnn_dilation":[2,1],"dtype":"bfloat16",)"
                           R"("architectures":["Wav2Vec2BertForCTC"],"ctc_zero_infinity":true,)"
                           R"("id2label":{"0":"n\u00f6","7":"x"},"label2id":{"n\u00f6":"0","x":7},)"
                           R"("problem_type":"regression","output_attentions":true})";
  const std::string written = parse(text).to_json();
  const Wav2Vec2BertConfig back = parse(written);
  EXPECT_EQ(back.hidden_size, 64);
  EXPECT_EQ(back.output_hidden_size, 32);
  EXPECT_EQ(back.vocab_size, 7);
  EXPECT_EQ(back.pad_token_id, std::nullopt);
  EXPECT_THAT(back.eos_token_id, ElementsAre(5, 6));
  EXPECT_EQ(back.position_embeddings_type, std::nullopt);
  EXPECT_EQ(back.hidden_dropout, 1.0);
  EXPECT_EQ(back.layer_norm_eps, 1e-7);
  EXPECT_THAT(back.tdnn_dim, ElementsAre(3, 4));
  EXPECT_EQ(back.dtype, "bfloat16");
  EXPECT_THAT(back.architectures, ElementsAre("Wav2Vec2BertForCTC"));
  EXPECT_THAT(back.id2label, ElementsAre(Pair(0, "n\xC3\xB6"), Pair(7, "x")));
  ASSERT_TRUE(back.label2id.has_value());
  EXPECT_EQ(std::get<std::string>(back.label2id->at("n\xC3\xB6")), "0");
  EXPECT_EQ(std::get<std::int64_t>(back.label2id->at("x")), 7);
  EXPECT_EQ(back.problem_type, "regression");
  EXPECT_TRUE(back.output_attentions);
  EXPECT_EQ(back.to_json(), written);
}

// The text itself is compared with that of transformers in compare_with_transformers.py.
TEST(Wav2Vec2BertConfig, WritesWhatIsAskedForByAHandMadeConfig) {
  Wav2Vec2BertConfig config;
  EXPECT_EQ(config.to_json(), parse("{}").to_json());
  EXPECT_THAT(config.to_json(), Not(HasSubstr("label")));
  config.id2label = {{0, "a"}};  // another number than num_labels: as if it was not there
  EXPECT_EQ(config.to_json(), parse("{}").to_json());
  config.num_labels = 1;
  EXPECT_THAT(config.to_json(), AllOf(HasSubstr(R"("0": "a")"), HasSubstr(R"("label2id": null)")));
  config.id2label.clear();
  EXPECT_THAT(config.to_json(),
              AllOf(HasSubstr(R"("0": "LABEL_0")"), HasSubstr(R"("LABEL_0": 0)")));
  config.num_labels = 3;
  EXPECT_EQ(parse(config.to_json()).num_labels, 3);
  config.eos_token_id.clear();
  EXPECT_THAT(config.to_json(), HasSubstr(R"("eos_token_id": null)"));
}

TEST(Wav2Vec2BertConfig, WritesNothingThatCannotBeRead) {
  Wav2Vec2BertConfig config;
  config.hidden_size = -64;
  EXPECT_THAT(message_of<ConfigError>([&] { config.to_json(); }), HasSubstr("hidden_size: -64"));
  config = {};
  config.hidden_dropout = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(message_of<ConfigError>([&] { config.to_json(); }), HasSubstr("hidden_dropout"));
  config = {};
  config.architectures = {"\xFF"};
  EXPECT_THAT(message_of<ConfigError>([&] { config.to_json(); }), HasSubstr("not UTF-8"));
}

}  // namespace
}  // namespace w2vbert::testing
