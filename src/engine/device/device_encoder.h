// The encoder on any device.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/device/device_ops.h"
#include "engine/device/ragged_layout.h"
#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/engine/engine.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert {

// The inference of a Wav2Vec2BertModel's feature projection and encoder on the device where its
// parameters are. Clips of any lengths lie one behind the other in one
// matrix, so that only attention ever sees padding. Matrix products are computed in the parameters'
// dtype; the states that the layers add to, and their LayerNorms, are float32. A forward never
// waits for the device.
class DeviceEncoder {
 public:
  // Why this encoder cannot run a model of that config, or nothing when it can.
  static std::optional<std::string> unsupported_reason(const Wav2Vec2BertConfig& config);

  // Takes the weights of `model` as they are where it can, without a copy: they must not be written
  // afterwards. Throws c10::ValueError for what unsupported_reason() names, and for parameters of
  // several dtypes or devices.
  explicit DeviceEncoder(Wav2Vec2BertModelImpl& model);
  ~DeviceEncoder();
  DeviceEncoder(DeviceEncoder&&) noexcept;
  DeviceEncoder& operator=(DeviceEncoder&&) noexcept;

  c10::Device device() const;
  c10::ScalarType dtype() const;

  // How the steps between the products are computed: in LibTorch's operations, unless set. The
  // adapter of a DeviceEngine takes what its encoder has when the engine is made.
  std::shared_ptr<const DeviceOps> ops() const;
  void set_ops(std::shared_ptr<const DeviceOps> ops);

  // Rows are added behind the clips until their number is a multiple of that: of 256 on a GPU, of 1
  // on a CPU, unless it is set.
  void set_row_multiple(std::int64_t rows);

  // The layout that forward() takes for those clips.
  RaggedLayout layout_of(const std::vector<RaggedLength>& clips) const;

  enum class Input {
    features,
    projected,  // what the feature projection gives
  };
  // `input` (R, F), or (R, C) projected, on the device, of any float type; rows behind the clips
  // are finite. hidden_states[n] for each n of `states` (from 0 to num_hidden_layers, ascending),
  // as HF numbers them: (R, C) of dtype(). Layers past the last state are not computed.
  // `interrupted` is asked between the steps of a layer, unless it is empty; true ends the forward
  // with Interrupted. May be called on several threads at once.
  std::vector<at::Tensor> forward(const at::Tensor& input, const RaggedLayout& layout,
                                  const std::vector<std::int64_t>& states, Input kind,
                                  const std::function<bool()>& interrupted = {}) const;
  // The same of sums, as Engine::compute_sums() says.
  std::vector<at::Tensor> forward_sums(const at::Tensor& input, const RaggedLayout& layout,
                                       const std::vector<StateSum>& sums, Input kind,
                                       const std::function<bool()>& interrupted = {}) const;

 private:
  // Gets hidden_states[number] (R, C) float32, which the next layer overwrites.
  using TakeState = std::function<void(std::int64_t number, const at::Tensor& hidden_states)>;
  void run(const at::Tensor& input, const RaggedLayout& layout, std::int64_t last, Input kind,
           const std::function<bool()>& interrupted, const TakeState& take) const;

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace w2vbert
