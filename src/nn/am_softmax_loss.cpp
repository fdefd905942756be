#include "w2vbert/nn/am_softmax_loss.h"

#include <torch/types.h>

#include "nn/check_inputs.h"
#include "nn/labels.h"
#include "w2vbert/nn/initialization.h"

namespace w2vbert {
namespace {

// HF: torch.nn.functional.normalize.
torch::Tensor normalize(const torch::Tensor& input, std::int64_t dim) {
  constexpr double kEps = 1e-12;
  const auto norm = torch::linalg_vector_norm(input, 2.0, dim, /*keepdim=*/true);
  return input / norm.clamp_min(kEps).expand_as(input);
}

}  // namespace

AMSoftmaxLossImpl::AMSoftmaxLossImpl(std::int64_t input_dim, std::int64_t num_labels, double scale,
                                     double margin)
    : input_dim_(input_dim), num_labels_(num_labels), scale_(scale), margin_(margin) {
  reset();
}

void AMSoftmaxLossImpl::reset() {
  loss = register_module("loss", torch::nn::CrossEntropyLoss());
  weight = register_parameter("weight", SkipInitialization::active()
                                            ? torch::empty({input_dim_, num_labels_})
                                            : torch::randn({input_dim_, num_labels_}));
}

torch::Tensor AMSoftmaxLossImpl::forward(torch::Tensor hidden_states, const torch::Tensor& labels) {
  check_dense(hidden_states, "hidden_states");
  TORCH_CHECK_VALUE(hidden_states.dim() == 2 && hidden_states.size(1) == input_dim_,
                    "hidden_states: shape ", hidden_states.sizes(), ", expected (B, ", input_dim_,
                    ")");
  check_like_parameter(hidden_states, "hidden_states", weight);
  check_class_labels(labels, hidden_states.size(0));
  check_label_range(labels, {.key = "num_labels", .count = num_labels_});
  const auto classes = labels.flatten();
  hidden_states = normalize(hidden_states, 1);
  const auto cos_theta = torch::mm(hidden_states, normalize(weight, 0));
  const auto psi = cos_theta - margin_;
  const auto onehot = torch::one_hot(classes, num_labels_);
  const auto logits = torch::where(onehot.to(torch::kBool), psi, cos_theta) * scale_;
  return loss(logits, classes);
}

void AMSoftmaxLossImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::AMSoftmaxLoss(" << input_dim_ << " -> " << num_labels_ << ")";
}

}  // namespace w2vbert
