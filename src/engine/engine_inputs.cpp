#include "engine/engine_inputs.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <string>

#include "w2vbert/core/error.h"

namespace w2vbert {

WantedStates sort_out(const std::vector<StateId>& wanted, std::int64_t layers) {
  WantedStates which;
  for (const StateId& state : wanted) {
    const std::int64_t number = state.is_last_hidden_state() ? layers : state.number();
    if (number < 0 || number > layers) {
      throw UsageError("", "state " + std::to_string(number), "is not one of the model's",
                       "0 to " + std::to_string(layers));
    }
    which.numbers.push_back(number);
  }
  which.ascending = which.numbers;
  std::sort(which.ascending.begin(), which.ascending.end());
  which.ascending.erase(std::unique(which.ascending.begin(), which.ascending.end()),
                        which.ascending.end());
  return which;
}

void check_clip(const EngineClip& clip) {
  TORCH_CHECK_VALUE(clip.input_features.defined() && clip.input_features.dim() == 2,
                    "input_features of one clip: expected (T, F), got ",
                    clip.input_features.defined() ? clip.input_features.dim() : 0, " dimensions");
  TORCH_CHECK_VALUE(!clip.attention_mask.defined() || clip.attention_mask.dim() == 1,
                    "attention_mask of one clip: expected (T), got ",
                    clip.attention_mask.defined() ? clip.attention_mask.dim() : 0, " dimensions");
}

}  // namespace w2vbert
