#include "w2vbert/engine/engine.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "engine/fused_adapter.h"
#include "w2vbert/core/dtype.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr double kMaxPadding = 1.25;  // rows of a padded batch to rows of its clips

struct WantedStates {
  std::vector<std::int64_t> numbers;  // of each entry; last_hidden_state begins as the last one
  std::vector<std::int64_t> rising;   // the same, each once
  bool last_hidden_state = false;
};

// Throws UsageError for a state that the model has not.
WantedStates sort_out(const std::vector<std::int64_t>& wanted, std::int64_t layers) {
  WantedStates which;
  for (const std::int64_t state : wanted) {
    if (state != Engine::kLastHiddenState && (state < 0 || state > layers)) {
      throw UsageError("", "state " + std::to_string(state), "is not one of the model's",
                       "0 to " + std::to_string(layers));
    }
    if (state == Engine::kLastHiddenState) which.last_hidden_state = true;
    which.numbers.push_back(state == Engine::kLastHiddenState ? layers : state);
  }
  which.rising = which.numbers;
  std::sort(which.rising.begin(), which.rising.end());
  which.rising.erase(std::unique(which.rising.begin(), which.rising.end()), which.rising.end());
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

// Which clips go through the model together: each alone, or those of about one length.
std::vector<std::vector<std::size_t>> groups_of(const std::vector<EngineClip>& clips, bool padded) {
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

EngineChoice choose_engine(const std::string& engine, const Wav2Vec2BertConfig& config,
                           c10::Device device, c10::ScalarType dtype) {
  EngineChoice choice = {"reference", ""};
  if (engine == "fused") {
    if (!device.is_cpu()) {
      choice.reason = "the device is " + device.str() + ", not cpu";
    } else if (const auto refused = FusedEncoder::unsupported_reason(dtype)) {
      choice.reason = *refused;
    } else if (const auto refused_config = FusedEncoder::unsupported_reason(config)) {
      choice.reason = *refused_config;
    } else {
      choice.name = "fused";
    }
  }
  if (dtype == at::kChar && choice.name != "fused") {
    throw UsageError(
        "", "dtype",
        "int8 runs on the fused engine alone" + (choice.reason.empty() ? "" : ": " + choice.reason),
        "another dtype, or the fused engine where it can run", "dtype");
  }
  return choice;
}

std::unique_ptr<Engine> make_engine(const EngineChoice& choice, Wav2Vec2BertModel model,
                                    c10::ScalarType dtype,
                                    const FusedEncoder::WeightReader& reader) {
  if (choice.name == "fused") return std::make_unique<FusedEngine>(std::move(model), dtype, reader);
  const bool on_cpu = model->parameters().front().device().is_cpu();
  return std::make_unique<ReferenceEngine>(
      std::move(model),
      on_cpu ? ReferenceEngine::Batches::one_by_one : ReferenceEngine::Batches::padded);
}

ReferenceEngine::ReferenceEngine(Wav2Vec2BertModel model, Batches batches)
    : model_(std::move(model)), batches_(batches) {}

std::int64_t ReferenceEngine::num_hidden_layers() const { return model_->config.num_hidden_layers; }

std::vector<std::vector<at::Tensor>> ReferenceEngine::states(
    const std::vector<EngineClip>& clips, const std::vector<std::int64_t>& wanted) {
  const WantedStates which = sort_out(wanted, num_hidden_layers());
  ForwardOptions options;
  options.output_hidden_states = true;
  if (!which.rising.empty()) options.stop_after = which.rising.back();

  const at::NoGradGuard no_grad;
  for (const EngineClip& clip : clips) check_clip(clip);
  std::vector<std::vector<at::Tensor>> results(clips.size());
  for (const std::vector<std::size_t>& group : groups_of(clips, batches_ == Batches::padded)) {
    if (interrupt_asked_ && interrupt_asked_()) throw Interrupted();
    const EngineClip batch = padded(clips, group, model_->parameters().front().options());
    const Wav2Vec2BertBaseModelOutput output =
        model_->forward(batch.input_features, batch.attention_mask, {}, options);
    for (std::size_t row = 0; row < group.size(); ++row) {
      const EngineClip& clip = clips[group[row]];
      const std::int64_t frames = clip.input_features.size(0);
      for (std::size_t entry = 0; entry < wanted.size(); ++entry) {
        at::Tensor state = output.hidden_states->at(static_cast<std::size_t>(which.numbers[entry]))
                               .select(0, static_cast<std::int64_t>(row))  // (B, T, C) -> (T, C)
                               .narrow(0, 0, frames);
        if (wanted[entry] == kLastHiddenState) {
          const at::Tensor& mask = clip.attention_mask;
          state = model_
                      ->after_encoder(state.unsqueeze(0),
                                      mask.defined() ? mask.to(state.device()).unsqueeze(0) : mask)
                      .squeeze(0);
        }
        // Its own memory: a view would keep the whole batch's.
        results[group[row]].push_back(group.size() > 1 ? state.clone() : state);
      }
    }
  }
  return results;
}

FusedEngine::FusedEngine(Wav2Vec2BertModel model, c10::ScalarType precision,
                         const FusedEncoder::WeightReader& reader)
    : model_(std::move(model)),
      encoder_(model_, precision, /*release_weights=*/true, reader),
      output_(precision == at::kBFloat16 ? at::kBFloat16 : at::kFloat) {
  fuse_adapter(*model_, precision);
}

std::int64_t FusedEngine::num_hidden_layers() const { return model_->config.num_hidden_layers; }

std::vector<std::vector<at::Tensor>> FusedEngine::states(const std::vector<EngineClip>& clips,
                                                         const std::vector<std::int64_t>& wanted) {
  const WantedStates which = sort_out(wanted, num_hidden_layers());
  const at::NoGradGuard no_grad;
  std::vector<FusedEncoder::Clip> inputs;
  inputs.reserve(clips.size());
  for (const EngineClip& clip : clips) {
    check_clip(clip);
    inputs.push_back({clip.input_features.cpu(), clip.attention_mask});
  }
  const std::vector<at::Tensor> rows =
      encoder_.forward(inputs, which.rising);  // (sum of T, C) each

  std::vector<std::vector<at::Tensor>> results;
  results.reserve(clips.size());
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < clips.size(); ++i) {
    const std::int64_t frames = clips[i].input_features.size(0);
    std::vector<at::Tensor>& states_of_clip = results.emplace_back();
    for (std::size_t entry = 0; entry < wanted.size(); ++entry) {
      const auto found =
          std::lower_bound(which.rising.begin(), which.rising.end(), which.numbers[entry]);
      at::Tensor state =
          rows[static_cast<std::size_t>(found - which.rising.begin())].narrow(0, begin, frames);
      if (wanted[entry] == kLastHiddenState) {
        const at::Tensor& mask = clips[i].attention_mask;
        state = model_->after_encoder(state.unsqueeze(0), mask.defined() ? mask.unsqueeze(0) : mask)
                    .squeeze(0);
      }
      // Its own memory: a view would keep the whole batch's.
      states_of_clip.push_back(
          state.to(output_, /*non_blocking=*/false, /*copy=*/clips.size() > 1));
    }
    begin += frames;
  }
  return results;
}

}  // namespace w2vbert
