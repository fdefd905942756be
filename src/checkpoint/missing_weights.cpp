#include "checkpoint/missing_weights.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>

#include "checkpoint/checkpoint_index.h"
#include "checkpoint/hub_cache.h"
#include "core/directory_entries.h"
#include "core/file.h"
#include "core/json.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

// Each in the directory itself; of the class that config.json names, so that no head is lost.
constexpr std::string_view kConvertModel =
    R"py(python3 -c "import transformers as t; c = t.AutoConfig.from_pretrained('.'); )py"
    R"py(getattr(t, c.architectures[0]).from_pretrained('.').save_pretrained('.')")py";
constexpr std::string_view kConvertAdapter =
    R"py(python3 -c "import torch; from safetensors.torch import save_file as s; )py"
    R"py(t = torch.load('adapter_model.bin', 'cpu', weights_only=True); )py"
    R"py(s({k: v.clone() for k, v in t.items()}, 'adapter_model.safetensors')")py";

std::string or_download(const std::string& expected, const std::string& directory) {
  const std::string command = download_command_of(directory);
  return command.empty() ? expected : expected + "; to fetch it: " + command;
}

[[noreturn]] void fail_for_pickle(const std::string& path, std::string_view problem,
                                  std::string_view wanted, std::string_view command) {
  throw CheckpointError(
      path, "", problem,
      std::string(wanted) + "; in that directory, this converts it: " + std::string(command));
}

// Weights in another form, by the ending of their file's name.
struct OtherForm {
  std::string_view ending, what;
};
constexpr std::string_view kPickle = "a pickle, which is never read";
constexpr OtherForm kOtherForms[] = {
    {".bin", kPickle},           {".pt", kPickle},         {".pth", kPickle},
    {".ckpt", kPickle},          {".gguf", "a GGUF file"}, {".h5", "a file of TensorFlow's"},
    {".msgpack", "one of Flax"}, {".nemo", "one of NeMo"}, {".npz", "a file of NumPy's"},
    {".onnx", "an ONNX graph"}};

// What HF's Trainer writes beside a model.
bool is_of_trainer(std::string_view name) {
  constexpr std::string_view kBeginnings[] = {"training_args", "optimizer", "scheduler",
                                              "rng_state", "scaler"};
  return std::any_of(std::begin(kBeginnings), std::end(kBeginnings),
                     [&](std::string_view one) { return name.starts_with(one); });
}

// Whether a shell takes the name as it is.
bool is_plain_word(std::string_view name) {
  return name.front() != '-' && std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
         });
}

// The file that HF calls by that name with a variant in it ("fp16"), else the one safetensors file
// that is there under another name.
std::optional<std::string> renamed_weights(const std::vector<std::string>& names) {
  const auto find = [&](const auto& fits) {
    const auto found = std::find_if(names.begin(), names.end(), fits);
    return found == names.end() ? std::nullopt : std::optional<std::string>(*found);
  };
  auto index = find([](const std::string& name) {
    return name.starts_with("model.safetensors.index.") && name.ends_with(".json");
  });
  if (index) return index;
  const auto is_whole = [](const std::string& name) {
    return name.ends_with(".safetensors") && name.find("-of-") == std::string::npos;
  };
  auto variant =
      find([&](const std::string& name) { return name.starts_with("model.") && is_whole(name); });
  if (variant || std::count_if(names.begin(), names.end(), is_whole) != 1) return variant;
  return find(is_whole);
}

// For a directory whose weights are not under the names that they should have.
[[noreturn]] void fail_for_others(const std::string& directory, const std::string& wanted) {
  const std::vector<std::string> names = names_in(directory);
  const auto has = [&](std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (has(kLoraWeightsFile)) {
    throw CheckpointError(directory, "", "holds no weights but those of a PEFT adapter",
                          "the model that the adapter was made for, and the adapter beside it",
                          "lora " + directory);
  }
  if (const auto file = renamed_weights(names); file && is_plain_word(*file)) {
    const std::string_view name = file->ends_with(".json") ? kCheckpointIndexFile : kCheckpointFile;
    throw CheckpointError(directory, "",
                          "holds no weights under the name that they have, but " + *file,
                          std::string(name) + "; in that directory, this makes it: ln -s " + *file +
                              " " + std::string(name));
  }
  for (const std::string& name : names) {
    for (const OtherForm& form : kOtherForms) {
      if (!name.ends_with(form.ending) || is_of_trainer(name)) continue;
      throw CheckpointError(
          directory, "",
          "holds no weights but " + quote_bytes(name) + ", " + std::string(form.what),
          wanted + ", as save_pretrained of transformers writes it");
    }
  }
  throw CheckpointError(directory, "",
                        has_unfinished_download(directory)
                            ? "holds no weights: its download is not complete"
                            : "holds no weights",
                        or_download(wanted, directory));
}

// " (facebook/w2v-bert-2.0)", as the adapter says, or "".
std::string base_model_of(const std::string& directory) {
  constexpr std::uint64_t kMaxBytes = 1 << 20;
  try {
    const auto config = JsonValue::parse(
        read_small_file<ConfigError>(join_path(directory, kLoraConfigFile), kMaxBytes));
    const auto* name = config.find_as<std::string>("base_model_name_or_path");
    return name && !name->empty() ? " (" + quote_bytes(*name) + ")" : "";
  } catch (const ConfigError&) {
  } catch (const JsonError&) {  // the adapter is not what is being read
  }
  return "";
}

}  // namespace

void check_link(const std::string& path) {
  std::error_code error;
  if (exists<CheckpointError>(path) || !std::filesystem::is_symlink(path, error)) return;
  const std::string directory = parent_path(path);
  const bool in_cache = !download_command_of(directory).empty();
  throw CheckpointError(path, "",
                        in_cache ? "is a link to a blob that is not there: its download is not "
                                   "complete"
                                 : "is a link to a file that is not there",
                        or_download("the file", directory));
}

void check_config(const std::string& directory) {
  const std::string file = "config.json";
  const auto has = [&](std::string_view name) {
    return exists<ConfigError>(join_path(directory, name));
  };
  if (has(file)) return;
  check_link(join_path(directory, file));
  const std::string wanted =
      or_download("a model directory with config.json and model.safetensors", directory);
  if (has(kLoraConfigFile)) {
    throw ConfigError(
        directory, "", "is a PEFT adapter and has no " + file,
        "the model that it was made for" + base_model_of(directory) + ", and the adapter beside it",
        "lora " + directory);
  }
  if (const auto folders = folders_with(directory, file); folders.size() == 1) {
    throw ConfigError(
        directory, "", "has no " + file,
        "the folder in it that has one: " + quote_bytes(join_path(directory, folders.front())));
  } else if (folders.size() > 1) {
    fail_for_folders<ConfigError>(directory, file, folders);
  }
  if (!has(kCheckpointFile) && !has(kCheckpointIndexFile)) {
    for (const char* const name : {"tokenizer_config.json", "tokenizer.json", "vocab.json"}) {
      if (!has(name)) continue;
      throw ConfigError(directory, "", "holds a tokenizer and has no " + file, wanted);
    }
  }
  throw ConfigError(directory, "", "has no " + file, wanted);
}

void check_weights(const std::string& directory) {
  const std::string single = join_path(directory, kCheckpointFile);
  check_link(single);
  if (exists<CheckpointError>(single)) return;
  const std::string index = join_path(directory, kCheckpointIndexFile);
  check_link(index);
  if (exists<CheckpointError>(index)) {
    const std::string text = read_small_file<CheckpointError>(index, kMaxCheckpointIndexBytes);
    for (const auto& [tensor, shard] : parse_checkpoint_index(text, index).weight_map) {
      const std::string path = join_path(directory, shard);
      check_link(path);
      if (exists<CheckpointError>(path) || download_command_of(directory).empty()) continue;
      throw CheckpointError(path, "", "is not there: its download is not complete",
                            or_download("the shard that the index names", directory));
    }
    return;
  }
  const std::string pickle = join_path(directory, "pytorch_model.bin");
  const std::string pickles = pickle + ".index.json";
  if (exists<CheckpointError>(pickle)) {
    fail_for_pickle(pickle, "is a pickle, which is never read", kCheckpointFile, kConvertModel);
  }
  if (exists<CheckpointError>(pickles)) {
    fail_for_pickle(pickles, "names pickles, which are never read", kCheckpointFile, kConvertModel);
  }
  fail_for_others(directory,
                  std::string(kCheckpointFile) + " or " + std::string(kCheckpointIndexFile));
}

void check_adapter_weights(const std::string& directory) {
  const std::string weights = join_path(directory, kLoraWeightsFile);
  check_link(weights);
  if (exists<CheckpointError>(weights)) return;
  const std::string pickle = join_path(directory, "adapter_model.bin");
  if (exists<CheckpointError>(pickle)) {
    fail_for_pickle(pickle, "is a pickle, which is never read", kLoraWeightsFile, kConvertAdapter);
  }
  throw CheckpointError(
      directory, "",
      "has no " + std::string(kLoraWeightsFile) +
          (has_unfinished_download(directory) ? ": its download is not complete" : ""),
      or_download("the directory of a PEFT adapter", directory));
}

std::vector<std::string> folders_with(const std::string& directory, std::string_view file) {
  std::vector<std::string> folders = names_in(directory);
  std::erase_if(folders, [&](const std::string& folder) {
    return !exists<CheckpointError>(join_path(join_path(directory, folder), file));
  });
  return folders;
}

std::string first_few(const std::vector<std::string>& words) {
  constexpr std::size_t kFew = 5;
  if (words.size() <= kFew) return comma_list(words);
  return comma_list({words.begin(), words.begin() + kFew}) + ", ...";
}

}  // namespace w2vbert
