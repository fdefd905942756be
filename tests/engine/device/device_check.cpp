// The device engine on the device at hand, for scripts/gpu_check: needs the library alone.
//
// - device_check kernels DEVICE SIZE: each kernel beside LibTorch's operations, in each type
// - device_check engine DEVICE SIZE FRAMES: the engine beside the mirror, in float32 and bfloat16
// - device_check bench DEVICE SIZE FRAMES DTYPE: seconds for all clips, with the kernels and
//   without, and of each step
//
// SIZE is tiny or published: the model has random weights. FRAMES are the clips' lengths, with
// commas. Prints JSON.
#include <ATen/ATen.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "core/stopwatch.h"
#include "engine/device/aten_ops.h"
#include "engine/device/choose_ops.h"
#include "engine/device/device_engine.h"
#include "engine/device/device_model.h"
#include "engine/device/kernel_ops.h"
#include "engine/reference_engine.h"
#include "w2vbert/core/device.h"
#include "w2vbert/nn/initialization.h"

namespace w2vbert {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kBatchFrames = 16384;  // the rows of a batch, at most
constexpr int kRounds = 3;

Wav2Vec2BertConfig config_of(const std::string& size) {
  Wav2Vec2BertConfig config;
  if (size == "published") return config;
  config.hidden_size = 64;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.intermediate_size = 96;
  return config;
}

// The same weights for each call.
Wav2Vec2BertModel model_on(const Wav2Vec2BertConfig& config, c10::Device device) {
  const at::NoGradGuard no_grad;
  const SkipInitialization values_follow;
  Wav2Vec2BertModel model(config);
  model->to(device);
  model->eval();
  torch::manual_seed(1);
  for (auto& parameter : model->named_parameters()) {
    const bool is_norm = parameter.key().find("layer_norm.weight") != std::string::npos;
    parameter.value().normal_(is_norm ? 1.0 : 0.0, is_norm ? 0.1 : 0.02);
  }
  return model;
}

void wait_for(c10::Device device) {
  if (device.is_cuda()) at::detail::getCUDAHooks().deviceSynchronize(device.index());
}

std::vector<EngineClip> clips_of(const std::vector<std::int64_t>& frames,
                                 const Wav2Vec2BertConfig& config, c10::Device device) {
  torch::manual_seed(2);
  std::vector<EngineClip> clips;
  for (const std::int64_t length : frames) {
    clips.push_back({at::randn({length, config.feature_projection_input_dim}).to(device), {}});
  }
  return clips;
}

// The longest first, each batch of at most kBatchFrames.
std::vector<std::vector<EngineClip>> batches_of(std::vector<EngineClip> clips) {
  const auto frames = [](const EngineClip& clip) { return clip.input_features.size(0); };
  std::stable_sort(clips.begin(), clips.end(), [&](const EngineClip& one, const EngineClip& other) {
    return frames(one) > frames(other);
  });
  std::vector<std::vector<EngineClip>> batches;
  std::int64_t rows = kBatchFrames;
  for (EngineClip& clip : clips) {
    if (rows + frames(clip) > kBatchFrames) {
      batches.emplace_back();
      rows = 0;
    }
    rows += frames(clip);
    batches.back().push_back(std::move(clip));
  }
  return batches;
}

// Steps of other operations, timed one by one.
class TimedOps : public DeviceOps {
 public:
  TimedOps(std::shared_ptr<const DeviceOps> ops, c10::Device device)
      : ops_(std::move(ops)), device_(device) {}

  at::Tensor layer_norm(const at::Tensor& rows, const DeviceLayerNorm& norm,
                        c10::ScalarType dtype) const override {
    return timed("layer_norm", [&] { return ops_->layer_norm(rows, norm, dtype); });
  }
  at::Tensor add_layer_norm(at::Tensor& residual, const at::Tensor& delta, double scale,
                            const DeviceLayerNorm& norm, c10::ScalarType dtype) const override {
    return timed("add_layer_norm",
                 [&] { return ops_->add_layer_norm(residual, delta, scale, norm, dtype); });
  }
  at::Tensor activated_linear(const DeviceLinear& linear, const DeviceActivation& activation,
                              const at::Tensor& rows) const override {
    return timed("activated_linear",
                 [&] { return ops_->activated_linear(linear, activation, rows); });
  }
  at::Tensor gated_conv(const DeviceConv& conv, const at::Tensor& rows,
                        const RaggedLayout& layout) const override {
    return timed("gated_conv", [&] { return ops_->gated_conv(conv, rows, layout); });
  }
  at::Tensor attention(const DeviceAttention& attention, const at::Tensor& qkv,
                       const RaggedLayout& layout) const override {
    return timed("attention", [&] { return ops_->attention(attention, qkv, layout); });
  }

  std::map<std::string, double>& seconds() { return seconds_; }

 private:
  at::Tensor timed(const char* step, const std::function<at::Tensor()>& compute) const {
    wait_for(device_);
    const Stopwatch watch;
    at::Tensor result = compute();
    wait_for(device_);
    seconds_[step] += watch.seconds();
    return result;
  }

  std::shared_ptr<const DeviceOps> ops_;
  c10::Device device_;
  mutable std::map<std::string, double> seconds_;
};

Json check_each_kernel(const Wav2Vec2BertConfig& config, c10::Device device) {
  Json types = Json::array();
  for (const Precision precision : {Precision::float32, Precision::bfloat16, Precision::float16}) {
    const c10::ScalarType dtype = dtype_of(precision);
    const LoadedKernels& kernels = kernel_library();
    const Stopwatch watch;
    // No folder: the check is made, whatever was remembered.
    const OpsChoice choice = choose_ops(kernels, kernel_sizes(config, dtype), device, "");
    Json of_type = {{"dtype", name_of(precision)},
                    {"own_kernels", choice.own_kernels},
                    {"text", choice.text},
                    {"seconds", watch.seconds()},
                    {"differences", Json::array()}};
    // Where one differs: all of them.
    if (kernels.library != nullptr && !choice.own_kernels) {
      of_type["differences"] =
          check_kernels(KernelOps(kernels.library->launchers), kernel_sizes(config, dtype), device);
    }
    types.push_back(std::move(of_type));
  }
  return types;
}

double largest_difference(const at::Tensor& one, const at::Tensor& other) {
  return ((one - other).abs() / other.abs().clamp_min(1.0)).max().item<double>();
}

double relative_error(const std::vector<ClipStates>& states, const std::vector<ClipStates>& exact) {
  double squares = 0.0, of_exact = 0.0;
  for (std::size_t clip = 0; clip < states.size(); ++clip) {
    const at::Tensor wide = exact[clip].states[0].to(at::kDouble);
    squares += (states[clip].states[0].to(at::kDouble) - wide).square().sum().item<double>();
    of_exact += wide.square().sum().item<double>();
  }
  return std::sqrt(squares / of_exact);
}

Json compare_engine(const Wav2Vec2BertConfig& config, c10::Device device,
                    const std::vector<std::int64_t>& frames) {
  const std::vector<EngineClip> clips = clips_of(frames, config, device);
  const std::vector<StateId> last = {StateId(config.num_hidden_layers)};
  const auto mirror = [&](c10::ScalarType dtype) {
    Wav2Vec2BertModel model = model_on(config, device);
    model->to(dtype);
    return ReferenceEngine(model, ReferenceEngine::Batches::padded).compute(clips, last);
  };
  const auto engine = [&](Precision precision) {
    Wav2Vec2BertModel model = model_on(config, device);
    model->to(dtype_of(precision));
    put_on_device_engine(*model, precision);
    return DeviceEngine(std::move(model)).compute(clips, last);
  };
  const auto exact = mirror(at::kFloat), wide = engine(Precision::float32);
  double largest = 0.0;
  for (std::size_t clip = 0; clip < clips.size(); ++clip) {
    // Written so that NaN stays.
    const double difference = largest_difference(wide[clip].states[0], exact[clip].states[0]);
    if (!std::isnan(largest) && !(difference <= largest)) largest = difference;
  }
  return {{"float32_largest_difference", largest},
          {"bfloat16_error", relative_error(engine(Precision::bfloat16), exact)},
          {"bfloat16_error_of_the_mirror", relative_error(mirror(at::kBFloat16), exact)}};
}

Json measure(const Wav2Vec2BertConfig& config, c10::Device device,
             const std::vector<std::int64_t>& frames, Precision precision) {
  constexpr double kFramesASecond = 50.0;
  const auto batches = batches_of(clips_of(frames, config, device));
  double audio_seconds = 0.0;
  for (const std::int64_t length : frames) {
    audio_seconds += static_cast<double>(length) / kFramesASecond;
  }
  const std::vector<StateId> last = {StateId(config.num_hidden_layers)};
  Json result = {{"dtype", name_of(precision)}, {"audio_seconds", audio_seconds}};
  Wav2Vec2BertModel model = model_on(config, device);
  model->to(dtype_of(precision));
  put_on_device_engine(*model, precision);
  DeviceEncoder& encoder = *device_encoder_of(*model);
  const std::shared_ptr<const DeviceOps> own = encoder.ops();
  const auto seconds_of = [&](std::shared_ptr<const DeviceOps> ops) {
    encoder.set_ops(std::move(ops));
    DeviceEngine engine(model);
    wait_for(device);
    const Stopwatch watch;
    for (const auto& batch : batches) (void)engine.compute(batch, last);
    wait_for(device);
    return watch.seconds();
  };
  const std::pair<const char*, std::shared_ptr<const DeviceOps>> variants[] = {
      {"engine", own}, {"aten_ops", std::make_shared<AtenOps>()}};
  for (const auto& [name, ops] : variants) (void)seconds_of(ops);  // warms up
  std::map<std::string, std::vector<double>> seconds;
  for (int round = 0; round < kRounds; ++round) {
    for (const auto& [name, ops] : variants) seconds[name].push_back(seconds_of(ops));
  }
  for (auto& [name, rounds] : seconds) {
    std::sort(rounds.begin(), rounds.end());
    result[name] = {{"seconds", rounds}, {"times_real_time", audio_seconds / rounds[kRounds / 2]}};
  }
  const auto timed = std::make_shared<TimedOps>(own, device);
  const double all = seconds_of(timed);
  Json steps = timed->seconds();
  steps["all, with a wait behind each step"] = all;
  result["seconds_of_steps"] = std::move(steps);
  result["steps"] = choose_ops(config, device, dtype_of(precision)).text;
  return result;
}

std::vector<std::int64_t> numbers_in(const std::string& text) {
  std::vector<std::int64_t> numbers;
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',');) numbers.push_back(std::stoll(word));
  return numbers;
}

Json run(const std::vector<std::string>& words) {
  TORCH_CHECK_VALUE(words.size() >= 3, "expected: kernels|engine|bench DEVICE SIZE ...");
  c10::Device device = parse_device(words[1]);
  if (device.is_cuda() && !device.has_index()) device.set_index(0);
  const Wav2Vec2BertConfig config = config_of(words[2]);
  if (words[0] == "kernels") return check_each_kernel(config, device);
  TORCH_CHECK_VALUE(words.size() >= 4, "expected FRAMES");
  const std::vector<std::int64_t> frames = numbers_in(words[3]);
  if (words[0] == "engine") return compare_engine(config, device, frames);
  TORCH_CHECK_VALUE(words.size() == 5 && words[0] == "bench", "expected bench ... FRAMES DTYPE");
  const auto precision = precision_of(words[4]);
  TORCH_CHECK_VALUE(precision.has_value(), words[4], ": is not a type");
  return measure(config, device, frames, *precision);
}

}  // namespace
}  // namespace w2vbert

int main(int argc, char** argv) {
  try {
    const std::vector<std::string> words(argv + 1, argv + argc);
    std::puts(w2vbert::run(words).dump().c_str());
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
