#include "engine/device/device_model.h"

#include <torch/types.h>

#include <memory>
#include <utility>
#include <vector>

#include "core/environment.h"
#include "engine/device/choose_ops.h"
#include "engine/fused_model.h"
#include "engine/fused_module.h"
#include "w2vbert/nn/encoder.h"

namespace w2vbert {
namespace {

// In the place of a Wav2Vec2BertEncoder; has neither layers nor parameters.
class DeviceEncoderModule : public Wav2Vec2BertEncoderImpl {
 public:
  DeviceEncoderModule(DeviceEncoder encoder, const Wav2Vec2BertConfig& config)
      : Wav2Vec2BertEncoderImpl(without_encoder_layers(config)),
        config_(config),
        encoder_(std::move(encoder)) {}

  DeviceEncoder& encoder() { return encoder_; }

  Output forward(torch::Tensor hidden_states, const torch::Tensor& attention_mask,
                 const ForwardOptions& options) override;

  void pretty_print(std::ostream& stream) const override {
    stream << "w2vbert::DeviceEncoder(" << config_.num_hidden_layers << " layers of "
           << config_.hidden_size << ")";
  }
  std::shared_ptr<torch::nn::Module> clone(const std::optional<torch::Device>&) const override {
    refuse_clone();
  }

 private:
  Wav2Vec2BertConfig config_;
  DeviceEncoder encoder_;
};

Wav2Vec2BertEncoderImpl::Output DeviceEncoderModule::forward(torch::Tensor hidden_states,
                                                             const torch::Tensor& attention_mask,
                                                             const ForwardOptions& options) {
  const torch::TensorOptions like =
      torch::TensorOptions().dtype(encoder_.dtype()).device(encoder_.device());
  const at::Tensor valid = check_fused_forward(*this, hidden_states, config_.hidden_size,
                                               attention_mask, torch::empty({0}, like));
  const std::vector<std::int64_t> states =
      states_for(options, config_.num_hidden_layers, config_.attn_implementation);
  const std::int64_t batch = hidden_states.size(0), frames = hidden_states.size(1);
  // Rows of padding frames stay rows: what comes of them is a part of HF's output.
  const at::Tensor valid_on_cpu = valid.defined() ? valid.cpu() : valid;
  std::vector<RaggedLength> clips;
  for (std::int64_t row = 0; row < batch; ++row) {
    clips.push_back({frames, valid.defined() ? valid_on_cpu[row] : valid});
  }
  const RaggedLayout layout = encoder_.layout_of(clips);
  at::Tensor rows = hidden_states.reshape({batch * frames, -1});
  const std::int64_t more = layout.rows() - layout.clip_rows();
  if (more > 0) rows = at::constant_pad_nd(rows, {0, 0, 0, more});
  auto computed = encoder_.forward(rows, layout, states, DeviceEncoder::Input::projected);
  for (auto& state : computed) {
    state = state.narrow(0, 0, batch * frames).view(hidden_states.sizes());  // (R, C) -> (B, T, C)
  }
  return encoder_output(std::move(computed), options);
}

}  // namespace

bool device_engine_is_wanted() { return environment_variable("W2VBERT_DEVICE_ENGINE") == "1"; }

DeviceEncoder* device_encoder_of(Wav2Vec2BertModelImpl& model) {
  auto* encoder = dynamic_cast<DeviceEncoderModule*>(model.encoder.get());
  return encoder == nullptr ? nullptr : &encoder->encoder();
}

void put_on_device_engine(torch::nn::Module& whole, Precision precision) {
  Wav2Vec2BertModelImpl& model = *find_model(whole).model;
  TORCH_CHECK_VALUE(precision != Precision::int8, "the device engine: has no int8");
  DeviceEncoder encoder(model);
  TORCH_CHECK_VALUE(encoder.dtype() == dtype_of(precision), "the device engine: parameters of ",
                    encoder.dtype(), ", expected ", dtype_of(precision));
  encoder.set_ops(choose_ops(model.config, encoder.device(), encoder.dtype()).ops);
  replace_encoder(model, std::make_shared<DeviceEncoderModule>(std::move(encoder), model.config));
}

}  // namespace w2vbert
