#include "engine/reference_engine.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "engine/engine_inputs.h"
#include "engine/reference_memory.h"

namespace w2vbert {
namespace {

constexpr double kMaxPadding = 1.25;  // rows of a padded batch to rows of its clips

// Which clips go through the model together: each alone, or those of about one length.
std::vector<std::vector<std::size_t>> groups_of(const std::vector<EngineClip>& clips,
                                                ReferenceEngine::Batches batches) {
  const bool padded = batches == ReferenceEngine::Batches::padded;
  const auto frames = [&](std::size_t clip) { return clips[clip].input_features.size(0); };
  std::vector<std::size_t> order(clips.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (padded) {
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return frames(a) > frames(b); });
  }
  std::vector<std::vector<std::size_t>> groups;
  std::int64_t rows = 0;  // of the last group, without padding
  for (const std::size_t clip : order) {
    const bool joins = padded && !groups.empty() &&
                       static_cast<double>(frames(groups.back().front())) *
                               static_cast<double>(groups.back().size() + 1) <=
                           kMaxPadding * static_cast<double>(rows + frames(clip));
    if (!joins) {
      groups.emplace_back();
      rows = 0;
    }
    groups.back().push_back(clip);
    rows += frames(clip);
  }
  return groups;
}

// (T, F) and (T) of each -> (B, T, F) and (B, T), zeros where a clip is shorter than the first. One
// clip without a mask stays so.
EngineClip padded(const std::vector<EngineClip>& clips, const std::vector<std::size_t>& group,
                  const at::TensorOptions& of_model) {
  const auto features_of = [&](std::size_t clip) {
    return clips[clip].input_features.to(of_model.device(), of_model.dtype().toScalarType());
  };
  const auto mask_of = [&](std::size_t clip) {
    const at::Tensor& mask = clips[clip].attention_mask;
    return mask.defined() ? mask.to(of_model.device()) : mask;
  };
  if (group.size() == 1) {
    const at::Tensor mask = mask_of(group.front());
    return {features_of(group.front()).unsqueeze(0), mask.defined() ? mask.unsqueeze(0) : mask};
  }
  const std::int64_t frames = clips[group.front()].input_features.size(0);
  const auto batch = static_cast<std::int64_t>(group.size());
  EngineClip all = {at::zeros({batch, frames, clips[group.front()].input_features.size(1)},
                              of_model.requires_grad(false)),
                    at::zeros({batch, frames}, of_model.requires_grad(false).dtype(at::kLong))};
  for (std::int64_t row = 0; row < batch; ++row) {
    const std::size_t clip = group[static_cast<std::size_t>(row)];
    const at::Tensor features = features_of(clip), mask = mask_of(clip);
    all.input_features[row].narrow(0, 0, features.size(0)).copy_(features);
    at::Tensor row_of_mask = all.attention_mask[row].narrow(0, 0, features.size(0));
    mask.defined() ? row_of_mask.copy_(mask) : row_of_mask.fill_(1);
  }
  return all;
}

}  // namespace

ReferenceEngine::ReferenceEngine(Wav2Vec2BertModel model, Batches batches)
    : model_(std::move(model)), batches_(batches) {}

std::int64_t ReferenceEngine::num_hidden_layers() const { return model_->config.num_hidden_layers; }

std::vector<ClipStates> ReferenceEngine::compute(const std::vector<EngineClip>& clips,
                                                 const std::vector<StateId>& wanted) {
  const WantedStates which = sort_out(wanted, num_hidden_layers());
  ForwardOptions options;
  options.output_hidden_states = true;
  if (!which.ascending.empty()) options.stop_after = which.ascending.back();

  const at::NoGradGuard no_grad;
  for (const EngineClip& clip : clips) {
    check_clip(clip, model_->config.feature_projection_input_dim);
  }
  const std::function<bool()> interrupt_asked = interrupt_.get();
  std::vector<ClipStates> results(clips.size());
  for (const std::vector<std::size_t>& group : groups_of(clips, batches_)) {
    if (interrupt_asked && interrupt_asked()) throw Interrupted();
    const at::TensorOptions of_model = model_->parameters().front().options();
    if (options.stop_after != 0) {  // else no layer runs
      check_reference_memory(model_->config, static_cast<std::int64_t>(group.size()),
                             clips[group.front()].input_features.size(0),
                             of_model.dtype().toScalarType(), of_model.device());
    }
    const EngineClip batch = padded(clips, group, of_model);
    const Wav2Vec2BertBaseModelOutput output =
        model_->forward(batch.input_features, batch.attention_mask, {}, options);
    for (std::size_t row = 0; row < group.size(); ++row) {
      const EngineClip& clip = clips[group[row]];
      const std::int64_t frames = clip.input_features.size(0);
      for (std::size_t entry = 0; entry < wanted.size(); ++entry) {
        at::Tensor state = output.hidden_states->at(static_cast<std::size_t>(which.numbers[entry]))
                               .select(0, static_cast<std::int64_t>(row))  // (B, T, C) -> (T, C)
                               .narrow(0, 0, frames);
        if (wanted[entry].is_last_hidden_state()) {
          const at::Tensor& mask = clip.attention_mask;
          state = model_
                      ->after_encoder(state.unsqueeze(0),
                                      mask.defined() ? mask.to(state.device()).unsqueeze(0) : mask)
                      .squeeze(0);
        }
        // Its own memory: a view would keep the whole batch's.
        results[group[row]].states.push_back(group.size() > 1 ? state.clone() : state);
      }
    }
  }
  return results;
}

}  // namespace w2vbert
