#include "w2vbert/nn/tdnn_layer.h"

#include <torch/types.h>

#include <vector>

#include "nn/check_config.h"
#include "nn/check_inputs.h"
#include "nn/make_layers.h"

namespace w2vbert {

TDNNLayerImpl::TDNNLayerImpl(Wav2Vec2BertConfig config, std::int64_t layer_id)
    : config_(checked(std::move(config))), layer_id_(layer_id) {
  const auto layers = static_cast<std::int64_t>(config_.tdnn_dim.size());
  TORCH_CHECK_VALUE(layer_id_ >= 0 && layer_id_ < layers, "layer_id: ", layer_id_,
                    ", expected from 0 to below the ", layers, " layers of tdnn_dim");
  const auto index = static_cast<std::size_t>(layer_id_);
  in_conv_dim_ = config_.tdnn_dim.at(index == 0 ? 0 : index - 1);
  out_conv_dim_ = config_.tdnn_dim.at(index);
  kernel_size_ = config_.tdnn_kernel.at(index);
  dilation_ = config_.tdnn_dilation.at(index);
  reset();
}

void TDNNLayerImpl::reset() {
  kernel = register_module("kernel", make_linear(in_conv_dim_ * kernel_size_, out_conv_dim_));
  activation = register_module("activation", torch::nn::ReLU());
}

torch::Tensor TDNNLayerImpl::forward(torch::Tensor hidden_states) {
  check_hidden_states(hidden_states, "hidden_states", in_conv_dim_, kernel->weight);
  const auto frames = hidden_states.size(1);
  TORCH_CHECK_VALUE(frames > (kernel_size_ - 1) * dilation_, "hidden_states: ", frames,
                    " frames, expected more than ", (kernel_size_ - 1) * dilation_,
                    " for tdnn_kernel[", layer_id_, "] = ", kernel_size_, " and tdnn_dilation[",
                    layer_id_, "] = ", dilation_);
  hidden_states = hidden_states.transpose(1, 2);  // (B, T, in) -> (B, in, T)
  const auto weight =                             // (out, K * in) -> (out, in, K)
      kernel->weight.view({out_conv_dim_, kernel_size_, in_conv_dim_}).transpose(1, 2);
  const std::vector<std::int64_t> stride = {1};
  const std::vector<std::int64_t> padding = {0};
  hidden_states = torch::conv1d(hidden_states, weight, kernel->bias, stride, padding, {dilation_});
  hidden_states = hidden_states.transpose(1, 2);  // (B, out, T') -> (B, T', out)
  return activation(hidden_states);
}

void TDNNLayerImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::TDNNLayer(" << in_conv_dim_ << " -> " << out_conv_dim_
         << ", kernel_size=" << kernel_size_ << ", dilation=" << dilation_ << ")";
}

}  // namespace w2vbert
