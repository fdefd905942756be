#include "tool/tasks/benchmark.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include "core/stopwatch.h"
#include "engine/fused_engine.h"
#include "engine/gemm_roofline.h"
#include "w2vbert/checkpoint/from_pretrained.h"
#include "w2vbert/checkpoint/model_directory.h"
#include "w2vbert/config/seamless_m4t_feature_extractor_config.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert::tool {
namespace {

constexpr std::uint64_t kSeed = 0;

std::vector<EngineClip> seeded_clips(const std::vector<std::int64_t>& lengths, std::int64_t width) {
  at::manual_seed(kSeed);
  std::vector<EngineClip> clips;
  clips.reserve(lengths.size());
  for (const std::int64_t length : lengths) {
    clips.push_back({at::randn({length, width}, at::kFloat), {}});
  }
  return clips;
}

}  // namespace

std::int64_t BenchmarkResult::frames() const {
  return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
}

double BenchmarkResult::audio_seconds() const {
  return static_cast<double>(frames()) / SeamlessM4TFeatureExtractorConfig().frame_rate_hz();
}

double relative_error(const std::vector<at::Tensor>& states, const std::vector<at::Tensor>& exact) {
  double off = 0, size = 0;
  const auto square = [](const at::Tensor& values) {
    return values.to(at::kDouble).square().sum().item<double>();
  };
  for (std::size_t i = 0; i < exact.size(); ++i) {
    off += square(states[i] - exact[i]);
    size += square(exact[i]);
  }
  return std::sqrt(off / size);
}

Benchmark::Benchmark(const ModelRequest& request) : request_(request) {
  const ModelDirectory model = resolve_model(request.model, request.revision);
  config_ = load_config(request, model.path);
  choice_ = choose_engine(request, config_);
  auto loaded = load_model<Wav2Vec2BertModel>(request, choice_, model.path);
  engine_ = make_engine(choice_, std::move(loaded.model));
  report_ = std::move(loaded.report);
  if (auto* fused = dynamic_cast<FusedEngine*>(engine_.get())) fused->encoder().pack_weights();
}

std::vector<at::Tensor> Benchmark::last_hidden_states(const std::vector<std::int64_t>& lengths) {
  const auto clips = seeded_clips(lengths, config_.feature_projection_input_dim);
  std::vector<at::Tensor> states;
  for (const ClipStates& clip : engine_->compute(clips, {StateId::last_hidden_state()})) {
    states.push_back(clip.states.front().to(at::kCPU, at::kFloat));
  }
  return states;
}

double Benchmark::run(const std::vector<std::int64_t>& lengths) {
  const auto clips = seeded_clips(lengths, config_.feature_projection_input_dim);
  const Stopwatch watch;
  const auto states = engine_->compute(clips, {StateId::last_hidden_state()});
  // A copy of one number waits for a device.
  (void)states.back().states.front().select(0, 0).select(0, 0).item<float>();
  return watch.seconds();
}

BenchmarkResult Benchmark::measure(const std::vector<std::int64_t>& lengths, int rounds,
                                   bool profile) {
  BenchmarkResult result;
  result.lengths = lengths;
  run(lengths);
  std::optional<PackedGemmRate> rate;
  if (request_.device.is_cpu() && request_.precision == Precision::float32 && at::hasMKLDNN()) {
    rate.emplace(config_);
  }
  std::vector<double> seconds;
  for (int round = 0; round < rounds; ++round) {
    seconds.push_back(run(lengths));
    if (rate) {
      result.gemm_flops_per_second =
          std::max(result.gemm_flops_per_second, rate->measure(result.frames()));
    }
  }
  std::sort(seconds.begin(), seconds.end());
  result.seconds_min = seconds.front();
  result.seconds_median = (seconds[(seconds.size() - 1) / 2] + seconds[seconds.size() / 2]) / 2;
  result.rtf = result.seconds_min / result.audio_seconds();
  if (rate) {
    result.gemm_roofline_fraction =
        encoder_flops(config_, lengths) / result.gemm_flops_per_second / result.seconds_min;
  }
  if (auto* fused = dynamic_cast<FusedEngine*>(engine_.get()); fused != nullptr && profile) {
    fused->encoder().set_profiling(true);
    run(lengths);
    result.profile = fused->encoder().profile();
    fused->encoder().set_profiling(false);
  }
  return result;
}

}  // namespace w2vbert::tool
