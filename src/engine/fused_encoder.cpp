#include "engine/fused_encoder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <utility>

#include "engine/engine_inputs.h"
#include "engine/fused_parts.h"
#include "engine/interrupt_request.h"
#include "engine/kernels/narrow_products.h"
#include "engine/kernels/packed_linear.h"
#include "engine/kernels/packed_rows.h"
#include "engine/kernels/ragged_attention.h"
#include "engine/kernels/tile_gemm.h"
#include "engine/kernels/vector_kernels.h"
#include "engine/memory_check.h"
#include "engine/parallel_tasks.h"
#include "engine/ragged_batch.h"
#include "engine/row_blocks.h"
#include "engine/scratch_buffer.h"
#include "engine/state_sums.h"
#include "w2vbert/engine/engine.h"

namespace w2vbert {
namespace {

// Rows of the feed-forward's inner matrix that exist at once.
constexpr std::int64_t kInnerRows = 2048;

thread_local bool slow_products_are_allowed = false;

// (C, 1, K) -> (C / chunk, K, chunk), zero behind the last channel.
ScratchBuffer chunked(const at::Tensor& weight) {
  const std::int64_t channels = weight.size(0);
  const std::int64_t padded = round_up(channels, kDepthwiseChunk);
  const at::Tensor chunks =
      at::constant_pad_nd(weight.reshape({channels, -1}), {0, 0, 0, padded - channels})
          .reshape({padded / kDepthwiseChunk, kDepthwiseChunk, -1})
          .transpose(1, 2)
          .contiguous();
  ScratchBuffer buffer;
  std::copy_n(chunks.const_data_ptr<float>(), chunks.numel(), buffer.reserve(chunks.numel()));
  return buffer;
}

struct Layer {
  PackedLayerNorm ffn1_layer_norm, self_attn_layer_norm, conv_layer_norm, depthwise_layer_norm,
      ffn2_layer_norm, final_layer_norm;
  PackedLinear ffn1_intermediate_dense, ffn1_output_dense, linear_qkv, linear_out, pointwise_conv1,
      pointwise_conv2, ffn2_intermediate_dense, ffn2_output_dense;
  RaggedAttention attention;
  ScratchBuffer depthwise_conv;

  Layer(const WeightScope& weights, const Wav2Vec2BertConfig& config, Precision precision);
};

// The linear maps of a layer. The layer's half steps are in the feed-forwards' output_dense.
std::vector<LinearMap<Layer>> encoder_linear_maps(const Wav2Vec2BertConfig& config) {
  const LinearWeights qkv = qkv_weights(config.hidden_size / config.num_attention_heads);
  constexpr auto normal = PrecisionClass::normal, high_precision = PrecisionClass::high_precision;
  return {
      {&Layer::ffn1_intermediate_dense, normal, {.parts = {{"ffn1.intermediate_dense"}}}},
      {&Layer::ffn1_output_dense, normal, {.parts = {{"ffn1.output_dense", 0.5f}}}},
      {&Layer::linear_qkv, normal, qkv},
      {&Layer::linear_out, high_precision, {.parts = {{"self_attn.linear_out"}}}},
      {&Layer::pointwise_conv1,
       high_precision,
       {.parts = {{"conv_module.pointwise_conv1"}}, .bias = false, .gated = true}},
      {&Layer::pointwise_conv2,
       high_precision,
       {.parts = {{"conv_module.pointwise_conv2"}}, .bias = false}},
      {&Layer::ffn2_intermediate_dense, normal, {.parts = {{"ffn2.intermediate_dense"}}}},
      {&Layer::ffn2_output_dense, normal, {.parts = {{"ffn2.output_dense", 0.5f}}}},
  };
}

Layer::Layer(const WeightScope& weights, const Wav2Vec2BertConfig& config, Precision precision) {
  const auto layer_norm = [&](const char* name) {
    return PackedLayerNorm(weights.below(name), config.layer_norm_eps);
  };
  ffn1_layer_norm = layer_norm("ffn1_layer_norm");
  self_attn_layer_norm = layer_norm("self_attn_layer_norm");
  conv_layer_norm = layer_norm("conv_module.layer_norm");
  depthwise_layer_norm = layer_norm("conv_module.depthwise_layer_norm");
  ffn2_layer_norm = layer_norm("ffn2_layer_norm");
  final_layer_norm = layer_norm("final_layer_norm");
  read_linear_maps(encoder_linear_maps(config), weights, precision, *this);
  at::Tensor distance_embedding;
  if (config.position_embeddings_type) {
    distance_embedding = weights.read("self_attn.distance_embedding.weight");
  }
  attention = RaggedAttention(
      config.num_attention_heads, config.hidden_size / config.num_attention_heads,
      distance_embedding, config.left_max_position_embeddings, config.right_max_position_embeddings,
      RaggedAttention::precision_for(precision), config.attn_implementation == "sdpa");
  depthwise_conv = chunked(weights.read("conv_module.depthwise_conv.weight"));
}

}  // namespace

AllowSlowProducts::AllowSlowProducts() : before_(slow_products_are_allowed) {
  slow_products_are_allowed = true;
}
AllowSlowProducts::~AllowSlowProducts() { slow_products_are_allowed = before_; }
bool AllowSlowProducts::active() { return slow_products_are_allowed; }

struct FusedEncoder::Impl {
  Wav2Vec2BertConfig config;
  Precision precision = Precision::float32;
  PackedLayerNorm projection_layer_norm;
  PackedLinear projection;
  std::vector<Layer> layers;
  bool has_run = false, weights_are_packed = false;

  // Matrices of the batch, with room for a granule of rows more.
  ScratchBuffer hidden, wide, attended;
  PackedRows input, normal, inner, attended_rows;
  RaggedAttention::Scratch attention;
  std::mutex mutex;

  InterruptRequest interrupt;
  std::function<bool()> interrupt_asked;  // what this forward asks
  bool profiling = false;
  std::vector<Step> steps;
  std::chrono::steady_clock::time_point step_began;

  std::int64_t channels() const { return config.hidden_size; }
  void pack_weights();
  bool packs_for(std::int64_t rows) const;
  std::int64_t bytes_to_pack() const;
  std::int64_t memory_needed(const RaggedBatch& batch, std::size_t states, bool projected) const;
  void check_memory(const RaggedBatch& batch, std::size_t states, bool projected) const;

  void feed_forward(const PackedLinear& intermediate_dense, const PackedLinear& output_dense,
                    std::int64_t rows, float* hidden_states, const char* name_in,
                    const char* name_out);
  void self_attention(const Layer& layer, const RaggedBatch& batch, float* hidden_states);
  void convolution(const Layer& layer, const RaggedBatch& batch, float* hidden_states);
  void run_layer(std::size_t index, const RaggedBatch& batch, float* hidden_states);
  void done(const char* step, double flops = 0);
};

void FusedEncoder::Impl::pack_weights() {
  if (weights_are_packed) return;
  const auto maps = encoder_linear_maps(config);
  for (Layer& layer : layers) pack_linear_maps(maps, layer);
  weights_are_packed = true;
}

// Several blocks of the feed-forward's rows would read its weights as often.
bool FusedEncoder::Impl::packs_for(std::int64_t rows) const { return has_run || rows > kInnerRows; }

std::int64_t FusedEncoder::Impl::bytes_to_pack() const {
  if (weights_are_packed) return 0;
  std::int64_t bytes = 0;
  for (const LinearMap<Layer>& map : encoder_linear_maps(config)) {
    for (const Layer& layer : layers) bytes += (layer.*map.linear).bytes_to_pack();
  }
  return bytes;
}

// By the same sizes as forward() and what it calls.
std::int64_t FusedEncoder::Impl::memory_needed(const RaggedBatch& batch, std::size_t states,
                                               bool projected) const {
  const std::int64_t rows = batch.rows(), width = channels();
  const std::int64_t with_granule = (rows + kRowGranule) * width;
  const std::int64_t state_bytes = rows * width * static_cast<std::int64_t>(sizeof(float));
  std::int64_t bytes = hidden.growth(with_granule) + attended.growth(with_granule) +
                       static_cast<std::int64_t>(states) * state_bytes;
  if (!projected) {
    bytes +=
        input.growth_resized(projection.precision(), rows, config.feature_projection_input_dim);
  }
  if (packs_for(rows)) bytes += bytes_to_pack();
  if (layers.empty()) return bytes;
  const Layer& layer = layers.front();
  const std::int64_t inner_rows = RowBlocks(rows, kInnerRows).size;
  bytes += wide.growth(std::max(3 * with_granule,  // of all heads
                                (inner_rows + kRowGranule) * config.intermediate_size));
  bytes += inner.growth_assigned(layer.ffn1_output_dense.precision(), inner_rows,
                                 config.intermediate_size);
  // The rows of products in several precisions: each has memory of its own there.
  const Precision precisions[] = {layer.linear_qkv.precision(), layer.pointwise_conv1.precision()};
  bytes += normal.growth_resized(precisions[0], rows, width);
  if (precisions[1] != precisions[0]) bytes += normal.growth_resized(precisions[1], rows, width);
  bytes += attended_rows.growth_assigned(layer.linear_out.precision(), rows, width);
  return bytes + layer.attention.growth(batch, attention);
}

void FusedEncoder::Impl::check_memory(const RaggedBatch& batch, std::size_t states,
                                      bool projected) const {
  w2vbert::check_memory(memory_needed(batch, states, projected),
                        "the fused encoder: " + std::to_string(batch.rows()) + " frames need");
}

void FusedEncoder::Impl::done(const char* step, double flops) {
  if (interrupt_asked && interrupt_asked()) throw Interrupted();
  if (!profiling) return;
  const auto now = std::chrono::steady_clock::now();
  auto found =
      std::find_if(steps.begin(), steps.end(), [&](const Step& s) { return s.name == step; });
  if (found == steps.end()) found = steps.insert(steps.end(), Step{step});
  found->seconds += std::chrono::duration<double>(now - step_began).count();
  found->flops += flops;
  step_began = now;
}

namespace {

double flops_of(const PackedLinear& linear, std::int64_t rows) {
  return 2.0 * static_cast<double>(rows) * static_cast<double>(linear.in_features()) *
         static_cast<double>(linear.out_features());
}

}  // namespace

// hidden_states += ffn(normal), in blocks of rows: the inner matrix of all rows would be the
// largest of all.
void FusedEncoder::Impl::feed_forward(const PackedLinear& intermediate_dense,
                                      const PackedLinear& output_dense, std::int64_t rows,
                                      float* hidden_states, const char* name_in,
                                      const char* name_out) {
  const RowBlocks blocks(rows, kInnerRows);
  float* inner_states = reserve_rows(wide, blocks.size, config.intermediate_size);
  for (std::int64_t block = 0; block < blocks.count; ++block) {
    const std::int64_t first = blocks.begin(block);
    const std::int64_t count = blocks.rows_of(block);
    intermediate_dense.forward_swish(normal, first, count, inner_states);
    inner.assign(output_dense.precision(), inner_states, count, config.intermediate_size);
    done(name_in, flops_of(intermediate_dense, count));
    output_dense.add_to(inner, 0, count, hidden_states + first * channels());
    done(name_out, flops_of(output_dense, count));
  }
}

// hidden_states += self_attn(normal)
void FusedEncoder::Impl::self_attention(const Layer& layer, const RaggedBatch& batch,
                                        float* hidden_states) {
  const std::int64_t rows = batch.rows();
  const std::int64_t head_size = channels() / config.num_attention_heads;
  const std::int64_t stride = (rows + kRowGranule) * head_size;
  float* qkv = wide.reserve(3 * config.num_attention_heads * stride);
  layer.linear_qkv.forward_panels(normal, 0, rows, qkv, stride);
  done("linear_q, linear_k, linear_v", flops_of(layer.linear_qkv, rows));
  float* y = reserve_rows(attended, rows, channels());
  layer.attention.forward(batch, qkv, stride, attention, y);
  double flops = 0;
  for (const RaggedClip& clip : batch.clips()) {
    flops += 4.0 * static_cast<double>(clip.frames) * static_cast<double>(clip.frames) *
             static_cast<double>(channels());
  }
  attended_rows.assign(layer.linear_out.precision(), y, rows, channels());
  done("attention", flops);
  layer.linear_out.add_to(attended_rows, 0, rows, hidden_states);
  done("linear_out", flops_of(layer.linear_out, rows));
}

// hidden_states += conv_module(hidden_states)
void FusedEncoder::Impl::convolution(const Layer& layer, const RaggedBatch& batch,
                                     float* hidden_states) {
  const VectorKernels& kernels = vector_kernels();
  const std::int64_t rows = batch.rows();
  const std::int64_t width = channels();
  layer.conv_layer_norm.forward(hidden_states, rows, layer.pointwise_conv1.precision(), normal);
  batch.for_each_padded_row([&](std::int64_t row) { normal.clear_row(row); });
  done("layer norms");
  float* gated = reserve_rows(attended, rows, width);
  layer.pointwise_conv1.forward_glu(normal, 0, rows, gated, width);
  done("pointwise_conv1, glu", flops_of(layer.pointwise_conv1, rows));

  const std::vector<RaggedBlock> blocks = batch.blocks(kRowsPerTask);
  normal.resize(layer.pointwise_conv2.precision(), rows, width);
  parallel_tasks(static_cast<std::int64_t>(blocks.size()), [&](std::int64_t task) {
    const RaggedBlock& block = blocks[static_cast<std::size_t>(task)];
    float* y = normal.staging(block.begin(), block.rows);
    kernels.depthwise(gated + block.clip->begin * width, block.first, block.rows, width,
                      layer.depthwise_conv.data(), config.conv_depthwise_kernel_size, y);
    layer.depthwise_layer_norm.rows(y, block.rows, y);
    kernels.swish(y, block.rows * width);
    normal.commit(block.begin(), block.rows, y);
  });
  done("depthwise_conv, layer norm, swish",
       2.0 * static_cast<double>(rows * width * config.conv_depthwise_kernel_size));
  layer.pointwise_conv2.add_to(normal, 0, rows, hidden_states);
  done("pointwise_conv2", flops_of(layer.pointwise_conv2, rows));
}

void FusedEncoder::Impl::run_layer(std::size_t index, const RaggedBatch& batch,
                                   float* hidden_states) {
  const Layer& layer = layers[index];
  const std::int64_t rows = batch.rows();
  layer.ffn1_layer_norm.forward(hidden_states, rows, layer.ffn1_intermediate_dense.precision(),
                                normal);
  done("layer norms");
  feed_forward(layer.ffn1_intermediate_dense, layer.ffn1_output_dense, rows, hidden_states,
               "ffn1 intermediate_dense, swish", "ffn1 output_dense");

  layer.self_attn_layer_norm.forward(hidden_states, rows, layer.linear_qkv.precision(), normal);
  done("layer norms");
  self_attention(layer, batch, hidden_states);

  convolution(layer, batch, hidden_states);

  layer.ffn2_layer_norm.forward(hidden_states, rows, layer.ffn2_intermediate_dense.precision(),
                                normal);
  done("layer norms");
  feed_forward(layer.ffn2_intermediate_dense, layer.ffn2_output_dense, rows, hidden_states,
               "ffn2 intermediate_dense, swish", "ffn2 output_dense");
  layer.final_layer_norm.forward(hidden_states, rows, hidden_states);
  done("layer norms");
}

std::optional<std::string> FusedEncoder::unsupported_reason(const Wav2Vec2BertConfig& config) {
  if (auto reason = unsupported_positions(config)) return reason;
  if (config.hidden_act != "swish" && config.hidden_act != "silu") {
    return "hidden_act is \"" + config.hidden_act + "\", not \"swish\"";
  }
  return {};
}

std::string FusedEncoder::kernels() {
  std::string text = vector_kernels().name;
  text += tile_gemm_is_fast(Precision::float32) ? ", oneDNN" : ", no oneDNN";
  text += "; products in float32";
  std::string widened;
  for (const auto precision : {Precision::bfloat16, Precision::float16}) {
    const bool native = narrow_products(precision) == NarrowProducts::native;
    (native ? text : widened) += ", " + name_of(precision);
  }
  if (tile_gemm_is_fast(Precision::int8)) text += ", int8";
  if (!widened.empty()) text += "; weights widened to float32: " + widened.substr(2);
  return text;
}

std::optional<std::string> FusedEncoder::unsupported_reason(Precision precision) {
  if (precision != Precision::int8 || tile_gemm_is_fast(precision) || AllowSlowProducts::active()) {
    return {};
  }
  return "this processor has no instructions for int8 (AVX512_VNNI)";
}

FusedEncoder::FusedEncoder(const Wav2Vec2BertConfig& config, Precision precision)
    : impl_(std::make_unique<Impl>()) {
  const auto refused = unsupported_reason(config);
  TORCH_CHECK_VALUE(!refused, "the fused engine: ", refused.value_or(""));
  const auto refused_precision = unsupported_reason(precision);
  TORCH_CHECK_VALUE(!refused_precision, "the fused engine: ", refused_precision.value_or(""));
  impl_->config = config;
  impl_->precision = precision;
  impl_->layers.reserve(static_cast<std::size_t>(config.num_hidden_layers));
}

FusedEncoder::FusedEncoder(const WeightScope& feature_projection, const Wav2Vec2BertConfig& config,
                           Precision precision)
    : FusedEncoder(config, precision) {
  const at::NoGradGuard no_grad;
  impl_->projection_layer_norm =
      PackedLayerNorm(feature_projection.below("layer_norm"), config.layer_norm_eps);
  impl_->projection =
      PackedLinear(feature_projection, {.parts = {{"projection"}}}, Precision::float32);
  impl_->projection.pack();
}

void FusedEncoder::add_layer(const WeightScope& weights) {
  const at::NoGradGuard no_grad;
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->layers.emplace_back(weights, impl_->config, impl_->precision);
  impl_->weights_are_packed = false;
}

void FusedEncoder::add_packed_layer(const WeightScope& weights) {
  const at::NoGradGuard no_grad;
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  Layer layer(weights, impl_->config, impl_->precision);
  pack_linear_maps(encoder_linear_maps(impl_->config), layer);
  impl_->layers.push_back(std::move(layer));
}

FusedEncoder FusedEncoder::from(const WeightScope& weights, const Wav2Vec2BertConfig& config,
                                Precision precision) {
  FusedEncoder encoder(weights.below("feature_projection"), config, precision);
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    encoder.add_layer(weights.below("encoder.layers." + std::to_string(layer)));
  }
  return encoder;
}

Precision FusedEncoder::precision() const { return impl_->precision; }

FusedEncoder::~FusedEncoder() = default;
FusedEncoder::FusedEncoder(FusedEncoder&&) noexcept = default;
FusedEncoder& FusedEncoder::operator=(FusedEncoder&&) noexcept = default;

void FusedEncoder::pack_weights() {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->pack_weights();
}

std::int64_t FusedEncoder::memory_needed(const std::vector<Clip>& clips, std::size_t states,
                                         Input kind) const {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  RaggedBatch batch;
  for (const Clip& clip : clips) batch.add(clip.input.size(0), {});
  return impl_->memory_needed(batch, states, kind == Input::projected);
}

void FusedEncoder::interrupt_when(std::function<bool()> asked) {
  impl_->interrupt.set(std::move(asked));
}

void FusedEncoder::set_profiling(bool on) {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->profiling = on;
  impl_->steps.clear();
}

std::vector<FusedEncoder::Step> FusedEncoder::profile() const {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  return impl_->steps;
}

std::vector<at::Tensor> FusedEncoder::forward(const std::vector<Clip>& clips,
                                              const std::vector<std::int64_t>& states, Input kind) {
  for (std::size_t i = 0; i < states.size(); ++i) {
    TORCH_CHECK_VALUE(states[i] >= 0 && states[i] <= impl_->config.num_hidden_layers &&
                          (i == 0 || states[i] > states[i - 1]),
                      "states: ", states, ", expected ascending numbers from 0 to ",
                      impl_->config.num_hidden_layers);
  }
  std::vector<at::Tensor> results;
  run(clips, states.empty() ? -1 : states.back(), states.size(), kind,
      [&](std::int64_t number, const at::Tensor& rows) {
        if (states[results.size()] == number) results.push_back(rows.clone());
      });
  return results;
}

std::vector<at::Tensor> FusedEncoder::forward_sums(const std::vector<Clip>& clips,
                                                   const std::vector<StateSum>& sums, Input kind) {
  check_sums(sums, impl_->config.num_hidden_layers);
  StateSums added(sums);
  run(clips, added.last(), sums.size(), kind,
      [&](std::int64_t number, const at::Tensor& rows) { added.add(number, rows); });
  return added.take();
}

void FusedEncoder::run(const std::vector<Clip>& clips, std::int64_t last, std::size_t matrices,
                       Input kind, const TakeState& take) {
  Impl& impl = *impl_;
  const bool projected = kind == Input::projected;
  const std::lock_guard<std::mutex> lock(impl.mutex);
  const at::NoGradGuard no_grad;
  TORCH_CHECK_VALUE(impl.layers.size() == static_cast<std::size_t>(impl.config.num_hidden_layers),
                    "the fused encoder: has ", impl.layers.size(), " of ",
                    impl.config.num_hidden_layers,
                    " layers, expected all: fuse() has failed, load the model again");
  TORCH_CHECK_VALUE(projected || impl.projection.out_features() > 0,
                    "the fused encoder: has no feature projection, expected projected inputs");
  impl.interrupt_asked = impl.interrupt.get();
  impl.step_began = std::chrono::steady_clock::now();
  const std::int64_t input_width =
      projected ? impl.channels() : impl.config.feature_projection_input_dim;
  RaggedBatch batch;
  for (const Clip& clip : clips) {
    TORCH_CHECK_VALUE(clip.input.defined() && clip.input.dim() == 2 && clip.input.size(0) > 0 &&
                          clip.input.size(1) == input_width && clip.input.is_floating_point() &&
                          clip.input.device().is_cpu(),
                      projected ? "hidden_states" : "input_features",
                      " of one clip: ", clip.input.defined() ? clip.input.toString() : "undefined",
                      " ", clip.input.defined() ? clip.input.sizes() : at::IntArrayRef(),
                      ", expected CPU floats (T, ", input_width, ")");
    TORCH_CHECK_VALUE(
        !clip.attention_mask.defined() ||
            (clip.attention_mask.dim() == 1 && clip.attention_mask.size(0) == clip.input.size(0)),
        "attention_mask of one clip: ", clip.attention_mask.sizes(), ", expected (",
        clip.input.size(0), ")");
    batch.add(clip.input.size(0), clip.attention_mask);
  }
  const std::int64_t rows = batch.rows();
  const std::int64_t width = impl.channels();
  if (rows == 0) {
    for (std::int64_t state = 0; state <= last; ++state) {
      take(state, at::empty({0, width}, at::kFloat));
    }
    return;
  }

  impl.check_memory(batch, matrices, projected);
  if (impl.packs_for(rows)) impl.pack_weights();

  float* hidden_states = reserve_rows(impl.hidden, rows, width);
  if (!projected) impl.input.resize(impl.projection.precision(), rows, input_width);
  float* input = projected ? hidden_states : impl.input.staging(0, rows);
  for (std::size_t i = 0; i < clips.size(); ++i) {
    const RaggedClip& clip = batch.clips()[i];
    at::from_blob(input + clip.begin * input_width, {clip.frames, input_width}, at::kFloat)
        .copy_(clips[i].input);
  }
  if (!projected) {
    impl.projection_layer_norm.forward(input, rows, input);
    impl.projection.forward(impl.input, 0, rows, hidden_states);
  }
  batch.for_each_padded_row(
      [&](std::int64_t row) { std::fill_n(hidden_states + row * width, width, 0.0f); });
  impl.done("feature projection", projected ? 0 : flops_of(impl.projection, rows));

  for (std::int64_t state = 0; state <= last; ++state) {
    if (state > 0) impl.run_layer(static_cast<std::size_t>(state - 1), batch, hidden_states);
    take(state, at::from_blob(hidden_states, {rows, width}, at::kFloat));
    impl.done("copying states");
  }
  impl.has_run = true;
}

}  // namespace w2vbert
