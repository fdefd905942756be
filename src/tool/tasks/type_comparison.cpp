#include "tool/tasks/type_comparison.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "core/stopwatch.h"
#include "engine/fused_encoder.h"
#include "engine/weight_scope.h"
#include "tool/tasks/benchmark.h"
#include "w2vbert/checkpoint/weight_source.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert::tool {
namespace {

constexpr std::uint64_t kLayerSeed = 0;
constexpr std::int64_t kFrames = 250;  // 5 s
constexpr int kRounds = 4;             // the first one compiles kernels
constexpr double kMaxSeconds = 2;      // after which no further round begins

struct RunningType {
  TypeOfThisMachine result;
  std::optional<FusedEncoder> encoder;
  std::vector<at::Tensor> output;

  void run(const FusedEncoder::Clip& clip) {
    const Stopwatch watch;
    output = encoder->forward({clip}, {1});
    result.seconds = std::min(result.seconds, watch.seconds());
  }
};

}  // namespace

std::vector<TypeOfThisMachine> compare_types() {
  const at::NoGradGuard no_grad;
  Wav2Vec2BertConfig config;
  config.num_hidden_layers = 1;
  at::manual_seed(kLayerSeed);
  std::vector<RunningType> types;
  {
    const Wav2Vec2BertModel model(config);
    const WeightScope weights = {std::make_shared<ModuleWeights>(*model), ""};
    for (const Precision precision : kPrecisions) {
      RunningType& type = types.emplace_back();
      type.result.precision = precision;
      type.result.unsupported = FusedEncoder::unsupported_reason(precision).value_or("");
      type.result.seconds = std::numeric_limits<double>::infinity();
      if (!type.result.unsupported.empty()) continue;
      type.encoder.emplace(FusedEncoder::from(weights, config, precision));
      type.encoder->pack_weights();
    }
  }
  const FusedEncoder::Clip clip{at::randn({kFrames, config.feature_projection_input_dim}), {}};
  const Stopwatch watch;
  for (int round = 0; round < kRounds && watch.seconds() < kMaxSeconds; ++round) {
    for (RunningType& type : types) {
      if (type.encoder) type.run(clip);
    }
  }
  std::vector<TypeOfThisMachine> results;
  const RunningType& float32 = types.front();
  for (RunningType& type : types) {
    if (type.encoder) {
      type.result.speed = float32.result.seconds / type.result.seconds;
      type.result.error = relative_error(type.output, float32.output);
    }
    results.push_back(std::move(type.result));
  }
  return results;
}

}  // namespace w2vbert::tool
