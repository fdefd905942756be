#include "w2vbert/checkpoint/model_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/missing_weights.h"
#include "support/raw_safetensors.h"
#include "support/temporary_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Each test sees none of the caller's variables, and a cache of its own.
class ModelDirectoryTest : public ::testing::Test {
 protected:
  ModelDirectoryTest() {
    for (const char* name : kVariables) {
      const char* value = std::getenv(name);
      before_[name] = value ? std::optional<std::string>(value) : std::nullopt;
      ::unsetenv(name);
    }
    set("HF_HUB_CACHE", directory_ / "cache");
  }
  ~ModelDirectoryTest() override {
    for (const auto& [name, value] : before_) {
      value ? ::setenv(name, value->c_str(), 1) : ::unsetenv(name);
    }
  }
  static void set(const char* name, const std::string& value) { ::setenv(name, value.c_str(), 1); }
  // A snapshot as hf download leaves it: the files are links into blobs.
  std::string make_snapshot(const std::string& folder, const std::string& revision) const {
    const std::string repository = directory_ / ("cache/" + folder);
    std::string snapshot = repository + "/snapshots/" + revision;
    for (const std::string& path : {repository + "/refs", repository + "/blobs", snapshot}) {
      std::filesystem::create_directories(path);
    }
    write_text(repository + "/refs/main", revision);
    write_text(repository + "/blobs/0123", "weights");
    std::filesystem::create_symlink("../../blobs/0123", snapshot + "/model.safetensors");
    return snapshot;
  }
  static std::string error_of(const std::string& path_or_id) {
    try {
      resolve_model(path_or_id);
    } catch (const CheckpointError& error) {
      EXPECT_LT(std::string(error.what()).size(), 2048U);
      return error.what();
    }
    return "accepted";
  }

  static constexpr const char* kVariables[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME",
                                               "XDG_CACHE_HOME", "HOME"};
  std::map<const char*, std::optional<std::string>> before_;
  TemporaryDirectory directory_;
};

TEST_F(ModelDirectoryTest, TakesADirectoryAsItIs) {
  const ModelDirectory empty = resolve_model(directory_.path());
  EXPECT_EQ(empty.path, directory_.path());
  EXPECT_THAT(empty.weight_files, IsEmpty());
}

TEST_F(ModelDirectoryTest, ListsTheSingleFileBeforeTheIndex) {
  write_text(directory_ / "model.safetensors.index.json",
             R"({"weight_map":{"a":"two.st","b":"one.st","c":"two.st"}})");
  EXPECT_THAT(resolve_model(directory_.path()).weight_files,
              ElementsAre(directory_ / "one.st", directory_ / "two.st"));
  write_text(directory_ / "model.safetensors", "");
  EXPECT_THAT(resolve_model(directory_.path()).weight_files,
              ElementsAre(directory_ / "model.safetensors"));
}

TEST_F(ModelDirectoryTest, RefusesABrokenIndex) {
  write_text(directory_ / "model.safetensors.index.json", R"({"weight_map":{"a":"../x"}})");
  EXPECT_THAT(error_of(directory_.path()),
              AllOf(HasSubstr(directory_ / "model.safetensors.index.json"), HasSubstr("../x")));
}

TEST_F(ModelDirectoryTest, FindsADownloadedModelByItsId) {
  const std::string snapshot = make_snapshot("models--facebook--w2v-bert-2.0", "da985ba0987f70aa");
  const ModelDirectory model = resolve_model("facebook/w2v-bert-2.0");
  EXPECT_EQ(model.path, snapshot);
  EXPECT_THAT(model.weight_files, ElementsAre(snapshot + "/model.safetensors"));
  const std::string unowned = make_snapshot("models--gpt2", "abc");
  EXPECT_EQ(resolve_model("gpt2").path, unowned);
}

TEST_F(ModelDirectoryTest, PrefersADirectoryToAnId) {
  make_snapshot("models--org--name", "abc");
  std::filesystem::create_directories(directory_ / "work/org/name");
  const auto here = std::filesystem::current_path();
  std::filesystem::current_path(directory_ / "work");
  const std::string path = resolve_model("org/name").path;
  std::filesystem::current_path(here);
  EXPECT_EQ(path, "org/name");
}

TEST_F(ModelDirectoryTest, ReadsTheReferenceWithItsNewline) {
  const std::string snapshot = make_snapshot("models--a--b", "abc123");
  write_text(directory_ / "cache/models--a--b/refs/main", "abc123\n");
  EXPECT_EQ(resolve_model("a/b").path, snapshot);
}

TEST_F(ModelDirectoryTest, FollowsNoReferenceOutOfTheSnapshots) {
  make_snapshot("models--a--b", "abc123");
  for (const char* revision : {"..", "../..", "/", "", ".", "../snapshots/abc123", "missing"}) {
    write_text(directory_ / "cache/models--a--b/refs/main", revision);
    EXPECT_THAT(error_of("a/b"), HasSubstr("hf download a/b")) << revision;
  }
}

TEST_F(ModelDirectoryTest, SaysHowToDownloadWhatIsMissing) {
  EXPECT_EQ(error_of("facebook/w2v-bert-2.0"),
            "facebook/w2v-bert-2.0: is no directory and not in the Hub cache " +
                directory_ / "cache" +
                ", expected a model directory, or a downloaded model: hf download "
                "facebook/w2v-bert-2.0");
}

TEST_F(ModelDirectoryTest, OffersNoDownloadOfWhatIsNoId) {
  for (const std::string& path :
       {directory_ / "missing", std::string("./missing"), std::string("a/b/c"), std::string("../x"),
        std::string(""), std::string("a b"), std::string("a/"), std::string("a;rm"),
        std::string(300, 'a')}) {
    EXPECT_THAT(error_of(path), AllOf(HasSubstr("does not exist"), HasSubstr("or a Hub id")))
        << path;
  }
}

TEST_F(ModelDirectoryTest, SaysThatAFileIsNoDirectory) {
  write_text(directory_ / "model.safetensors", "");
  EXPECT_THAT(error_of(directory_ / "model.safetensors"),
              AllOf(HasSubstr("is not a directory"), HasSubstr("config.json")));
}

TEST_F(ModelDirectoryTest, FindsARevisionByItsNameOrItsCommit) {
  const std::string first = make_snapshot("models--me--tiny", "aaaa1111bbbb");
  const std::string second = make_snapshot("models--me--tiny", "aaaa2222bbbb");
  const std::string refs = directory_ / "cache/models--me--tiny/refs";
  std::filesystem::create_directories(refs + "/feature");
  std::filesystem::create_directories(refs + "/refs/pr");
  write_text(refs + "/main", "aaaa1111bbbb");
  for (const char* name : {"v2", "v2.0-rc_1", "feature/x", "refs/pr/1"}) {
    write_text(refs + "/" + name, "aaaa2222bbbb");
    EXPECT_EQ(resolve_model("me/tiny", name).path, second) << name;
    EXPECT_EQ(resolve_model("me/tiny@" + std::string(name)).path, second) << name;
    EXPECT_EQ(resolve_model("me/tiny@" + std::string(name), name).path, second) << name;
  }
  EXPECT_EQ(resolve_model("me/tiny", "aaaa2222bbbb").path, second);
  EXPECT_EQ(resolve_model("me/tiny@aaaa2").path, second);
  EXPECT_EQ(resolve_model("me/tiny@main").path, first);
  EXPECT_EQ(resolve_model("me/tiny").path, first);
  for (const char* name : {"v3", "aaaa", "bbbb", "222", "feature", "refs"}) {
    EXPECT_THAT(error_of("me/tiny@" + std::string(name)),
                HasSubstr("hf download me/tiny --revision " + std::string(name)))
        << name;
  }
}

TEST_F(ModelDirectoryTest, RefusesARevisionThatCannotBeOrIsNotAsked) {
  make_snapshot("models--me--tiny", "abc");
  for (const char* name : {"../main", "/main", "-x", "a b", "a//b", ".git", "a/..", "a/"}) {
    EXPECT_THROW(resolve_model("me/tiny", name), UsageError) << name;
    EXPECT_THAT(error_of("me/tiny@" + std::string(name)), HasSubstr("does not exist")) << name;
  }
  EXPECT_THROW(resolve_model("me/tiny@v1", "v2"), UsageError);
  EXPECT_THROW(resolve_model(directory_.path(), "v2"), UsageError);  // would count for nothing
  std::filesystem::create_directory(directory_ / "name@v2");
  EXPECT_EQ(resolve_model(directory_ / "name@v2").path, directory_ / "name@v2");
}

TEST_F(ModelDirectoryTest, FindsAnAdapterInAFolderOfItsOwn) {
  const std::string adapter = directory_ / "adapter";
  const auto add = [&](const std::string& folder) {
    std::filesystem::create_directories(adapter + folder);
    write_text(adapter + folder + "/adapter_config.json", "{}");
  };
  const auto error = [&] {
    try {
      resolve_adapter(adapter);
    } catch (const CheckpointError& given) {
      return std::string(given.what());
    }
    return std::string("accepted");
  };
  std::filesystem::create_directories(adapter + "/empty");
  EXPECT_THAT(error(), HasSubstr("has no adapter_config.json"));
  add("/french");
  EXPECT_EQ(resolve_adapter(adapter).path, adapter + "/french");
  EXPECT_EQ(resolve_adapter(adapter).folder, "french");
  add("/german");
  EXPECT_THAT(error(), AllOf(HasSubstr("french"), HasSubstr("german")));
  add("");
  EXPECT_EQ(resolve_adapter(adapter).path, adapter);
  EXPECT_EQ(resolve_adapter(adapter).folder, "");
}

TEST_F(ModelDirectoryTest, FindsAnAdapterByItsId) {
  const std::string snapshot = make_snapshot("models--me--adapter", "abc");
  write_text(snapshot + "/adapter_config.json", "{}");
  EXPECT_EQ(resolve_adapter("me/adapter").path, snapshot);
  EXPECT_EQ(resolve_adapter("me/adapter@main").path, snapshot);
  try {
    resolve_adapter("me/other@v2");
    FAIL() << "found";
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), HasSubstr("hf download me/other --revision v2"));
  }
}

TEST_F(ModelDirectoryTest, SaysThatADownloadIsNotComplete) {
  const std::string snapshot = make_snapshot("models--me--tiny", "abc");
  const auto error_of_weights = [](const std::string& directory) {
    try {
      check_weights(directory);
    } catch (const CheckpointError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(error_of_weights(snapshot), "accepted");
  const std::string blobs = directory_ / "cache/models--me--tiny/blobs";
  std::filesystem::remove(blobs + "/0123");
  EXPECT_THAT(error_of_weights(snapshot),
              AllOf(HasSubstr("model.safetensors: is a link to a blob that is not there"),
                    HasSubstr("not complete"), HasSubstr("hf download me/tiny")));
  std::filesystem::remove(snapshot + "/model.safetensors");
  EXPECT_THAT(error_of_weights(snapshot),
              AllOf(HasSubstr("holds no weights"), HasSubstr("hf download me/tiny")));
  write_text(blobs + "/4567.incomplete", "");
  EXPECT_THAT(error_of_weights(snapshot), HasSubstr("its download is not complete"));
  write_text(snapshot + "/model.safetensors.index.json", R"({"weight_map":{"a":"one.st"}})");
  EXPECT_THAT(error_of_weights(snapshot),
              AllOf(HasSubstr("one.st"), HasSubstr("hf download me/tiny")));
  std::filesystem::create_symlink("../../blobs/89", snapshot + "/config.json");
  EXPECT_THAT(error_of("me/tiny"), AllOf(HasSubstr("config.json: is a link to a blob"),
                                         HasSubstr("hf download me/tiny")));
  // The line names a revision other than main, and is for snapshots alone.
  write_text(directory_ / "cache/models--me--tiny/refs/main", "def");
  EXPECT_THAT(error_of("me/tiny@abc"), HasSubstr("hf download me/tiny --revision abc"));
  std::filesystem::create_directory(directory_ / "model");
  EXPECT_THAT(error_of_weights(directory_ / "model"),
              AllOf(HasSubstr("model.safetensors or model.safetensors.index.json"),
                    Not(HasSubstr("hf download"))));
}

TEST_F(ModelDirectoryTest, NamesThePickleThatIsThereInstead) {
  for (const auto& [name, problem] : {std::pair{"pytorch_model.bin", "is a pickle"},
                                      std::pair{"pytorch_model.bin.index.json", "names pickles"}}) {
    const std::string model = directory_ / ("model of " + std::string(name));
    std::filesystem::create_directory(model);
    write_text(model + "/" + name, "PK");
    try {
      check_weights(model);
      FAIL() << "accepted";
    } catch (const CheckpointError& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr(name), HasSubstr(problem),
                                      HasSubstr("save_pretrained('.')\""), Not(HasSubstr("..."))));
    }
  }
}

TEST_F(ModelDirectoryTest, SaysWhatADirectoryHoldsInsteadOfWeights) {
  const auto error_with = [&](const std::vector<std::string>& names) {
    const TemporaryDirectory model;
    for (const std::string& name : names) write_text(model / name, "x");
    try {
      check_weights(model.path());
    } catch (const CheckpointError& error) {
      EXPECT_THAT(error.what(), HasSubstr(model.path() + ": holds no weights"));
      return std::string(error.what()) + (error.setting() == "lora " + model.path() ? " LORA" : "");
    }
    return std::string("accepted");
  };
  EXPECT_THAT(
      error_with({"config.json", "model.fp16.safetensors", "model.pt"}),
      HasSubstr("but model.fp16.safetensors, expected model.safetensors; in that directory, "
                "this makes it: ln -s model.fp16.safetensors model.safetensors"));
  EXPECT_THAT(
      error_with({"model.fp16-00001-of-00002.safetensors", "model.fp16-00002-of-00002.safetensors",
                  "model.safetensors.index.fp16.json"}),
      HasSubstr("ln -s model.safetensors.index.fp16.json model.safetensors.index.json"));
  EXPECT_THAT(error_with({"model.bf16.safetensors", "model.fp16.safetensors"}),
              HasSubstr("ln -s model.bf16.safetensors model.safetensors"));
  EXPECT_THAT(error_with({"weights.safetensors"}),
              HasSubstr("ln -s weights.safetensors model.safetensors"));
  for (const std::vector<std::string>& names :
       {std::vector<std::string>{"a.safetensors", "b.safetensors"},
        {"a b;rm.safetensors"},
        {"model-00001-of-00002.safetensors"}}) {
    EXPECT_THAT(error_with(names), Not(HasSubstr("ln -s")));
  }
  EXPECT_THAT(error_with({"adapter_model.safetensors"}),
              AllOf(HasSubstr("those of a PEFT adapter"), HasSubstr("LORA")));
  for (const auto& [name, what] : std::map<std::string, std::string>{
           {"model.pt", "a pickle, which is never read"},
           {"last.ckpt", "a pickle, which is never read"},
           {"pytorch_model-00001-of-00002.bin", "a pickle, which is never read"},
           {"model.gguf", "a GGUF file"},
           {"tf_model.h5", "a file of TensorFlow's"},
           {"flax_model.msgpack", "one of Flax"},
           {"model.npz", "a file of NumPy's"},
           {"model.onnx", "an ONNX graph"}}) {
    EXPECT_THAT(error_with({"config.json", name}),
                AllOf(HasSubstr("but " + name + ", " + what), HasSubstr("save_pretrained")));
  }
  // What HF's Trainer leaves beside a model is not its weights.
  EXPECT_THAT(error_with({"training_args.bin", "optimizer.pt", "rng_state_0.pth", "scheduler.pt"}),
              HasSubstr("holds no weights, expected model.safetensors or"));
}

TEST_F(ModelDirectoryTest, SaysWhatADirectoryWithoutAConfigIs) {
  const std::string model = directory_ / "model";
  std::filesystem::create_directory(model);
  std::string setting;
  const auto error = [&] {
    try {
      check_config(model);
    } catch (const ConfigError& given) {
      setting = given.setting();
      return std::string(given.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(error(), model +
                         ": has no config.json, expected a model directory with config.json and "
                         "model.safetensors");
  write_text(model + "/tokenizer_config.json", "{}");
  EXPECT_THAT(error(), HasSubstr("holds a tokenizer and has no config.json"));
  for (const char* folder : {"/checkpoint-10", "/checkpoint-20"}) {
    std::filesystem::create_directory(model + folder);
    write_text(model + folder + "/config.json", "{}");
    EXPECT_THAT(error(), AllOf(HasSubstr("has no config.json"), HasSubstr(model + folder)));
  }
  EXPECT_THAT(error(), HasSubstr("checkpoint-10, " + model + "/checkpoint-20"));
  EXPECT_EQ(setting, "");
  for (const auto& [text, base] : std::map<std::string, std::string>{
           {R"({"base_model_name_or_path":"me/tiny"})", " (me/tiny)"},
           {R"({"base_model_name_or_path":null})", ""},
           {"{}", ""},
           {"{", ""}}) {
    write_text(model + "/adapter_config.json", text);
    EXPECT_EQ(error(), model +
                           ": is a PEFT adapter and has no config.json, expected the model that it "
                           "was made for" +
                           base + ", and the adapter beside it");
    EXPECT_EQ(setting, "lora " + model);
  }
  write_text(model + "/config.json", "{}");
  EXPECT_EQ(error(), "accepted");
}

TEST_F(ModelDirectoryTest, NamesTheDirectoryThatAFileOfAModelIsIn) {
  for (const char* name : {"/config.json", "/model.safetensors"}) {
    write_text(directory_.path() + name, "{}");
  }
  EXPECT_EQ(error_of(directory_ / "model.safetensors"),
            directory_ / "model.safetensors" +
                ": is not a directory, expected the directory that it is in: " + directory_.path());
}

TEST_F(ModelDirectoryTest, NamesTheRevisionsThatTheCacheHas) {
  const std::string snapshot = make_snapshot("models--me--tiny", "aaaa1111bbbb");
  const std::string refs = directory_ / "cache/models--me--tiny/refs";
  std::filesystem::rename(refs + "/main", refs + "/v1.0");
  EXPECT_EQ(resolve_model("me/tiny", "v1.0").path, snapshot);
  for (const char* asked : {"me/tiny", "me/tiny@v2"}) {
    EXPECT_THAT(error_of(asked), HasSubstr("or another revision, which is there: me/tiny@v1.0"));
  }
  write_text(refs + "/gone", "cccc");  // whose snapshot has been removed
  EXPECT_THAT(error_of("me/tiny"), Not(HasSubstr("gone")));
  std::filesystem::remove(refs + "/v1.0");
  EXPECT_THAT(error_of("me/tiny"), HasSubstr("which is there: me/tiny@aaaa1111bbbb"));
  EXPECT_THAT(error_of("me/other"), Not(HasSubstr("which is there")));
}

// Python's own answers are compared in hub_as_python.py.
TEST_F(ModelDirectoryTest, ExpandsVariablesAndHomes) {
  set("HOME", "/home/me");
  set("XDG_CACHE_HOME", "/xdg");
  for (const auto& [text, expected] :
       std::map<std::string, std::string>{{"$XDG_CACHE_HOME/hf", "/xdg/hf"},
                                          {"${XDG_CACHE_HOME}hf", "/xdghf"},
                                          {"~/hf", "/home/me/hf"},
                                          {"~", "/home/me"},
                                          {"a~", "a~"},
                                          {"$W2VBERT_NOT_SET/$", "$W2VBERT_NOT_SET/$"},
                                          {"${XDG_CACHE_HOME", "${XDG_CACHE_HOME"},
                                          {"~no-such-user/hf", "~no-such-user/hf"}}) {
    set("HF_HUB_CACHE", text);
    EXPECT_EQ(hub_cache_directory(), expected);
  }
}

// The order of huggingface_hub/constants.py.
TEST_F(ModelDirectoryTest, LooksForTheCacheWhereTheHubPutsIt) {
  EXPECT_EQ(hub_cache_directory(), directory_ / "cache");
  ::unsetenv("HF_HUB_CACHE");
  EXPECT_EQ(hub_cache_directory(), "");
  set("HOME", "/home/me");
  EXPECT_EQ(hub_cache_directory(), "/home/me/.cache/huggingface/hub");
  set("XDG_CACHE_HOME", "/xdg");
  EXPECT_EQ(hub_cache_directory(), "/xdg/huggingface/hub");
  set("HF_HOME", "~/hf");
  EXPECT_EQ(hub_cache_directory(), "/home/me/hf/hub");
  set("HUGGINGFACE_HUB_CACHE", "/old");
  EXPECT_EQ(hub_cache_directory(), "/old");
  set("HF_HUB_CACHE", "~/cache");
  EXPECT_EQ(hub_cache_directory(), "/home/me/cache");
  set("HF_HUB_CACHE", "");
  EXPECT_EQ(hub_cache_directory(), "/old");
}

TEST_F(ModelDirectoryTest, NeedsNoHome) {
  ::unsetenv("HF_HUB_CACHE");
  EXPECT_THAT(error_of("facebook/w2v-bert-2.0"), HasSubstr("without HOME"));
}

}  // namespace
}  // namespace w2vbert::testing
