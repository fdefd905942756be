// clone() of every public module.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <regex>
#include <set>
#include <typeinfo>

#include "support/small_config.h"
#include "w2vbert/models/any_model.h"
#include "w2vbert/models/semantic_encoder.h"
#include "w2vbert/models/wav2vec2_bert_for_audio_frame_classification.h"
#include "w2vbert/models/wav2vec2_bert_for_ctc.h"
#include "w2vbert/models/wav2vec2_bert_for_sequence_classification.h"
#include "w2vbert/models/wav2vec2_bert_for_xvector.h"

namespace w2vbert::testing {
namespace {

Wav2Vec2BertConfig config_with(const char* positions) {
  auto config = small_config();
  config.position_embeddings_type = positions;
  config.vocab_size = 7;
  config.tdnn_dim = {8, 10};
  config.tdnn_kernel = {3, 2};
  config.tdnn_dilation = {1, 2};
  config.xvector_output_dim = 6;
  config.use_weighted_layer_sum = true;
  config.output_hidden_size = 12;
  config.hidden_act = "prelu";
  return config;
}

Wav2Vec2BertConfig with_adapter() {
  auto config = config_with("relative_key");
  config.add_adapter = true;
  config.use_intermediate_ffn_before_adapter = true;
  return config;
}

struct Case {
  std::string name;  // of the class; a suffix after "_" tells cases of one class apart
  std::function<std::shared_ptr<torch::nn::Module>()> make;
};

void PrintTo(const Case& one, std::ostream* stream) { *stream << one.name; }

std::vector<Case> cases() {
  const auto config = config_with("relative_key");
  const auto relative = config_with("relative");
  const auto rotary = config_with("rotary");
  const auto adapted = with_adapter();
  const auto statistics = [=] { return torch::rand({config.hidden_size}) + 0.1; };
  return {
      {"Linear", [] { return Linear(torch::nn::LinearOptions(5, 3)).ptr(); }},
      {"Linear_without_bias",
       [] { return Linear(torch::nn::LinearOptions(5, 3).bias(false)).ptr(); }},
      {"Conv1d",
       [] {
         return Conv1d(torch::nn::Conv1dOptions(6, 6, 3).groups(6).padding(1).bias(false)).ptr();
       }},
      {"Conv1d_same",
       [] { return Conv1d(torch::nn::Conv1dOptions(4, 6, 3).padding(torch::kSame)).ptr(); }},
      {"Conv1d_same_reflected",
       [] {
         return Conv1d(torch::nn::Conv1dOptions(4, 6, 3)
                           .padding(torch::kSame)
                           .padding_mode(torch::kReflect))
             .ptr();
       }},
      {"Activation", [] { return Activation("gelu", "hidden_act").ptr(); }},
      {"Activation_prelu", [] { return Activation("prelu", "hidden_act").ptr(); }},
      {"AMSoftmaxLoss", [] { return AMSoftmaxLoss(6, 3).ptr(); }},
      {"TDNNLayer", [=] { return TDNNLayer(config, 1).ptr(); }},
      {"Wav2Vec2BertRelPositionalEmbedding",
       [=] { return Wav2Vec2BertRelPositionalEmbedding(relative).ptr(); }},
      {"Wav2Vec2BertRotaryPositionalEmbedding",
       [=] { return Wav2Vec2BertRotaryPositionalEmbedding(rotary).ptr(); }},
      {"Wav2Vec2BertFeatureProjection",
       [=] { return Wav2Vec2BertFeatureProjection(config).ptr(); }},
      {"Wav2Vec2BertFeedForward", [=] { return Wav2Vec2BertFeedForward(config, "relu", 8).ptr(); }},
      {"Wav2Vec2BertConvolutionModule",
       [=] { return Wav2Vec2BertConvolutionModule(config).ptr(); }},
      {"Wav2Vec2BertSelfAttention", [=] { return Wav2Vec2BertSelfAttention(config).ptr(); }},
      {"Wav2Vec2BertSelfAttention_relative",
       [=] { return Wav2Vec2BertSelfAttention(relative).ptr(); }},
      {"Wav2Vec2BertSelfAttention_adapter",
       [=] {
         return Wav2Vec2BertSelfAttention(adapted, Wav2Vec2BertSelfAttentionImpl::Place::adapter)
             .ptr();
       }},
      {"Wav2Vec2BertEncoderLayer", [=] { return Wav2Vec2BertEncoderLayer(config).ptr(); }},
      {"Wav2Vec2BertEncoder", [=] { return Wav2Vec2BertEncoder(config).ptr(); }},
      {"Wav2Vec2BertEncoder_relative", [=] { return Wav2Vec2BertEncoder(relative).ptr(); }},
      {"Wav2Vec2BertEncoder_rotary", [=] { return Wav2Vec2BertEncoder(rotary).ptr(); }},
      {"Wav2Vec2BertAdapterLayer", [=] { return Wav2Vec2BertAdapterLayer(adapted).ptr(); }},
      {"Wav2Vec2BertAdapter", [=] { return Wav2Vec2BertAdapter(adapted).ptr(); }},
      {"Wav2Vec2BertModel", [=] { return Wav2Vec2BertModel(config).ptr(); }},
      {"Wav2Vec2BertModel_adapter", [=] { return Wav2Vec2BertModel(adapted).ptr(); }},
      {"Wav2Vec2BertForCTC", [=] { return Wav2Vec2BertForCTC(adapted).ptr(); }},
      {"Wav2Vec2BertForSequenceClassification",
       [=] { return Wav2Vec2BertForSequenceClassification(relative).ptr(); }},
      {"Wav2Vec2BertForAudioFrameClassification",
       [=] { return Wav2Vec2BertForAudioFrameClassification(rotary).ptr(); }},
      {"Wav2Vec2BertForXVector", [=] { return Wav2Vec2BertForXVector(config).ptr(); }},
      {"SemanticEncoder",
       [=] {
         return SemanticEncoder(Wav2Vec2BertModel(relative), statistics(), statistics(), 1).ptr();
       }},
      {"SemanticEncoder_without_statistics",
       [=] {
         return SemanticEncoder(Wav2Vec2BertModel(config), torch::Tensor(), torch::Tensor(), 1)
             .ptr();
       }},
      {"AnyModel",
       [=] {
         auto named = config;
         named.architectures = {"Wav2Vec2BertForCTC"};
         return (*AnyModel(named)).shared_from_this();
       }},
  };
}

// Every tensor drawn at random, every second parameter frozen, some modules in training.
std::shared_ptr<torch::nn::Module> make_random(const Case& one, torch::Dtype dtype) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(31);
  auto module = one.make();
  module->to(dtype);
  for (auto& parameter : module->parameters()) parameter.normal_();
  for (auto& buffer : module->buffers()) buffer.normal_();
  int count = 0;
  for (auto& parameter : module->parameters()) parameter.set_requires_grad(count++ % 2 == 0);
  count = 0;
  for (const auto& inside : module->modules()) inside->train(count++ % 3 == 0);
  return module;
}

using Tensors = torch::OrderedDict<std::string, torch::Tensor>;

void expect_tensors(const Tensors& originals, const Tensors& copies, torch::DeviceType device) {
  ASSERT_EQ(originals.keys(), copies.keys());
  for (const auto& item : originals) {
    const torch::Tensor& original = item.value();
    const torch::Tensor& copy = copies[item.key()];
    SCOPED_TRACE(item.key());
    EXPECT_TRUE(original.is_cpu());
    EXPECT_EQ(copy.device().type(), device);
    EXPECT_EQ(copy.scalar_type(), original.scalar_type());
    EXPECT_EQ(copy.sizes(), original.sizes());
    EXPECT_EQ(copy.requires_grad(), original.requires_grad());
    EXPECT_TRUE(copy.is_leaf());
    EXPECT_FALSE(copy.is_alias_of(original));
    if (copy.is_cpu()) {
      EXPECT_TRUE(copy.equal(original));
    }
  }
}

class Clone : public ::testing::TestWithParam<Case> {};

TEST_P(Clone, IsTheSameInMemoryOfItsOwn) {
  for (const auto dtype : {torch::kFloat, torch::kBFloat16}) {
    const auto module = make_random(GetParam(), dtype);
    const auto twin = make_random(GetParam(), dtype);  // what `module` was before it was cloned
    for (const std::optional<torch::Device> device :
         {std::optional<torch::Device>(), std::optional<torch::Device>(torch::kCPU),
          std::optional<torch::Device>(torch::kMeta)}) {
      SCOPED_TRACE(::testing::Message() << dtype << " to " << (device ? device->str() : "nowhere"));
      const auto copy = module->clone(device);
      const auto& made = *copy;
      const auto& given = *module;
      EXPECT_TRUE(typeid(made) == typeid(given)) << typeid(made).name();
      const auto type = device ? device->type() : torch::kCPU;
      expect_tensors(module->named_parameters(), copy->named_parameters(), type);
      expect_tensors(module->named_buffers(), copy->named_buffers(), type);
      const auto copies = copy->named_modules();
      for (const auto& item : module->named_modules()) {
        EXPECT_EQ(copies[item.key()]->is_training(), item.value()->is_training()) << item.key();
        EXPECT_NE(copies[item.key()], item.value()) << item.key();
        EXPECT_EQ(copies[item.key()]->name(), item.value()->name()) << item.key();
      }
      expect_tensors(twin->named_parameters(), module->named_parameters(), torch::kCPU);
      expect_tensors(twin->named_buffers(), module->named_buffers(), torch::kCPU);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Modules, Clone, ::testing::ValuesIn(cases()),
                         [](const auto& instance) { return instance.param.name; });

TEST(CloneCases, AreAllModulesOfThePublicHeaders) {
  const char* const folder = std::getenv("W2VBERT_PUBLIC_HEADERS");
  if (folder == nullptr) GTEST_SKIP() << "W2VBERT_PUBLIC_HEADERS is not set";
  std::set<std::string> covered;
  for (const Case& one : cases()) covered.insert(one.name.substr(0, one.name.find('_')));
  const std::regex holder("TORCH_MODULE\\((\\w+)\\)");
  std::set<std::string> modules = {"AnyModel"};
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path());
    const std::string text(std::istreambuf_iterator<char>(file), {});
    for (std::sregex_iterator match(text.begin(), text.end(), holder), end; match != end; ++match) {
      modules.insert((*match)[1]);
    }
  }
  EXPECT_GT(modules.size(), 10U);
  EXPECT_EQ(covered, modules);
}

TEST(CloneOf, TheMetaDeviceIsRefusedByName) {
  const torch::Device device(torch::kMeta);
  const std::shared_ptr<torch::nn::Module> on_meta[] = {
      Linear(3, 2)->clone(device),
      // Modules of buffers alone.
      Wav2Vec2BertRelPositionalEmbedding(config_with("relative"))->clone(device),
      Wav2Vec2BertRotaryPositionalEmbedding(config_with("rotary"))->clone(device),
  };
  for (const auto& meta : on_meta) {
    try {
      meta->clone();
      ADD_FAILURE() << meta->name() << ": there are no values to copy";
    } catch (const c10::ValueError& error) {
      EXPECT_THAT(error.msg(), ::testing::HasSubstr("clone: the module is on the meta device"));
    }
  }
}

// LibTorch works out the padding from the options when a layer is made.
TEST(CloneOf, AConvolutionPadsAsTheOriginal) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(32);
  using Options = torch::nn::Conv1dOptions;
  const auto input = torch::randn({2, 4, 20});
  for (const Options::padding_mode_t& mode :
       {Options::padding_mode_t(torch::kZeros), Options::padding_mode_t(torch::kReflect),
        Options::padding_mode_t(torch::kReplicate), Options::padding_mode_t(torch::kCircular)}) {
    for (Options options : {Options(4, 6, 5).padding(torch::kSame),
                            Options(4, 6, 4).padding(torch::kSame).dilation(3),
                            Options(4, 4, 3).padding(2).groups(4).stride(2).dilation(2)}) {
      Conv1d conv(options.padding_mode(mode));
      const auto copy = conv->clone();
      EXPECT_TRUE(copy->as<Conv1d>()->forward(input).equal(conv(input))) << *conv;
    }
  }
}

TEST(CloneOf, AnEncoderKeepsGradientCheckpointing) {
  Wav2Vec2BertModel model(small_config());
  gradient_checkpointing_enable(*model);
  const auto copy = model->clone();
  EXPECT_TRUE(copy->as<Wav2Vec2BertModel>()->encoder->gradient_checkpointing);
}

TEST(CloneOf, AModuleComputesWithItsOwnParameters) {
  const torch::NoGradGuard no_grad;
  SemanticEncoder encoder(Wav2Vec2BertModel(small_config()), torch::rand({24}),
                          torch::rand({24}) + 0.1, 2);
  encoder->eval();
  const auto copy = encoder->clone();
  auto* own = copy->as<SemanticEncoder>();
  const auto input = torch::randn({2, 6, 10});
  const auto expected = encoder->encode(input);
  EXPECT_TRUE(own->encode(input).equal(expected));
  for (auto& parameter : encoder->parameters()) parameter.zero_();
  for (auto& buffer : encoder->buffers()) buffer.fill_(2.0);
  EXPECT_FALSE(encoder->encode(input).equal(expected));
  EXPECT_TRUE(own->encode(input).equal(expected));
}

}  // namespace
}  // namespace w2vbert::testing
