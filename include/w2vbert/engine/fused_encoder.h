// The encoder as the fused engine runs it.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert {

/// Thrown out of a forward that was asked to end.
class Interrupted : public std::exception {
 public:
  const char* what() const noexcept override { return "interrupted"; }
};

/// The inference of one Wav2Vec2BertModel's feature projection and encoder on a CPU, from
/// weights that are laid out once for it. Clips of any lengths lie one behind the other in one
/// matrix: there is no padding between them, and a clip's rows do not depend on its neighbours, its
/// place among them or the number of threads, to the last bit. Against the mirror the states differ
/// by rounding (docs/numerics.md).
class FusedEncoder {
 public:
  /// Writes rows [first, first + count) of a weight as float32, one behind the other. Called from
  /// several threads at once.
  using RowReader = std::function<void(std::int64_t first, std::int64_t count, float* rows)>;
  /// For a parameter whose values are in a file instead of the module; null: they are in the
  /// module.
  using WeightReader = std::function<RowReader(const at::Tensor& parameter)>;
  /// Whether a parameter of that name is one of those that a WeightReader is asked for.
  static bool packs(const std::string& parameter_name);

  /// Why this encoder cannot run a model of that config, or nothing when it can.
  static std::optional<std::string> unsupported_reason(const Wav2Vec2BertConfig& config);

  /// The instruction set of its loops, whose matrix products it runs on and in which precisions:
  /// "AVX512, oneDNN: float32, int8".
  static std::string kernels();

  /// Why a precision runs here on slow loops or not at all, or nothing.
  static std::optional<std::string> unsupported_reason(c10::ScalarType precision);

  /// `precision` is that of the layers' matrix products: Float, BFloat16, or Char for int8 (a scale
  /// for each row of inputs and each output of a weight; linear_out and the convolution module stay
  /// in float32). All else is float32, and so are the states; only attention's products are
  /// bfloat16 if the layers' are. Packs the weights of `model`, which is on the CPU. With
  /// `release_weights` the modules' own copies are freed as soon as they are packed: the model can
  /// no longer be run. Weights that are in a file stay there during the first forward if its clips
  /// are short, and are packed before the next one: what runs once starts at once. Throws
  /// c10::ValueError for what unsupported_reason() names.
  explicit FusedEncoder(Wav2Vec2BertModel model, c10::ScalarType precision = c10::ScalarType::Float,
                        bool release_weights = false, const WeightReader& reader = {});
  ~FusedEncoder();
  FusedEncoder(FusedEncoder&&) noexcept;
  FusedEncoder& operator=(FusedEncoder&&) noexcept;

  /// Packs now what is still in a file. Throws what its reader throws; what is packed stays so.
  void pack_weights();

  /// `asked` is called between the steps of a layer; true ends the forward with Interrupted.
  void interrupt_when(std::function<bool()> asked);

  struct Clip {
    at::Tensor input;  ///< (T, F) features or (T, C) projected; a CPU tensor of any float type
    at::Tensor
        attention_mask;  ///< (T), zero where a frame is padding; undefined: all frames are valid
  };

  /// hidden_states[n] of every clip for each n of `states` (from 0 to num_hidden_layers, rising),
  /// as HF numbers them: float32 matrices (sum of T, C), the clips' rows in their order. Layers
  /// past the last state are not computed. With `projected`, the inputs are what the feature
  /// projection gives. Two calls at once wait for each other. Throws c10::ValueError for inputs of
  /// another shape, and as pack_weights().
  std::vector<at::Tensor> forward(const std::vector<Clip>& clips,
                                  const std::vector<std::int64_t>& states, bool projected = false);

  /// Seconds that the forwards so far have spent, by step; filled while `set_profiling(true)`.
  struct Step {
    std::string name;
    double seconds = 0;
    double flops = 0;  ///< of matrix products
  };
  void set_profiling(bool on);
  std::vector<Step> profile() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace w2vbert
