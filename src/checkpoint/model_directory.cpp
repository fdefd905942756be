#include "w2vbert/checkpoint/model_directory.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>

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

// What is looked for.
struct DirectoryKind {
  std::string what;  // "model" or "adapter"
  std::string config_file, weights_file;
  std::string example;  // of the Hub

  std::string directory() const {
    return "a " + what + " directory with " + config_file + " and " + weights_file;
  }
};

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

// The directory, or the snapshot.
std::string find_directory(const std::string& path_or_id, const std::string& revision,
                           const DirectoryKind& wanted) {
  if (!revision.empty() && !is_revision(revision)) {
    throw UsageError("", "revision", in_quotes(revision) + " is no revision",
                     "a branch, a tag or a commit", "revision");
  }
  if (is_directory<CheckpointError>(path_or_id)) {
    if (revision.empty()) return path_or_id;
    throw UsageError("", "revision",
                     "is given beside " + quote_bytes(path_or_id) + ", which is a directory",
                     "the id of a " + wanted.what + " on the Hub", "revision");
  }
  if (exists<CheckpointError>(path_or_id)) {
    const std::string around = parent_path(path_or_id);
    throw CheckpointError(path_or_id, "", "is not a directory",
                          exists<CheckpointError>(join_path(around, wanted.config_file))
                              ? "the directory that it is in: " + quote_bytes(around)
                              : wanted.directory());
  }
  std::optional<HubName> name = parse_hub_name(path_or_id);
  if (!name) {
    throw CheckpointError(path_or_id, "", "does not exist",
                          wanted.directory() + ", or a Hub id such as " + wanted.example);
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
                          "a " + wanted.what + " directory, or HF_HOME to be set");
  }
  const std::optional<std::string> snapshot = find_snapshot(cache, *name);
  if (!snapshot) {
    const std::string of_revision =
        name->revision.empty() ? "" : " in the revision " + name->revision;
    std::vector<std::string> others;
    for (const std::string& other : cached_revisions(cache, name->id)) {
      others.push_back(quote_bytes(name->id + "@" + other));
    }
    throw CheckpointError(
        path_or_id, "", "is no directory and not in the Hub cache " + cache + of_revision,
        "a " + wanted.what + " directory, or a downloaded " + wanted.what + ": " +
            download_command(*name) +
            (others.empty() ? "" : ", or another revision, which is there: " + first_few(others)));
  }
  for (const char* const file : kConfigFiles) check_link(join_path(*snapshot, file));
  return *snapshot;
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
      path_or_id, revision,
      {"model", kConfigFiles[0], std::string(kCheckpointFile), "facebook/w2v-bert-2.0"});
  return {directory, weight_files_of(directory)};
}

AdapterDirectory resolve_adapter(const std::string& path_or_id) {
  const std::string directory = find_directory(
      path_or_id, "",
      {"PEFT adapter", kLoraConfigFile, std::string(kLoraWeightsFile), "org/name@revision"});
  if (exists<CheckpointError>(join_path(directory, kLoraConfigFile))) return {directory, ""};
  const std::vector<std::string> folders = folders_with(directory, kLoraConfigFile);
  if (folders.size() == 1) return {join_path(directory, folders.front()), folders.front()};
  if (folders.empty()) {
    throw CheckpointError(directory, "", std::string("has no ") + kLoraConfigFile,
                          "the directory of a PEFT adapter");
  }
  fail_for_folders<CheckpointError>(directory, kLoraConfigFile, folders);
}

}  // namespace w2vbert
