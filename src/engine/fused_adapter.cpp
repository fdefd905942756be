#include "engine/fused_adapter.h"

#include <torch/types.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

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

// Wav2Vec2BertAdapterLayer's strided convolution and GLU: the product of patches of kernel_size
// frames.
struct GatedConv {
  PackedLinear linear;
  std::int64_t kernel_size, stride, padding;

  GatedConv(const Conv1d& conv, const WeightPacker& packer)
      : kernel_size(conv->options.kernel_size()->at(0)),
        stride(conv->options.stride()->at(0)),
        padding(std::get<torch::ExpandingArray<1>>(conv->options.padding())->at(0)) {
    const at::Tensor weight =
        conv->weight.permute({0, 2, 1}).flatten(1);  // (2E, E, K) -> (2E, K E)
    const WeightRows bias = PackedLinear::interleave_gates(rows_of(conv->bias.unsqueeze(1)));
    const at::Tensor interleaved_bias = at::empty(bias.rows);
    bias.read(0, bias.rows, interleaved_bias.mutable_data_ptr<float>());
    linear = PackedLinear(PackedLinear::interleave_gates(rows_of(weight)), interleaved_bias,
                          packer.high_precision());
    packer.release(conv->weight);
  }

  // y (clips x frames of `to`, width)
  void forward(const float* x, Frames from, Frames to, std::int64_t width, PackedRows& patches,
               float* y) const {
    patches.resize(linear.precision(), to.rows(), kernel_size * width);
    parallel_rows(to.rows(), [&](std::int64_t first, std::int64_t count) {
      float* patch = patches.staging(first, count);
      const float* const begin = patch;
      for (std::int64_t row = first; row < first + count; ++row) {
        const float* clip = x + row / to.frames * from.frames * width;
        for (std::int64_t tap = 0; tap < kernel_size; ++tap, patch += width) {
          const std::int64_t frame = row % to.frames * stride + tap - padding;
          if (frame < 0 || frame >= from.frames) {
            std::fill_n(patch, width, 0.0f);
          } else {
            std::copy_n(clip + frame * width, width, patch);
          }
        }
      }
      patches.commit(first, count, begin);
    });
    linear.forward_glu(patches, 0, to.rows(), y, width);
  }
};

struct AdapterLayer {
  PackedLayerNorm residual_layer_norm, self_attn_layer_norm, ffn_layer_norm;
  GatedConv residual_conv, self_attn_conv;
  PackedLinear linear_qkv, linear_out, intermediate_dense, output_dense;
  Activation intermediate_act_fn;
  RaggedAttention attention;

  AdapterLayer(const Wav2Vec2BertAdapterLayerImpl& module, const Wav2Vec2BertConfig& config,
               const WeightPacker& packer)
      : residual_layer_norm(module.residual_layer_norm),
        self_attn_layer_norm(module.self_attn_layer_norm),
        ffn_layer_norm(module.ffn_layer_norm),
        residual_conv(module.residual_conv, packer),
        self_attn_conv(module.self_attn_conv, packer),
        intermediate_act_fn(module.ffn->intermediate_act_fn) {
    const auto type = packer.high_precision();
    const std::int64_t head_size = config.adapter_size() / config.num_attention_heads;
    const auto& self_attn = module.self_attn;
    linear_qkv = packer.pack_qkv(self_attn, head_size, type);
    linear_out = packer.pack(self_attn->linear_out->weight, self_attn->linear_out->bias, type);
    attention = RaggedAttention(config.num_attention_heads, head_size, {}, 0, 0,
                                RaggedAttention::precision_of(type));
    const auto& ffn = module.ffn;
    intermediate_dense =
        packer.pack(ffn->intermediate_dense->weight, ffn->intermediate_dense->bias, type);
    output_dense = packer.pack(ffn->output_dense->weight, ffn->output_dense->bias, type);
  }
};

// A config whose Wav2Vec2BertAdapter has no parameters.
Wav2Vec2BertConfig without_layers(Wav2Vec2BertConfig config) {
  config.num_adapter_layers = 0;
  config.output_hidden_size = config.hidden_size;
  return config;
}

// In the place of a Wav2Vec2BertAdapter.
class FusedAdapter : public Wav2Vec2BertAdapterImpl {
 public:
  FusedAdapter(const Wav2Vec2BertAdapter& module, const Wav2Vec2BertConfig& config,
               c10::ScalarType precision)
      : Wav2Vec2BertAdapterImpl(without_layers(config)), config_(config) {
    const at::NoGradGuard no_grad;
    const FusedEncoder::WeightReader none;
    const WeightPacker packer = {none, precision, /*release_weights=*/true};
    if (!module->proj.is_empty()) {
      projection_ = packer.pack(module->proj->weight, module->proj->bias, packer.high_precision());
      projection_layer_norm_ = PackedLayerNorm(module->proj_layer_norm);
    }
    for (const auto& layer : *module->layers) {
      layers_.emplace_back(*layer->as<Wav2Vec2BertAdapterLayer>(), config, packer);
    }
  }

  torch::Tensor forward(torch::Tensor hidden_states, const torch::Tensor& attention_mask) override;

  void pretty_print(std::ostream& stream) const override {
    stream << "w2vbert::FusedAdapter(" << layers_.size() << " layers of " << config_.adapter_size()
           << ")";
  }
  std::shared_ptr<torch::nn::Module> clone(const std::optional<torch::Device>&) const override {
    TORCH_CHECK_VALUE(false, "a fused model cannot be cloned: clone it before fuse()");
  }

 private:
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
  TORCH_CHECK_VALUE(!is_training(), "a fused model does inference only: call eval()");
  TORCH_CHECK_VALUE(hidden_states.dim() == 3 && hidden_states.size(2) == config_.hidden_size,
                    "hidden_states: ", hidden_states.sizes(), ", expected (B, T, ",
                    config_.hidden_size, ")");
  check_attention_mask(attention_mask, "attention_mask", hidden_states);
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
  if (attention_mask.defined()) lengths = attention_mask.to(torch::kInt).sum(1);
  for (const AdapterLayer& layer : layers_) {
    if (lengths.defined()) lengths = sub_sample_lengths(lengths);
    const std::int64_t padded = now.frames + 2 * layer.residual_conv.padding;
    TORCH_CHECK_VALUE(
        padded >= layer.residual_conv.kernel_size, "hidden_states: ", now.frames,
        " frames are fewer than adapter_kernel_size = ", layer.residual_conv.kernel_size,
        " needs with adapter_stride = ", layer.residual_conv.stride);
    const Frames next = {
        now.clips, (padded - layer.residual_conv.kernel_size) / layer.residual_conv.stride + 1};
    run_layer(layer, now, next, lengths);
    std::swap(hidden_, next_);
    now = next;
  }
  return at::from_blob(hidden_.data(), {now.clips, now.frames, width}, at::kFloat).clone();
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
  layer.residual_conv.forward(normal, from, to, width, patches_, states);

  layer.self_attn_layer_norm.forward(hidden_.data(), from.rows(), normal);
  layer.self_attn_conv.forward(normal, from, to, width, patches_, attended);
  input_.assign(layer.linear_qkv.precision(), attended, rows, width);
  const std::int64_t head_size = width / config_.num_attention_heads;
  const std::int64_t stride = (rows + kRowGranule) * head_size;
  float* qkv = wide_.reserve(3 * config_.num_attention_heads * stride);
  layer.linear_qkv.forward_panels(input_, 0, rows, qkv, stride);
  RaggedBatch batch;
  std::vector<std::int64_t> without_keys;
  for (std::int64_t clip = 0; clip < to.clips; ++clip) {
    torch::Tensor mask;
    if (lengths.defined()) {
      mask = torch::arange(to.frames).lt(lengths[clip]);
      if (!mask[0].item<bool>()) without_keys.push_back(clip);
    }
    batch.add(to.frames, mask);
  }
  layer.attention.forward(batch, qkv, stride, scratch_, attended);
  if (config_.attn_implementation == "sdpa") {  // which gives zero where no key is valid
    for (const std::int64_t clip : without_keys) {
      std::fill_n(attended + clip * to.frames * width, to.frames * width, 0.0f);
    }
  }
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

void fuse_adapter(Wav2Vec2BertModelImpl& model, c10::ScalarType precision) {
  if (model.adapter.is_empty()) return;
  const auto fused = std::make_shared<FusedAdapter>(model.adapter, model.config, precision);
  fused->train(model.is_training());
  model.adapter = Wav2Vec2BertAdapter(
      std::static_pointer_cast<Wav2Vec2BertAdapterImpl>(model.replace_module("adapter", fused)));
}

}  // namespace w2vbert
