// The fused encoder as an engine.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "engine/fused_encoder.h"
#include "w2vbert/engine/engine.h"

namespace w2vbert {

// All clips in one batch; an adapter, which follows the encoder, runs on the same products, one
// clip at a time. On a CPU; the states are bfloat16 if the precision is, else float32.
class FusedEngine : public Engine {
 public:
  // `model` is fused (engine/fuse.h).
  explicit FusedEngine(Wav2Vec2BertModel model);

  EngineKind kind() const override { return EngineKind::fused; }
  std::int64_t num_hidden_layers() const override;
  std::vector<ClipStates> compute(const std::vector<EngineClip>& clips,
                                  const std::vector<StateId>& wanted) override;
  std::vector<ClipStates> compute_sums(const std::vector<EngineClip>& clips,
                                       const std::vector<StateSum>& sums) override;
  // Between the steps of a layer.
  void interrupt_when(std::function<bool()> asked) override {
    encoder_.interrupt_when(std::move(asked));
  }

  FusedEncoder& encoder() { return encoder_; }

 private:
  std::vector<FusedEncoder::Clip> inputs_of(const std::vector<EngineClip>& clips) const;

  Wav2Vec2BertModel model_;
  FusedEncoder& encoder_;  // the model's
  c10::ScalarType output_;
};

}  // namespace w2vbert
