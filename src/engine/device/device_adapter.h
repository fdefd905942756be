// What follows the encoder, on any device.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "engine/device/device_ops.h"
#include "engine/device/ragged_layout.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert {

// The intermediate_ffn and the adapter of a Wav2Vec2BertModel, on the device where its parameters
// are. Each clip's frames are those that HF gives for it alone. A forward never waits for the
// device.
class DeviceAdapter {
 public:
  // Shares the weights as DeviceEncoder does. `ops`: the encoder's.
  DeviceAdapter(Wav2Vec2BertModelImpl& model, std::shared_ptr<const DeviceOps> ops);
  ~DeviceAdapter();
  DeviceAdapter(DeviceAdapter&&) noexcept;
  DeviceAdapter& operator=(DeviceAdapter&&) noexcept;

  // How the clips lie after each layer of the adapter. Throws c10::ValueError for a clip that is
  // too short for its convolutions.
  struct Plan {
    struct Layer {
      RaggedLayout layout;
      // For each group of the layout before it: int64 (rows), the place of each row of its clips
      // among (B T'); undefined: all clips have T' frames.
      std::vector<at::Tensor> places;
    };
    std::vector<Layer> layers;
    std::vector<std::size_t> order;    // clips in the order of their rows
    std::vector<std::int64_t> frames;  // behind the adapter, in that order
  };
  // `clips` and `layout`: as the encoder's.
  Plan plan(const std::vector<RaggedLength>& clips, const RaggedLayout& layout) const;

  // `hidden_states` (R, C), the encoder's last state -> last_hidden_state (T', E) of each clip, in
  // the order that the layout was given them, in memory of its own. `interrupted` is asked before
  // each layer, unless it is empty; true ends the forward with Interrupted. Throws c10::ValueError
  // where the adapter has been moved or converted.
  std::vector<at::Tensor> forward(const at::Tensor& hidden_states, const RaggedLayout& layout,
                                  const Plan& plan,
                                  const std::function<bool()>& interrupted = {}) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace w2vbert
