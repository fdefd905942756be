// A small seeded model directory.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "checkpoint/safetensors_writer.h"
#include "support/namespaces.h"
#include "w2vbert/checkpoint/checkpoint.h"

namespace w2vbert::testing {

constexpr std::int64_t kSmallLayers = 3;
constexpr std::int64_t kSmallHiddenSize = 32;

// config.json, preprocessor_config.json and model.safetensors in `directory`, which is made; what
// is there is replaced. `more`: keys of the config besides, `"key": value, ...`; the class is that
// of "architectures", by default Wav2Vec2BertModel.
void make_small_model(const std::string& directory, const std::string& more = "");

// A LoRA adapter for it in `directory`, which is made: linear_q of every layer. `seed`: its values.
void make_small_lora(const std::string& directory, int seed = 0);

// Loads the tensors of a file, lets `change` have them, and writes them back.
void change_tensors(const std::string& path,
                    const std::function<void(std::map<std::string, at::Tensor>&)>& change);

std::map<std::string, at::Tensor> tensors_of(const std::string& path);

}  // namespace w2vbert::testing
