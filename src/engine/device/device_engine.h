// The device encoder as an engine.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "engine/device/device_adapter.h"
#include "engine/device/device_encoder.h"
#include "engine/interrupt_request.h"
#include "w2vbert/engine/engine.h"

namespace w2vbert {

// All clips in one batch, on the device where the model's parameters are. The states are of their
// dtype.
class DeviceEngine : public Engine {
 public:
  // `model` has a device encoder (device_model.h).
  explicit DeviceEngine(Wav2Vec2BertModel model);

  EngineKind kind() const override { return EngineKind::device; }
  std::int64_t num_hidden_layers() const override;
  std::vector<ClipStates> compute(const std::vector<EngineClip>& clips,
                                  const std::vector<StateId>& wanted) override;
  std::vector<ClipStates> compute_sums(const std::vector<EngineClip>& clips,
                                       const std::vector<StateSum>& sums) override;
  // Between the steps of a layer.
  void interrupt_when(std::function<bool()> asked) override { interrupt_.set(std::move(asked)); }

 private:
  Wav2Vec2BertModel model_;
  DeviceEncoder& encoder_;  // the model's
  DeviceAdapter adapter_;
  InterruptRequest interrupt_;
};

}  // namespace w2vbert
