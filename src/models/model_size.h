// What a model takes in memory, before it is made.
#pragma once

#include <string>
#include <vector>

#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert {

// A part of a model: the key of the config that makes it large, what that key holds, and how many
// parameters come of it.
struct ModelPart {
  const char* key;
  std::string value;
  double parameters = 0;
};

// Throws ConfigError, which names the key of the largest part, for a model of `config` with the
// parts of `head` that does not fit into the memory that this process may use. Where nothing is
// written to the parameters (SkipInitialization) the encoder counts as it is packed in int8, for
// its layers may never be there as parameters. Throws what validate() throws, too.
void refuse_too_large(const Wav2Vec2BertConfig& config, std::vector<ModelPart> head = {});

}  // namespace w2vbert
