#include "w2vbert/engine/fuse.h"

#include <torch/types.h>

#include <memory>
#include <numeric>
#include <string>
#include <utility>

#include "engine/fused_adapter.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert {
namespace {

Wav2Vec2BertConfig without_layers(Wav2Vec2BertConfig config) {
  config.num_hidden_layers = 0;
  config.position_embeddings_type.reset();
  return config;
}

// In the place of a Wav2Vec2BertEncoder; has neither layers nor parameters.
class FusedEncoderModule : public Wav2Vec2BertEncoderImpl {
 public:
  FusedEncoderModule(Wav2Vec2BertModel model, c10::ScalarType precision,
                     const FusedEncoder::WeightReader& reader)
      : Wav2Vec2BertEncoderImpl(without_layers(model->config)),
        layers_(model->config.num_hidden_layers),
        channels_(model->config.hidden_size),
        attn_implementation_(model->config.attn_implementation),
        encoder_(std::move(model), precision, /*release_weights=*/true, reader) {}

  Output forward(torch::Tensor hidden_states, const torch::Tensor& attention_mask,
                 const ForwardOptions& options) override;

  void pretty_print(std::ostream& stream) const override {
    stream << "w2vbert::FusedEncoder(" << layers_ << " layers of " << channels_ << ")";
  }
  std::shared_ptr<torch::nn::Module> clone(const std::optional<torch::Device>&) const override {
    TORCH_CHECK_VALUE(false, "a fused model cannot be cloned: clone it before fuse()");
  }

 private:
  std::int64_t layers_;
  std::int64_t channels_;
  std::string attn_implementation_;
  FusedEncoder encoder_;
};

Wav2Vec2BertEncoderImpl::Output FusedEncoderModule::forward(torch::Tensor hidden_states,
                                                            const torch::Tensor& attention_mask,
                                                            const ForwardOptions& options) {
  TORCH_CHECK_VALUE(!is_training(), "a fused model does inference only: call eval()");
  TORCH_CHECK_VALUE(!(at::GradMode::is_enabled() && hidden_states.requires_grad()),
                    "a fused model gives no gradients: use torch::NoGradGuard");
  TORCH_CHECK_VALUE(!options.output_attentions.value_or(false) || attn_implementation_ == "sdpa",
                    "a fused model gives no attentions, expected output_attentions = false");
  const auto layers_to_run = options.stop_after.value_or(layers_);
  TORCH_CHECK_VALUE(layers_to_run >= 0 && layers_to_run <= layers_, "stop_after: ", layers_to_run,
                    ", expected from 0 to ", layers_);
  TORCH_CHECK_VALUE(hidden_states.dim() == 3, "hidden_states: ", hidden_states.sizes(),
                    ", expected (B, T, ", channels_, ")");
  const auto batch = hidden_states.size(0);
  std::vector<FusedEncoder::Clip> clips;
  for (std::int64_t row = 0; row < batch; ++row) {
    clips.push_back(
        {hidden_states[row], attention_mask.defined() ? attention_mask[row] : attention_mask});
  }
  const bool all = options.output_hidden_states.value_or(false);
  std::vector<std::int64_t> states = {layers_to_run};
  if (all) {
    states.resize(static_cast<std::size_t>(layers_to_run) + 1);
    std::iota(states.begin(), states.end(), 0);
  }
  auto computed = encoder_.forward(clips, states, /*projected=*/true);
  for (auto& state : computed) state = state.view(hidden_states.sizes());  // (B T, C) -> (B, T, C)
  Output output;
  output.last_hidden_state = computed.back();
  if (all) output.hidden_states = std::move(computed);
  return output;
}

std::shared_ptr<Wav2Vec2BertModelImpl> find_model(torch::nn::Module& model) {
  if (model.as<Wav2Vec2BertModelImpl>() != nullptr) {
    return std::dynamic_pointer_cast<Wav2Vec2BertModelImpl>(model.shared_from_this());
  }
  for (const auto& child : model.children()) {
    if (child->as<Wav2Vec2BertModelImpl>() != nullptr) {
      return std::dynamic_pointer_cast<Wav2Vec2BertModelImpl>(child);
    }
  }
  TORCH_CHECK_VALUE(false, "fuse: no Wav2Vec2BertModel in ", model.name());
}

}  // namespace

void fuse(torch::nn::Module& model, c10::ScalarType precision,
          const FusedEncoder::WeightReader& reader) {
  Wav2Vec2BertModel inner(find_model(model));
  const auto fused = std::make_shared<FusedEncoderModule>(inner, precision, reader);
  fused->train(inner->is_training());
  fuse_adapter(*inner, precision);
  inner->encoder = Wav2Vec2BertEncoder(
      std::static_pointer_cast<Wav2Vec2BertEncoderImpl>(inner->replace_module("encoder", fused)));
}

}  // namespace w2vbert
