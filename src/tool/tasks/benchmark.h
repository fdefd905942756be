// Times a model alone, inside one process.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/fused_encoder.h"
#include "tool/tasks/model_request.h"
#include "w2vbert/checkpoint/load.h"
#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/engine/engine.h"

namespace w2vbert::tool {

struct BenchmarkResult {
  std::vector<std::int64_t> lengths;  // in frames, of the clips of one batch
  double seconds_min = 0;
  double seconds_median = 0;
  double rtf = 0;  // seconds_min per second of audio
  // The part of seconds_min that the arithmetic alone takes at the rate of oneDNN's packed linear
  // layers, measured between the runs; only for float32 on a CPU, else 0.
  double gemm_roofline_fraction = 0;
  double gemm_flops_per_second = 0;
  std::vector<FusedEncoder::Step> profile;  // of one run more, when asked for; else empty

  std::int64_t frames() const;
  double audio_seconds() const;
};

// |states - exact| / |exact|, in Euclidean norms over all of them.
double relative_error(const std::vector<at::Tensor>& states, const std::vector<at::Tensor>& exact);

class Benchmark {
 public:
  // Loads the model; throws as loading does.
  explicit Benchmark(const ModelRequest& request);

  const EngineChoice& engine() const { return choice_; }
  const LoadReport& report() const { return report_; }

  // The last_hidden_state of seeded features of clips of those lengths, as float32.
  std::vector<at::Tensor> last_hidden_states(const std::vector<std::int64_t>& lengths);
  // Seconds from seeded features of clips of those lengths to their last_hidden_state.
  double run(const std::vector<std::int64_t>& lengths);
  // After a warm-up, `rounds` runs.
  BenchmarkResult measure(const std::vector<std::int64_t>& lengths, int rounds, bool profile);

 private:
  ModelRequest request_;
  Wav2Vec2BertConfig config_;
  EngineChoice choice_;
  LoadReport report_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace w2vbert::tool
