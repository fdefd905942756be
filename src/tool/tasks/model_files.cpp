#include "tool/tasks/model_files.h"

#include "core/file.h"
#include "w2vbert/checkpoint/lora.h"
#include "w2vbert/checkpoint/model_directory.h"

namespace w2vbert::tool {

void add_model_files(ProtectedFiles& files, const std::string& model, const std::string& revision,
                     const std::string& lora) {
  const ModelDirectory directory = resolve_model(model, revision);
  for (const std::string& path : directory.weight_files) files.add(path, "the model's");
  for (const char* name :
       {"config.json", "model.safetensors", "model.safetensors.index.json",
        "preprocessor_config.json", "processor_config.json", "generation_config.json", "vocab.json",
        "tokenizer.json", "tokenizer_config.json", "added_tokens.json",
        "special_tokens_map.json"}) {
    files.add(join_path(directory.path, name), "the model's");
  }
  if (lora.empty()) return;
  const LoraFiles adapter = find_lora(lora);
  files.add(adapter.config, "the adapter's");
  files.add(adapter.weights, "the adapter's");
}

}  // namespace w2vbert::tool
