#include "w2vbert/engine/fuse.h"

#include <torch/types.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/text.h"
#include "engine/fused_adapter.h"
#include "engine/fused_encoder.h"
#include "engine/fused_model.h"
#include "engine/fused_module.h"
#include "engine/weight_scope.h"
#include "w2vbert/core/error.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert {
namespace {

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
    refuse_clone();
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
  const at::Tensor valid = check_fused_forward(*this, hidden_states, channels_, attention_mask);
  const std::vector<std::int64_t> states = states_for(options, layers_, attn_implementation_);
  const auto batch = hidden_states.size(0);
  std::vector<FusedEncoder::Clip> clips;
  clips.reserve(static_cast<std::size_t>(batch));
  for (std::int64_t row = 0; row < batch; ++row) {
    clips.push_back({hidden_states[row], valid.defined() ? valid[row] : valid});
  }
  auto computed = encoder_.forward(clips, states, FusedEncoder::Input::projected);
  for (auto& state : computed) state = state.view(hidden_states.sizes());  // (B T, C) -> (B, T, C)
  return encoder_output(std::move(computed), options);
}

// `whole` is what has `model` in it, or that itself: what is not fused works beside what is.
void check_model(const torch::nn::Module& whole, Wav2Vec2BertModelImpl& model) {
  TORCH_CHECK_VALUE(
      fused_encoder_of(model) == nullptr &&
          model.encoder->layers->size() == static_cast<std::size_t>(model.config.num_hidden_layers),
      "the fused engine: the model is fused already, or has lost its layers");
  for (const auto& parameter : whole.named_parameters()) {
    const at::Tensor& values = parameter.value();
    TORCH_CHECK_VALUE(values.scalar_type() == at::kFloat && values.device().is_cpu(),
                      "the fused engine: ", parameter.key(), ": ", values.scalar_type(), " on ",
                      values.device(), ", expected Float on cpu");
  }
}

// The engine reads as many values as a weight has, and multiplies as many as the config says.
void check_weights(const Wav2Vec2BertModelImpl& model, const WeightScope& weights) {
  for (const auto& parameter : model.named_parameters()) {
    const std::string& name = parameter.key();
    if (!name.starts_with("feature_projection.") && !name.starts_with("encoder.") &&
        !name.starts_with("adapter.")) {
      continue;  // stays in the model
    }
    const at::IntArrayRef shape = weights.shape_of(name);
    const at::IntArrayRef expected = parameter.value().sizes();
    if (shape != expected) {
      throw CheckpointError(weights.source->path(), weights.prefix + name,
                            "has shape " + shape_text(shape), shape_text(expected));
    }
  }
}

WeightScope weights_of(const torch::nn::Module& module) {
  return {std::make_shared<ModuleWeights>(module), ""};
}

void replace_adapter(Wav2Vec2BertModelImpl& model,
                     const std::shared_ptr<Wav2Vec2BertAdapterImpl>& adapter) {
  adapter->train(model.is_training());
  model.adapter = Wav2Vec2BertAdapter(model.replace_module("adapter", adapter));
}

}  // namespace

FusedEncoder* fused_encoder_of(Wav2Vec2BertModelImpl& model) {
  auto* encoder = dynamic_cast<FusedEncoderModule*>(model.encoder.get());
  return encoder == nullptr ? nullptr : &encoder->encoder();
}

std::shared_ptr<Wav2Vec2BertEncoderImpl> make_fused_encoder(const WeightScope& weights,
                                                            const Wav2Vec2BertConfig& config,
                                                            Precision precision) {
  FusedEncoder encoder(config, precision);
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    encoder.add_layer(weights.below("layers." + std::to_string(layer)));
  }
  return std::make_shared<FusedEncoderModule>(std::move(encoder), config);
}

void fuse(torch::nn::Module& model, Precision precision) {
  const auto inner = find_model(model).model;
  check_model(model, *inner);
  const auto encoder = std::make_shared<FusedEncoderModule>(
      FusedEncoder(weights_of(*inner->feature_projection), inner->config, precision),
      inner->config);
  std::shared_ptr<Wav2Vec2BertAdapterImpl> adapter;
  if (!inner->adapter.is_empty()) {
    adapter = make_fused_adapter(weights_of(*inner->adapter), inner->config, precision);
  }
  // Each layer leaves the model once it is packed: they are not in memory twice. What is wrong with
  // one is mostly wrong with the first, before anything has changed; a later failure leaves an
  // encoder without all of its layers, whose forward throws.
  std::vector<std::shared_ptr<torch::nn::Module>> layers = inner->encoder->layers->children();
  for (auto& layer : layers) {
    encoder->encoder().add_packed_layer(weights_of(*layer));
    if (inner->encoder.ptr() != encoder) replace_encoder(*inner, encoder);
    layer.reset();
  }
  if (adapter) replace_adapter(*inner, adapter);
}

void fuse(torch::nn::Module& model, Precision precision,
          const std::shared_ptr<const WeightSource>& weights) {
  TORCH_CHECK_VALUE(weights != nullptr, "fuse: weights: null, expected a source");
  const FoundModel found = find_model(model);
  Wav2Vec2BertModelImpl& inner = *found.model;
  check_model(model, inner);
  const WeightScope scope = {weights, found.prefix};
  check_weights(inner, scope);
  const auto encoder = std::make_shared<FusedEncoderModule>(
      FusedEncoder::from(scope, inner.config, precision), inner.config);
  std::shared_ptr<Wav2Vec2BertAdapterImpl> adapter;
  if (!inner.adapter.is_empty()) {
    adapter = make_fused_adapter(scope.below("adapter"), inner.config, precision);
  }
  replace_encoder(inner, encoder);
  if (adapter) replace_adapter(inner, adapter);
}

}  // namespace w2vbert
