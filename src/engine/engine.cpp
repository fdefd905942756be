#include "w2vbert/engine/engine.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <string>
#include <utility>

#include "fused_adapter.h"
#include "w2vbert/core/dtype.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

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

}  // namespace

EngineChoice choose_engine(const std::string& engine, const Wav2Vec2BertConfig& config,
                           c10::Device device, c10::ScalarType dtype) {
  EngineChoice choice = {"reference", ""};
  if (engine == "fused") {
    if (!device.is_cpu()) {
      choice.reason = "the device is " + device.str() + ", not cpu";
    } else if (const auto refused = FusedEncoder::refusal(dtype)) {
      choice.reason = *refused;
    } else if (const auto refused_config = FusedEncoder::refusal(config)) {
      choice.reason = *refused_config;
    } else {
      choice.name = "fused";
    }
  }
  if (dtype == at::kChar && choice.name != "fused") {
    throw UsageError(
        "", "--dtype",
        "int8 runs on the fused engine alone" + (choice.reason.empty() ? "" : ": " + choice.reason),
        "another dtype, or --engine fused where it can run");
  }
  return choice;
}

std::unique_ptr<Engine> make_engine(const EngineChoice& choice, Wav2Vec2BertModel model,
                                    c10::ScalarType dtype,
                                    const FusedEncoder::WeightReader& reader) {
  if (choice.name == "fused") return std::make_unique<FusedEngine>(std::move(model), dtype, reader);
  return std::make_unique<ReferenceEngine>(std::move(model));
}

ReferenceEngine::ReferenceEngine(Wav2Vec2BertModel model) : model_(std::move(model)) {}

std::int64_t ReferenceEngine::num_hidden_layers() const { return model_->config.num_hidden_layers; }

std::vector<std::vector<at::Tensor>> ReferenceEngine::states(
    const std::vector<EngineClip>& clips, const std::vector<std::int64_t>& wanted) {
  const WantedStates which = sort_out(wanted, num_hidden_layers());
  ForwardOptions options;
  options.output_hidden_states = true;
  if (!which.last_hidden_state && !which.rising.empty()) options.stop_after = which.rising.back();

  const at::NoGradGuard no_grad;
  const at::TensorOptions of_model = model_->parameters().front().options();
  std::vector<std::vector<at::Tensor>> results;
  results.reserve(clips.size());
  for (const EngineClip& clip : clips) {
    check_clip(clip);
    at::Tensor mask;
    if (clip.attention_mask.defined()) {
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
