// A config that every head can be made from.
#pragma once

#include "support/small_config.h"

namespace w2vbert::testing {

inline Wav2Vec2BertConfig head_config() {
  auto config = small_config();
  config.vocab_size = 7;
  config.num_labels = 3;
  config.tdnn_dim = {8, 10};
  config.tdnn_kernel = {3, 2};
  config.tdnn_dilation = {1, 2};
  config.xvector_output_dim = 6;
  return config;
}

}  // namespace w2vbert::testing
