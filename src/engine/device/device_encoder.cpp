#include "engine/device/device_encoder.h"

#include <torch/types.h>

#include <utility>

#include "engine/device/aten_ops.h"
#include "engine/device/device_layers.h"
#include "engine/engine_inputs.h"
#include "engine/state_sums.h"
#include "w2vbert/engine/engine.h"
#include "w2vbert/nn/encoder_layer.h"

namespace w2vbert {
namespace {

// On a GPU, so that its library's products see few shapes.
constexpr std::int64_t kRowMultiple = 256;

struct DeviceLayer {
  DeviceLayerNorm ffn1_layer_norm, self_attn_layer_norm, conv_layer_norm, ffn2_layer_norm,
      final_layer_norm;
  DeviceFeedForward ffn1, ffn2;
  DeviceLinear linear_qkv, linear_out, pointwise_conv1, pointwise_conv2;
  DeviceAttention attention;
  DeviceConv conv;

  DeviceLayer(Wav2Vec2BertEncoderLayerImpl& layer, const Wav2Vec2BertConfig& config);
};

DeviceLayer::DeviceLayer(Wav2Vec2BertEncoderLayerImpl& layer, const Wav2Vec2BertConfig& config)
    : ffn1_layer_norm(layer_norm_of(layer.ffn1_layer_norm)),
      self_attn_layer_norm(layer_norm_of(layer.self_attn_layer_norm)),
      conv_layer_norm(layer_norm_of(layer.conv_module->layer_norm)),
      ffn2_layer_norm(layer_norm_of(layer.ffn2_layer_norm)),
      final_layer_norm(layer_norm_of(layer.final_layer_norm)),
      ffn1(layer.ffn1, config.hidden_act),
      ffn2(layer.ffn2, config.hidden_act),
      linear_qkv(linear_qkv_of(layer.self_attn)),
      linear_out(linear_of(layer.self_attn->linear_out)),
      pointwise_conv1(linear_of(layer.conv_module->pointwise_conv1)),
      pointwise_conv2(linear_of(layer.conv_module->pointwise_conv2)),
      attention(attention_of(config)),
      conv(conv_of(layer.conv_module, config)) {
  if (config.position_embeddings_type) {
    attention.distance_embedding = layer.self_attn->distance_embedding->weight.detach();
  }
}

}  // namespace

struct DeviceEncoder::Impl {
  Wav2Vec2BertConfig config;
  c10::Device device = at::kCPU;
  c10::ScalarType dtype = at::kFloat;
  std::int64_t row_multiple = 1;
  DeviceLayerNorm projection_layer_norm;
  DeviceLinear projection;
  std::vector<DeviceLayer> layers;
  std::shared_ptr<const DeviceOps> ops = std::make_shared<AtenOps>();

  // `hidden_states` (R, C) float32, which it writes -> the layer's output.
  at::Tensor run_layer(const DeviceLayer& layer, at::Tensor hidden_states,
                       const RaggedLayout& layout, const std::function<void()>& check) const;
};

at::Tensor DeviceEncoder::Impl::run_layer(const DeviceLayer& layer, at::Tensor hidden_states,
                                          const RaggedLayout& layout,
                                          const std::function<void()>& check) const {
  at::Tensor delta =
      layer.ffn1.forward(ops->layer_norm(hidden_states, layer.ffn1_layer_norm, dtype), *ops);
  check();

  at::Tensor normal =
      ops->add_layer_norm(hidden_states, delta, 0.5, layer.self_attn_layer_norm, dtype);
  delta = layer.linear_out(ops->attention(layer.attention, layer.linear_qkv(normal), layout));
  check();

  normal = ops->add_layer_norm(hidden_states, delta, 1.0, layer.conv_layer_norm, dtype);
  // Padding frames must not leak into the depthwise convolution.
  if (layout.padded_rows().defined()) normal.masked_fill_(layout.padded_rows(), 0.0);
  delta = layer.pointwise_conv2(ops->gated_conv(layer.conv, layer.pointwise_conv1(normal), layout));
  check();

  normal = ops->add_layer_norm(hidden_states, delta, 1.0, layer.ffn2_layer_norm, dtype);
  delta = layer.ffn2.forward(normal, *ops);
  check();
  return ops->add_layer_norm(hidden_states, delta, 0.5, layer.final_layer_norm, at::kFloat);
}

std::optional<std::string> DeviceEncoder::unsupported_reason(const Wav2Vec2BertConfig& config) {
  return unsupported_positions(config);
}

DeviceEncoder::DeviceEncoder(Wav2Vec2BertModelImpl& model) : impl_(std::make_unique<Impl>()) {
  const auto refused = unsupported_reason(model.config);
  TORCH_CHECK_VALUE(!refused, "the device engine: ", refused.value_or(""));
  const at::NoGradGuard no_grad;
  Impl& impl = *impl_;
  impl.config = model.config;
  const at::Tensor& first = model.feature_projection->projection->weight;
  impl.device = first.device();
  impl.dtype = first.scalar_type();
  if (!impl.device.is_cpu()) impl.row_multiple = kRowMultiple;
  for (const auto& parameter : model.named_parameters()) {
    const at::Tensor& values = parameter.value();
    TORCH_CHECK_VALUE(values.scalar_type() == impl.dtype && values.device() == impl.device,
                      "the device engine: ", parameter.key(), ": ", values.scalar_type(), " on ",
                      values.device(), ", expected ", impl.dtype, " on ", impl.device);
  }
  TORCH_CHECK_VALUE(
      model.encoder->layers->size() == static_cast<std::size_t>(model.config.num_hidden_layers),
      "the device engine: the model is fused already, or has lost its layers");
  impl.projection_layer_norm = layer_norm_of(model.feature_projection->layer_norm);
  impl.projection = linear_of(model.feature_projection->projection);
  for (const auto& layer : *model.encoder->layers) {
    impl.layers.emplace_back(*layer->as<Wav2Vec2BertEncoderLayer>(), impl.config);
  }
}

DeviceEncoder::~DeviceEncoder() = default;
DeviceEncoder::DeviceEncoder(DeviceEncoder&&) noexcept = default;
DeviceEncoder& DeviceEncoder::operator=(DeviceEncoder&&) noexcept = default;

c10::Device DeviceEncoder::device() const { return impl_->device; }
c10::ScalarType DeviceEncoder::dtype() const { return impl_->dtype; }

std::shared_ptr<const DeviceOps> DeviceEncoder::ops() const { return impl_->ops; }
void DeviceEncoder::set_ops(std::shared_ptr<const DeviceOps> ops) { impl_->ops = std::move(ops); }

void DeviceEncoder::set_row_multiple(std::int64_t rows) { impl_->row_multiple = rows; }

RaggedLayout DeviceEncoder::layout_of(const std::vector<RaggedLength>& clips) const {
  return {
      clips,
      impl_->device,
      {.gap = impl_->config.conv_depthwise_kernel_size - 1, .row_multiple = impl_->row_multiple}};
}

std::vector<at::Tensor> DeviceEncoder::forward(const at::Tensor& input, const RaggedLayout& layout,
                                               const std::vector<std::int64_t>& states, Input kind,
                                               const std::function<bool()>& interrupted) const {
  std::vector<at::Tensor> results;
  const std::int64_t last = states.empty() ? -1 : states.back();
  run(input, layout, last, kind, interrupted,
      [&](std::int64_t number, const at::Tensor& hidden_states) {
        if (states[results.size()] != number) return;
        // A layer writes into its input.
        results.push_back(hidden_states.to(impl_->dtype, /*non_blocking=*/false,
                                           /*copy=*/number != last));
      });
  return results;
}

std::vector<at::Tensor> DeviceEncoder::forward_sums(
    const at::Tensor& input, const RaggedLayout& layout, const std::vector<StateSum>& sums,
    Input kind, const std::function<bool()>& interrupted) const {
  check_sums(sums, impl_->config.num_hidden_layers);
  const at::NoGradGuard no_grad;
  StateSums added(sums);
  run(input, layout, added.last(), kind, interrupted,
      [&](std::int64_t number, const at::Tensor& hidden_states) {
        added.add(number, hidden_states);
      });
  std::vector<at::Tensor> results = added.take();
  for (at::Tensor& sum : results) sum = sum.to(impl_->dtype);
  return results;
}

void DeviceEncoder::run(const at::Tensor& input, const RaggedLayout& layout, std::int64_t last,
                        Input kind, const std::function<bool()>& interrupted,
                        const TakeState& take) const {
  const Impl& impl = *impl_;
  const at::NoGradGuard no_grad;
  const auto check = [&] {
    if (interrupted && interrupted()) throw Interrupted();
  };
  at::Tensor hidden_states = input.to(at::kFloat);
  if (kind == Input::features) {
    hidden_states =
        impl.projection(impl.ops->layer_norm(hidden_states, impl.projection_layer_norm, impl.dtype))
            .to(at::kFloat);
  } else if (hidden_states.is_same(input)) {
    hidden_states = input.clone();  // which the layers write
  }
  if (layout.padded_rows().defined()) hidden_states.masked_fill_(layout.padded_rows(), 0.0);
  check();

  for (std::int64_t state = 0; state <= last; ++state) {
    if (state > 0) {
      hidden_states = impl.run_layer(impl.layers.at(static_cast<std::size_t>(state - 1)),
                                     std::move(hidden_states), layout, check);
    }
    take(state, hidden_states);
  }
}

}  // namespace w2vbert
