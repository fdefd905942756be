// Names of tensors without what PyTorch's wrappers put into them. Torch-free.
#pragma once

#include <string>
#include <string_view>

namespace w2vbert {

// Without the parts that torch.compile, FSDP and activation checkpointing add when they wrap a
// module: "encoder._orig_mod.layers.0" -> "encoder.layers.0".
std::string without_wrappers(std::string_view name);

// "semantic_model" and "semantic_model." -> "semantic_model."; "" stays.
std::string with_dot(const std::string& prefix);

// What stands before `base`, such as "wav2vec2_bert.", in "model.wav2vec2_bert.x."; npos where it
// does not stand there as a part between dots.
std::size_t find_base(std::string_view prefix, std::string_view base);

}  // namespace w2vbert
