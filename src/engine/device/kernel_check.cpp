#include "engine/device/kernel_check.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <mutex>
#include <sstream>
#include <utility>

#include "core/durable_file.h"
#include "core/environment.h"
#include "core/file.h"
#include "core/stable_hash.h"
#include "core/text.h"
#include "engine/device/aten_ops.h"
#include "engine/device/device_layers.h"
#include "nn/make_layers.h"
#include "w2vbert/core/error.h"
#include "w2vbert/nn/initialization.h"

namespace w2vbert {
namespace {

// How far a step may be from float64: of an element, relative to 1 + its size, and of all in
// Euclidean norms. In the emulator the kernels reach 3.2e-3 and 2.0e-3 in bfloat16, 3.9e-4 and
// 2.6e-4 in float16, 4.4e-7 and 2.3e-7 in float32; a GPU's fast functions round otherwise.
struct CheckLimits {
  double of_element, of_norm;
};

CheckLimits limits_of(c10::ScalarType dtype) {
  switch (dtype) {
    case at::kBFloat16:
      return {0x1p-6, 0x1p-8};
    case at::kHalf:
      return {0x1p-9, 0x1p-11};
    default:
      return {1e-4, 1e-5};
  }
}

// The inputs of the steps: the same on every device.
class CheckInputs {
 public:
  CheckInputs(const KernelSizes& sizes, c10::Device device)
      : sizes_(sizes),
        device_(device),
        generator_(at::make_generator<at::CPUGeneratorImpl>(std::uint64_t{1})) {}

  at::Tensor normal(at::IntArrayRef shape, double mean, double deviation, c10::ScalarType dtype) {
    const at::Tensor values = at::empty(shape, at::kFloat).normal_(mean, deviation, generator_);
    return values.to(dtype).to(device_);
  }
  at::Tensor rows(const RaggedLayout& layout, std::int64_t columns, c10::ScalarType dtype) {
    return normal({layout.rows(), columns}, 0.0, 1.0, dtype);
  }
  DeviceLayerNorm norm(std::int64_t columns) {
    return {normal({columns}, 1.0, 0.1, at::kFloat), normal({columns}, 0.0, 0.1, at::kFloat),
            sizes_.eps};
  }

 private:
  const KernelSizes& sizes_;
  c10::Device device_;
  at::Generator generator_;
};

// Restores the generator of LibTorch, which is the user's: a layer that is made draws from it.
class RestoredGenerator {
 public:
  RestoredGenerator() : generator_(at::detail::getDefaultCPUGenerator()) {
    const std::lock_guard lock(generator_.mutex());
    state_ = generator_.get_state();
  }
  ~RestoredGenerator() {
    const std::lock_guard lock(generator_.mutex());
    generator_.set_state(state_);
  }
  RestoredGenerator(const RestoredGenerator&) = delete;
  RestoredGenerator& operator=(const RestoredGenerator&) = delete;

 private:
  at::Generator generator_;
  at::Tensor state_;
};

DeviceLayerNorm in_float64(const DeviceLayerNorm& norm) {
  return {norm.weight.to(at::kDouble), norm.bias.to(at::kDouble), norm.eps};
}

std::string scientific(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1e", value);
  return text.data();
}

// Compares each step, and keeps what differs.
class Comparison {
 public:
  explicit Comparison(c10::ScalarType dtype) : limits_(limits_of(dtype)), dtype_(dtype) {}

  // `same`: in LibTorch's operations and the same type; `exact`: in float64.
  void add(const std::string& step, const at::Tensor& got, const at::Tensor& same,
           const at::Tensor& exact) {
    if (got.sizes() != same.sizes() || got.scalar_type() != same.scalar_type()) {
      differences.push_back(step + ": another shape or type");
      return;
    }
    if (at::equal(got, same)) return;
    const CheckLimits& limits = got.scalar_type() == dtype_ ? limits_ : limits_of(at::kFloat);
    const at::Tensor error = (got.to(at::kDouble) - exact).abs();
    const double of_element = (error / (1.0 + exact.abs())).max().item<double>();
    const double of_norm = (error.norm() / exact.norm()).item<double>();
    // Written so that NaN differs.
    if (of_element <= limits.of_element && of_norm <= limits.of_norm) return;
    differences.push_back(step + " in " + c10::toString(dtype_) + ": differs by " +
                          scientific(of_element) + " of an element and " + scientific(of_norm) +
                          " of all, at most " + scientific(limits.of_element) + " and " +
                          scientific(limits.of_norm) + " expected");
  }

  std::vector<std::string> differences;

 private:
  CheckLimits limits_;
  c10::ScalarType dtype_;
};

void check_norms(const DeviceOps& ops, CheckInputs& inputs, std::int64_t columns,
                 const RaggedLayout& layout, c10::ScalarType dtype, Comparison& comparison) {
  const AtenOps aten;
  const DeviceLayerNorm norm = inputs.norm(columns), exact_norm = in_float64(norm);
  const at::Tensor rows = inputs.rows(layout, columns, at::kFloat);
  comparison.add("layer_norm", ops.layer_norm(rows, norm, dtype),
                 aten.layer_norm(rows, norm, dtype),
                 aten.layer_norm(rows.to(at::kDouble), exact_norm, at::kDouble));
  comparison.add("layer_norm to float32", ops.layer_norm(rows, norm, at::kFloat),
                 aten.layer_norm(rows, norm, at::kFloat),
                 aten.layer_norm(rows.to(at::kDouble), exact_norm, at::kDouble));
  const at::Tensor delta = inputs.rows(layout, columns, dtype);
  for (const auto& [scale, output] : {std::pair(0.5, dtype), std::pair(1.0, at::kFloat)}) {
    at::Tensor residual = rows.clone(), same = rows.clone(), exact = rows.to(at::kDouble);
    const at::Tensor got = ops.add_layer_norm(residual, delta, scale, norm, output);
    const at::Tensor of_same = aten.add_layer_norm(same, delta, scale, norm, output);
    const at::Tensor of_exact =
        aten.add_layer_norm(exact, delta.to(at::kDouble), scale, exact_norm, at::kDouble);
    comparison.add("add_layer_norm", got, of_same, of_exact);
    comparison.add("the sum of add_layer_norm", residual, same, exact);
  }
}

void check_feed_forward(const DeviceOps& ops, CheckInputs& inputs, const KernelSizes& sizes,
                        const std::string& act, const RaggedLayout& layout,
                        Comparison& comparison) {
  // A product of few terms: it is LibTorch's in both, and taken over for the exact result.
  constexpr std::int64_t kTerms = 8;
  const DeviceLinear linear{
      inputs.normal({sizes.intermediate, kTerms}, 0.0, 1.0 / std::sqrt(8.0), sizes.dtype),
      inputs.normal({sizes.intermediate}, 0.0, 1.0, sizes.dtype)};
  const DeviceActivation activation = activation_of(Activation(act, "hidden_act"), act);
  if (activation.module->weight.defined()) return;  // learnt: no kernel takes it
  const at::Tensor rows = inputs.rows(layout, kTerms, sizes.dtype);
  const at::Tensor product = at::linear(rows, linear.weight).to(at::kDouble);
  comparison.add("activated_linear", ops.activated_linear(linear, activation, rows),
                 AtenOps().activated_linear(linear, activation, rows),
                 activation(product + linear.bias.to(at::kDouble)));
}

void check_conv(const DeviceOps& ops, CheckInputs& inputs, const KernelSizes& sizes,
                const RaggedLayout& layout, Comparison& comparison) {
  const std::int64_t channels = sizes.channels;
  const SkipInitialization values_follow;
  const at::Tensor weight = inputs.normal({channels, 1, sizes.kernel_size}, 0.0, 0.3, sizes.dtype);
  const DeviceLayerNorm norm = inputs.norm(channels);  // float32 in every type
  const auto conv_in = [&](c10::ScalarType dtype) {
    Conv1d module = make_conv1d(torch::nn::Conv1dOptions(channels, channels, sizes.kernel_size)
                                    .groups(channels)
                                    .bias(false));
    module->weight = weight.to(dtype);
    return DeviceConv{module.ptr(), module->weight.squeeze(1).t().contiguous(), norm,
                      activation_of(Activation(sizes.act, "hidden_act"), sizes.act)};
  };
  const at::Tensor rows = inputs.rows(layout, 2 * channels, sizes.dtype);
  const DeviceConv conv = conv_in(sizes.dtype);
  if (conv.activation.module->weight.defined()) return;
  const auto of_clips = [&](const at::Tensor& all) { return all.narrow(0, 0, layout.clip_rows()); };
  const AtenOps aten;
  comparison.add("gated_conv", of_clips(ops.gated_conv(conv, rows, layout)),
                 of_clips(aten.gated_conv(conv, rows, layout)),
                 of_clips(aten.gated_conv(conv_in(at::kDouble), rows.to(at::kDouble), layout)));
}

void check_attention(const DeviceOps& ops, CheckInputs& inputs, const KernelSizes& sizes,
                     std::int64_t width, bool positions, const RaggedLayout& layout,
                     Comparison& comparison) {
  DeviceAttention attention{sizes.heads, {}, sizes.left, sizes.right, sizes.sdpa};
  if (positions) {
    attention.distance_embedding =
        inputs.normal({sizes.left + 1 + sizes.right, width / sizes.heads}, 0.0, 0.5, sizes.dtype);
  }
  const at::Tensor qkv = inputs.rows(layout, 3 * width, sizes.dtype);
  DeviceAttention exact = attention;
  if (positions) exact.distance_embedding = attention.distance_embedding.to(at::kDouble);
  const AtenOps aten;
  comparison.add(positions ? "attention with positions" : "attention",
                 ops.attention(attention, qkv, layout), aten.attention(attention, qkv, layout),
                 aten.attention(exact, qkv.to(at::kDouble), layout));
}

constexpr const char* kRecordHead = "kernels of w2vbert, checked, 1\n";
constexpr const char* kRecordEnd = "end\n";
constexpr std::uint64_t kMaxRecordBytes = 64 << 10;

std::string record_of(const std::string& about, const std::vector<std::string>& differences) {
  std::string text = kRecordHead + about;
  for (const std::string& difference : differences) text += "differs: " + difference + "\n";
  return text + kRecordEnd;
}

}  // namespace

std::string KernelSizes::text() const {
  std::ostringstream text;
  text << "F " << features << ", C " << channels << ", intermediate " << intermediate
       << ", adapter " << adapter_width << ", heads " << heads << ", kernel " << kernel_size
       << ", distances " << left << " " << right << (positions ? "" : " unused") << ", "
       << (sdpa ? "sdpa" : "eager") << ", " << act << ", " << adapter_act << ", eps " << eps << ", "
       << dtype;
  return text.str();
}

KernelSizes kernel_sizes(const Wav2Vec2BertConfig& config, c10::ScalarType dtype) {
  KernelSizes sizes;
  sizes.features = config.feature_projection_input_dim;
  sizes.channels = config.hidden_size;
  sizes.intermediate = config.intermediate_size;
  if (config.add_adapter) {
    sizes.adapter_width = config.output_hidden_size.value_or(config.hidden_size);
    sizes.adapter_act = config.adapter_act;
  }
  sizes.heads = config.num_attention_heads;
  sizes.kernel_size = config.conv_depthwise_kernel_size;
  sizes.left = config.left_max_position_embeddings;
  sizes.right = config.right_max_position_embeddings;
  sizes.positions = config.position_embeddings_type.has_value();
  sizes.sdpa = config.attn_implementation == "sdpa";
  sizes.act = config.hidden_act;
  sizes.eps = config.layer_norm_eps;
  sizes.dtype = dtype;
  return sizes;
}

std::vector<std::string> check_kernels(const DeviceOps& ops, const KernelSizes& sizes,
                                       c10::Device device) {
  const at::NoGradGuard no_grad;
  const RestoredGenerator restored;
  CheckInputs inputs(sizes, device);
  // Tiles before, within and behind the distances that are told apart; a clip of one frame; holes,
  // and a clip without a valid frame; rows behind the clips.
  const at::Tensor holes = at::arange(70).remainder(7).ne(3);
  const RaggedLayout layout({{150, {}}, {70, holes}, {33, at::zeros({33}, at::kBool)}, {1, {}}},
                            device, {.gap = sizes.kernel_size - 1, .row_multiple = 16});
  Comparison comparison(sizes.dtype);
  for (const std::int64_t columns : {sizes.features, sizes.channels, sizes.adapter_width}) {
    if (columns > 0) check_norms(ops, inputs, columns, layout, sizes.dtype, comparison);
  }
  check_feed_forward(ops, inputs, sizes, sizes.act, layout, comparison);
  if (!sizes.adapter_act.empty() && sizes.adapter_act != sizes.act) {
    check_feed_forward(ops, inputs, sizes, sizes.adapter_act, layout, comparison);
  }
  check_conv(ops, inputs, sizes, layout, comparison);
  check_attention(ops, inputs, sizes, sizes.channels, sizes.positions, layout, comparison);
  if (sizes.adapter_width > 0) {
    check_attention(ops, inputs, sizes, sizes.adapter_width, false, layout, comparison);
  }
  return comparison.differences;
}

KernelRecord::KernelRecord(std::string about, const std::string& folder)
    : about_(std::move(about)), folder_(folder) {
  if (folder.empty()) return;
  path_ = join_path(folder_, stable_hash_text(about_));
}

std::optional<std::vector<std::string>> KernelRecord::read() const {
  if (path_.empty()) return std::nullopt;
  try {
    if (!exists(path_)) return std::nullopt;
    const std::string text = read_small_file<StorageError>(path_, kMaxRecordBytes);
    std::vector<std::string> differences;
    std::istringstream lines(text);
    constexpr std::string_view kDiffers = "differs: ";
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with(kDiffers)) differences.push_back(line.substr(kDiffers.size()));
    }
    // A damaged one, or another's of the same name, is not what would have been written.
    if (text == record_of(about_, differences)) return differences;
  } catch (const StorageError&) {  // then it is checked again
  }
  return std::nullopt;
}

void KernelRecord::write(const std::vector<std::string>& differences) const {
  if (path_.empty()) return;
  try {
    make_directories(folder_);
    write_durably(path_, record_of(about_, differences), IfPresent::kReplace);
  } catch (const StorageError&) {  // then the next process checks again
  }
}

void KernelRecord::remove() const {
  if (!path_.empty()) (void)::unlink(path_.c_str());
}

std::string kernel_record_folder() {
  const std::string folder = user_cache_folder();
  return folder.empty() ? "" : join_path(folder, "kernels");
}

}  // namespace w2vbert
