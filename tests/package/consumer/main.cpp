// One step of training: forward, backward, SGD. The gradients are compared with central differences
// of the loss, all in float64.
#include <torch/torch.h>
#include <w2vbert/config/wav2vec2_bert_config.h>
#include <w2vbert/models/wav2vec2_bert_model.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>

int main() {
  w2vbert::Wav2Vec2BertConfig config;
  config.hidden_size = 32;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.intermediate_size = 64;
  torch::manual_seed(0);
  w2vbert::Wav2Vec2BertModel model(config);
  model->to(torch::kDouble);
  model->eval();  // no dropout: the loss is a function of the parameters
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) parameter.normal_(0.0, 0.3);
  }
  const auto input = torch::randn({2, 10, config.feature_projection_input_dim}, torch::kDouble);
  auto mask = torch::ones({2, 10}, torch::kLong);
  mask[1].slice(0, 7) = 0;
  const auto target = torch::randn({2, 10, config.hidden_size}, torch::kDouble);
  const auto compute_loss = [&] {
    return torch::mse_loss(model->forward(input, mask).last_hidden_state, target);
  };

  constexpr double kLearningRate = 1e-3;
  torch::optim::SGD optimizer(model->parameters(), kLearningRate);
  const auto before = compute_loss();
  before.backward();

  int wrong = 0;
  double largest = 0.0;
  constexpr double kStep = 1e-5;
  // Relative to the largest of both values and 0.01. In float64 a central difference with step h is
  // off by O(h^2) times the third derivative, and by O(eps / h) times the loss, which is its
  // rounding: some 1e-10 and 2e-11 of values near 1.
  constexpr double kTolerance = 1e-6;
  const auto parameters = model->named_parameters();
  for (const char* name :
       {"feature_projection.projection.weight", "encoder.layers.0.ffn1.intermediate_dense.weight",
        "encoder.layers.0.self_attn.linear_q.weight",
        "encoder.layers.1.self_attn.distance_embedding.weight",
        "encoder.layers.1.conv_module.depthwise_conv.weight",
        "encoder.layers.1.final_layer_norm.bias"}) {
    const torch::Tensor parameter = parameters[name];
    // The entry with the largest gradient, and the middle one.
    const auto gradient = parameter.grad().flatten();
    for (const auto entry : {gradient.abs().argmax().item<std::int64_t>(), gradient.numel() / 2}) {
      const torch::NoGradGuard no_grad;
      auto value = parameter.view(-1)[entry];
      const double start = value.item<double>();
      const auto loss_at = [&](double x) {
        value.fill_(x);
        return compute_loss().item<double>();
      };
      const double above = loss_at(start + kStep);
      const double below = loss_at(start - kStep);
      value.fill_(start);
      const double numerical = (above - below) / (2 * kStep);
      const double analytical = gradient[entry].item<double>();
      const double scale = std::max({std::abs(numerical), std::abs(analytical), 1e-2});
      const double difference = std::abs(numerical - analytical) / scale;
      const bool fits = difference <= kTolerance;  // which NaN does not
      largest = std::max(largest, difference);
      std::printf("%-55s [%5ld] backward %+.10e differences %+.10e%s\n", name,
                  static_cast<long>(entry), analytical, numerical, fits ? "" : "  WRONG");
      if (!fits) ++wrong;
    }
  }

  const torch::Tensor weight = parameters["feature_projection.projection.weight"];
  const auto expected = (weight - kLearningRate * weight.grad()).detach();
  optimizer.step();
  if (!weight.detach().allclose(expected, /*rtol=*/0.0, /*atol=*/1e-15)) ++wrong;
  const double after = compute_loss().item<double>();
  std::printf("loss %.6f, after one step of SGD %.6f\n", before.item<double>(), after);
  if (!(after < before.item<double>())) ++wrong;
  std::printf("largest difference %.1e, allowed %.0e\n", largest, kTolerance);
  std::printf("%d wrong\n", wrong);
  return wrong == 0 ? 0 : 1;
}
