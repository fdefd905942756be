#include "engine/fused_model.h"

#include <torch/types.h>

#include <utility>

namespace w2vbert {

FoundModel find_model(torch::nn::Module& module) {
  const auto as_model = [](const std::shared_ptr<torch::nn::Module>& candidate) {
    return std::dynamic_pointer_cast<Wav2Vec2BertModelImpl>(candidate);
  };
  if (module.as<Wav2Vec2BertModelImpl>() != nullptr) {
    return {as_model(module.shared_from_this()), ""};
  }
  for (const auto& child : module.named_children()) {
    if (auto model = as_model(child.value())) return {std::move(model), child.key() + "."};
  }
  TORCH_CHECK_VALUE(false, "fuse: no Wav2Vec2BertModel in ", module.name());
}

Wav2Vec2BertConfig without_encoder_layers(Wav2Vec2BertConfig config) {
  config.num_hidden_layers = 0;
  config.position_embeddings_type.reset();
  return config;
}

void replace_encoder(Wav2Vec2BertModelImpl& model,
                     const std::shared_ptr<Wav2Vec2BertEncoderImpl>& encoder) {
  encoder->train(model.is_training());
  model.encoder = Wav2Vec2BertEncoder(
      std::static_pointer_cast<Wav2Vec2BertEncoderImpl>(model.replace_module("encoder", encoder)));
}

}  // namespace w2vbert
