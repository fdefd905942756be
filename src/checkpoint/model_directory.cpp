#include "w2vbert/checkpoint/model_directory.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>

#include "checkpoint/checkpoint_index.h"
#include "checkpoint/hub_cache.h"
#include "checkpoint/missing_weights.h"
#include "core/environment.h"
#include "core/file.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

// What every use of a model or an adapter reads. Weights are looked at when they are read.
constexpr const char* kConfigFiles[] = {"config.json", "preprocessor_config.json",
                                        "processor_config.json", kLoraConfigFile};
constexpr std::size_t kMaxFoldersListed = 5;

std::vector<std::string> weight_files_of(const std::string& directory) {
  const std::string single = join_path(directory, kCheckpointFile);
  if (exists<CheckpointError>(single)) return {single};
  const std::string index = join_path(directory, kCheckpointIndexFile);
  if (!exists<CheckpointError>(index)) return {};
  std::set<std::string> files;
  const std::string text = read_small_file<CheckpointError>(index, kMaxCheckpointIndexBytes);
  for (const auto& [tensor, file] : parse_checkpoint_index(text, index).weight_map) {
    files.insert(join_path(directory, file));
  }
  return {files.begin(), files.end()};
}

// The directory, or the snapshot; `what` is "model" or "adapter", and `example` one of the Hub.
std::string find_directory(const std::string& path_or_id, const std::string& revision,
                           const std::string& what, const std::string& content,
                           const std::string& example) {
  if (!revision.empty() && !is_revision(revision)) {
    throw UsageError("", "revision", in_quotes(revision) + " is no revision",
                     "a branch, a tag or a commit", "revision");
  }
  if (is_directory<CheckpointError>(path_or_id)) {
    if (revision.empty()) return path_or_id;
    throw UsageError("", "revision",
                     "is given beside " + quote_bytes(path_or_id) + ", which is a directory",
                     "the id of a " + what + " on the Hub", "revision");
  }
  if (exists<CheckpointError>(path_or_id)) {
    throw CheckpointError(path_or_id, "", "is not a directory",
                          "a " + what + " directory with " + content);
  }
  std::optional<HubName> name = parse_hub_name(path_or_id);
  if (!name) {
    throw CheckpointError(
        path_or_id, "", "does not exist",
        "a " + what + " directory with " + content + ", or a Hub id such as " + example);
  }
  if (!revision.empty() && !name->revision.empty() && name->revision != revision) {
    throw UsageError("", "revision", "is " + revision + ", but " + path_or_id + " names another",
                     "one of the two", "revision");
  }
  if (!revision.empty()) name->revision = revision;
  const std::string cache = hub_cache_directory();
  if (cache.empty()) {
    throw CheckpointError(path_or_id, "",
                          "is no directory, and without HOME there is no Hub cache to look in",
                          "a " + what + " directory, or HF_HOME to be set");
  }
  const std::optional<std::string> snapshot = find_snapshot(cache, *name);
  if (!snapshot) {
    const std::string of_revision =
        name->revision.empty() ? "" : " in the revision " + name->revision;
    throw CheckpointError(
        path_or_id, "", "is no directory and not in the Hub cache " + cache + of_revision,
        "a " + what + " directory, or a downloaded " + what + ": " + download_command(*name));
  }
  for (const char* const file : kConfigFiles) check_link(join_path(*snapshot, file));
  return *snapshot;
}

// The folders in `directory` that hold an adapter, in the order of their names.
std::set<std::string> adapters_in(const std::string& directory) {
  std::set<std::string> folders;
  std::error_code error;
  for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end;
       at.increment(error)) {
    const std::string folder = at->path().filename().string();
    if (exists<CheckpointError>(join_path(join_path(directory, folder), kLoraConfigFile)))
      folders.insert(folder);
  }
  return folders;
}

}  // namespace

// huggingface_hub/constants.py
std::string hub_cache_directory() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const auto cache = environment_text(name); !cache.empty()) return expand_path(cache);
  }
  if (const auto home = environment_text("HF_HOME"); !home.empty()) {
    return join_path(expand_path(home), "hub");
  }
  if (const auto cache = environment_text("XDG_CACHE_HOME"); !cache.empty()) {
    return join_path(expand_path(cache), "huggingface/hub");
  }
  if (const auto home = environment_text("HOME"); !home.empty()) {
    return join_path(home, ".cache/huggingface/hub");
  }
  return "";
}

ModelDirectory resolve_model(const std::string& path_or_id, const std::string& revision) {
  const std::string directory = find_directory(
      path_or_id, revision, "model", "config.json and model.safetensors", "facebook/w2v-bert-2.0");
  return {directory, weight_files_of(directory)};
}

AdapterDirectory resolve_adapter(const std::string& path_or_id) {
  const std::string content =
      std::string(kLoraConfigFile) + " and " + std::string(kLoraWeightsFile);
  const std::string directory =
      find_directory(path_or_id, "", "PEFT adapter", content, "org/name@revision");
  if (exists<CheckpointError>(join_path(directory, kLoraConfigFile))) return {directory, ""};
  const std::set<std::string> folders = adapters_in(directory);
  if (folders.size() == 1) return {join_path(directory, *folders.begin()), *folders.begin()};
  if (folders.empty()) {
    throw CheckpointError(directory, "", std::string("has no ") + kLoraConfigFile,
                          "the directory of a PEFT adapter");
  }
  std::vector<std::string> listed;
  for (const std::string& folder : folders) {
    if (listed.size() < kMaxFoldersListed)
      listed.push_back(quote_bytes(join_path(directory, folder)));
  }
  throw CheckpointError(
      directory, "",
      std::string("has no ") + kLoraConfigFile + ", but " + std::to_string(folders.size()) +
          " of its folders have one",
      "one of these: " + comma_list(listed) + (listed.size() < folders.size() ? ", ..." : ""));
}

}  // namespace w2vbert
