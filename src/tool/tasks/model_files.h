// The files that a model is read from, for what must not be written over them.
#pragma once

#include <string>

#include "tool/store/writable.h"

namespace w2vbert::tool {

// Weights, configs and tokenizer of a model (`revision` of a Hub id, or ""), and of a PEFT adapter
// ("" for none). Of a directory of models, the places of those that are not there, too: a
// config.json or model.safetensors that is new would change the model. Throws CheckpointError,
// ConfigError.
void add_model_files(ProtectedFiles& files, const std::string& model, const std::string& revision,
                     const std::string& lora);

}  // namespace w2vbert::tool
