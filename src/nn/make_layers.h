// The layers that the modules are made of.
#pragma once

#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/normalization.h>

#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/nn/conv1d.h"
#include "w2vbert/nn/linear.h"

namespace w2vbert {

// Layers that respect SkipInitialization. Without it they are exactly the layers of these
// options, and draw the same random numbers. The padding of a Conv1d is a number of frames.
Linear make_linear(std::int64_t in_features, std::int64_t out_features, bool bias = true);
Conv1d make_conv1d(const torch::nn::Conv1dOptions& options);
torch::nn::Embedding make_embedding(std::int64_t num_embeddings, std::int64_t embedding_dim);

// LayerNorm over the last `width` channels with the config's layer_norm_eps.
torch::nn::LayerNorm make_layer_norm(std::int64_t width, const Wav2Vec2BertConfig& config);

}  // namespace w2vbert
