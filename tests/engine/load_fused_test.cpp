// A fused model that is built from the files, against one that is loaded first.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <limits>
#include <string>
#include <vector>

#include "engine/fused_encoder.h"
#include "engine/fused_engine.h"
#include "support/default_dtype.h"
#include "support/engine_products.h"
#include "support/small_model.h"
#include "support/temporary_directory.h"
#include "w2vbert/checkpoint/save_pretrained.h"
#include "w2vbert/core/error.h"
#include "w2vbert/engine/fuse.h"
#include "w2vbert/models/any_model.h"
#include "w2vbert/models/wav2vec2_bert_for_ctc.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class LoadFused : public ::testing::Test {
 protected:
  LoadFused() {
    Wav2Vec2BertConfig config;
    config.hidden_size = 32;
    config.num_hidden_layers = 2;
    config.num_attention_heads = 4;
    config.intermediate_size = 48;
    config.vocab_size = 11;
    config.add_adapter = true;
    config.output_hidden_size = 24;
    config.use_intermediate_ffn_before_adapter = true;
    config.architectures = {"Wav2Vec2BertForCTC"};
    torch::manual_seed(31);
    const Wav2Vec2BertForCTC model(config);
    {
      const torch::NoGradGuard no_grad;  // biases are not zero in a trained model
      for (auto& parameter : model->parameters()) parameter.normal_(0.0, 0.2);
    }
    save_pretrained(model, directory_.path());
  }
  std::string weights() const { return directory_.path() + "/model.safetensors"; }

  TemporaryDirectory directory_;
};

// In every precision, also where the processor has no instructions for it.
class LoadFusedIn : public LoadFused, public ::testing::WithParamInterface<EngineProducts> {
  WithEngineProducts with_{GetParam()};
};

TEST_P(LoadFusedIn, GivesWhatFusingALoadedModelGives) {
  const torch::NoGradGuard no_grad;
  auto expected = load_pretrained<Wav2Vec2BertForCTC>(directory_.path());
  fuse(*expected.model, GetParam().precision);
  auto loaded = load_fused<Wav2Vec2BertForCTC>(directory_.path(), GetParam().precision);
  EXPECT_EQ(loaded.report.loaded, expected.report.loaded);
  EXPECT_EQ(loaded.report.warnings, expected.report.warnings);
  EXPECT_FALSE(loaded.model->is_training());
  const auto features = torch::randn({2, 30, 160});
  const auto logits = expected.model->forward(features).logits;
  for (int pass = 0; pass < 3; ++pass) {  // out of the file, packed, and once more
    EXPECT_TRUE(torch::equal(loaded.model->forward(features).logits, logits)) << pass;
  }
  // What is left are parameters of other parts, with the same values.
  const auto left = loaded.model->named_parameters();
  EXPECT_EQ(left.keys(), expected.model->named_parameters().keys());
  for (const auto& parameter : left) {
    EXPECT_THAT(parameter.key(), ::testing::Not(HasSubstr("encoder")));
    EXPECT_TRUE(
        torch::equal(parameter.value(), expected.model->named_parameters()[parameter.key()]))
        << parameter.key();
  }
}

TEST_P(LoadFusedIn, TakesTheModelOutOfAHeadsFile) {
  const torch::NoGradGuard no_grad;
  auto expected = load_pretrained<Wav2Vec2BertModel>(directory_.path());
  fuse(*expected.model, GetParam().precision);
  auto loaded = load_fused<Wav2Vec2BertModel>(directory_.path(), GetParam().precision);
  EXPECT_EQ(loaded.report.unexpected, expected.report.unexpected);
  const auto features = torch::randn({1, 17, 160});
  EXPECT_TRUE(torch::equal(loaded.model->forward(features).last_hidden_state,
                           expected.model->forward(features).last_hidden_state));
}

TEST_P(LoadFusedIn, GivesTheSameUnderAnotherDefaultDtype) {
  const torch::NoGradGuard no_grad;
  const auto features = torch::randn({2, 30, 160}, torch::kFloat);
  auto mask = torch::ones({2, 30}, torch::kLong);
  mask[1].slice(0, 21).zero_();
  const std::vector<StateId> wanted = {0, 2, StateId::last_hidden_state()};
  const auto logits_now = [&] {
    return load_fused<Wav2Vec2BertForCTC>(directory_.path(), GetParam().precision)
        .model->forward(features, mask)
        .logits;
  };
  const auto states_now = [&] {
    auto loaded = load_fused<Wav2Vec2BertModel>(directory_.path(), GetParam().precision);
    FusedEngine engine(loaded.model);
    EXPECT_THAT(engine.compute({}, wanted), ::testing::IsEmpty());
    for (const auto& rows : engine.encoder().forward({}, {0, 2})) {
      EXPECT_EQ(rows.scalar_type(), torch::kFloat);
    }
    return engine.compute({{features[0], {}}, {features[1], mask[1]}}, wanted);
  };
  const auto logits = logits_now();
  const auto states = states_now();

  const DefaultDtype wide(torch::kDouble);
  EXPECT_TRUE(torch::equal(logits_now(), logits));
  const auto again = states_now();
  ASSERT_EQ(again.size(), states.size());
  for (std::size_t clip = 0; clip < states.size(); ++clip) {
    for (std::size_t entry = 0; entry < wanted.size(); ++entry) {
      EXPECT_TRUE(torch::equal(again[clip].states[entry], states[clip].states[entry]))
          << clip << " " << entry;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, LoadFusedIn, ::testing::ValuesIn(kEngineProducts),
                         [](const auto& of) { return name_of(of.param); });

TEST_F(LoadFused, ComparesAllNamesBeforeItReadsOne) {
  change_tensors(weights(), [](auto& tensors) {
    tensors.erase("wav2vec2_bert.encoder.layers.1.ffn2.output_dense.weight");
    tensors["lm_head.bias"] = torch::ones({3});
  });
  try {
    load_fused<AnyModel>(directory_.path(), Precision::float32);
    FAIL();
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), HasSubstr("1 missing, 1 of another shape"));
    EXPECT_THAT(error.what(), HasSubstr("encoder.layers.1.ffn2.output_dense.weight is missing"));
  }
  FromPretrainedOptions lenient;
  lenient.load.lenient = true;
  auto loaded = load_fused<AnyModel>(directory_.path(), Precision::float32, lenient);
  EXPECT_EQ(loaded.report.warnings.size(), 2U);
}

TEST_F(LoadFused, WarnsOfWeightsThatAreNaNThroughout) {
  change_tensors(weights(), [](auto& tensors) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    tensors["wav2vec2_bert.encoder.layers.0.self_attn.linear_k.weight"].fill_(nan);
    tensors["wav2vec2_bert.encoder.layers.1.self_attn.linear_k.weight"][0].fill_(nan);
  });
  const auto loaded = load_fused<AnyModel>(directory_.path(), Precision::float32);
  EXPECT_THAT(loaded.report.warnings,
              ElementsAre(HasSubstr("layers.0.self_attn.linear_k.weight: every value is NaN")));
}

TEST_F(LoadFused, IsForFloat32ParametersOnACpu) {
  FromPretrainedOptions options;
  options.dtype = torch::kBFloat16;
  EXPECT_THROW(load_fused<AnyModel>(directory_.path(), Precision::bfloat16, options),
               c10::ValueError);
}

}  // namespace
}  // namespace w2vbert::testing
