#include "engine/device/device_engine.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "engine/device/device_copies.h"
#include "engine/device/device_model.h"
#include "engine/engine_inputs.h"

namespace w2vbert {
namespace {

// The clips' frames (R, F) in the order of their rows, with zeros behind them: one copy to the
// device for those that are on the CPU.
at::Tensor rows_of(const std::vector<EngineClip>& clips, const RaggedLayout& layout,
                   c10::Device device) {
  const bool on_cpu = std::all_of(clips.begin(), clips.end(), [](const EngineClip& clip) {
    return clip.input_features.device().is_cpu();
  });
  const c10::Device at_first = on_cpu ? c10::Device(at::kCPU) : device;
  std::vector<at::Tensor> parts;
  for (const std::size_t number : layout.order()) {
    parts.push_back(clips[number].input_features.to(at_first, at::kFloat));
  }
  const std::int64_t more = layout.rows() - layout.clip_rows();
  if (more > 0) parts.push_back(at::zeros({more, parts.front().size(1)}, parts.front().options()));
  const at::Tensor rows = at::cat(parts, 0);
  return on_cpu ? upload(rows, device) : rows;
}

// How long the clips are, and which of their frames count.
std::vector<RaggedLength> lengths_of(const std::vector<EngineClip>& clips, std::int64_t width) {
  std::vector<RaggedLength> lengths;
  for (const EngineClip& clip : clips) {
    check_clip(clip, width);
    const at::Tensor& mask = clip.attention_mask;
    lengths.push_back({clip.input_features.size(0), mask.defined() ? mask.cpu() : mask});
  }
  return lengths;
}

// The clip's own rows (T, C) of (R, C), in their own memory: a view would keep the whole batch's.
at::Tensor rows_of_clip(const at::Tensor& rows, const RaggedLayout& layout, std::size_t clip,
                        std::int64_t frames) {
  const at::Tensor of_clip = rows.narrow(0, layout.begin_of(clip), frames);
  return frames == layout.rows() ? of_clip : of_clip.clone();
}

DeviceEncoder& device_encoder_in(Wav2Vec2BertModelImpl& model) {
  DeviceEncoder* const encoder = device_encoder_of(model);
  TORCH_CHECK_VALUE(encoder != nullptr, "the device engine: the model has no device encoder");
  return *encoder;
}

}  // namespace

DeviceEngine::DeviceEngine(Wav2Vec2BertModel model)
    : model_(std::move(model)),
      encoder_(device_encoder_in(*model_)),
      adapter_(*model_, encoder_.ops()) {}

std::int64_t DeviceEngine::num_hidden_layers() const { return model_->config.num_hidden_layers; }

std::vector<ClipStates> DeviceEngine::compute(const std::vector<EngineClip>& clips,
                                              const std::vector<StateId>& wanted) {
  const WantedStates which = sort_out(wanted, num_hidden_layers());
  if (clips.empty()) return {};
  const at::NoGradGuard no_grad;
  const std::vector<RaggedLength> lengths =
      lengths_of(clips, model_->config.feature_projection_input_dim);
  const RaggedLayout layout = encoder_.layout_of(lengths);
  const bool wants_last = std::any_of(wanted.begin(), wanted.end(), [](const StateId& state) {
    return state.is_last_hidden_state();
  });
  DeviceAdapter::Plan plan;
  if (wants_last) plan = adapter_.plan(lengths, layout);
  const std::function<bool()> interrupted = interrupt_.get();
  const std::vector<at::Tensor> rows =
      encoder_.forward(rows_of(clips, layout, encoder_.device()), layout, which.ascending,
                       DeviceEncoder::Input::features, interrupted);
  std::vector<at::Tensor> last_hidden_states;
  if (wants_last) last_hidden_states = adapter_.forward(rows.back(), layout, plan, interrupted);

  std::vector<ClipStates> results(clips.size());
  for (std::size_t clip = 0; clip < clips.size(); ++clip) {
    for (std::size_t entry = 0; entry < wanted.size(); ++entry) {
      if (wanted[entry].is_last_hidden_state()) {
        results[clip].states.push_back(last_hidden_states[clip]);
        continue;
      }
      const auto found =
          std::lower_bound(which.ascending.begin(), which.ascending.end(), which.numbers[entry]);
      results[clip].states.push_back(
          rows_of_clip(rows[static_cast<std::size_t>(found - which.ascending.begin())], layout,
                       clip, lengths[clip].frames));
    }
  }
  return results;
}

std::vector<ClipStates> DeviceEngine::compute_sums(const std::vector<EngineClip>& clips,
                                                   const std::vector<StateSum>& sums) {
  if (clips.empty()) return {};
  const at::NoGradGuard no_grad;
  const std::vector<RaggedLength> lengths =
      lengths_of(clips, model_->config.feature_projection_input_dim);
  const RaggedLayout layout = encoder_.layout_of(lengths);
  const std::vector<at::Tensor> rows =
      encoder_.forward_sums(rows_of(clips, layout, encoder_.device()), layout, sums,
                            DeviceEncoder::Input::features, interrupt_.get());
  std::vector<ClipStates> results(clips.size());
  for (std::size_t clip = 0; clip < clips.size(); ++clip) {
    for (const at::Tensor& sum : rows) {
      results[clip].states.push_back(rows_of_clip(sum, layout, clip, lengths[clip].frames));
    }
  }
  return results;
}

}  // namespace w2vbert
