#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <functional>
#include <string>

#include "support/head_config.h"
#include "w2vbert/core/error.h"
#include "w2vbert/models/any_model.h"
#include "w2vbert/models/output_lengths.h"
#include "w2vbert/models/wav2vec2_bert_for_audio_frame_classification.h"
#include "w2vbert/models/wav2vec2_bert_for_ctc.h"
#include "w2vbert/models/wav2vec2_bert_for_sequence_classification.h"
#include "w2vbert/models/wav2vec2_bert_for_xvector.h"
#include "w2vbert/nn/initialization.h"

namespace w2vbert::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

template <class Holder>
std::string error_of(const Wav2Vec2BertConfig& config) {
  try {
    const Holder model(config);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no ConfigError";
}

torch::Tensor features(const Wav2Vec2BertConfig& config, std::int64_t frames) {
  return torch::randn({2, frames, config.feature_projection_input_dim});
}

TEST(Heads, RefuseTheConfigsThatHuggingFaceRefuses) {
  auto config = head_config();
  config.vocab_size.reset();
  EXPECT_THAT(error_of<Wav2Vec2BertForCTC>(config), HasSubstr("vocab_size: null"));
  config = head_config();
  config.add_adapter = true;
  const auto adapter = HasSubstr("add_adapter: true");
  EXPECT_THAT(error_of<Wav2Vec2BertForSequenceClassification>(config), adapter);
  EXPECT_THAT(error_of<Wav2Vec2BertForAudioFrameClassification>(config), adapter);
  config.output_hidden_size = 12;
  EXPECT_THAT(error_of<Wav2Vec2BertForXVector>(config), HasSubstr("output_hidden_size: 12"));
  config = head_config();
  config.tdnn_dim = config.tdnn_kernel = config.tdnn_dilation = {};
  EXPECT_EQ(error_of<Wav2Vec2BertModel>(config), "no ConfigError");
  EXPECT_THAT(error_of<Wav2Vec2BertForXVector>(config), HasSubstr("tdnn_dim: []"));
}

// No memory holds these; what is asked for is refused before it is.
TEST(Heads, RefuseWhatMemoryDoesNotHold) {
  const SkipInitialization skip;  // where nothing is written to them they count as well
  const auto too_large = [](const std::string& key) {
    return AllOf(StartsWith("config: " + key + ": "), HasSubstr(" makes a model of "),
                 HasSubstr("expected one that fits into the "));
  };
  constexpr std::int64_t kMaxWidth = 1 << 20;
  constexpr std::int64_t kMaxTokens = 1 << 24;
  auto config = head_config();
  config.hidden_size = 3 << 14;
  config.vocab_size = kMaxTokens;
  EXPECT_THAT(error_of<Wav2Vec2BertForCTC>(config), too_large("vocab_size"));
  config.vocab_size = 7;
  config.num_labels = kMaxTokens;
  EXPECT_THAT(error_of<Wav2Vec2BertForAudioFrameClassification>(config), too_large("num_labels"));
  config = head_config();
  config.classifier_proj_size = kMaxWidth;
  config.num_labels = kMaxTokens;
  EXPECT_THAT(error_of<Wav2Vec2BertForSequenceClassification>(config), too_large("num_labels"));
  EXPECT_EQ(error_of<Wav2Vec2BertModel>(config), "no ConfigError");
  config = head_config();
  config.num_hidden_layers = 180;
  config.left_max_position_embeddings = config.right_max_position_embeddings = kMaxTokens;
  EXPECT_THAT(error_of<Wav2Vec2BertModel>(config), too_large("left_max_position_embeddings"));
  config = head_config();
  config.xvector_output_dim = kMaxWidth;
  EXPECT_THAT(error_of<Wav2Vec2BertForXVector>(config), too_large("xvector_output_dim"));
  config = head_config();
  config.tdnn_dim = {kMaxWidth, kMaxWidth};
  EXPECT_THAT(error_of<Wav2Vec2BertForXVector>(config), too_large("tdnn_dim"));
  config = head_config();
  config.tdnn_kernel = {kMaxTokens, kMaxTokens};
  config.tdnn_dim = {1 << 10, 1 << 10};
  EXPECT_THAT(error_of<Wav2Vec2BertForXVector>(config), too_large("tdnn_dim"));
}

TEST(Heads, AnyModelNamesTheClassesItKnows) {
  auto config = head_config();
  EXPECT_THAT(error_of<AnyModel>(config),
              HasSubstr("architectures: absent or empty, which names no class"));
  config.architectures = {"Wav2Vec2BertForPreTraining"};
  EXPECT_THAT(error_of<AnyModel>(config),
              AllOf(HasSubstr("Wav2Vec2BertForPreTraining"), HasSubstr("Wav2Vec2BertForCTC")));
  for (const auto& name : AnyModel::classes()) {
    config.architectures = {name};
    EXPECT_EQ(error_of<AnyModel>(config), "no ConfigError") << name;
  }
}

Wav2Vec2BertConfig config_of_class(const std::string& name) {
  auto config = head_config();
  config.architectures = {name};
  return config;
}

std::string value_error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const c10::ValueError& error) {
    return error.msg();
  }
  return "no ValueError";
}

TEST(Heads, AnyModelRefusesTheInputsOfOtherClasses) {
  const torch::NoGradGuard no_grad;
  for (const auto& name : AnyModel::classes()) {
    AnyModel model(config_of_class(name));
    model->eval();
    ModelInputs inputs;
    inputs.input_features = features(model.config(), 9);
    EXPECT_NO_THROW(model.forward(inputs)) << name;
    const bool is_base = name == "Wav2Vec2BertModel";
    (is_base ? inputs.labels : inputs.mask_time_indices) = torch::zeros({2, 9}, torch::kBool);
    const std::string input = is_base ? "labels" : "mask_time_indices";
    EXPECT_THAT(value_error_of([&] { model.forward(inputs); }),
                HasSubstr(input + ": is not an input of " + name + ", expected input_features, "));
    EXPECT_THAT(AnyModel::inputs(name), ::testing::Not(::testing::Contains(input)));
  }
  EXPECT_THAT(value_error_of([] { AnyModel::inputs("foo"); }),
              AllOf(HasSubstr("class_name: foo, expected one of "), HasSubstr("ForCTC")));
}

// The logits are those of the last state, and of the adapter's frames.
TEST(Heads, RefuseToStopBeforeTheLastState) {
  const torch::NoGradGuard no_grad;
  for (const auto& name : AnyModel::classes()) {
    for (const bool weighted : {false, true}) {
      auto config = config_of_class(name);
      config.use_weighted_layer_sum = weighted;
      AnyModel model(config);
      model->eval();
      ModelInputs inputs;
      inputs.input_features = features(config, 9);
      ForwardOptions options;
      for (const std::int64_t state : {0, 3}) {
        options.stop_after = state;
        const std::string error =
            name == "Wav2Vec2BertModel"
                ? "no ValueError"
                : "stop_after: " + std::to_string(state) + " is not supported by a head";
        EXPECT_THAT(value_error_of([&] { model.forward(inputs, options); }), HasSubstr(error))
            << name;
      }
      options.stop_after.reset();
      EXPECT_EQ(value_error_of([&] { model.forward(inputs, options); }), "no ValueError") << name;
    }
  }
}

TEST(Heads, RefuseLabelsOfAnotherNumberOrType) {
  const torch::NoGradGuard no_grad;
  const auto good = torch::tensor({0, 2});
  const torch::Tensor wrong[] = {good.slice(0, 1), good.to(torch::kInt), good.to(torch::kFloat),
                                 torch::zeros({2, 2}, torch::kLong)};
  for (const char* name : {"Wav2Vec2BertForSequenceClassification", "Wav2Vec2BertForXVector"}) {
    AnyModel model(config_of_class(name));
    model->eval();
    ModelInputs inputs;
    inputs.input_features = features(model.config(), 9);
    for (const auto& labels : wrong) {
      inputs.labels = labels;
      EXPECT_THAT(value_error_of([&] { model.forward(inputs); }),
                  AllOf(HasSubstr("labels: "), HasSubstr("expected Long (2)")))
          << name;
    }
    inputs.labels = good;
    EXPECT_EQ(value_error_of([&] { model.forward(inputs); }), "no ValueError") << name;
  }
}

TEST(Heads, RefuseLabelsThatHuggingFaceRefuses) {
  const torch::NoGradGuard no_grad;
  const auto error_of_labels = [](const char* name, const torch::Tensor& labels) {
    AnyModel model(config_of_class(name));
    model->eval();
    ModelInputs inputs;
    inputs.input_features = features(model.config(), 12);
    inputs.labels = labels;
    return value_error_of([&] { model.forward(inputs); });
  };
  const auto config = head_config();
  const std::string of_classes =
      "from 0 to below num_labels = " + std::to_string(config.num_labels);
  const std::string of_vocabulary =
      "from 0 to below vocab_size = " + std::to_string(config.vocab_size.value()) + ", or -100";
  const std::int64_t classes = config.num_labels, tokens = config.vocab_size.value();
  for (const std::int64_t label : {std::int64_t{-100}, std::int64_t{-1}, classes, classes + 4}) {
    const auto labels = torch::tensor({std::int64_t{1}, label});
    const std::string at = "labels: " + std::to_string(label) + " at (1), expected ";
    EXPECT_THAT(error_of_labels("Wav2Vec2BertForXVector", labels), HasSubstr(at + of_classes));
    // torch's cross entropy leaves -100 out.
    EXPECT_THAT(error_of_labels("Wav2Vec2BertForSequenceClassification", labels),
                HasSubstr(label == -100 ? "no ValueError" : at + of_classes + ", or -100"));
  }
  auto labels = torch::ones({2, 3}, torch::kLong);
  labels[1][2] = tokens;
  EXPECT_THAT(
      error_of_labels("Wav2Vec2BertForCTC", labels),
      HasSubstr("labels: " + std::to_string(tokens) + " at (1, 2), expected " + of_vocabulary));
  labels[1][2] = -100;  // padding
  EXPECT_EQ(error_of_labels("Wav2Vec2BertForCTC", labels), "no ValueError");
  // A target to HF, for which torch reads outside the logits.
  labels[1][2] = -1;
  EXPECT_THAT(error_of_labels("Wav2Vec2BertForCTC", labels),
              HasSubstr("labels: -1 at (1, 2), expected " + of_vocabulary));
  // The largest of a row counts there, whatever it is.
  EXPECT_EQ(error_of_labels("Wav2Vec2BertForAudioFrameClassification",
                            torch::full({2, 12, classes}, -7, torch::kLong)),
            "no ValueError");
}

TEST(ForCTC, TakesForPaddingWhatTheReleaseDoes) {
  const auto loss_of = [](HfVersion version, const std::vector<std::int64_t>& row) {
    auto config = head_config();
    config.hf_version = version;
    config.pad_token_id = 3;
    torch::manual_seed(7);
    Wav2Vec2BertForCTC model(config);
    model->eval();
    torch::manual_seed(8);
    const auto input = features(config, 12);
    const auto labels = torch::tensor(row).unsqueeze(0).repeat({input.size(0), 1});
    return model->forward(input, {}, labels).loss.item<double>();
  };
  for (const HfVersion version : {HfVersion::v5_21, kNewestHfVersion}) {
    EXPECT_EQ(loss_of(version, {1, 3, 2}), loss_of(version, {1, 2, -100}));  // 3 is the blank
    EXPECT_THROW(loss_of(version, {1, 2, -1}), c10::ValueError);
  }
  for (const HfVersion version : {HfVersion::v5_17, HfVersion::v5_20}) {
    EXPECT_NE(loss_of(version, {1, 3, 2}), loss_of(version, {1, 2, -100}));
    EXPECT_EQ(loss_of(version, {1, 2, -1}), loss_of(version, {1, 2, -100}));
  }
}

TEST(ForCTC, LooksAtItsFeaturesBeforeItsLabels) {
  Wav2Vec2BertForCTC model(head_config());
  const auto labels = torch::ones({2, 3}, torch::kLong);
  EXPECT_THAT(value_error_of([&] { model->forward(torch::Tensor(), {}, labels); }),
              HasSubstr("input_features: undefined"));
}

TEST(ForCTC, RefusesLabelsOutsideTheVocabularyAndABlankOfNull) {
  auto config = head_config();
  const auto input = features(config, 12);
  Wav2Vec2BertForCTC model(config);
  EXPECT_THROW(model->forward(input, {}, torch::full({2, 3}, 7, torch::kLong)), c10::ValueError);
  EXPECT_THROW(model->forward(input, {}, torch::ones({3}, torch::kLong)), c10::ValueError);
  EXPECT_THROW(model->forward(input, {}, torch::ones({2, 3})), c10::ValueError);
  const auto labels = torch::ones({2, 3}, torch::kLong);
  const auto error_of_blank = [&](std::optional<std::int64_t> blank) -> std::string {
    config.pad_token_id = blank;
    try {
      Wav2Vec2BertForCTC(config)->forward(input, {}, labels);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "no ConfigError";
  };
  const std::string rest =
      " is not supported by the CTC loss, expected the number of the blank, from 0 to below "
      "vocab_size = 7";
  EXPECT_EQ(error_of_blank({}), "config: pad_token_id: null" + rest);
  EXPECT_EQ(error_of_blank(7), "config: pad_token_id: 7" + rest);
  EXPECT_EQ(error_of_blank(-1), "config: pad_token_id: -1" + rest);
  EXPECT_EQ(error_of_blank(6), "no ConfigError");
}

TEST(ForCTC, TrainsTheHeadAloneWhenTheBaseModelIsFrozen) {
  Wav2Vec2BertForCTC model(head_config());
  model->eval();
  model->freeze_base_model();
  model->forward(features(model->config, 12), {}, torch::ones({2, 3}, torch::kLong))
      .loss.backward();
  EXPECT_TRUE(model->lm_head->weight.grad().defined());
  for (const auto& parameter : model->wav2vec2_bert->parameters()) {
    EXPECT_FALSE(parameter.requires_grad());
  }
}

TEST(ForAudioFrameClassification, RefusesLabelsThatAreNotOneHot) {
  Wav2Vec2BertForAudioFrameClassification model(head_config());
  EXPECT_THROW(model->forward(features(model->config, 6), {}, torch::ones({2, 6}, torch::kLong)),
               c10::ValueError);
}

TEST(ForXVector, RefusesFewerFramesThanItsConvolutionsNeed) {
  Wav2Vec2BertForXVector model(head_config());
  model->eval();
  EXPECT_THROW(model->forward(features(model->config, 4)), c10::ValueError);
  EXPECT_EQ(model->forward(features(model->config, 6)).embeddings.sizes(), at::IntArrayRef({2, 6}));
}

TEST(Heads, ReturnStatesOnlyOnRequestAlsoWhereTheyAreWeighted) {
  auto config = head_config();
  config.use_weighted_layer_sum = true;
  config.apply_spec_augment = false;
  config.layerdrop = 1.0;
  Wav2Vec2BertForSequenceClassification model(config);
  model->eval();
  const auto input = features(config, 6);
  EXPECT_FALSE(model->forward(input).hidden_states.has_value());
  ForwardOptions options;
  options.output_hidden_states = true;
  EXPECT_EQ(model->forward(input, {}, {}, options).hidden_states->size(), 4U);
  model->train();
  try {
    model->forward(input, {}, {}, options);
    FAIL() << "layers are missing";
  } catch (const c10::ValueError& error) {
    EXPECT_THAT(error.msg(), AllOf(HasSubstr("use_weighted_layer_sum: true with "),
                                   HasSubstr("layerdrop = 1 has to be 0")));
  }
}

// HF: the call's argument first, then the config's.
TEST(Heads, ReturnWhatTheConfigAsksForUnlessTheCallSaysOtherwise) {
  auto config = head_config();
  config.output_hidden_states = true;
  config.output_attentions = true;
  config.attn_implementation = "eager";
  const auto input = features(config, 9);
  ForwardOptions neither;
  neither.output_hidden_states = false;
  neither.output_attentions = false;
  for (const bool weighted : {false, true}) {
    config.use_weighted_layer_sum = weighted;
    Wav2Vec2BertForSequenceClassification model(config);
    model->eval();
    const auto output = model->forward(input);
    ASSERT_TRUE(output.hidden_states.has_value() && output.attentions.has_value());
    EXPECT_EQ(output.hidden_states->size(), 4U);
    EXPECT_EQ(output.attentions->size(), 3U);
    const auto without = model->forward(input, {}, {}, neither);
    EXPECT_FALSE(without.hidden_states.has_value());
    EXPECT_FALSE(without.attentions.has_value());
  }
}

// HF: 18 frames by the convolution, 19 by the formula (kernel 5, stride 2, 37 frames).
TEST(OutputLengths, CountHalfTheKernelAsPadding) {
  auto config = head_config();
  config.add_adapter = true;
  config.adapter_kernel_size = 5;
  const auto lengths = get_feat_extract_output_lengths(config, torch::tensor({37, 1}));
  EXPECT_TRUE(lengths.equal(torch::tensor({19, 1})));
  EXPECT_TRUE(get_feat_extract_output_lengths(config, lengths, false).equal(lengths));
  EXPECT_TRUE(
      get_tdnn_output_lengths(config, torch::tensor({10, 2})).equal(torch::tensor({7, -1})));
}

TEST(OutputLengths, APoolingMaskIsAPrefixAndOfNoFramesTheWholeRow) {
  const auto mask = torch::tensor({0, 1, 1, 0, 0, 0}).view({2, 3});
  const auto pooled = get_feature_vector_attention_mask(head_config(), 3, mask);
  EXPECT_TRUE(pooled.equal(torch::tensor({1, 1, 0, 1, 1, 1}).view({2, 3}).to(torch::kBool)));
}

}  // namespace
}  // namespace w2vbert::testing
