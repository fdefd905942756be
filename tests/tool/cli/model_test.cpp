// Models that are wrong, looked at and run.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/escaped_name.h"
#include "support/output_files.h"
#include "support/program.h"
#include "support/small_model.h"
#include "support/temporary_directory.h"
#include "support/write_clip.h"

namespace w2vbert::tool::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Tensors = std::map<std::string, at::Tensor>;

const std::string kTensor = "encoder.layers.1.conv_module.pointwise_conv1.weight";

class Model : public ::testing::Test {
 protected:
  void SetUp() override {
    make_small_model(model_);
    write_clip(clip_, 8000);
    write_safetensors(in_, {{"input_features", at::randn({2, 7, 160})},
                            {"attention_mask", at::ones({2, 7}, at::kLong)}});
  }

  Result extract(const std::vector<std::string>& more = {}) {
    std::vector<std::string> words = {"extract", clip_, "--model", model_, "--output", out_};
    words.insert(words.end(), more.begin(), more.end());
    return run_program(words);
  }
  Result forward(const std::vector<std::string>& more = {}) {
    std::vector<std::string> words = {"forward", "--model",  model_, "--input",
                                      in_,       "--output", result_};
    words.insert(words.end(), more.begin(), more.end());
    return run_program(words);
  }
  void change(const std::function<void(Tensors&)>& what) {
    change_tensors(model_ + "/model.safetensors", what);
  }
  void set_config(const std::string& key, const nlohmann::json& value) {
    std::ifstream in(model_ + "/config.json");
    auto config = nlohmann::json::parse(in);
    config[key] = value;
    std::ofstream(model_ + "/config.json") << config.dump();
  }
  // The directory gets a small seeded model of that class, with 7 tokens and 2 labels.
  void make_head(const std::string& name) {
    make_small_model(model_, R"("architectures": [")" + name + R"("], "vocab_size": 7,
        "pad_token_id": 0, "classifier_proj_size": 8, "tdnn_dim": [8, 8], "tdnn_kernel": [3, 3],
        "tdnn_dilation": [1, 2], "xvector_output_dim": 8)");
  }
  // extract, forward and inspect end with 4, one line that says what `line` wants, and write
  // nothing.
  void expect_bad_model(const ::testing::Matcher<std::string>& line, bool inspect_too = true) {
    const Result extracted = extract();
    EXPECT_EQ(extracted.status, 4) << extracted.err;
    EXPECT_THAT(extracted.errors(), ElementsAre(line));
    EXPECT_FALSE(fs::exists(out_));
    const Result forwarded = forward();
    EXPECT_EQ(forwarded.status, 4) << forwarded.err;
    EXPECT_THAT(forwarded.errors(), ElementsAre(line));
    EXPECT_FALSE(fs::exists(result_));
    if (!inspect_too) return;
    const Result inspected = run_program({"inspect", model_});
    EXPECT_EQ(inspected.status, 4) << inspected.err;
    EXPECT_THAT(inspected.errors(), ElementsAre(line));
  }

  TemporaryDirectory scratch_;
  std::string model_ = scratch_ / "model";
  std::string clip_ = scratch_ / "clip.wav";
  std::string out_ = scratch_ / "out";
  std::string in_ = scratch_ / "in.safetensors";
  std::string result_ = scratch_ / "result.safetensors";
};

TEST_F(Model, IsNotRunWhereMemoryDoesNotSuffice) {
  make_small_model(model_, R"("feature_projection_input_dim": 2)");
  fs::remove(in_);
  write_safetensors(in_, {{"input_features", at::zeros({1, 1'000'000, 2})}});
  const Result result = forward({"--engine", "reference"});
  EXPECT_EQ(result.status, 2) << result.err;
  EXPECT_THAT(
      result.errors(),
      ElementsAre(AllOf(HasSubstr("in.safetensors: not enough memory: the reference engine: "
                                  "1 x 1000000 frames need at least 48000000 MB"),
                        HasSubstr("expected fewer or shorter clips"))));
  EXPECT_FALSE(fs::exists(result_));
}

TEST_F(Model, LacksATensor) {
  change([](Tensors& tensors) { tensors.erase(kTensor); });
  expect_bad_model(HasSubstr(kTensor));
}

TEST_F(Model, HasARenamedTensor) {
  change([](Tensors& tensors) {
    tensors["encoder.layers.1.conv_module.pointwise.weight"] = tensors.at(kTensor);
    tensors.erase(kTensor);
  });
  expect_bad_model(HasSubstr(kTensor));
}

TEST_F(Model, HasATransposedTensor) {
  change([](Tensors& tensors) {
    tensors[kTensor] = tensors.at(kTensor).transpose(0, 1).contiguous();
  });
  expect_bad_model(AllOf(HasSubstr(kTensor), HasSubstr("(32, 64, 1)"), HasSubstr("(64, 32, 1)")));
}

TEST_F(Model, IsTruncated) {
  const std::string path = model_ + "/model.safetensors";
  fs::resize_file(path, fs::file_size(path) - 1);
  expect_bad_model(HasSubstr("model.safetensors"));
  fs::resize_file(path, 5);
  expect_bad_model(HasSubstr("model.safetensors"));
  fs::resize_file(path, 0);
  expect_bad_model(HasSubstr("model.safetensors"));
}

TEST_F(Model, IsAGitLfsPointer) {
  std::ofstream(model_ + "/model.safetensors")
      << "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
  expect_bad_model(HasSubstr("git lfs pull"));
}

TEST_F(Model, IsNoModelDirectory) {
  fs::remove_all(model_);
  fs::create_directories(model_);
  expect_bad_model(HasSubstr("config.json"), false);
  EXPECT_EQ(run_program({"inspect", model_}).status, 4);
}

TEST_F(Model, HasNoWeights) {
  fs::remove(model_ + "/model.safetensors");
  expect_bad_model(HasSubstr("model.safetensors"));
}

TEST_F(Model, IsNowhere) {
  model_ = scratch_ / "nowhere";
  expect_bad_model(HasSubstr("nowhere"));
  model_ = "facebook/w2v-bert-2.0";
  expect_bad_model(HasSubstr("hf download facebook/w2v-bert-2.0"));
}

TEST_F(Model, HasABadConfig) {
  set_config("num_attention_heads", 5);
  expect_bad_model(HasSubstr("num_attention_heads"));
  set_config("num_attention_heads", "four");
  expect_bad_model(HasSubstr("num_attention_heads"));
  std::ofstream(model_ + "/config.json") << "{";
  expect_bad_model(HasSubstr("config.json"));
}

TEST_F(Model, HasNoPreprocessorConfig) {
  fs::remove(model_ + "/preprocessor_config.json");
  const Result result = extract();
  EXPECT_EQ(result.status, 4);
  EXPECT_THAT(result.errors(), ElementsAre(HasSubstr("preprocessor_config.json")));
  EXPECT_FALSE(fs::exists(out_));
  EXPECT_EQ(forward().status, 0);  // no audio is read there
}

TEST_F(Model, IsLoadedLenientlyWithAWarningForEachTensor) {
  change([](Tensors& tensors) {
    tensors.erase(kTensor);
    tensors.erase("encoder.layers.0.final_layer_norm.weight");
  });
  const Result result = extract({"--lenient"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("[Wav2Vec-BERT] "));
  EXPECT_THAT(result.err, HasSubstr(kTensor));
  const at::Tensor first = tensors_of(out_ + "/clip.safetensors").at("last_hidden_state");
  fs::remove_all(out_);
  ASSERT_EQ(extract({"--lenient"}).status, 0);
  EXPECT_TRUE(at::equal(tensors_of(out_ + "/clip.safetensors").at("last_hidden_state"), first));
}

TEST_F(Model, IsFoundBehindItsPrefixOnlyWhenAskedTo) {
  ASSERT_EQ(extract().status, 0);
  const at::Tensor plain = tensors_of(out_ + "/clip.safetensors").at("last_hidden_state");
  fs::remove_all(out_);
  change([](Tensors& tensors) {
    Tensors prefixed;
    for (const auto& [name, tensor] : tensors) prefixed["semantic_model." + name] = tensor;
    tensors = prefixed;
  });
  expect_bad_model(HasSubstr("semantic_model"));
  EXPECT_THAT(extract().errors(), ElementsAre(HasSubstr("(--prefix semantic_model.)")));
  ASSERT_EQ(extract({"--prefix", "semantic_model."}).status, 0);
  EXPECT_TRUE(at::equal(tensors_of(out_ + "/clip.safetensors").at("last_hidden_state"), plain));
  EXPECT_EQ(run_program({"inspect", model_, "--prefix", "semantic_model."}).status, 0);
}

TEST_F(Model, IsRunWithAnAdapter) {
  const std::string lora = scratch_ / "lora";
  make_small_lora(lora);
  ASSERT_EQ(extract({"--lora", lora}).status, 0);
  ASSERT_EQ(forward({"--lora", lora}).status, 0);
  const at::Tensor states = tensors_of(out_ + "/clip.safetensors").at("last_hidden_state");
  const at::Tensor outputs = tensors_of(result_).at("last_hidden_state");
  // By hand: the weights that the adapter makes of the model's.
  const Tensors adapter = tensors_of(lora + "/adapter_model.safetensors");
  change([&](Tensors& tensors) {
    for (auto& [name, tensor] : tensors) {
      if (!name.ends_with("linear_q.weight")) continue;
      const std::string module = "base_model.model." + name.substr(0, name.rfind('.'));
      tensor.add_(
          at::matmul(adapter.at(module + ".lora_B.weight"), adapter.at(module + ".lora_A.weight"))
              .mul(1.5));
    }
  });
  fs::remove_all(out_);
  ASSERT_EQ(extract().status, 0);
  ASSERT_EQ(forward().status, 0);
  EXPECT_TRUE(at::equal(tensors_of(out_ + "/clip.safetensors").at("last_hidden_state"), states));
  EXPECT_TRUE(at::equal(tensors_of(result_).at("last_hidden_state"), outputs));
}

TEST_F(Model, IsNotRunWithAnAdapterThatDoesNotFit) {
  const std::string lora = scratch_ / "lora";
  make_small_lora(lora);
  const auto expect_bad = [&](const ::testing::Matcher<std::string>& line) {
    for (const Result& result : {extract({"--lora", lora}), forward({"--lora", lora})}) {
      EXPECT_EQ(result.status, 4) << result.err;
      EXPECT_THAT(result.errors(), ElementsAre(line));
    }
    EXPECT_FALSE(fs::exists(out_ + "/clip.safetensors"));
    EXPECT_FALSE(fs::exists(result_));
  };
  change_tensors(lora + "/adapter_model.safetensors", [](Tensors& tensors) {
    tensors["base_model.model.encoder.layers.0.self_attn.linear_q.lora_B.weight"] =
        at::ones({2, 2});
  });
  expect_bad(AllOf(HasSubstr("linear_q.lora_B.weight: has shape (2, 2)"), HasSubstr("(32, 2)")));
  std::ofstream(lora + "/adapter_config.json") << R"({"peft_type": "LORA", "use_dora": true})";
  expect_bad(HasSubstr("adapter_config.json: use_dora: true is not supported"));
  fs::remove(lora + "/adapter_config.json");
  expect_bad(HasSubstr("has no adapter_config.json"));
}

TEST_F(Model, IsFoundInTheHubCache) {
  const std::string cache = scratch_ / "cache";
  const std::string revision = cache + "/models--someone--small/snapshots/abc";
  fs::create_directories(revision);
  fs::create_directories(cache + "/models--someone--small/refs");
  std::ofstream(cache + "/models--someone--small/refs/main") << "abc";
  fs::copy(model_, revision);
  Conditions conditions;
  conditions.environment["HF_HUB_CACHE"] = cache;
  const Result result = run_program({"inspect", "someone/small"}, conditions);
  EXPECT_EQ(result.status, 0) << result.err;
}

TEST_F(Model, IsFoundByItsRevision) {
  const std::string cache = scratch_ / "cache";
  const std::string repository = cache + "/models--someone--small";
  Conditions conditions;
  conditions.environment["HF_HUB_CACHE"] = "$CACHES/cache";
  conditions.environment["CACHES"] = scratch_ / "";
  ASSERT_EQ(forward().status, 0);
  const at::Tensor first = tensors_of(result_).at("last_hidden_state");
  fs::create_directories(repository + "/refs");
  fs::create_directories(repository + "/snapshots/abc1");
  std::ofstream(repository + "/refs/main") << "abc1";
  fs::copy(model_, repository + "/snapshots/abc1");
  change([](Tensors& tensors) { tensors.at(kTensor).mul_(2); });
  fs::create_directories(repository + "/snapshots/abc2");
  std::ofstream(repository + "/refs/v2") << "abc2";
  fs::copy(model_, repository + "/snapshots/abc2");
  ASSERT_EQ(forward().status, 0);
  const at::Tensor second = tensors_of(result_).at("last_hidden_state");
  ASSERT_FALSE(at::equal(first, second));
  using Words = std::vector<std::string>;
  for (const Words& model :
       {Words{"someone/small@v2"}, Words{"someone/small", "--revision", "v2"},
        Words{"someone/small", "--revision", "abc2"}, Words{"someone/small"}}) {
    Words words = {"forward", "--input", in_, "--output", result_, "--model"};
    words.insert(words.end(), model.begin(), model.end());
    const Result result = run_program(words, conditions);
    ASSERT_EQ(result.status, 0) << result.err;
    EXPECT_TRUE(at::equal(tensors_of(result_).at("last_hidden_state"),
                          model == Words{"someone/small"} ? first : second));
    if (model.size() > 1) {
      words = {"features", clip_, "--output", out_, "--model"};
      words.insert(words.end(), model.begin(), model.end());
      EXPECT_EQ(run_program(words, conditions).status, 0);
    }
  }
  const Result missing = run_program({"inspect", "someone/small@v3"}, conditions);
  EXPECT_EQ(missing.status, 4);
  EXPECT_THAT(missing.errors(), ElementsAre(HasSubstr("hf download someone/small --revision v3")));
  // Its files, and not those of another revision, have to be there and may not be written over.
  fs::remove(repository + "/refs/main");
  const auto with_output = [&](const std::string& output) {
    return run_program({"forward", "--input", in_, "--output", output, "--model", "someone/small",
                        "--revision", "v2"},
                       conditions);
  };
  EXPECT_EQ(with_output(result_).status, 0);
  const Result clash = with_output(repository + "/snapshots/abc2/tokenizer.json");
  EXPECT_EQ(clash.status, 2);
  EXPECT_THAT(clash.errors(), ElementsAre(HasSubstr("--output")));
  const Result twice = forward({"--revision", "v2"});  // beside a directory
  EXPECT_EQ(twice.status, 2);
  EXPECT_THAT(twice.errors(), ElementsAre(HasSubstr("--revision")));
}

TEST_F(Model, IsRunWithAnAdapterOfTheHub) {
  const std::string cache = scratch_ / "cache", lora = scratch_ / "lora";
  const std::string snapshot = cache + "/models--someone--adapter/snapshots/abc";
  make_small_lora(lora);
  make_small_lora(snapshot);
  fs::create_directories(cache + "/models--someone--adapter/refs");
  std::ofstream(cache + "/models--someone--adapter/refs/main") << "abc";
  ASSERT_EQ(extract({"--lora", lora}).status, 0);
  Conditions conditions;
  conditions.environment["HF_HUB_CACHE"] = cache;
  const auto with = [&](const std::string& adapter) {
    return run_program({"extract", clip_, "--model", model_, "--output", out_, "--lora", adapter},
                       conditions);
  };
  for (const char* id : {"someone/adapter", "someone/adapter@main", "someone/adapter@abc"}) {
    const Result result = with(id);  // the same run: the same bytes of the adapter
    EXPECT_EQ(result.status, 0) << result.err;
  }
  const Result missing = with("someone/other@v2");
  EXPECT_EQ(missing.status, 4);
  EXPECT_THAT(missing.errors(), ElementsAre(HasSubstr("hf download someone/other --revision v2")));
}

TEST_F(Model, IsRunWithAnAdapterInAFolderWhichIsTold) {
  make_small_lora(scratch_ / "lora/french");
  const Result result = extract({"--lora", scratch_ / "lora"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("the adapter in its folder french is taken"));
  make_small_lora(scratch_ / "lora/german");
  const Result both = extract({"--lora", scratch_ / "lora"});
  EXPECT_EQ(both.status, 4);
  EXPECT_THAT(both.errors(), ElementsAre(AllOf(HasSubstr("french"), HasSubstr("german"))));
}

TEST_F(Model, RefusesWhatWouldCountForNothing) {
  const Result prefix = extract({"--lora-prefix", "semantic_model."});
  EXPECT_EQ(prefix.status, 2);
  EXPECT_THAT(prefix.errors(), ElementsAre(HasSubstr("--lora-prefix: is given without --lora")));
  const Result revision = run_program({"features", clip_, "--output", out_, "--revision", "v2"});
  EXPECT_EQ(revision.status, 2);
  EXPECT_THAT(revision.errors(), ElementsAre(HasSubstr("--revision: is given without a model")));
}

TEST_F(Model, IsACompiledOne) {
  ASSERT_EQ(extract().status, 0);
  const at::Tensor plain = tensors_of(out_ + "/clip.safetensors").at("last_hidden_state");
  change([](Tensors& tensors) {
    Tensors wrapped;
    for (const auto& [name, tensor] : tensors) wrapped["wav2vec2_bert._orig_mod." + name] = tensor;
    tensors = wrapped;
  });
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{}, {"--prefix", "wav2vec2_bert._orig_mod."}}) {
    fs::remove_all(out_);
    const Result result = extract(more);
    ASSERT_EQ(result.status, 0) << result.err;
    EXPECT_TRUE(at::equal(tensors_of(out_ + "/clip.safetensors").at("last_hidden_state"), plain));
  }
  EXPECT_EQ(run_program({"inspect", model_}).status, 0);
}

TEST_F(Model, LacksWhatOnlyTrainingUses) {
  ASSERT_EQ(extract().status, 0);
  const at::Tensor plain = tensors_of(out_ + "/clip.safetensors").at("last_hidden_state");
  fs::remove_all(out_);
  change([](Tensors& tensors) { tensors.erase("masked_spec_embed"); });
  const Result result = extract();
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("masked_spec_embed: is missing"));
  EXPECT_TRUE(at::equal(tensors_of(out_ + "/clip.safetensors").at("last_hidden_state"), plain));
  const Result inspected = run_program({"inspect", model_});
  EXPECT_EQ(inspected.status, 0);
  EXPECT_THAT(inspected.out, HasSubstr("masked_spec_embed: only training uses it"));
}

TEST_F(Model, HoldsAnAdapterThatIsNotMerged) {
  change([](Tensors& tensors) {
    Tensors saved;
    for (const auto& [name, tensor] : tensors) saved["base_model.model." + name] = tensor;
    saved["base_model.model.encoder.layers.0.self_attn.linear_q.lora_A.default.weight"] =
        at::ones({2, 32});
    tensors = saved;
  });
  expect_bad_model(AllOf(HasSubstr("LoRA adapter"), HasSubstr("merge_and_unload")));
  EXPECT_THAT(extract().errors(), ElementsAre(HasSubstr("(--lora)")));
}

TEST_F(Model, IsAPickle) {
  fs::rename(model_ + "/model.safetensors", model_ + "/pytorch_model.bin");
  expect_bad_model(AllOf(HasSubstr("pytorch_model.bin: is a pickle"), HasSubstr("python3 -c")));
}

TEST_F(Model, IsInspected) {
  const Result text = run_program({"inspect", model_});
  ASSERT_EQ(text.status, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr(kTensor));
  EXPECT_THAT(text.out, HasSubstr("(64, 32, 1)"));
  EXPECT_THAT(text.out, HasSubstr("0 missing"));
  const Result json = run_program({"inspect", model_, "--json"});
  ASSERT_EQ(json.status, 0);
  const auto report = nlohmann::json::parse(json.out);
  const Tensors tensors = tensors_of(model_ + "/model.safetensors");
  ASSERT_THAT(report["tensors"], SizeIs(tensors.size()));
  std::int64_t parameters = 0;
  for (const auto& [name, tensor] : tensors) parameters += tensor.numel();
  EXPECT_EQ(report["parameters"], parameters);
  EXPECT_EQ(report["bytes"], 4 * parameters);
  EXPECT_EQ(report["complete"], true);
  for (const auto& tensor : report["tensors"]) {
    EXPECT_EQ(tensor["shape"].get<std::vector<std::int64_t>>(),
              tensors.at(tensor["name"].get<std::string>()).sizes().vec());
  }
}

TEST_F(Model, IsInspectedWithWhatItDoesNotNeed) {
  change([](Tensors& tensors) {
    tensors["lm_head.weight"] = at::ones({3, 32});
    tensors["lm_head.bias"] = at::full({3}, std::numeric_limits<float>::quiet_NaN());
  });
  const Result result = run_program({"inspect", model_});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("unexpected   lm_head.weight"));
  EXPECT_THAT(result.out,
              HasSubstr("model.safetensors: lm_head.bias: 3 of 3 values are NaN or infinite"));
}

TEST_F(Model, IsInspectedAsASingleFile) {
  const Result result = run_program({"inspect", model_ + "/model.safetensors", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_FALSE(nlohmann::json::parse(result.out).contains("missing"));
  EXPECT_EQ(run_program({"inspect", clip_}).status, 4);
  EXPECT_EQ(run_program({"inspect", scratch_ / "nowhere.safetensors"}).status, 4);
  EXPECT_EQ(run_program({"inspect", "/dev/zero"}).status, 4);
}

TEST_F(Model, IsNamedInJsonSoThatNoTwoNamesAreAlike) {
  result_ = scratch_ / "a\xff.safetensors";
  const Result result = forward({"--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(unescaped_name(nlohmann::json::parse(result.out)["output"].get<std::string>()),
            result_);
  const std::string text = scratch_ / "a\\xff.safetensors";
  fs::rename(result_, text);
  const auto inspected =
      nlohmann::json::parse(run_program({"inspect", text, "--json", "--quiet"}).out);
  for (const auto& name :
       {inspected["path"], inspected["files"][0], inspected["tensors"][0]["file"]}) {
    EXPECT_EQ(unescaped_name(name.get<std::string>()), text);
  }
}

TEST_F(Model, ListsToAReaderThatGoesAway) {
  Conditions gone;
  gone.stdout_reader_gone = true;
  EXPECT_EQ(run_program({"inspect", model_}, gone).status, 0);
  Conditions full;
  full.stdout_path = "/dev/full";
  EXPECT_EQ(run_program({"inspect", model_}, full).status, 5);
}

TEST_F(Model, RunsOnTensors) {
  ASSERT_EQ(forward().status, 0);
  Tensors tensors = tensors_of(result_);
  EXPECT_THAT(tensors, SizeIs(2));
  EXPECT_EQ(tensors.at("last_hidden_state").sizes(), at::IntArrayRef({2, 7, kSmallHiddenSize}));
  EXPECT_EQ(tensors.at("extract_features").sizes(), at::IntArrayRef({2, 7, 160}));
  // Again, with everything: the result is replaced.
  const Result eager = forward({"--output-hidden-states", "--output-attentions",
                                "--attn-implementation", "eager", "--json"});
  ASSERT_EQ(eager.status, 0) << eager.err;
  EXPECT_EQ(nlohmann::json::parse(eager.out)["architecture"], "Wav2Vec2BertModel");
  tensors = tensors_of(result_);
  EXPECT_THAT(tensors, SizeIs(2 + (kSmallLayers + 1) + kSmallLayers));
  EXPECT_EQ(tensors.at("attentions.2").sizes(), at::IntArrayRef({2, 4, 7, 7}));
  EXPECT_TRUE(at::equal(tensors.at("hidden_states.3"), tensors.at("last_hidden_state")));
  const Result sdpa = forward({"--output-attentions"});
  EXPECT_EQ(sdpa.status, 0);
  EXPECT_THAT(sdpa.err, HasSubstr("sdpa gives no attention weights"));
}

TEST_F(Model, TakesTheAttentionOfItsConfigUnlessAnotherIsAskedFor) {
  set_config("_attn_implementation", "eager");
  ASSERT_EQ(forward({"--output-attentions"}).status, 0);
  EXPECT_THAT(tensors_of(result_), SizeIs(2 + kSmallLayers));
  const Result sdpa = forward({"--output-attentions", "--attn-implementation", "sdpa"});
  ASSERT_EQ(sdpa.status, 0);
  EXPECT_THAT(sdpa.err, HasSubstr("sdpa gives no attention weights"));
  EXPECT_THAT(tensors_of(result_), SizeIs(2));
  // HF: a config that asks for attentions and for sdpa is refused, wherever sdpa comes from.
  set_config("output_attentions", true);
  EXPECT_EQ(forward().status, 0);
  EXPECT_THAT(tensors_of(result_), SizeIs(2 + kSmallLayers));
  const Result refused = forward({"--attn-implementation", "sdpa"});
  EXPECT_EQ(refused.status, 4);
  EXPECT_THAT(refused.errors(),
              ElementsAre(AllOf(HasSubstr("config.json: output_attentions: true is not supported"),
                                HasSubstr("(--attn-implementation eager)"))));
  set_config("_attn_implementation", "sdpa");
  EXPECT_EQ(forward().status, 4);
  EXPECT_EQ(forward({"--attn-implementation", "eager"}).status, 0);
}

TEST_F(Model, IsAnAdapterThatGoesBesideAModel) {
  fs::remove_all(model_);
  make_small_lora(model_);
  expect_bad_model(AllOf(HasSubstr(model_ + ": is a PEFT adapter and has no config.json"),
                         HasSubstr("expected the model that it was made for"),
                         HasSubstr("(--lora " + model_ + ")")),
                   false);
}

TEST_F(Model, AsksForAnAttentionThatIsNotThere) {
  for (const std::string word : {"flash_attention_2", "flex_attention", "fast"}) {
    set_config("attn_implementation", word);
    expect_bad_model(AllOf(HasSubstr("config.json: attn_implementation: \"" + word + '"'),
                           HasSubstr("expected one of sdpa, eager (--attn-implementation sdpa)")),
                     false);
    EXPECT_EQ(run_program({"inspect", model_}).status, 0);
    EXPECT_EQ(run_program({"bench", "--model", model_, "--frames", "10"}).status, 4);
    EXPECT_EQ(forward({"--attn-implementation", "sdpa"}).status, 0);
    fs::remove(result_);
    set_config("attn_implementation", nullptr);
  }
}

TEST_F(Model, SaysWhichReleaseOfTransformersItFollows) {
  const auto release_in_result = [&] {
    std::ifstream file(result_, std::ios::binary);
    std::uint64_t bytes = 0;  // a safetensors file begins with its header's size, little endian
    file.read(reinterpret_cast<char*>(&bytes), sizeof bytes);
    std::string header(bytes, ' ');
    file.read(header.data(), static_cast<std::streamsize>(bytes));
    return nlohmann::json::parse(header)["__metadata__"]["hf_version"];
  };
  ASSERT_EQ(forward().status, 0);
  EXPECT_EQ(release_in_result(), "5.24");
  const Result older = forward({"--hf-version", "5.19.1", "--json"});
  ASSERT_EQ(older.status, 0) << older.err;
  EXPECT_EQ(release_in_result(), "5.19");
  EXPECT_EQ(nlohmann::json::parse(older.out)["hf_version"], "5.19");
}

TEST_F(Model, IsReadAsTheReleaseOfTransformersReadsIt) {
  set_config("sub_configs", nlohmann::json::object());
  EXPECT_EQ(forward().status, 4);
  EXPECT_EQ(forward({"--hf-version", "5.19"}).status, 0);
  EXPECT_EQ(run_program({"inspect", model_}).status, 4);
  EXPECT_EQ(run_program({"inspect", model_, "--hf-version", "5.19"}).status, 0);
}

TEST_F(Model, CastsTheFeaturesToItsType) {
  ASSERT_EQ(forward({"--dtype", "bfloat16"}).status, 0);
  EXPECT_EQ(tensors_of(result_).at("last_hidden_state").scalar_type(), at::kBFloat16);
}

TEST_F(Model, RefusesTensorsThatDoNotFit) {
  const auto expect_refused = [&](const NamedTensors& tensors, const std::string& name) {
    write_safetensors(in_, tensors, {}, IfPresent::kReplace);
    const Result result = forward();
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_THAT(result.errors(), ElementsAre(HasSubstr("in.safetensors: " + name + ": ")));
    EXPECT_FALSE(fs::exists(result_));
  };
  const at::Tensor features = at::randn({2, 7, 160});
  expect_refused({{"attention_mask", at::ones({2, 7}, at::kLong)}}, "input_features");
  expect_refused({{"input_features", at::randn({7, 80})}}, "input_features");
  expect_refused({{"input_features", at::randn({160})}}, "input_features");
  expect_refused({{"input_features", at::randn({0, 160})}}, "input_features");
  expect_refused(
      {{"input_features", at::randn({7, 160})}, {"attention_mask", at::ones({8}, at::kLong)}},
      "attention_mask");
  expect_refused({{"input_features", at::randn({2, 7, 80})}}, "input_features");
  expect_refused({{"input_features", at::randn({0, 7, 160})}}, "input_features");
  expect_refused({{"input_features", at::ones({2, 7, 160}, at::kLong)}}, "input_features");
  expect_refused({{"input_features", features}, {"attention_mask", at::ones({1, 7}, at::kLong)}},
                 "attention_mask");
  expect_refused({{"input_features", features}, {"attention_mask", at::full({2, 7}, 2, at::kLong)}},
                 "attention_mask");
  expect_refused({{"input_features", features}, {"attention_mask", at::ones({2, 7})}},
                 "attention_mask");
  expect_refused({{"input_features", features}, {"mask_time_indices", at::ones({2, 8}, at::kBool)}},
                 "mask_time_indices");
  expect_refused({{"input_features", features}, {"labels", at::ones({2, 3}, at::kLong)}}, "labels");
}

TEST_F(Model, RunsOnWhatFeaturesWrites) {
  const std::string features = scratch_ / "features";
  for (const bool masked : {true, false}) {
    if (!masked) {
      std::ifstream in(model_ + "/preprocessor_config.json");
      auto config = nlohmann::json::parse(in);
      config["return_attention_mask"] = false;
      std::ofstream(model_ + "/preprocessor_config.json") << config.dump();
      fs::remove_all(features);
      fs::remove_all(out_);
    }
    ASSERT_EQ(run_program({"features", clip_, "--output", features, "--model", model_}).status, 0);
    in_ = features + "/clip.safetensors";
    EXPECT_THAT(tensors_of(in_), SizeIs(masked ? 2 : 1));
    // The same operations on both ways.
    ASSERT_EQ(forward({"--engine", "reference"}).status, 0);
    const at::Tensor states = tensors_of(result_).at("last_hidden_state");
    ASSERT_EQ(extract({"--engine", "reference"}).status, 0);
    const at::Tensor extracted = tensors_of(out_ + "/clip.safetensors").at("last_hidden_state");
    ASSERT_EQ(states.sizes(), extracted.unsqueeze(0).sizes());
    EXPECT_TRUE(at::equal(states[0], extracted));
  }
}

TEST_F(Model, TakesTheTensorsOfOneClipForABatchOfOne) {
  const at::Tensor features = at::randn({12, 160});
  const std::map<std::string, at::Tensor> labels = {
      {"Wav2Vec2BertForCTC", at::ones({3}, at::kLong)},
      {"Wav2Vec2BertForSequenceClassification", at::ones({1}, at::kLong)},
      {"Wav2Vec2BertForAudioFrameClassification", at::ones({12, 2}, at::kLong)},
      {"Wav2Vec2BertForXVector", at::ones({1}, at::kLong)}};
  for (const auto& [name, of_clip] : labels) {
    make_head(name);
    const at::Tensor mask = at::arange(12).lt(10).to(at::kLong);
    const bool is_class = of_clip.numel() == 1;
    std::vector<Tensors> results;
    for (const NamedTensors& given :
         {NamedTensors{{"input_features", features}, {"attention_mask", mask}, {"labels", of_clip}},
          NamedTensors{{"input_features", features.unsqueeze(0)},
                       {"attention_mask", mask.unsqueeze(0)},
                       {"labels", is_class ? of_clip : of_clip.unsqueeze(0)}}}) {
      write_safetensors(in_, given, {}, IfPresent::kReplace);
      const Result result = forward();
      ASSERT_EQ(result.status, 0) << name << ": " << result.err;
      results.push_back(tensors_of(result_));
    }
    EXPECT_EQ(results[0].at("logits").size(0), 1) << name;
    EXPECT_EQ(results[0].size(), results[1].size()) << name;
    for (const auto& [tensor, value] : results[0]) {
      EXPECT_TRUE(at::equal(value, results[1].at(tensor))) << name << " " << tensor;
    }
  }
}

TEST_F(Model, RefusesLabelsThatItsLossDoesNotTake) {
  const auto expect_refused = [&](const at::Tensor& labels, const std::string& words) {
    write_safetensors(in_, {{"input_features", at::randn({2, 12, 160})}, {"labels", labels}}, {},
                      IfPresent::kReplace);
    for (const char* engine : {"fused", "reference"}) {
      const Result result = forward({"--engine", engine});
      EXPECT_EQ(result.status, 2) << result.err;
      EXPECT_THAT(result.errors(), ElementsAre(HasSubstr("in.safetensors: labels: " + words)));
      EXPECT_FALSE(fs::exists(result_));
    }
  };
  make_head("Wav2Vec2BertForCTC");
  expect_refused(at::full({2, 3}, 99, at::kLong),
                 "99 at (0, 0), expected from 0 to below vocab_size = 7");
  expect_refused(at::ones({2}, at::kLong), "Long [2], expected Long (2, targets)");
  for (const char* name : {"Wav2Vec2BertForSequenceClassification", "Wav2Vec2BertForXVector"}) {
    make_head(name);
    for (const at::ScalarType dtype : {at::kLong, at::kInt}) {
      expect_refused(at::tensor({0, 7}, dtype),
                     "7 at (1), expected from 0 to below num_labels = 2");
      expect_refused(at::tensor({-3, 1}, dtype), "-3 at (0), expected from 0 to below");
    }
    expect_refused(at::ones({3}, at::kLong), "Long [3], expected Long (2)");
    expect_refused(at::ones({2}), "is Float [2], expected whole numbers");
  }
}

TEST_F(Model, RefusesOutputsBeyondItsType) {
  make_head("Wav2Vec2BertForSequenceClassification");
  change([](Tensors& tensors) { tensors.at("classifier.bias").fill_(1e6); });
  const Result half = forward({"--dtype", "float16"});
  EXPECT_EQ(half.status, 2) << half.err;
  EXPECT_THAT(half.errors(), ElementsAre(AllOf(HasSubstr("logits: holds "), HasSubstr("float16"),
                                               HasSubstr("(--dtype)"))));
  EXPECT_FALSE(fs::exists(result_));
  EXPECT_EQ(forward({"--dtype", "bfloat16"}).status, 0);
  // Above the largest bfloat16, and a float32.
  change([](Tensors& tensors) { tensors.at("classifier.bias").fill_(3.4e38); });
  fs::remove(result_);
  EXPECT_EQ(forward().status, 0);
  fs::remove(result_);
  const Result brain = forward({"--dtype", "bfloat16"});
  EXPECT_EQ(brain.status, 2) << brain.err;
  EXPECT_THAT(brain.errors(),
              ElementsAre(AllOf(HasSubstr("logits: holds 3.39"), HasSubstr("bfloat16"))));
  // The reference engine computes in it: as HF.
  ASSERT_EQ(forward({"--dtype", "bfloat16", "--engine", "reference"}).status, 0);
  EXPECT_TRUE(tensors_of(result_).at("logits").isinf().all().item<bool>());
}

TEST_F(Model, IsNotLoadedLenientlyBehindAPrefixThatNoNameHas) {
  for (const bool lenient : {true, false}) {
    const Result result =
        extract(lenient ? std::vector<std::string>{"--prefix", "wrong.", "--lenient"}
                        : std::vector<std::string>{"--prefix", "wrong."});
    EXPECT_EQ(result.status, 4) << result.err;
    EXPECT_THAT(result.errors(), ElementsAre(AllOf(HasSubstr("0 loaded"), HasSubstr("expected"),
                                                   HasSubstr("(--prefix)"))));
  }
}

TEST_F(Model, RefusesBadPlacesForItsResult) {
  for (const std::string& place : {scratch_.path(), scratch_ / "nowhere/x.safetensors",
                                   std::string("/dev/null"), scratch_ / "clip.wav/x"}) {
    result_ = place;
    const Result result = forward();
    EXPECT_EQ(result.status, 5) << result.err;
    EXPECT_THAT(result.errors(), SizeIs(1));
  }
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  result_ = in_;
  EXPECT_EQ(forward().status, 2);
}

TEST_F(Model, LeavesOtherFilesAloneThatStandInThePlaceOfItsResult) {
  std::ofstream(scratch_ / "notes") << "Dear diary,";
  fs::create_symlink(scratch_ / "notes", scratch_ / "link");
  fs::create_directory_symlink(model_, scratch_ / "alias");
  fs::create_hard_link(model_ + "/config.json", scratch_ / "settings");
  write_safetensors(scratch_ / "other.safetensors", {{"weight", at::zeros({3})}});
  write_safetensors(scratch_ / "embeddings.safetensors", {{"embeddings", at::zeros({3})}});
  write_safetensors(scratch_ / "states.safetensors", {{"last_hidden_state", at::zeros({3})}});
  write_safetensors(scratch_ / "marked.safetensors",
                    {{"last_hidden_state", at::zeros({3})}, {"extract_features", at::zeros({3})}},
                    {{"made_by", "me"}});
  const auto expect_left = [&](const std::string& place, int status) {
    const std::string before = content_of(place);
    result_ = place;
    const Result result = forward();
    EXPECT_EQ(result.status, status) << place << ": " << result.err;
    EXPECT_THAT(result.errors(), ElementsAre(HasSubstr(place)));
    EXPECT_EQ(content_of(place), before) << place;
  };
  for (const std::string& place :
       {model_ + "/model.safetensors", model_ + "/config.json", scratch_ / "alias/config.json",
        scratch_ / "alias/../model/preprocessor_config.json", scratch_ / "settings", in_}) {
    expect_left(place, 2);
  }
  for (const char* name : {"notes", "link", "other.safetensors", "embeddings.safetensors",
                           "states.safetensors", "marked.safetensors", "clip.wav"}) {
    expect_left(scratch_ / name, 5);
  }
  // From a version that left no mark.
  result_ = scratch_ / "earlier.safetensors";
  write_safetensors(result_,
                    {{"last_hidden_state", at::zeros({3})}, {"extract_features", at::zeros({3})}});
  EXPECT_EQ(forward().status, 0);
  // It would become a part of the model.
  result_ = scratch_ / "alias/model.safetensors.index.json";
  EXPECT_EQ(forward().status, 2);
  EXPECT_FALSE(fs::exists(result_));
  result_ = model_ + "/result.safetensors";
  for (int i = 0; i < 2; ++i) EXPECT_EQ(forward().status, 0);
}

TEST_F(Model, RefusesABadInputFile) {
  std::ofstream(in_) << "no tensors";
  EXPECT_EQ(forward().status, 4);
  fs::remove(in_);
  const Result result = forward();
  EXPECT_EQ(result.status, 4);
  EXPECT_THAT(result.errors(), ElementsAre(HasSubstr("in.safetensors")));
}

TEST_F(Model, NamesTheClassesItCanRun) {
  set_config("architectures", nlohmann::json::array({"Wav2Vec2BertForPreTraining"}));
  Result result = forward();
  EXPECT_EQ(result.status, 4);
  EXPECT_THAT(result.errors(),
              ElementsAre(AllOf(HasSubstr("architectures"), HasSubstr("Wav2Vec2BertForPreTraining"),
                                HasSubstr("Wav2Vec2BertModel"))));
  set_config("architectures", nullptr);
  result = forward();
  EXPECT_EQ(result.status, 4);
  EXPECT_THAT(result.errors(), ElementsAre(HasSubstr("architectures")));
}

}  // namespace
}  // namespace w2vbert::tool::testing
