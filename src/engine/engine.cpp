#include "w2vbert/engine/engine.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <string>
#include <utility>

#include "w2vbert/core/error.h"

namespace w2vbert {

ReferenceEngine::ReferenceEngine(Wav2Vec2BertModel model) : model_(std::move(model)) {}

std::int64_t ReferenceEngine::num_hidden_layers() const { return model_->config.num_hidden_layers; }

std::vector<std::vector<at::Tensor>> ReferenceEngine::states(
    const std::vector<EngineClip>& clips, const std::vector<std::int64_t>& wanted) {
  const std::int64_t layers = num_hidden_layers();
  std::int64_t highest = 0;
  bool wants_last = false;
  for (const std::int64_t state : wanted) {
    if (state != kLastHiddenState && (state < 0 || state > layers)) {
      throw UsageError("", "state " + std::to_string(state), "is not one of the model's",
                       "0 to " + std::to_string(layers));
    }
    highest = std::max(highest, state);
    wants_last = wants_last || state == kLastHiddenState;
  }
  ForwardOptions options;
  options.output_hidden_states = true;
  if (!wants_last) options.stop_after = highest;

  const at::NoGradGuard no_grad;
  const at::TensorOptions of_model = model_->parameters().front().options();
  std::vector<std::vector<at::Tensor>> results;
  results.reserve(clips.size());
  for (const EngineClip& clip : clips) {
    TORCH_CHECK_VALUE(clip.input_features.defined() && clip.input_features.dim() == 2,
                      "input_features of one clip: expected (T, F), got ",
                      clip.input_features.defined() ? clip.input_features.dim() : 0, " dimensions");
    at::Tensor mask;
    if (clip.attention_mask.defined()) {
      TORCH_CHECK_VALUE(clip.attention_mask.dim() == 1,
                        "attention_mask of one clip: expected (T), got ", clip.attention_mask.dim(),
                        " dimensions");
      mask = clip.attention_mask.to(of_model.device()).unsqueeze(0);  // (T) -> (1, T)
    }
    const at::Tensor features =
        clip.input_features.to(of_model.device(), of_model.dtype().toScalarType())
            .unsqueeze(0);  // (T, F) -> (1, T, F)
    const Wav2Vec2BertBaseModelOutput output = model_->forward(features, mask, {}, options);
    std::vector<at::Tensor>& states_of_clip = results.emplace_back();
    for (const std::int64_t state : wanted) {
      const at::Tensor& rows = state == kLastHiddenState
                                   ? output.last_hidden_state
                                   : output.hidden_states->at(static_cast<std::size_t>(state));
      states_of_clip.push_back(rows.squeeze(0));  // (1, T, C) -> (T, C)
    }
  }
  return results;
}

}  // namespace w2vbert
