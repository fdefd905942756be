// The mirror as an engine.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "engine/interrupt_request.h"
#include "w2vbert/engine/engine.h"

namespace w2vbert {

// HF's operations one for one, through the torch::nn modules.
class ReferenceEngine : public Engine {
 public:
  enum class Batches {
    one_by_one,  // a clip's rows do not depend on its neighbours, to the last bit
    padded,      // clips of about one length together, as a GPU wants it: another rounding
  };
  // `model` is loaded, on its device, in eval mode.
  explicit ReferenceEngine(Wav2Vec2BertModel model, Batches batches = Batches::one_by_one);

  EngineKind kind() const override { return EngineKind::reference; }
  std::int64_t num_hidden_layers() const override;
  std::vector<ClipStates> compute(const std::vector<EngineClip>& clips,
                                  const std::vector<StateId>& wanted) override;
  // Between two clips, or two padded batches.
  void interrupt_when(std::function<bool()> asked) override { interrupt_.set(std::move(asked)); }

 private:
  Wav2Vec2BertModel model_;
  Batches batches_;
  InterruptRequest interrupt_;
};

}  // namespace w2vbert
