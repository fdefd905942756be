#include "w2vbert/checkpoint/from_pretrained.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/safetensors_writer.h"
#include "support/default_dtype.h"
#include "support/random_parameters.h"
#include "support/raw_safetensors.h"
#include "support/temporary_directory.h"
#include "w2vbert/core/error.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// A small model of three layers in a directory of its own, as HF would save it.
class FromPretrained : public ::testing::Test {
 protected:
  FromPretrained() {
    write_text(directory_ / "config.json",
               R"({"model_type":"wav2vec2-bert","hidden_size":32,"num_hidden_layers":3,)"
               R"("num_attention_heads":4,"intermediate_size":48})");
    torch::manual_seed(3);
    model_ = Wav2Vec2BertModel(Wav2Vec2BertConfig::from_pretrained(directory_.path()));
    randomize_parameters(*model_, 3);
    for (const auto& item : model_->named_parameters()) {
      tensors_.emplace_back(item.key(), item.value().detach());
    }
  }
  std::string save(const std::string& prefix = "") {
    NamedTensors tensors;
    for (const auto& [name, tensor] : tensors_) tensors.emplace_back(prefix + name, tensor);
    std::filesystem::remove(directory_ / "model.safetensors");
    write_safetensors(directory_ / "model.safetensors", tensors, {{"format", "pt"}});
    return directory_.path();
  }
  void expect_weights(const Wav2Vec2BertModel& model, torch::ScalarType dtype = torch::kFloat) {
    const auto originals = model_->named_parameters();
    for (const auto& item : model->named_parameters()) {
      const torch::Tensor* const original = originals.find(item.key());
      ASSERT_NE(original, nullptr) << item.key();
      EXPECT_EQ(item.value().scalar_type(), dtype) << item.key();
      EXPECT_TRUE(torch::equal(item.value(), original->to(dtype))) << item.key();
    }
  }
  TemporaryDirectory directory_;
  Wav2Vec2BertModel model_{nullptr};
  NamedTensors tensors_;
};

TEST_F(FromPretrained, GivesTheSavedWeightsInEvalMode) {
  auto model = from_pretrained<Wav2Vec2BertModel>(save());
  expect_weights(model);
  EXPECT_EQ(model->parameters().size(), tensors_.size());
  EXPECT_FALSE(model->is_training());
  for (const auto& parameter : model->parameters()) EXPECT_TRUE(parameter.requires_grad());
  const torch::NoGradGuard no_grad;
  model_->eval();
  const torch::Tensor features = torch::randn({1, 7, 160});
  EXPECT_TRUE(torch::equal(model->forward(features).last_hidden_state,
                           model_->forward(features).last_hidden_state));
}

TEST_F(FromPretrained, KeepsEveryParameterInAlignedMemoryOfItsOwn) {
  auto model = from_pretrained<Wav2Vec2BertModel>(save());
  for (const auto& item : model->named_parameters()) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(item.value().const_data_ptr()) % 64, 0U)
        << item.key();
  }
  // The file may change afterwards.
  std::filesystem::resize_file(directory_ / "model.safetensors", 0);
  expect_weights(model);
}

TEST_F(FromPretrained, ConvertsToTheAskedDtype) {
  save();
  for (const auto dtype : {torch::kBFloat16, torch::kHalf, torch::kDouble}) {
    FromPretrainedOptions options;
    options.dtype = dtype;
    expect_weights(from_pretrained<Wav2Vec2BertModel>(directory_.path(), options), dtype);
  }
}

TEST_F(FromPretrained, GivesTheSameBitsUnderAnyDefaultDtype) {
  save();
  const DefaultDtype wide(torch::kDouble);
  expect_weights(from_pretrained<Wav2Vec2BertModel>(directory_.path()));
}

TEST_F(FromPretrained, TakesTheFirstLayersOfADeeperFile) {
  save();
  FromPretrainedOptions options;
  options.num_hidden_layers = 2;
  options.attn_implementation = "eager";
  const auto loaded = load_pretrained<Wav2Vec2BertModel>(directory_.path(), options);
  expect_weights(loaded.model);
  EXPECT_EQ(loaded.config.num_hidden_layers, 2);
  EXPECT_EQ(loaded.model->config.attn_implementation, "eager");
  EXPECT_FALSE(loaded.report.unexpected.empty());
  for (const std::string& name : loaded.report.unexpected) {
    EXPECT_THAT(name, StartsWith("encoder.layers.2."));
  }
  EXPECT_THAT(loaded.report.warnings, IsEmpty());
}

TEST_F(FromPretrained, RefusesMoreLayersThanTheFileHolds) {
  save();
  FromPretrainedOptions options;
  options.num_hidden_layers = 4;
  try {
    from_pretrained<Wav2Vec2BertModel>(directory_.path(), options);
    FAIL();
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), HasSubstr("encoder.layers.3."));
  }
}

TEST_F(FromPretrained, LoadsACheckpointWithAHeadAndOneUnderAForeignPrefix) {
  expect_weights(from_pretrained<Wav2Vec2BertModel>(save("wav2vec2_bert.")));
  save("semantic_model.");
  EXPECT_THROW(from_pretrained<Wav2Vec2BertModel>(directory_.path()), CheckpointError);
  FromPretrainedOptions options;
  options.load.prefix = "semantic_model.";
  expect_weights(from_pretrained<Wav2Vec2BertModel>(directory_.path(), options));
}

TEST_F(FromPretrained, InitialisesAsHfDoesWhatALenientLoadMisses) {
  const std::string missing = "encoder.layers.1.final_layer_norm.weight";
  std::erase_if(tensors_, [&](const auto& entry) { return entry.first == missing; });
  save();
  FromPretrainedOptions options;
  options.load.lenient = true;
  const auto loaded = load_pretrained<Wav2Vec2BertModel>(directory_.path(), options);
  EXPECT_THAT(loaded.report.missing, ElementsAre(missing));
  EXPECT_THAT(loaded.report.warnings,
              ElementsAre(StartsWith("[Wav2Vec-BERT] " + directory_.path() + ": " + missing)));
  EXPECT_TRUE(torch::equal(*loaded.model->named_parameters().find(missing), torch::ones({32})));
  EXPECT_FALSE(loaded.model->is_training());
}

TEST_F(FromPretrained, NamesWhatADirectoryLacks) {
  const TemporaryDirectory empty;
  EXPECT_THROW(from_pretrained<Wav2Vec2BertModel>(empty.path()), ConfigError);
  EXPECT_THROW(from_pretrained<Wav2Vec2BertModel>(directory_.path()), CheckpointError);
  EXPECT_THROW(from_pretrained<Wav2Vec2BertModel>(directory_ / "none"), CheckpointError);
}

TEST_F(FromPretrained, RefusesOptionsThatMakeNoModel) {
  save();
  FromPretrainedOptions options;
  options.attn_implementation = "flash";
  EXPECT_THROW(from_pretrained<Wav2Vec2BertModel>(directory_.path(), options), ConfigError);
  options = {};
  options.num_hidden_layers = 0;
  EXPECT_THROW(from_pretrained<Wav2Vec2BertModel>(directory_.path(), options), ConfigError);
}

}  // namespace
}  // namespace w2vbert::testing
