// Where a model lies: a directory, or a Hub id in the local cache. Torch-free, never the network.
#pragma once

#include <string>
#include <vector>

namespace w2vbert {

struct ModelDirectory {
  std::string path;
  /// Paths of the safetensors files with the weights: model.safetensors, else what the index names.
  /// Empty when there is neither.
  std::vector<std::string> weight_files;
};

/// `path_or_id` itself when it is a directory; else the snapshot of a Hub id
/// ("facebook/w2v-bert-2.0") in the local cache: HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub,
/// XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub. An id may name a revision
/// ("org/name@v2": a branch, a tag, a commit or its beginning), or `revision` does; without one it
/// is main. Throws CheckpointError that says what to download, UsageError for a `revision` of a
/// directory, one that is malformed, or one beside another in the id.
ModelDirectory resolve_model(const std::string& path_or_id, const std::string& revision = "");

struct AdapterDirectory {
  std::string path;
  /// The folder in what was given that holds the adapter; empty where that holds it itself.
  std::string folder;
};

/// The same for a PEFT adapter: the directory or snapshot with its adapter_config.json, or the one
/// folder in it that has one, as PEFT saves an adapter that has a name. Throws CheckpointError for
/// any other number of such folders.
AdapterDirectory resolve_adapter(const std::string& path_or_id);

/// The folder in which Hub ids are looked up, whether it exists or not; empty without HOME. $NAME,
/// ${NAME} and ~ in the variables are expanded, as huggingface_hub does it.
std::string hub_cache_directory();

}  // namespace w2vbert
