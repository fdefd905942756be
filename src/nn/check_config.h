// What every public module that is made from a config begins with.
#pragma once

#include <utility>

#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert {

// `config` as it is, once its ranges have been checked: a module may be made without a model, which
// checks them too. Throws ConfigError.
inline Wav2Vec2BertConfig checked(Wav2Vec2BertConfig config) {
  config.validate();
  return config;
}

}  // namespace w2vbert
