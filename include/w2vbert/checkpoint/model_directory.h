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
/// XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub. Throws CheckpointError that says what
/// to download.
ModelDirectory resolve_model(const std::string& path_or_id);

/// The folder in which Hub ids are looked up, whether it exists or not; empty without HOME.
std::string hub_cache_directory();

}  // namespace w2vbert
