#include "tool/tasks/model_files.h"

#include <array>

#include "core/file.h"
#include "w2vbert/checkpoint/lora.h"
#include "w2vbert/checkpoint/model_directory.h"

namespace w2vbert::tool {
namespace {

// What transformers and PEFT read of a directory by its name.
constexpr std::array kNames = {"config.json",
                               "model.safetensors",
                               "model.safetensors.index.json",
                               "preprocessor_config.json",
                               "processor_config.json",
                               "generation_config.json",
                               "vocab.json",
                               "tokenizer.json",
                               "tokenizer_config.json",
                               "added_tokens.json",
                               "special_tokens_map.json"};

void add_files_of(ProtectedFiles& files, const std::string& directory, const char* whose) {
  for (const char* name : kNames) files.add(join_path(directory, name), whose);
}

}  // namespace

void add_model_files(ProtectedFiles& files, const std::string& model, const std::string& revision,
                     const std::string& lora) {
  const ModelDirectory directory = resolve_model(model, revision);
  for (const std::string& path : directory.weight_files) files.add(path, "the model's");
  add_files_of(files, directory.path, "the model's");
  if (lora.empty()) return;
  const LoraFiles adapter = find_lora(lora);
  files.add(adapter.config, "the adapter's");
  files.add(adapter.weights, "the adapter's");
  add_files_of(files, std::string(directory_prefix(adapter.config)), "the adapter's");
}

}  // namespace w2vbert::tool
