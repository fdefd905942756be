// save_pretrained() on whole models, and with every system call that matters made to fail, once
// each, and with the process killed there. The linker sends this program's calls through the __wrap
// functions below.
#include "w2vbert/checkpoint/save_pretrained.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <torch/types.h>
#include <torch/utils.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/random_parameters.h"
#include "support/raw_safetensors.h"
#include "support/temporary_directory.h"
#include "w2vbert/checkpoint/from_pretrained.h"
#include "w2vbert/core/error.h"
#include "w2vbert/models/any_model.h"
#include "w2vbert/models/wav2vec2_bert_for_audio_frame_classification.h"
#include "w2vbert/models/wav2vec2_bert_for_ctc.h"
#include "w2vbert/models/wav2vec2_bert_for_sequence_classification.h"
#include "w2vbert/models/wav2vec2_bert_for_xvector.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace {

// The call to disturb, counted down from `in`.
struct Fault {
  int in = 0;     // 0: disarmed
  int error = 0;  // 0: kill the process instead
  bool fired = false;
};
Fault fault;

// The pieces of one file count as one write.
bool fires(bool write = false) {
  static bool wrote = false;
  const bool again = write && wrote;
  wrote = write;
  if (fault.in == 0 || again) return false;
  --fault.in;
  if (fault.in > 0) return false;
  fault.fired = true;
  if (fault.error == 0) ::kill(::getpid(), SIGKILL);
  errno = fault.error;
  return true;
}

}  // namespace

// NOLINTBEGIN(bugprone-reserved-identifier): the names that the linker's --wrap gives
extern "C" {
int __real_open(const char*, int, ...);
ssize_t __real_write(int, const void*, size_t);
int __real_fsync(int);
int __real_unlink(const char*);
int __real_rename(const char*, const char*);

int __wrap_open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  return fires() ? -1 : __real_open(path, flags, mode);
}
ssize_t __wrap_write(int fd, const void* bytes, size_t count) {
  return fires(/*write=*/true) ? -1 : __real_write(fd, bytes, count);
}
int __wrap_fsync(int fd) { return fires() ? -1 : __real_fsync(fd); }
int __wrap_unlink(const char* path) { return fires() ? -1 : __real_unlink(path); }
int __wrap_rename(const char* from, const char* to) {
  return fires() ? -1 : __real_rename(from, to);
}
}
// NOLINTEND(bugprone-reserved-identifier)

namespace w2vbert::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

Wav2Vec2BertConfig small_config() {
  Wav2Vec2BertConfig config;
  config.hidden_size = 16;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.intermediate_size = 24;
  config.conv_depthwise_kernel_size = 5;
  config.vocab_size = 7;
  config.classifier_proj_size = 8;
  config.tdnn_dim = {8, 6};
  config.tdnn_kernel = {3, 1};
  config.tdnn_dilation = {1, 1};
  config.xvector_output_dim = 6;
  return config;
}

Wav2Vec2BertModel model_of(std::uint64_t seed, const Wav2Vec2BertConfig& config = small_config()) {
  torch::manual_seed(seed);
  Wav2Vec2BertModel model(config);
  randomize_parameters(*model, seed);
  return model;
}

// NaN is as good as itself.
bool same_bits(const torch::Tensor& a, const torch::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

bool equal(const torch::nn::Module& a, const torch::nn::Module& b) {
  const auto of_a = a.named_parameters(), of_b = b.named_parameters();
  if (of_a.size() != of_b.size()) return false;
  for (const auto& item : of_a) {
    const torch::Tensor* other = of_b.find(item.key());
    if (other == nullptr || !same_bits(item.value(), *other)) return false;
  }
  return true;
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

// The model that `directory` holds, in its own dtype.
template <class Holder>
Pretrained<Holder> load(const std::string& directory) {
  FromPretrainedOptions options;
  const std::string dtype = Wav2Vec2BertConfig::from_pretrained(directory).dtype.value();
  options.dtype = dtype == "bfloat16"  ? torch::kBFloat16
                  : dtype == "float16" ? torch::kHalf
                  : dtype == "float64" ? torch::kDouble
                                       : torch::kFloat;
  return load_pretrained<Holder>(directory, options);
}

template <class Holder>
class SavePretrainedOf : public ::testing::Test {};
using Classes =
    ::testing::Types<Wav2Vec2BertModel, Wav2Vec2BertForCTC, Wav2Vec2BertForSequenceClassification,
                     Wav2Vec2BertForAudioFrameClassification, Wav2Vec2BertForXVector>;
TYPED_TEST_SUITE(SavePretrainedOf, Classes);

TYPED_TEST(SavePretrainedOf, GivesADirectoryThatLoadsAsTheSameModel) {
  for (const auto dtype : {torch::kFloat, torch::kBFloat16, torch::kHalf, torch::kDouble}) {
    for (const char* const size : {"50GB", "8KB"}) {
      const TemporaryDirectory directory;
      torch::manual_seed(1);
      TypeParam model(small_config());
      randomize_parameters(*model, 1);
      model->to(dtype);
      save_pretrained(model, directory / "model", {.max_shard_size = size});
      const auto loaded = load<TypeParam>(directory / "model");
      EXPECT_TRUE(equal(*model, *loaded.model)) << size;
      EXPECT_THAT(loaded.report.unexpected, IsEmpty());
      EXPECT_THAT(loaded.report.warnings, IsEmpty());
      // The class is named as AnyModel knows it, which saves the same bytes.
      const auto any = load<AnyModel>(directory / "model");
      save_pretrained(any.model, directory / "again", {.max_shard_size = size});
      const auto names = names_in(directory / "model");
      EXPECT_THAT(names_in(directory / "again"),
                  ::testing::UnorderedElementsAreArray(names.begin(), names.end()));
      for (const std::string& name : names) {
        EXPECT_EQ(read_text(directory / ("model/" + name)),
                  read_text(directory / ("again/" + name)))
            << name;
      }
    }
  }
}

TEST(SavePretrained, LeavesOutTablesThatAreNoWeights) {
  for (const char* const type : {"relative", "rotary"}) {
    const TemporaryDirectory directory;
    Wav2Vec2BertConfig config = small_config();
    config.position_embeddings_type = type;
    const Wav2Vec2BertModel model = model_of(1, config);
    ASSERT_THAT(model->buffers(), Not(IsEmpty()));
    save_pretrained(model, directory.path());
    const Checkpoint checkpoint = Checkpoint::open(directory.path());
    EXPECT_EQ(checkpoint.tensors().size(), model->parameters().size());
  }
}

TEST(SavePretrained, SharesTensorsOutInTheModelsOrder) {
  const TemporaryDirectory directory;
  const Wav2Vec2BertModel model = model_of(1);
  save_pretrained(model, directory.path(), {.max_shard_size = 20'000});
  EXPECT_THAT(names_in(directory.path()),
              UnorderedElementsAre(
                  "config.json", "model.safetensors.index.json", "model-00001-of-00003.safetensors",
                  "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"));
  const Checkpoint checkpoint = Checkpoint::open(directory.path());
  EXPECT_THAT(checkpoint.warnings(), IsEmpty());
  EXPECT_THAT(checkpoint.find("masked_spec_embed")->file, EndsWith("00001-of-00003.safetensors"));
  EXPECT_THAT(checkpoint.find("encoder.layers.1.final_layer_norm.bias")->file,
              EndsWith("00003-of-00003.safetensors"));
}

TEST(SavePretrained, ReplacesAnEarlierSaveWhollyAndLeavesOtherFiles) {
  const TemporaryDirectory directory;
  const Wav2Vec2BertModel first = model_of(1), second = model_of(2), third = model_of(3);
  write_text(directory / "vocab.json", "{}");
  write_text(directory / "model-mine.safetensors", "mine");
  write_text(directory / "model-00001-of-00002.bin", "mine");
  save_pretrained(first, directory.path());
  save_pretrained(second, directory.path(), {.max_shard_size = "10KB"});
  EXPECT_FALSE(std::filesystem::exists(directory / "model.safetensors"));
  EXPECT_TRUE(equal(*load<Wav2Vec2BertModel>(directory.path()).model, *second));
  save_pretrained(third, directory.path(), {.max_shard_size = "20KB"});
  EXPECT_TRUE(equal(*load<Wav2Vec2BertModel>(directory.path()).model, *third));
  EXPECT_TRUE(std::filesystem::exists(directory / "model-00001-of-00003.safetensors"));
  EXPECT_THAT(names_in(directory.path()), SizeIs(3 + 1 + 3 + 1));
  save_pretrained(first, directory.path());
  EXPECT_TRUE(equal(*load<Wav2Vec2BertModel>(directory.path()).model, *first));
  EXPECT_THAT(names_in(directory.path()),
              UnorderedElementsAre("config.json", "model.safetensors", "vocab.json",
                                   "model-mine.safetensors", "model-00001-of-00002.bin"));
}

TEST(SavePretrained, KeepsEveryValueNanToo) {
  const TemporaryDirectory directory;
  const Wav2Vec2BertModel model = model_of(1);
  {
    const torch::NoGradGuard no_grad;
    torch::Tensor weight = model->feature_projection->projection->weight;
    weight[0][0] = std::numeric_limits<float>::quiet_NaN();
    weight[0][1] = -std::numeric_limits<float>::infinity();
    weight[0][2] = -0.0F;
  }
  save_pretrained(model, directory.path());
  EXPECT_TRUE(equal(*load<Wav2Vec2BertModel>(directory.path()).model, *model));
}

TEST(SavePretrained, WritesTheConfigOfTheModel) {
  const TemporaryDirectory directory;
  Wav2Vec2BertConfig config = small_config();
  config.architectures = {"SomethingElse"};
  config.dtype = "float16";
  config.attn_implementation = "eager";
  config.id2label = {{0, "no"}, {1, "yes"}};
  save_pretrained(model_of(1, config), directory.path());
  const Wav2Vec2BertConfig saved = Wav2Vec2BertConfig::from_pretrained(directory.path());
  EXPECT_THAT(saved.architectures, ElementsAre("Wav2Vec2BertModel"));
  EXPECT_EQ(saved.dtype, "float32");
  EXPECT_EQ(saved.attn_implementation, "sdpa");  // HF does not write it
  EXPECT_EQ(saved.id2label, config.id2label);
  EXPECT_EQ(saved.tdnn_dim, config.tdnn_dim);
}

struct MyModelImpl : Wav2Vec2BertModelImpl {
  using Wav2Vec2BertModelImpl::Wav2Vec2BertModelImpl;
};

TEST(SavePretrained, NamesAnArchitectureByItsClass) {
  const TemporaryDirectory directory;
  save_pretrained(MyModelImpl(small_config()), small_config(), directory.path());
  EXPECT_THAT(Wav2Vec2BertConfig::from_pretrained(directory.path()).architectures,
              ElementsAre("MyModel"));
}

struct HoldsImpl : torch::nn::Module {
  explicit HoldsImpl(torch::Tensor tensor) {
    register_parameter("weight", torch::zeros({2}));
    register_parameter("other", std::move(tensor), /*requires_grad=*/false);
  }
};

TEST(SavePretrained, RefusesWhatHasNoValuesBeforeAnythingIsWritten) {
  const TemporaryDirectory directory;
  const auto error_of = [&](const torch::Tensor& parameter) -> std::string {
    try {
      save_pretrained(HoldsImpl(parameter), small_config(), directory / "model");
    } catch (const c10::ValueError& error) {
      return error.what_without_backtrace();
    }
    return "saved";
  };
  EXPECT_THAT(error_of(torch::empty({2}, torch::kMeta)),
              AllOf(HasSubstr("other"), HasSubstr("meta device")));
  EXPECT_THAT(error_of(torch::zeros({2}, torch::kFloat8_e5m2)), HasSubstr("other has dtype"));
  EXPECT_THAT(error_of(torch::zeros({2}, torch::kLong)), HasSubstr("other has dtype"));
  Wav2Vec2BertConfig broken = small_config();
  broken.hidden_size = 0;
  EXPECT_THROW(save_pretrained(*model_of(1), broken, directory / "model"), ConfigError);
  EXPECT_THROW(save_pretrained(torch::nn::ModuleListImpl(), small_config(), directory / "model"),
               c10::ValueError);
  EXPECT_THAT(names_in(directory.path()), IsEmpty());
  EXPECT_EQ(error_of(torch::zeros({2}, torch::kHalf)), "saved");
}

TEST(SavePretrained, SaysWhenThePlaceIsBad) {
  const TemporaryDirectory directory;
  const Wav2Vec2BertModel model = model_of(1);
  write_text(directory / "file", "mine");
  const auto error_of = [&](const std::string& place) -> std::string {
    try {
      save_pretrained(model, place);
    } catch (const StorageError& error) {
      return error.what();
    }
    return "saved";
  };
  EXPECT_THAT(error_of(directory / "file"), HasSubstr(directory / "file" + ": is no directory"));
  EXPECT_THAT(error_of(directory / "file/model"), HasSubstr("cannot be made"));
  EXPECT_THAT(error_of("/proc/w2vbert"), HasSubstr("cannot be made"));
  EXPECT_THAT(error_of("/proc"), HasSubstr("cannot be created"));
  EXPECT_EQ(read_text(directory / "file"), "mine");
  write_text(directory / "adapter_config.json", "{}");
  EXPECT_THAT(error_of(directory.path()), HasSubstr("would load that adapter"));
  EXPECT_THAT(names_in(directory.path()), UnorderedElementsAre("file", "adapter_config.json"));
  std::filesystem::remove(directory / "adapter_config.json");
  std::filesystem::create_directory(directory / "model.safetensors");
  EXPECT_THAT(error_of(directory.path()), HasSubstr("model.safetensors"));
}

TEST(ShardSize, IsANumberOrAText) {
  EXPECT_EQ(ShardSize(0).bytes(), 0U);
  EXPECT_EQ(ShardSize(5'000'000'000).bytes(), 5'000'000'000U);
  EXPECT_EQ(ShardSize("5GB").bytes(), 5'000'000'000U);
  EXPECT_EQ(ShardSize("1.5kb").bytes(), 1'500U);
  EXPECT_EQ(SavePretrainedOptions().max_shard_size.bytes(), 50'000'000'000U);
  EXPECT_THROW(ShardSize(-1), c10::ValueError);
  EXPECT_THROW(ShardSize("5"), c10::ValueError);
}

// What `directory` holds: the first of `models` that it loads as, "nothing" when it does not load,
// or "something else".
std::string held(const std::string& directory, const std::vector<Wav2Vec2BertModel>& models) {
  std::optional<Pretrained<Wav2Vec2BertModel>> loaded;
  try {
    loaded = load<Wav2Vec2BertModel>(directory);
  } catch (const Error&) {
    return "nothing";
  }
  const char* const names[] = {"old", "new"};
  for (std::size_t i = 0; i < models.size(); ++i) {
    if (loaded->config.final_dropout == models[i]->config.final_dropout &&
        equal(*loaded->model, *models[i])) {
      return names[i];
    }
  }
  return "something else";
}

struct Change {
  const char* old_size;
  const char* new_size;
  bool same_config;
};
const Change kChanges[] = {
    {"50GB", "50GB", true},  {"50GB", "50GB", false}, {"50GB", "20KB", true},
    {"20KB", "50GB", true},  {"20KB", "50GB", false}, {"20KB", "20KB", true},
    {"20KB", "10KB", false},
};

class ChangedModel {
 public:
  explicit ChangedModel(const Change& change) : change_(change) {
    Wav2Vec2BertConfig config = small_config();
    if (!change.same_config) config.final_dropout = 0.25;
    models = {model_of(1), model_of(2, config)};
  }
  void save_old(const std::string& directory) const {
    save_pretrained(models[0], directory, {.max_shard_size = change_.old_size});
  }
  void save_new(const std::string& directory) const {
    save_pretrained(models[1], directory, {.max_shard_size = change_.new_size});
  }
  // The old weights, or the new ones, are there all the time.
  bool in_one_step() const {
    return change_.same_config && ShardSize(change_.new_size).bytes() > 1'000'000;
  }

  std::vector<Wav2Vec2BertModel> models;

 private:
  Change change_;
};

TEST(SavePretrained, NeverLeavesAMixtureWhenKilledAtAnyCall) {
  for (const Change& change : kChanges) {
    const ChangedModel changed(change);
    bool was_old = false;
    for (int call = 1;; ++call) {
      const TemporaryDirectory directory;
      changed.save_old(directory.path());
      const pid_t child = ::fork();
      ASSERT_GE(child, 0);
      if (child == 0) {
        fault = {.in = call};
        changed.save_new(directory.path());
        ::_exit(0);
      }
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      const std::string now = held(directory.path(), changed.models);
      EXPECT_NE(now, "something else") << "call " << call;
      EXPECT_FALSE(changed.in_one_step() && now == "nothing") << "call " << call;
      was_old = was_old || now == "old";
      if (WIFEXITED(status)) {
        EXPECT_EQ(WEXITSTATUS(status), 0);
        EXPECT_EQ(now, "new");
        EXPECT_THAT(call, Gt(12));
        break;
      }
      // Saving again repairs it, and what the dead process left goes.
      changed.save_new(directory.path());
      EXPECT_EQ(held(directory.path(), changed.models), "new") << "call " << call;
      EXPECT_THAT(names_in(directory.path()), Not(::testing::Contains(EndsWith(".tmp"))));
    }
    EXPECT_TRUE(was_old);
  }
}

TEST(SavePretrained, SaysWhatFailedAndLeavesTheOldModelUntilAllIsWritten) {
  for (const Change& change : kChanges) {
    const ChangedModel changed(change);
    for (const int error : {ENOSPC, EIO, EROFS}) {
      int kept = 0;
      for (int call = 1;; ++call) {
        const TemporaryDirectory directory;
        changed.save_old(directory.path());
        fault = {.in = call, .error = error};
        bool failed = false;
        try {
          changed.save_new(directory.path());
        } catch (const StorageError& storage) {
          failed = true;
          EXPECT_THAT(storage.what(), AllOf(HasSubstr(directory.path()),
                                            HasSubstr(std::generic_category().message(error))));
        }
        const bool fired = fault.fired;
        fault = {};
        if (!fired) {
          EXPECT_EQ(held(directory.path(), changed.models), "new");
          break;
        }
        EXPECT_TRUE(failed) << "call " << call;
        const std::string now = held(directory.path(), changed.models);
        EXPECT_NE(now, "something else") << "call " << call;
        EXPECT_EQ(now == "nothing", !std::filesystem::exists(directory / "config.json"));
        if (now == "old") ++kept;
        EXPECT_THAT(names_in(directory.path()), Not(::testing::Contains(EndsWith(".tmp"))));
        changed.save_new(directory.path());
        EXPECT_EQ(held(directory.path(), changed.models), "new") << "call " << call;
      }
      EXPECT_THAT(kept, Gt(6));  // open, write and fsync of config and weights; the next call
    }
  }
}

}  // namespace
}  // namespace w2vbert::testing
