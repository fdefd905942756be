// What is to be said where a directory does not have the weights that it should. Torch-free.
#pragma once

#include <string>
#include <string_view>

namespace w2vbert {

// What a directory of PEFT's holds.
inline constexpr const char* kLoraConfigFile = "adapter_config.json";
inline constexpr std::string_view kLoraWeightsFile = "adapter_model.safetensors";

// Throws CheckpointError for a link that leads nowhere: a download that ended too early leaves
// such.
void check_link(const std::string& path);

// Throws CheckpointError for a model's directory without weights, and for one that has them in
// part: names what was looked for, what is there instead, and what to do about it.
void check_weights(const std::string& directory);

// The same for the directory of a PEFT adapter.
void check_adapter_weights(const std::string& directory);

}  // namespace w2vbert
