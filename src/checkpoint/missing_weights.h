// What is to be said where a directory does not have what it should, and what it has instead.
// Torch-free.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/text.h"

namespace w2vbert {

// What a directory of PEFT's holds.
inline constexpr const char* kLoraConfigFile = "adapter_config.json";
inline constexpr std::string_view kLoraWeightsFile = "adapter_model.safetensors";

// Throws CheckpointError for a link that leads nowhere: a download that ended too early leaves
// such.
void check_link(const std::string& path);

// Throws ConfigError for a directory without a config.json: says what it is instead (an adapter, a
// tokenizer, the folder around a model), and what to do about it.
void check_config(const std::string& directory);

// Throws CheckpointError for a model's directory without weights, and for one that has them in
// part: names what was looked for, what is there instead, and what to do about it.
void check_weights(const std::string& directory);

// The same for the directory of a PEFT adapter.
void check_adapter_weights(const std::string& directory);

// Names of the folders in `directory` that have a `file`, in their order.
std::vector<std::string> folders_with(const std::string& directory, std::string_view file);

// A list for a message: the first few, and dots for the rest.
std::string first_few(const std::vector<std::string>& words);

// Throws Error for a `directory` that has no `file`, while several of its `folders` have.
template <typename Error>
[[noreturn]] void fail_for_folders(const std::string& directory, std::string_view file,
                                   const std::vector<std::string>& folders) {
  std::vector<std::string> paths;
  for (const std::string& folder : folders) {
    paths.push_back(quote_bytes(join_path(directory, folder)));
  }
  throw Error(directory, "",
              "has no " + std::string(file) + ", but " + std::to_string(folders.size()) +
                  " of its folders have one",
              "one of these: " + first_few(paths));
}

}  // namespace w2vbert
