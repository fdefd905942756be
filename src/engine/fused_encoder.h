// The encoder as the fused engine runs it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/weight_scope.h"
#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/engine/engine.h"
#include "w2vbert/engine/precision.h"

namespace w2vbert {

// While one of these lives, this thread's engines take int8 where the processor has no instructions
// for it, on slow loops: so that each processor's tests run every precision.
class AllowSlowProducts {
 public:
  AllowSlowProducts();
  ~AllowSlowProducts();
  AllowSlowProducts(const AllowSlowProducts&) = delete;
  AllowSlowProducts& operator=(const AllowSlowProducts&) = delete;

  static bool active();

 private:
  bool before_;
};

// The inference of a Wav2Vec2BertModel's feature projection and encoder on a CPU, from weights that
// are laid out once for it. Clips of any lengths lie one behind the other in one matrix: there is
// no padding between them, and a clip's rows do not depend on its neighbours, its place among them
// or the number of threads, to the last bit. Against the mirror the states differ by rounding
// (docs/numerics.md).
class FusedEncoder {
 public:
  // Why this encoder cannot run a model of that config, or nothing when it can.
  static std::optional<std::string> unsupported_reason(const Wav2Vec2BertConfig& config);

  // Why a precision runs here on slow loops alone, or nothing: int8 needs instructions, products of
  // bfloat16 and float16 are those of float32 where they are slower (narrow_products.h). Under
  // AllowSlowProducts slow loops are no reason.
  static std::optional<std::string> unsupported_reason(Precision precision);

  // The instruction set of its loops, whether its matrix products are oneDNN's, in which precisions
  // they run, and which weights are widened for them:
  // "AVX512, oneDNN; products in float32, float16, int8; weights widened to float32: bfloat16".
  static std::string kernels();

  // `precision` is that of the layers' matrix products: float32, bfloat16, float16 or int8
  // (linear_out and the convolution module stay in float32). All else is float32, and so are the
  // states; only attention's products are bfloat16 or float16 if the layers' are. `weights` are
  // those of the Wav2Vec2BertModel. Its large matrices stay in their source during the first
  // forward if that one's clips are short, and are packed before the next one. Throws
  // c10::ValueError for what unsupported_reason() names, CheckpointError for what is not in the
  // source.
  static FusedEncoder from(const WeightScope& weights, const Wav2Vec2BertConfig& config,
                           Precision precision);

  // The same layer by layer: an encoder with the feature projection alone, and then each layer of
  // config.num_hidden_layers in turn.
  FusedEncoder(const WeightScope& feature_projection, const Wav2Vec2BertConfig& config,
               Precision precision);
  // Without a feature projection: it takes projected inputs alone.
  FusedEncoder(const Wav2Vec2BertConfig& config, Precision precision);
  void add_layer(const WeightScope& weights);
  // Packs the layer at once; adds nothing if that throws.
  void add_packed_layer(const WeightScope& weights);

  ~FusedEncoder();
  FusedEncoder(FusedEncoder&&) noexcept;
  FusedEncoder& operator=(FusedEncoder&&) noexcept;

  Precision precision() const;

  // Packs now what is still in a source. Throws what reading throws; what is packed stays so.
  void pack_weights();

  // `asked` is called between the steps of a layer; true ends the forward with Interrupted. A
  // forward that has begun keeps the function that it began with, and this does not wait for it.
  void interrupt_when(std::function<bool()> asked);

  struct Clip {
    at::Tensor input;  // (T, F) features or (T, C) projected; a CPU tensor of any float type
    // (T), zero where a frame is padding; undefined: all frames are valid
    at::Tensor attention_mask;
  };
  enum class Input {
    features,
    projected,  // what the feature projection gives
  };

  // Bytes that the forward of those clips takes beside what this encoder holds already: its
  // matrices, the states, and the weights where it packs them.
  std::int64_t memory_needed(const std::vector<Clip>& clips, std::size_t states,
                             Input kind = Input::features) const;

  // hidden_states[n] of every clip for each n of `states` (from 0 to num_hidden_layers, ascending),
  // as HF numbers them: float32 matrices (sum of T, C), the clips' rows in their order. Layers past
  // the last state are not computed. Two calls at once wait for each other. Throws c10::ValueError
  // for inputs of another shape and while there are fewer layers than num_hidden_layers,
  // c10::OutOfMemoryError before any work where there is less memory than memory_needed(), and as
  // pack_weights().
  std::vector<at::Tensor> forward(const std::vector<Clip>& clips,
                                  const std::vector<std::int64_t>& states,
                                  Input kind = Input::features);
  // The same of sums, as Engine::compute_sums() says, in float32: in the memory of as many states.
  std::vector<at::Tensor> forward_sums(const std::vector<Clip>& clips,
                                       const std::vector<StateSum>& sums,
                                       Input kind = Input::features);

  // Seconds that the forwards so far have spent, by step; filled while `set_profiling(true)`.
  struct Step {
    std::string name;
    double seconds = 0;
    double flops = 0;  // of matrix products
  };
  void set_profiling(bool on);
  std::vector<Step> profile() const;

 private:
  // Gets hidden_states[number] of all rows (sum of T, C), which the next layer overwrites.
  using TakeState = std::function<void(std::int64_t number, const at::Tensor& rows)>;
  // Runs the layers up to the state `last` (-1: not one), and gives each state on the way to
  // `take`, which makes `matrices` of their size of them. Throws as forward().
  void run(const std::vector<Clip>& clips, std::int64_t last, std::size_t matrices, Input kind,
           const TakeState& take);

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace w2vbert
