#include "tool/parity/replay.h"

#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/loss.h>
#include <torch/nn/modules/normalization.h>
#include <torch/utils.h>

#include "w2vbert/models/wav2vec2_bert_model.h"
#include "w2vbert/nn/activation.h"
#include "w2vbert/nn/am_softmax_loss.h"
#include "w2vbert/nn/conv1d.h"
#include "w2vbert/nn/linear.h"
#include "w2vbert/nn/tdnn_layer.h"

namespace w2vbert::tool {

std::vector<torch::Tensor> replay(torch::nn::Module& module, const Reference& reference,
                                  const std::string& name) {
  // HF never calls the Linear that holds a TDNN layer's kernel.
  if (!reference.has("modules/" + name + "/output/0")) return {};
  const auto input = [&](const char* argument) { return reference.input_of(name, argument); };
  if (auto* linear = module.as<Linear>()) return {linear->forward(input("input"))};
  if (auto* norm = module.as<torch::nn::LayerNorm>()) return {norm->forward(input("input"))};
  if (auto* conv = module.as<Conv1d>()) return {conv->forward(input("input"))};
  if (auto* ffn = module.as<Wav2Vec2BertFeedForward>())
    return {ffn->forward(input("hidden_states"))};
  if (auto* convolution = module.as<Wav2Vec2BertConvolutionModule>()) {
    return {convolution->forward(input("hidden_states"), input("attention_mask"))};
  }
  if (auto* attention = module.as<Wav2Vec2BertSelfAttention>()) {
    const auto output = attention->forward(input("hidden_states"), input("attention_mask"),
                                           input("relative_position_embeddings"));
    if (!output.attn_weights.defined()) return {output.attn_output};
    return {output.attn_output, output.attn_weights};
  }
  if (auto* layer = module.as<Wav2Vec2BertEncoderLayer>()) {
    return {layer
                ->forward(input("hidden_states"), input("attention_mask"),
                          input("relative_position_embeddings"), input("conv_attention_mask"))
                .hidden_states};
  }
  if (auto* projection = module.as<Wav2Vec2BertFeatureProjection>()) {
    const auto output = projection->forward(input("hidden_states"));
    return {output.hidden_states, output.norm_hidden_states};
  }
  if (auto* activation = module.as<Activation>()) {
    // What PyTorch's and HF's activation modules call their argument.
    return {activation->forward(reference.has("modules/" + name + "/input/x") ? input("x")
                                                                              : input("input"))};
  }
  if (auto* embedding = module.as<torch::nn::Embedding>())
    return {embedding->forward(input("input"))};
  if (auto* cross_entropy = module.as<torch::nn::CrossEntropyLoss>()) {
    return {cross_entropy->forward(input("input"), input("target"))};
  }
  if (auto* relu = module.as<torch::nn::ReLU>()) return {relu->forward(input("input"))};
  if (auto* glu = module.as<torch::nn::GLU>()) return {glu->forward(input("input"))};
  if (auto* relative = module.as<Wav2Vec2BertRelPositionalEmbedding>()) {
    return {relative->forward(input("hidden_states"))};
  }
  if (auto* rotary = module.as<Wav2Vec2BertRotaryPositionalEmbedding>()) {
    return {rotary->forward(input("hidden_states"))};
  }
  if (auto* layer = module.as<Wav2Vec2BertAdapterLayer>()) {
    return {layer->forward(input("hidden_states"), input("sub_sampled_lengths"))};
  }
  if (auto* adapter = module.as<Wav2Vec2BertAdapter>()) {
    return {adapter->forward(input("hidden_states"), input("attention_mask"))};
  }
  if (auto* tdnn = module.as<TDNNLayer>()) return {tdnn->forward(input("hidden_states"))};
  if (auto* loss = module.as<AMSoftmaxLoss>()) {
    return {loss->forward(input("hidden_states"), input("labels"))};
  }
  return {};
}

ModelOutputs replay(AnyModel& model, const Reference& reference) {
  const torch::AutoGradMode grad(reference.flag("grad"));
  model->train(reference.flag("train"));
  if (reference.flag("gradient_checkpointing")) gradient_checkpointing_enable(*model);
  NumpyRandom spec_augment(static_cast<std::uint32_t>(reference.seed()));
  ForwardOptions options;
  options.output_hidden_states = true;
  options.output_attentions = true;
  options.spec_augment_random = &spec_augment;
  torch::manual_seed(reference.seed());
  return model.forward(reference.inputs(), options);
}

}  // namespace w2vbert::tool
