#include "w2vbert/engine/fuse.h"

#include <torch/types.h>

#include <memory>
#include <numeric>
#include <string>
#include <utility>

#include "engine/fused_adapter.h"
#include "engine/fused_encoder.h"
#include "engine/fused_model.h"
#include "engine/weight_scope.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert {
namespace {

Wav2Vec2BertConfig without_encoder_layers(Wav2Vec2BertConfig config) {
  config.num_hidden_layers = 0;
  config.position_embeddings_type.reset();
  return config;
}

// In the place of a Wav2Vec2BertEncoder; has neither layers nor parameters.
class FusedEncoderModule : public Wav2Vec2BertEncoderImpl {
 public:
  FusedEncoderModule(FusedEncoder encoder, const Wav2Vec2BertConfig& config)
      : Wav2Vec2BertEncoderImpl(without_encoder_layers(config)),
        layers_(config.num_hidden_layers),
        channels_(config.hidden_size),
        attn_implementation_(config.attn_implementation),
        encoder_(std::move(encoder)) {}

  FusedEncoder& encoder() { return encoder_; }

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
  auto computed = encoder_.forward(clips, states, FusedEncoder::Input::projected);
  for (auto& state : computed) state = state.view(hidden_states.sizes());  // (B T, C) -> (B, T, C)
  Output output;
  output.last_hidden_state = computed.back();
  if (all) output.hidden_states = std::move(computed);
  return output;
}

struct FoundModel {
  std::shared_ptr<Wav2Vec2BertModelImpl> model;
  std::string prefix;  // of its names in the whole
};

FoundModel find_model(torch::nn::Module& module) {
  const auto as_model = [](const std::shared_ptr<torch::nn::Module>& candidate) {
    return std::dynamic_pointer_cast<Wav2Vec2BertModelImpl>(candidate);
  };
  if (module.as<Wav2Vec2BertModelImpl>() != nullptr) {
    return {as_model(module.shared_from_this()), ""};
  }
  for (const auto& child : module.named_children()) {
    if (auto model = as_model(child.value())) return {std::move(model), child.key() + "."};
  }
  TORCH_CHECK_VALUE(false, "fuse: no Wav2Vec2BertModel in ", module.name());
}

void check_model(Wav2Vec2BertModelImpl& model) {
  TORCH_CHECK_VALUE(
      fused_encoder_of(model) == nullptr &&
          model.encoder->layers->size() == static_cast<std::size_t>(model.config.num_hidden_layers),
      "the fused engine: the model is fused already, or has lost its layers");
  const c10::Device device = model.parameters().front().device();
  TORCH_CHECK_VALUE(device.is_cpu(), "the fused engine: the model is on ", device,
                    ", expected cpu");
}

WeightScope weights_of(const torch::nn::Module& module) {
  return {std::make_shared<ModuleWeights>(module), ""};
}

void replace_encoder(Wav2Vec2BertModelImpl& model,
                     const std::shared_ptr<Wav2Vec2BertEncoderImpl>& encoder) {
  encoder->train(model.is_training());
  model.encoder = Wav2Vec2BertEncoder(
      std::static_pointer_cast<Wav2Vec2BertEncoderImpl>(model.replace_module("encoder", encoder)));
}

// Packs the layers' weights one by one, each of which then leaves the model: they are not in memory
// twice.
FusedEncoder pack_layers(Wav2Vec2BertModelImpl& model, Precision precision) {
  FusedEncoder encoder(weights_of(*model.feature_projection), model.config, precision);
  std::vector<std::shared_ptr<torch::nn::Module>> layers = model.encoder->layers->children();
  replace_encoder(model,
                  std::make_shared<Wav2Vec2BertEncoderImpl>(without_encoder_layers(model.config)));
  for (auto& layer : layers) {
    encoder.add_layer(weights_of(*layer));
    encoder.pack_weights();
    layer.reset();
  }
  return encoder;
}

}  // namespace

FusedEncoder* fused_encoder_of(Wav2Vec2BertModelImpl& model) {
  auto* encoder = dynamic_cast<FusedEncoderModule*>(model.encoder.get());
  return encoder == nullptr ? nullptr : &encoder->encoder();
}

void fuse(torch::nn::Module& model, Precision precision) {
  const auto inner = find_model(model).model;
  check_model(*inner);
  replace_encoder(
      *inner, std::make_shared<FusedEncoderModule>(pack_layers(*inner, precision), inner->config));
  if (!inner->adapter.is_empty()) fuse_adapter(*inner, weights_of(*inner->adapter), precision);
}

void fuse(torch::nn::Module& model, Precision precision,
          const std::shared_ptr<const WeightSource>& weights) {
  const FoundModel found = find_model(model);
  check_model(*found.model);
  const WeightScope scope = {weights, found.prefix};
  replace_encoder(*found.model, std::make_shared<FusedEncoderModule>(
                                    FusedEncoder::from(scope, found.model->config, precision),
                                    found.model->config));
  fuse_adapter(*found.model, scope.below("adapter"), precision);
}

}  // namespace w2vbert
