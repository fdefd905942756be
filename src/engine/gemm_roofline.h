// How long a forward's arithmetic alone would take on this machine.
#pragma once

#include <cstdint>
#include <vector>

#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert {

// Operations (a multiplication and an addition are two) of the encoder's matrix products and its
// attention's, over clips of those lengths in frames.
double encoder_flops(const Wav2Vec2BertConfig& config, const std::vector<std::int64_t>& lengths);

// Operations a second that oneDNN's linear layer reaches on this model's linear layers with `rows`
// rows, its weights laid out beforehand: the layers of one encoder layer in turn, the fastest of
// `rounds` each. float32.
class PackedGemmRate {
 public:
  explicit PackedGemmRate(const Wav2Vec2BertConfig& config);
  double measure(std::int64_t rows, int rounds = 3);

 private:
  struct Product {
    std::int64_t in, out;
    int per_layer;
  };
  std::vector<Product> products_;
};

}  // namespace w2vbert
