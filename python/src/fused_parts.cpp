#include "fused_parts.h"

#include <ATen/ATen.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/fused_adapter.h"
#include "engine/fused_encoder.h"
#include "engine/fused_model.h"
#include "engine/weight_scope.h"
#include "w2vbert/checkpoint/weight_source.h"
#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/engine/precision.h"
#include "weight_watch.h"

namespace py = pybind11;

namespace w2vbert::python {
namespace {

using Tensors = std::vector<at::Tensor>;
using Weights = std::vector<std::pair<std::string, at::Tensor>>;
using OptionalTensor = std::optional<at::Tensor>;

// `text`: JSON with what the encoder and the adapter look at; the rest keeps HF's defaults.
Wav2Vec2BertConfig config_of(const std::string& text, const std::string& attn_implementation) {
  return Wav2Vec2BertConfig::from_json(text, "the model's config", kNewestHfVersion,
                                       attn_implementation);
}

WeightScope scope_of(const Weights& weights) {
  return {std::make_shared<ModuleWeights>("the model", weights), ""};
}

at::Tensor mask_of(const OptionalTensor& mask) { return mask ? *mask : at::Tensor(); }

class Encoder {
 public:
  Encoder(const std::string& config, const std::string& attn_implementation, Precision precision,
          const Weights& weights)
      : encoder_(make_fused_encoder(scope_of(weights), config_of(config, attn_implementation),
                                    precision)) {
    encoder_->eval();
  }

  // hidden_states[0 ... num_hidden_layers], or the last of them alone, in the dtype of the input.
  Tensors forward(const at::Tensor& hidden_states, const OptionalTensor& attention_mask,
                  bool all_states) const {
    const at::NoGradGuard no_grad;
    ForwardOptions options;
    options.output_hidden_states = all_states;
    options.output_attentions = false;
    auto output = encoder_->forward(hidden_states.to(at::kFloat), mask_of(attention_mask), options);
    Tensors states =
        all_states ? std::move(output.hidden_states) : Tensors{std::move(output.last_hidden_state)};
    for (at::Tensor& state : states) state = state.to(hidden_states.scalar_type());
    return states;
  }

 private:
  std::shared_ptr<Wav2Vec2BertEncoderImpl> encoder_;
};

class Adapter {
 public:
  Adapter(const std::string& config, const std::string& attn_implementation, Precision precision,
          const Weights& weights)
      : adapter_(make_fused_adapter(scope_of(weights), config_of(config, attn_implementation),
                                    precision)) {
    adapter_->eval();
  }

  at::Tensor forward(const at::Tensor& hidden_states, const OptionalTensor& attention_mask) const {
    const at::NoGradGuard no_grad;
    return adapter_->forward(hidden_states.to(at::kFloat), mask_of(attention_mask))
        .to(hidden_states.scalar_type());
  }

 private:
  std::shared_ptr<Wav2Vec2BertAdapterImpl> adapter_;
};

// Throws c10::ValueError for an unknown name, and for one that has no fast way here.
Precision precision_for(const std::string& name) {
  const auto precision = precision_of(name);
  std::string known;
  for (const Precision each : kPrecisions) known += (known.empty() ? "" : ", ") + name_of(each);
  TORCH_CHECK_VALUE(precision, "dtype: \"", name, "\", expected one of ", known);
  const auto reason = FusedEncoder::unsupported_reason(*precision);
  TORCH_CHECK_VALUE(!reason, "dtype: ", reason.value_or(""), ", expected another than ", name);
  return *precision;
}

template <class Part>
std::unique_ptr<Part> make_part(const std::string& config, const std::string& attn_implementation,
                                const std::string& dtype, const Weights& weights) {
  const py::gil_scoped_release no_gil;
  return std::make_unique<Part>(config, attn_implementation, precision_for(dtype), weights);
}

}  // namespace

void bind_fused_parts(py::module_& module) {
  const auto no_gil = py::call_guard<py::gil_scoped_release>();
  module.def("check_dtype", [](const std::string& dtype) { precision_for(dtype); });
  module.def(
      "unsupported_reason",
      [](const std::string& config, const std::string& attn_implementation) {
        return FusedEncoder::unsupported_reason(config_of(config, attn_implementation));
      },
      py::arg("config"), py::arg("attn_implementation"));
  module.def("kernels", &FusedEncoder::kernels);
  py::class_<WeightWatch>(module, "WeightWatch")
      .def(py::init<const Tensors&>(), py::arg("tensors"))
      .def("sees_no_change", &WeightWatch::sees_no_change, py::arg("tensors"));
  py::class_<Encoder>(module, "Encoder")
      .def(py::init(&make_part<Encoder>), py::arg("config"), py::arg("attn_implementation"),
           py::arg("dtype"), py::arg("weights"))
      .def("forward", &Encoder::forward, py::arg("hidden_states"), py::arg("attention_mask"),
           py::arg("all_states"), no_gil);
  py::class_<Adapter>(module, "Adapter")
      .def(py::init(&make_part<Adapter>), py::arg("config"), py::arg("attn_implementation"),
           py::arg("dtype"), py::arg("weights"))
      .def("forward", &Adapter::forward, py::arg("hidden_states"), py::arg("attention_mask"),
           no_gil);
}

}  // namespace w2vbert::python
