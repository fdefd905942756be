#include "engine/device/device_adapter.h"

#include <torch/types.h>

#include <numeric>
#include <optional>
#include <utility>

#include "engine/device/device_copies.h"
#include "engine/device/device_layers.h"
#include "nn/check_inputs.h"
#include "w2vbert/engine/engine.h"

namespace w2vbert {
namespace {

struct DeviceAdapterLayer {
  DeviceLayerNorm residual_layer_norm, self_attn_layer_norm, ffn_layer_norm;
  std::shared_ptr<Conv1dImpl> residual_conv, self_attn_conv;
  DeviceLinear linear_qkv, linear_out;
  DeviceAttention attention;
  DeviceFeedForward ffn;

  DeviceAdapterLayer(Wav2Vec2BertAdapterLayerImpl& layer, const Wav2Vec2BertConfig& config)
      : residual_layer_norm(layer_norm_of(layer.residual_layer_norm)),
        self_attn_layer_norm(layer_norm_of(layer.self_attn_layer_norm)),
        ffn_layer_norm(layer_norm_of(layer.ffn_layer_norm)),
        residual_conv(layer.residual_conv.ptr()),
        self_attn_conv(layer.self_attn_conv.ptr()),
        linear_qkv(linear_qkv_of(layer.self_attn)),
        linear_out(linear_of(layer.self_attn->linear_out)),
        attention(attention_of(config)),
        ffn(layer.ffn, config.adapter_act) {}
};

// What one adapter layer's convolutions make of T frames: T'.
std::int64_t frames_after(std::int64_t frames, const Wav2Vec2BertConfig& config) {
  const std::int64_t padded = frames + 2 * (config.adapter_stride / 2);
  return (padded - config.adapter_kernel_size) / config.adapter_stride + 1;
}

// (rows, E) -> (rows', E): the convolution of each clip, which stands between zeros, and GLU.
at::Tensor gated_conv(Conv1dImpl& conv, const at::Tensor& rows, const RaggedLayout& layout,
                      const std::vector<at::Tensor>& places) {
  std::vector<at::Tensor> all;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const ClipGroup& group = layout.groups()[i];
    const at::Tensor clips = group.spread(rows.narrow(0, group.begin, group.rows)).transpose(1, 2);
    const at::Tensor gated = at::glu(conv.forward(clips), 1).transpose(1, 2);  // (B, T', E)
    const at::Tensor flat = gated.reshape({-1, gated.size(2)});
    all.push_back(places[i].defined() ? flat.index_select(0, places[i]) : flat);
  }
  return at::cat(all, 0);
}

}  // namespace

struct DeviceAdapter::Impl {
  Wav2Vec2BertConfig config;
  Wav2Vec2BertAdapter module = nullptr;
  c10::ScalarType dtype = at::kFloat;
  c10::Device device = at::kCPU;
  std::shared_ptr<const DeviceOps> ops;
  std::optional<DeviceFeedForward> intermediate_ffn;
  DeviceLinear proj;
  DeviceLayerNorm proj_layer_norm;
  std::vector<DeviceAdapterLayer> layers;
};

DeviceAdapter::DeviceAdapter(Wav2Vec2BertModelImpl& model, std::shared_ptr<const DeviceOps> ops)
    : impl_(std::make_unique<Impl>()) {
  const at::NoGradGuard no_grad;
  Impl& impl = *impl_;
  impl.config = model.config;
  impl.ops = std::move(ops);
  const at::Tensor& first = model.feature_projection->projection->weight;
  impl.dtype = first.scalar_type();
  impl.device = first.device();
  if (!model.intermediate_ffn.is_empty()) {
    // HF: Wav2Vec2BertModel.__init__
    impl.intermediate_ffn.emplace(model.intermediate_ffn, "relu");
  }
  if (model.adapter.is_empty()) return;
  impl.module = model.adapter;
  if (!model.adapter->proj.is_empty()) {
    impl.proj = linear_of(model.adapter->proj);
    impl.proj_layer_norm = layer_norm_of(model.adapter->proj_layer_norm);
  }
  for (const auto& layer : *model.adapter->layers) {
    impl.layers.emplace_back(*layer->as<Wav2Vec2BertAdapterLayer>(), impl.config);
  }
}

DeviceAdapter::~DeviceAdapter() = default;
DeviceAdapter::DeviceAdapter(DeviceAdapter&&) noexcept = default;
DeviceAdapter& DeviceAdapter::operator=(DeviceAdapter&&) noexcept = default;

DeviceAdapter::Plan DeviceAdapter::plan(const std::vector<RaggedLength>& clips,
                                        const RaggedLayout& layout) const {
  const Impl& impl = *impl_;
  Plan plan;
  plan.order = layout.order();
  // From here on the clips are numbered as their rows lie, which no layer changes: a clip that is
  // not longer than another one is not longer behind a layer either.
  at::Tensor attended = at::empty({static_cast<std::int64_t>(clips.size())}, at::kLong);
  for (std::size_t i = 0; i < clips.size(); ++i) {
    const RaggedLength& clip = clips[plan.order[i]];
    plan.frames.push_back(clip.frames);
    attended[static_cast<std::int64_t>(i)] = clip.attention_mask.defined()
                                                 ? clip.attention_mask.to(at::kBool).sum()
                                                 : at::scalar_tensor(0);
  }
  const RaggedLayout* before = &layout;
  for (std::size_t layer = 0; layer < impl.layers.size(); ++layer) {
    attended = impl.module->sub_sample_lengths(attended);
    std::vector<RaggedLength> lengths;
    std::vector<at::Tensor> places;
    std::size_t clip = 0;
    for (const ClipGroup& group : before->groups()) {
      const std::int64_t longest = frames_after(group.frames, impl.config);
      std::vector<at::Tensor> of_clips;
      bool ragged = false;
      for (std::int64_t row = 0; row < group.clips(); ++row, ++clip) {
        std::int64_t& frames = plan.frames[clip];
        check_adapter_frames(frames, impl.config);
        frames = frames_after(frames, impl.config);
        ragged = ragged || frames != longest;
        of_clips.push_back(at::arange(frames, at::kLong) + row * longest);
        RaggedLength& length = lengths.emplace_back(RaggedLength{frames, {}});
        if (clips[plan.order[clip]].attention_mask.defined()) {
          length.attention_mask = at::arange(frames).lt(attended[static_cast<std::int64_t>(clip)]);
        }
      }
      places.push_back(ragged ? upload(at::cat(of_clips), impl.device) : at::Tensor());
    }
    plan.layers.push_back({RaggedLayout(lengths, impl.device, {}), std::move(places)});
    before = &plan.layers.back().layout;
  }
  return plan;
}

std::vector<at::Tensor> DeviceAdapter::forward(const at::Tensor& hidden_states,
                                               const RaggedLayout& layout, const Plan& plan,
                                               const std::function<bool()>& interrupted) const {
  const Impl& impl = *impl_;
  const at::NoGradGuard no_grad;
  const DeviceOps& ops = *impl.ops;
  at::Tensor rows = hidden_states.narrow(0, 0, layout.clip_rows()).to(at::kFloat);
  if (impl.intermediate_ffn) {
    rows = at::add(rows, impl.intermediate_ffn->forward(rows.to(impl.dtype), ops), /*alpha=*/0.5);
  }
  if (impl.proj.weight.defined()) {
    rows = ops.layer_norm(impl.proj(rows.to(impl.dtype)).to(at::kFloat), impl.proj_layer_norm,
                          at::kFloat);
  }
  const RaggedLayout* before = &layout;
  for (std::size_t i = 0; i < plan.layers.size(); ++i) {
    if (interrupted && interrupted()) throw Interrupted();
    const DeviceAdapterLayer& layer = impl.layers[i];
    for (const auto& conv : {layer.residual_conv, layer.self_attn_conv}) {
      TORCH_CHECK_VALUE(
          conv->weight.scalar_type() == impl.dtype && conv->weight.device() == impl.device,
          "the device engine: the adapter is ", conv->weight.scalar_type(), " on ",
          conv->weight.device(), " now, expected ", impl.dtype, " on ", impl.device);
    }
    const auto& [after, places] = plan.layers[i];
    at::Tensor residual =
        gated_conv(*layer.residual_conv,
                   ops.layer_norm(rows, layer.residual_layer_norm, impl.dtype), *before, places)
            .to(at::kFloat);
    const at::Tensor attended =
        gated_conv(*layer.self_attn_conv,
                   ops.layer_norm(rows, layer.self_attn_layer_norm, impl.dtype), *before, places);
    const at::Tensor delta =
        layer.linear_out(ops.attention(layer.attention, layer.linear_qkv(attended), after));
    const at::Tensor normal =
        ops.add_layer_norm(residual, delta, 1.0, layer.ffn_layer_norm, impl.dtype);
    rows = residual.add_(layer.ffn.forward(normal, ops));
    before = &after;
  }
  std::vector<at::Tensor> results(plan.order.size());
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < plan.order.size(); ++i) {
    results[plan.order[i]] =
        rows.narrow(0, begin, plan.frames[i]).to(impl.dtype, /*non_blocking=*/false, /*copy=*/true);
    begin += plan.frames[i];
  }
  return results;
}

}  // namespace w2vbert
