// How a loaded model is run over clips: the interface that the reference and the fused engine
// share.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "w2vbert/engine/precision.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert {

/// One clip's features, as SeamlessM4TFeatureExtractor makes them for it alone.
struct EngineClip {
  at::Tensor input_features;  ///< (T, F), T > 0, of any float type
  /// (T), 0 or 1, of a boolean, integer or float type; undefined: all frames are valid
  at::Tensor attention_mask;
  double seconds = 0;  ///< of the audio that it is of, or 0: engines do not look at it
};

/// One of the states that a model gives for a clip.
class StateId {
 public:
  /// hidden_states[number] as HF numbers them: 0 = the first layer's input, n = the output of
  /// encoder.layers.<n-1>. Implicit, so that a list of states reads as HF's numbers: {0, 17}.
  constexpr StateId(std::int64_t number)  // NOLINT(google-explicit-constructor)
      : number_(number) {}
  /// HF's last_hidden_state: the adapter's output in a model that has one, else the output of the
  /// last layer, which is hidden_states[num_hidden_layers] as well.
  static constexpr StateId last_hidden_state() { return StateId(); }

  constexpr bool is_last_hidden_state() const { return !number_; }
  /// The number among hidden_states; last_hidden_state does not have one.
  constexpr std::int64_t number() const { return *number_; }

 private:
  constexpr StateId() = default;
  std::optional<std::int64_t> number_;
};

/// A weighted sum of hidden_states, or their mean, which is made while the layers run: it takes the
/// memory of one state, however many are added.
struct StateSum {
  /// As HF numbers hidden_states, ascending, each once, one at least.
  std::vector<std::int64_t> numbers;
  std::vector<double> weights;  ///< one for each number, finite; empty: the mean
};

/// One clip's states.
struct ClipStates {
  std::vector<at::Tensor> states;  ///< one for each that was wanted, in that order
};

enum class EngineKind {
  fused,      ///< weights packed once, many clips in one matrix without padding; on a CPU. On a GPU
              ///< it stands for `device` where the kernels of that have been checked.
  reference,  ///< HF's operations one for one, through the torch::nn modules
  device,     ///< many clips in one matrix without padding, on any device: in LibTorch's operations
              ///< or, where they are there and have been checked, in kernels of its own
};
/// "fused", "reference", "device", and back; std::nullopt for another word.
std::string name_of(EngineKind kind);
std::optional<EngineKind> engine_kind_of(std::string_view name);

/// Which engine runs a model: the fused one runs what it can, all else falls back on the reference.
struct EngineChoice {
  EngineKind kind = EngineKind::reference;
  Precision precision = Precision::float32;
  std::string reason;  ///< why not the fused one although it was asked for; else empty
  /// What computes the device engine's steps between the products, else empty: words that
  /// begin with "in", such as "in LibTorch's operations".
  std::string steps{};

  /// What the model's parameters are loaded as: the fused engine takes them in float32.
  c10::ScalarType parameter_dtype() const {
    return kind == EngineKind::fused ? c10::ScalarType::Float : dtype_of(precision);
  }
};
/// On a GPU the first call for a model's sizes may compute a small batch there, to check the
/// kernels. Throws UsageError (its key and setting are "precision") for int8, which only the fused
/// engine has, where that cannot run.
EngineChoice choose_engine(EngineKind wanted, const Wav2Vec2BertConfig& config, c10::Device device,
                           Precision precision);

/// Thrown out of a computation that was asked to end.
class Interrupted : public std::exception {
 public:
  const char* what() const noexcept override { return "interrupted"; }
};

/// Every member may be called on any thread, also while compute() is at work on another. Calls of
/// compute() at once give what each gives alone; those of the fused engine wait for one another.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual EngineKind kind() const = 0;
  virtual std::int64_t num_hidden_layers() const = 0;

  /// The wanted states of each clip, in the clips' order: (T, C) on the engine's device, of
  /// dtype_of(precision), which is float32 for int8; last_hidden_state is (T', C') in a model with
  /// an adapter. The rows are those that HF returns for
  /// the clip alone, whatever else is in `clips`; features and masks may be on any device. Layers
  /// that no wanted state needs are not computed. Throws UsageError for a state that the model does
  /// not have, c10::ValueError for features or a mask of another shape, type or value than
  /// EngineClip says.
  virtual std::vector<ClipStates> compute(const std::vector<EngineClip>& clips,
                                          const std::vector<StateId>& wanted) = 0;

  /// The same of sums: (T, C) of dtype_of(precision) each. They are added in float32 (float64 where
  /// the states are) in the numbers' order, `sum += weight * state`, and rounded at the end; a mean
  /// is the plain sum over the count, and that of one state is the state, to the last bit. Throws
  /// UsageError for numbers that the model does not have, c10::ValueError for numbers that do not
  /// ascend and weights that are not as many. This one adds what compute() gives, which holds all
  /// of the states at once: so the reference engine does it.
  virtual std::vector<ClipStates> compute_sums(const std::vector<EngineClip>& clips,
                                               const std::vector<StateSum>& sums);

  /// `asked` is called every now and then while compute() is at work, on its thread; true ends it
  /// with Interrupted. An empty function ends the asking. A compute() that has begun keeps the
  /// function that it began with: what that refers to has to live until it has returned.
  virtual void interrupt_when(std::function<bool()> asked) = 0;
};

/// The engine of a choice by choose_engine, around `model`: loaded, on its device, in eval mode.
/// The fused one fuses it first (engine/fuse.h) where that has not been done. The reference one
/// runs clips one by one on a CPU, and in padded batches on a GPU. Throws c10::ValueError for a
/// model that does not fit the choice: fused in another precision, fused for the reference engine,
/// with parameters of another dtype than choice.parameter_dtype(); and as fuse().
std::unique_ptr<Engine> make_engine(const EngineChoice& choice, Wav2Vec2BertModel model);

}  // namespace w2vbert
