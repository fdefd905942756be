// A config whose modules are built and run in milliseconds.
#pragma once

#include "support/namespaces.h"
#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert::testing {

inline Wav2Vec2BertConfig small_config() {
  Wav2Vec2BertConfig config;
  config.hidden_size = 24;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 3;
  config.intermediate_size = 40;
  config.feature_projection_input_dim = 10;
  config.left_max_position_embeddings = 4;
  config.right_max_position_embeddings = 2;
  config.conv_depthwise_kernel_size = 5;
  return config;
}

}  // namespace w2vbert::testing
