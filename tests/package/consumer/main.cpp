#include <torch/torch.h>
#include <w2vbert/config/wav2vec2_bert_config.h>
#include <w2vbert/models/wav2vec2_bert_model.h>

#include <iostream>

int main() {
  w2vbert::Wav2Vec2BertConfig config;
  config.hidden_size = 32;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.intermediate_size = 64;
  torch::manual_seed(0);
  w2vbert::Wav2Vec2BertModel model(config);
  model->eval();
  torch::NoGradGuard no_grad;
  const auto output = model->forward(torch::randn({1, 10, config.feature_projection_input_dim}));
  std::cout << "last_hidden_state " << output.last_hidden_state.sizes() << "\n";
  return output.last_hidden_state.isfinite().all().item<bool>() ? 0 : 1;
}
