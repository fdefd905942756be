#include "engine/engine_inputs.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <string>

#include "w2vbert/core/error.h"

namespace w2vbert {

std::optional<std::string> unsupported_positions(const Wav2Vec2BertConfig& config) {
  const auto& positions = config.position_embeddings_type;
  if (!positions || *positions == "relative_key") return {};
  return "position_embeddings_type is \"" + *positions + "\", not \"relative_key\" or null";
}

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

void check_clip(const EngineClip& clip, std::int64_t width) {
  const at::Tensor& features = clip.input_features;
  TORCH_CHECK_VALUE(features.defined(), "input_features of one clip: undefined, expected (T, ",
                    width, ")");
  TORCH_CHECK_VALUE(features.layout() == at::kStrided && features.is_floating_point(),
                    "input_features of one clip: ", features.toString(),
                    ", expected a dense tensor of a floating type");
  TORCH_CHECK_VALUE(features.dim() == 2 && features.size(0) > 0 && features.size(1) == width,
                    "input_features of one clip: shape ", features.sizes(), ", expected (T, ",
                    width, ") with at least one frame");
  const at::Tensor& mask = clip.attention_mask;
  if (!mask.defined()) return;
  TORCH_CHECK_VALUE(mask.layout() == at::kStrided && !mask.is_complex() && !mask.is_quantized(),
                    "attention_mask of one clip: ", mask.toString(),
                    ", expected a dense tensor of a boolean, integer or floating type");
  TORCH_CHECK_VALUE(mask.dim() == 1 && mask.size(0) == features.size(0),
                    "attention_mask of one clip: shape ", mask.sizes(), ", expected (",
                    features.size(0), ")");
  TORCH_CHECK_VALUE(
      mask.scalar_type() == at::kBool || mask.eq(mask.to(at::kBool)).all().item<bool>(),
      "attention_mask of one clip: holds other values, expected zeros and ones");
}

}  // namespace w2vbert
