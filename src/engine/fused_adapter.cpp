#include "engine/fused_adapter.h"

#include <torch/types.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/fused_module.h"
#include "engine/fused_parts.h"
#include "engine/kernels/packed_linear.h"
#include "engine/kernels/packed_rows.h"
#include "engine/kernels/ragged_attention.h"
#include "engine/parallel_tasks.h"
#include "engine/ragged_batch.h"
#include "engine/row_blocks.h"
#include "engine/scratch_buffer.h"
#include "nn/check_inputs.h"

namespace w2vbert {
namespace {

// Clips of equal length, one behind the other in one matrix.
struct Frames {
  std::int64_t clips, frames;
  std::int64_t rows() const { return clips * frames; }
};

struct AdapterLayer {
  PackedLayerNorm residual_layer_norm, self_attn_layer_norm, ffn_layer_norm;
  PackedLinear residual_conv, self_attn_conv, linear_qkv, linear_out, intermediate_dense,
      output_dense;
  Activation intermediate_act_fn;
  RaggedAttention attention;

  AdapterLayer(const WeightScope& weights, const Wav2Vec2BertConfig& config, Precision precision);
};

std::vector<LinearMap<AdapterLayer>> adapter_linear_maps(const Wav2Vec2BertConfig& config) {
  const LinearWeights qkv = qkv_weights(config.adapter_size() / config.num_attention_heads);
  constexpr auto high_precision = PrecisionClass::high_precision;
  return {
      {&AdapterLayer::residual_conv, high_precision, {.parts = {{"residual_conv"}}, .gated = true}},
      {&AdapterLayer::self_attn_conv,
       high_precision,
       {.parts = {{"self_attn_conv"}}, .gated = true}},
      {&AdapterLayer::linear_qkv, high_precision, qkv},
      {&AdapterLayer::linear_out, high_precision, {.parts = {{"self_attn.linear_out"}}}},
      {&AdapterLayer::intermediate_dense, high_precision, {.parts = {{"ffn.intermediate_dense"}}}},
      {&AdapterLayer::output_dense, high_precision, {.parts = {{"ffn.output_dense"}}}},
  };
}

AdapterLayer::AdapterLayer(const WeightScope& weights, const Wav2Vec2BertConfig& config,
                           Precision precision)
    : residual_layer_norm(weights.below("residual_layer_norm"), config.layer_norm_eps),
      self_attn_layer_norm(weights.below("self_attn_layer_norm"), config.layer_norm_eps),
      ffn_layer_norm(weights.below("ffn_layer_norm"), config.layer_norm_eps),
      intermediate_act_fn(config.adapter_act, "adapter_act"),
      attention(
          config.num_attention_heads, config.adapter_size() / config.num_attention_heads, {}, 0, 0,
          RaggedAttention::precision_for(precision_for(PrecisionClass::high_precision, precision)),
          config.attn_implementation == "sdpa") {
  const auto maps = adapter_linear_maps(config);
  read_linear_maps(maps, weights, precision, *this);
  pack_linear_maps(maps, *this);
  if (intermediate_act_fn->weight.defined()) {  // "prelu"
    intermediate_act_fn->weight.set_data(weights.read("ffn.intermediate_act_fn.weight"));
  }
}

// A config whose Wav2Vec2BertAdapter has no parameters.
Wav2Vec2BertConfig without_adapter_layers(Wav2Vec2BertConfig config) {
  config.num_adapter_layers = 0;
  config.output_hidden_size = config.hidden_size;
  return config;
}

// In the place of a Wav2Vec2BertAdapter.
class FusedAdapter : public Wav2Vec2BertAdapterImpl {
 public:
  FusedAdapter(const WeightScope& weights, const Wav2Vec2BertConfig& config, Precision precision)
      : Wav2Vec2BertAdapterImpl(without_adapter_layers(config)), config_(config) {
    const at::NoGradGuard no_grad;
    if (config.adapter_size() != config.hidden_size) {
      projection_ = PackedLinear(weights, {.parts = {{"proj"}}},
                                 precision_for(PrecisionClass::high_precision, precision));
      projection_.pack();
      projection_layer_norm_ =
          PackedLayerNorm(weights.below("proj_layer_norm"), config.layer_norm_eps);
    }
    for (std::int64_t layer = 0; layer < config.num_adapter_layers; ++layer) {
      layers_.emplace_back(weights.below("layers." + std::to_string(layer)), config, precision);
    }
  }

  torch::Tensor forward(torch::Tensor hidden_states, const torch::Tensor& attention_mask) override;

  void pretty_print(std::ostream& stream) const override {
    stream << "w2vbert::FusedAdapter(" << layers_.size() << " layers of " << config_.adapter_size()
           << ")";
  }
  std::shared_ptr<torch::nn::Module> clone(const std::optional<torch::Device>&) const override {
    refuse_clone();
  }

 private:
  std::int64_t padding() const { return config_.adapter_stride / 2; }
  void gated_conv(const PackedLinear& conv, const float* x, Frames from, Frames to, float* y);
  void run_layer(const AdapterLayer& layer, Frames from, Frames to, const torch::Tensor& lengths);

  Wav2Vec2BertConfig config_;
  PackedLinear projection_;
  PackedLayerNorm projection_layer_norm_;
  std::vector<AdapterLayer> layers_;

  std::mutex mutex_;
  ScratchBuffer hidden_, normal_rows_, next_, wide_, attended_;
  PackedRows input_, normal_, patches_, inner_;
  RaggedAttention::Scratch scratch_;
};

torch::Tensor FusedAdapter::forward(torch::Tensor hidden_states,
                                    const torch::Tensor& attention_mask) {
  const at::Tensor valid =
      check_fused_forward(*this, hidden_states, config_.hidden_size, attention_mask);
  const std::lock_guard<std::mutex> lock(mutex_);
  const at::NoGradGuard no_grad;
  const std::int64_t width = config_.adapter_size();
  Frames now = {hidden_states.size(0), hidden_states.size(1)};
  float* rows = reserve_rows(hidden_, now.rows(), width);
  const auto copy_to = [&](float* to) {
    at::from_blob(to, hidden_states.sizes(), at::kFloat).copy_(hidden_states);
  };
  if (projection_.out_features() > 0) {
    float* input = reserve_rows(wide_, now.rows(), config_.hidden_size);
    copy_to(input);
    input_.assign(projection_.precision(), input, now.rows(), config_.hidden_size);
    projection_.forward(input_, 0, now.rows(), rows);
    projection_layer_norm_.forward(rows, now.rows(), rows);
  } else {
    copy_to(rows);
  }
  torch::Tensor lengths;
  if (valid.defined()) lengths = valid.to(torch::kInt).sum(1);
  for (const AdapterLayer& layer : layers_) {
    if (lengths.defined()) lengths = sub_sample_lengths(lengths);
    check_adapter_frames(now.frames, config_);
    const std::int64_t padded = now.frames + 2 * padding();
    const Frames next = {now.clips,
                         (padded - config_.adapter_kernel_size) / config_.adapter_stride + 1};
    run_layer(layer, now, next, lengths);
    std::swap(hidden_, next_);
    now = next;
  }
  return at::from_blob(hidden_.data(), {now.clips, now.frames, width}, at::kFloat).clone();
}

// Wav2Vec2BertAdapterLayer's strided convolution and GLU, as the product of patches of
// adapter_kernel_size frames: y (clips x frames of `to`, E).
void FusedAdapter::gated_conv(const PackedLinear& conv, const float* x, Frames from, Frames to,
                              float* y) {
  const std::int64_t width = config_.adapter_size();
  patches_.resize(conv.precision(), to.rows(), config_.adapter_kernel_size * width);
  parallel_rows(to.rows(), [&](std::int64_t first, std::int64_t count) {
    float* patch = patches_.staging(first, count);
    const float* const begin = patch;
    for (std::int64_t row = first; row < first + count; ++row) {
      const float* clip = x + row / to.frames * from.frames * width;
      for (std::int64_t tap = 0; tap < config_.adapter_kernel_size; ++tap, patch += width) {
        const std::int64_t frame = row % to.frames * config_.adapter_stride + tap - padding();
        if (frame < 0 || frame >= from.frames) {
          std::fill_n(patch, width, 0.0f);
        } else {
          std::copy_n(clip + frame * width, width, patch);
        }
      }
    }
    patches_.commit(first, count, begin);
  });
  conv.forward_glu(patches_, 0, to.rows(), y, width);
}

// hidden_ -> next_
void FusedAdapter::run_layer(const AdapterLayer& layer, Frames from, Frames to,
                             const torch::Tensor& lengths) {
  const std::int64_t width = config_.adapter_size();
  const std::int64_t rows = to.rows();
  float* normal = reserve_rows(normal_rows_, from.rows(), width);
  float* states = reserve_rows(next_, rows, width);
  float* attended = reserve_rows(attended_, rows, width);
  layer.residual_layer_norm.forward(hidden_.data(), from.rows(), normal);
  gated_conv(layer.residual_conv, normal, from, to, states);

  layer.self_attn_layer_norm.forward(hidden_.data(), from.rows(), normal);
  gated_conv(layer.self_attn_conv, normal, from, to, attended);
  input_.assign(layer.linear_qkv.precision(), attended, rows, width);
  const std::int64_t head_size = width / config_.num_attention_heads;
  const std::int64_t stride = (rows + kRowGranule) * head_size;
  float* qkv = wide_.reserve(3 * config_.num_attention_heads * stride);
  layer.linear_qkv.forward_panels(input_, 0, rows, qkv, stride);
  RaggedBatch batch;
  for (std::int64_t clip = 0; clip < to.clips; ++clip) {
    torch::Tensor mask;
    if (lengths.defined()) mask = torch::arange(to.frames).lt(lengths[clip]);
    batch.add(to.frames, mask);
  }
  layer.attention.forward(batch, qkv, stride, scratch_, attended);
  input_.assign(layer.linear_out.precision(), attended, rows, width);
  layer.linear_out.add_to(input_, 0, rows, states);

  layer.ffn_layer_norm.forward(states, rows, layer.intermediate_dense.precision(), normal_);
  const std::int64_t inner_width = layer.intermediate_dense.out_features();
  float* inner = reserve_rows(wide_, rows, inner_width);
  layer.intermediate_dense.forward(normal_, 0, rows, inner);
  const at::Tensor activated = at::from_blob(inner, {rows, inner_width}, at::kFloat);
  Activation act = layer.intermediate_act_fn;
  activated.copy_(act(activated));
  inner_.assign(layer.output_dense.precision(), inner, rows, inner_width);
  layer.output_dense.add_to(inner_, 0, rows, states);
}

}  // namespace

std::shared_ptr<Wav2Vec2BertAdapterImpl> make_fused_adapter(const WeightScope& weights,
                                                            const Wav2Vec2BertConfig& config,
                                                            Precision precision) {
  return std::make_shared<FusedAdapter>(weights, config, precision);
}

}  // namespace w2vbert
