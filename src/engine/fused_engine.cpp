#include "engine/fused_engine.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "engine/engine_inputs.h"
#include "engine/fused_model.h"

namespace w2vbert {
namespace {

FusedEncoder& encoder_of(Wav2Vec2BertModel& model) {
  FusedEncoder* encoder = fused_encoder_of(*model);
  TORCH_CHECK_VALUE(encoder != nullptr, "the fused engine: the model is not fused");
  return *encoder;
}

}  // namespace

FusedEngine::FusedEngine(Wav2Vec2BertModel model)
    : model_(std::move(model)),
      encoder_(encoder_of(model_)),
      output_(dtype_of(encoder_.precision())) {}

std::int64_t FusedEngine::num_hidden_layers() const { return model_->config.num_hidden_layers; }

std::vector<FusedEncoder::Clip> FusedEngine::inputs_of(const std::vector<EngineClip>& clips) const {
  std::vector<FusedEncoder::Clip> inputs;
  inputs.reserve(clips.size());
  for (const EngineClip& clip : clips) {
    check_clip(clip, model_->config.feature_projection_input_dim);
    const at::Tensor& mask = clip.attention_mask;
    inputs.push_back({clip.input_features.cpu(), mask.defined() ? mask.cpu() : mask});
  }
  return inputs;
}

std::vector<ClipStates> FusedEngine::compute(const std::vector<EngineClip>& clips,
                                             const std::vector<StateId>& wanted) {
  const WantedStates which = sort_out(wanted, num_hidden_layers());
  const at::NoGradGuard no_grad;
  const std::vector<FusedEncoder::Clip> inputs = inputs_of(clips);
  const std::vector<at::Tensor> rows =
      encoder_.forward(inputs, which.ascending);  // (sum of T, C) each

  std::vector<ClipStates> results;
  results.reserve(clips.size());
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < clips.size(); ++i) {
    const std::int64_t frames = clips[i].input_features.size(0);
    std::vector<at::Tensor>& states = results.emplace_back().states;
    for (std::size_t entry = 0; entry < wanted.size(); ++entry) {
      const auto found =
          std::lower_bound(which.ascending.begin(), which.ascending.end(), which.numbers[entry]);
      at::Tensor state =
          rows[static_cast<std::size_t>(found - which.ascending.begin())].narrow(0, begin, frames);
      if (wanted[entry].is_last_hidden_state()) {
        const at::Tensor& mask = inputs[i].attention_mask;
        state = model_->after_encoder(state.unsqueeze(0), mask.defined() ? mask.unsqueeze(0) : mask)
                    .squeeze(0);
      }
      // Its own memory: a view would keep the whole batch's.
      states.push_back(state.to(output_, /*non_blocking=*/false, /*copy=*/clips.size() > 1));
    }
    begin += frames;
  }
  return results;
}

std::vector<ClipStates> FusedEngine::compute_sums(const std::vector<EngineClip>& clips,
                                                  const std::vector<StateSum>& sums) {
  const at::NoGradGuard no_grad;
  const std::vector<at::Tensor> rows = encoder_.forward_sums(inputs_of(clips), sums);
  std::vector<ClipStates> results(clips.size());
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < clips.size(); ++i) {
    const std::int64_t frames = clips[i].input_features.size(0);
    for (const at::Tensor& sum : rows) {
      // Its own memory: a view would keep the whole batch's.
      results[i].states.push_back(sum.narrow(0, begin, frames)
                                      .to(output_, /*non_blocking=*/false,
                                          /*copy=*/clips.size() > 1));
    }
    begin += frames;
  }
  return results;
}

}  // namespace w2vbert
