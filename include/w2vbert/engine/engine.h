// How a loaded model is run over clips: the interface that the reference and the fused engine
// share.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "w2vbert/engine/fused_encoder.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert {

/// One clip's features, as SeamlessM4TFeatureExtractor makes them for it alone.
struct EngineClip {
  at::Tensor input_features;  ///< (T, F)
  at::Tensor attention_mask;  ///< (T), 0 or 1; undefined: all frames are valid
};

/// Which engine runs a model that is asked to run on `engine` ("fused" or "reference"): the fused
/// one runs what it can, all else falls back on the reference.
struct EngineChoice {
  std::string name;    ///< "fused" or "reference"
  std::string reason;  ///< why not "fused" although it was asked for; else empty
  /// What the model's parameters are loaded as: the fused engine takes them in float32.
  c10::ScalarType parameters(c10::ScalarType dtype) const {
    return name == "fused" ? c10::ScalarType::Float : dtype;
  }
};
/// Throws UsageError for int8 (Char), which only the fused engine has, where that cannot run.
EngineChoice choose_engine(const std::string& engine, const Wav2Vec2BertConfig& config,
                           c10::Device device, c10::ScalarType dtype);

class Engine {
 public:
  /// Asks for last_hidden_state, which differs from the highest state under an adapter.
  static constexpr std::int64_t kLastHiddenState = -1;

  virtual ~Engine() = default;
  virtual std::string_view name() const = 0;
  virtual std::int64_t num_hidden_layers() const = 0;

  /// For each clip, for each entry of `wanted` and in its order, one tensor (T, C) on the engine's
  /// device, in its dtype: hidden_states[n] as HF numbers them (0 = the first layer's input, n =
  /// output of encoder.layers.<n-1>), or kLastHiddenState, (T', C') under an adapter. The rows are
  /// those that HF returns for the clip alone, whatever else is in `clips`; features may be on any
  /// device and of any float type. Layers that no entry needs are not computed. Throws UsageError
  /// for a state that the model has not, c10::ValueError for features of another shape.
  virtual std::vector<std::vector<at::Tensor>> states(const std::vector<EngineClip>& clips,
                                                      const std::vector<std::int64_t>& wanted) = 0;

  /// `asked` is called every now and then while states() is at work; true ends it with Interrupted.
  virtual void interrupt_when(std::function<bool()> asked) = 0;
};

/// HF's operations one for one, through the torch::nn modules.
class ReferenceEngine : public Engine {
 public:
  enum class Batches {
    one_by_one,  ///< a clip's rows do not depend on its neighbours, to the last bit
    padded,      ///< clips of about one length together, as a GPU wants it: another rounding
  };
  /// `model` is loaded, on its device, in eval mode.
  explicit ReferenceEngine(Wav2Vec2BertModel model, Batches batches = Batches::one_by_one);

  std::string_view name() const override { return "reference"; }
  std::int64_t num_hidden_layers() const override;
  std::vector<std::vector<at::Tensor>> states(const std::vector<EngineClip>& clips,
                                              const std::vector<std::int64_t>& wanted) override;
  /// Between two clips, or two padded batches.
  void interrupt_when(std::function<bool()> asked) override { interrupt_asked_ = std::move(asked); }

 private:
  Wav2Vec2BertModel model_;
  Batches batches_;
  std::function<bool()> interrupt_asked_;
};

/// The fused encoder in float32, bfloat16 or int8 (Char), all clips in one batch; an adapter, which
/// follows it, runs on the same products, one clip at a time. On a CPU; the states are bfloat16 if
/// the precision is, else float32.
class FusedEngine : public Engine {
 public:
  /// Takes the model over: its encoder's weights are packed and freed. Throws c10::ValueError for
  /// what FusedEncoder::refusal names.
  explicit FusedEngine(Wav2Vec2BertModel model, c10::ScalarType precision = c10::ScalarType::Float,
                       const FusedEncoder::WeightReader& reader = {});

  std::string_view name() const override { return "fused"; }
  std::int64_t num_hidden_layers() const override;
  std::vector<std::vector<at::Tensor>> states(const std::vector<EngineClip>& clips,
                                              const std::vector<std::int64_t>& wanted) override;
  /// Between the steps of a layer.
  void interrupt_when(std::function<bool()> asked) override {
    encoder_.interrupt_when(std::move(asked));
  }

  FusedEncoder& encoder() { return encoder_; }

 private:
  Wav2Vec2BertModel model_;
  FusedEncoder encoder_;
  c10::ScalarType output_;
};

/// Of a choice by choose_engine for that dtype; takes the model over. `reader` is for the fused
/// one; the reference one pads batches on a GPU.
std::unique_ptr<Engine> make_engine(const EngineChoice& choice, Wav2Vec2BertModel model,
                                    c10::ScalarType dtype,
                                    const FusedEncoder::WeightReader& reader = {});

}  // namespace w2vbert
