#include "w2vbert/checkpoint/model_directory.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "checkpoint/checkpoint_index.h"
#include "core/environment.h"
#include "core/file.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

// "name" or "organisation/name" as the Hub allows it.
bool is_hub_id(const std::string& text) {
  const auto slashes = std::count(text.begin(), text.end(), '/');
  if (text.empty() || text.size() > 200 || slashes > 1 || text.front() == '/' ||
      text.back() == '/' || text.front() == '.' || text.find("..") != std::string::npos) {
    return false;
  }
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '/';
  });
}

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

std::string trimmed(std::string text) {
  text.erase(text.find_last_not_of(" \t\r\n") + 1);
  return text;
}

// A commit, as it names a folder of snapshots/; what else a reference file holds is not followed.
bool is_revision(const std::string& text) {
  return !text.empty() && text.size() <= 255 &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; });
}

// As Python's expanduser, which huggingface_hub applies to its variables.
std::string expand_home(const std::string& path) {
  if (path != "~" && path.substr(0, 2) != "~/") return path;
  const std::string home = environment_text("HOME");
  return home.empty() ? path : home + path.substr(1);
}

}  // namespace

// huggingface_hub/constants.py
std::string hub_cache_directory() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const auto cache = environment_text(name); !cache.empty()) return expand_home(cache);
  }
  if (const auto home = environment_text("HF_HOME"); !home.empty()) {
    return join_path(expand_home(home), "hub");
  }
  if (const auto cache = environment_text("XDG_CACHE_HOME"); !cache.empty()) {
    return join_path(expand_home(cache), "huggingface/hub");
  }
  if (const auto home = environment_text("HOME"); !home.empty()) {
    return join_path(home, ".cache/huggingface/hub");
  }
  return "";
}

ModelDirectory resolve_model(const std::string& path_or_id) {
  if (is_directory<CheckpointError>(path_or_id)) return {path_or_id, weight_files_of(path_or_id)};
  if (exists<CheckpointError>(path_or_id)) {
    throw CheckpointError(path_or_id, "", "is not a directory",
                          "a model directory with config.json and model.safetensors");
  }
  if (!is_hub_id(path_or_id)) {
    throw CheckpointError(path_or_id, "", "does not exist",
                          "a model directory, or a Hub id such as facebook/w2v-bert-2.0");
  }
  const std::string cache = hub_cache_directory();
  if (cache.empty()) {
    throw CheckpointError(path_or_id, "",
                          "is no directory, and without HOME there is no Hub cache to look in",
                          "a model directory, or HF_HOME to be set");
  }
  std::string folder = "models--" + path_or_id;
  if (const auto slash = folder.find('/'); slash != std::string::npos)
    folder.replace(slash, 1, "--");
  const std::string repository = join_path(cache, folder);
  const std::string reference = join_path(repository, "refs/main");
  if (exists<CheckpointError>(reference)) {
    const std::string revision = trimmed(read_small_file<CheckpointError>(reference, 4096));
    const std::string snapshot = join_path(repository, "snapshots/" + revision);
    if (is_revision(revision) && is_directory<CheckpointError>(snapshot)) {
      return {snapshot, weight_files_of(snapshot)};
    }
  }
  throw CheckpointError(path_or_id, "", "is no directory and not in the Hub cache " + cache,
                        "a model directory, or a downloaded model: hf download " + path_or_id);
}

}  // namespace w2vbert
