#include <ATen/ATen.h>

#include <string>
#include <utility>

#include "engine/device/choose_ops.h"
#include "engine/device/device_engine.h"
#include "engine/device/device_model.h"
#include "engine/fused_encoder.h"
#include "engine/fused_engine.h"
#include "engine/fused_model.h"
#include "engine/reference_engine.h"
#include "w2vbert/core/error.h"
#include "w2vbert/engine/engine.h"
#include "w2vbert/engine/fuse.h"

namespace w2vbert {

std::string name_of(EngineKind kind) {
  switch (kind) {
    case EngineKind::fused:
      return "fused";
    case EngineKind::device:
      return "device";
    default:
      return "reference";
  }
}

std::optional<EngineKind> engine_kind_of(std::string_view name) {
  for (const EngineKind kind : {EngineKind::fused, EngineKind::reference, EngineKind::device}) {
    if (name == name_of(kind)) return kind;
  }
  return std::nullopt;
}

EngineChoice choose_engine(EngineKind wanted, const Wav2Vec2BertConfig& config, c10::Device device,
                           Precision precision) {
  EngineChoice choice = {EngineKind::reference, precision, ""};
  if (wanted == EngineKind::device || (wanted == EngineKind::fused && device_engine_is_wanted())) {
    if (precision == Precision::int8) {
      choice.reason = "the device engine has no int8";
    } else if (const auto refused = DeviceEncoder::unsupported_reason(config)) {
      choice.reason = *refused;
    } else {
      choice.kind = EngineKind::device;
      choice.steps = choose_ops(config, device, dtype_of(precision)).text;
    }
  } else if (wanted == EngineKind::fused) {
    if (!device.is_cpu()) {
      choice.reason = "the device is " + device.str() + ", not cpu";
      if (device.is_cuda() && precision != Precision::int8 &&
          !DeviceEncoder::unsupported_reason(config)) {
        const OpsChoice ops = choose_ops(config, device, dtype_of(precision));
        if (ops.own_kernels) return {EngineKind::device, precision, "", ops.text};
        choice.reason += ", and the device engine would compute " + ops.text;
      }
    } else if (const auto refused = FusedEncoder::unsupported_reason(precision)) {
      choice.reason = *refused;
    } else if (const auto refused_config = FusedEncoder::unsupported_reason(config)) {
      choice.reason = *refused_config;
    } else {
      choice.kind = EngineKind::fused;
    }
  }
  if (precision == Precision::int8 && choice.kind != EngineKind::fused) {
    throw UsageError(
        "", "precision",
        "int8 runs on the fused engine alone" + (choice.reason.empty() ? "" : ": " + choice.reason),
        "another precision, or the fused engine where it can run", "precision");
  }
  return choice;
}

std::unique_ptr<Engine> make_engine(const EngineChoice& choice, Wav2Vec2BertModel model) {
  const DeviceEncoder* const on_device = device_encoder_of(*model);
  if (choice.kind == EngineKind::device) {
    TORCH_CHECK_VALUE(on_device == nullptr || on_device->dtype() == dtype_of(choice.precision),
                      "make_engine: the model is on the device engine in ",
                      on_device == nullptr ? at::kFloat : on_device->dtype(), ", expected ",
                      dtype_of(choice.precision));
    if (on_device == nullptr) put_on_device_engine(*model, choice.precision);
    return std::make_unique<DeviceEngine>(std::move(model));
  }
  TORCH_CHECK_VALUE(on_device == nullptr,
                    "make_engine: the model is on the device engine, expected one that is not for "
                    "the ",
                    name_of(choice.kind), " engine");
  const FusedEncoder* const fused = fused_encoder_of(*model);
  if (choice.kind == EngineKind::fused) {
    TORCH_CHECK_VALUE(fused == nullptr || fused->precision() == choice.precision,
                      "make_engine: the model is fused in ",
                      fused == nullptr ? "" : name_of(fused->precision()), ", expected ",
                      name_of(choice.precision));
    if (fused == nullptr) fuse(*model, choice.precision);
    return std::make_unique<FusedEngine>(std::move(model));
  }
  TORCH_CHECK_VALUE(fused == nullptr,
                    "make_engine: the model is fused, expected one that is not for the reference "
                    "engine");
  TORCH_CHECK_VALUE(choice.precision != Precision::int8,
                    "make_engine: int8 on the reference engine, expected the fused engine");
  for (const auto& parameter : model->named_parameters()) {
    TORCH_CHECK_VALUE(parameter.value().scalar_type() == choice.parameter_dtype(),
                      "make_engine: ", parameter.key(), ": ", parameter.value().scalar_type(),
                      ", expected ", choice.parameter_dtype());
  }
  const bool on_cpu = model->parameters().front().device().is_cpu();
  return std::make_unique<ReferenceEngine>(
      std::move(model),
      on_cpu ? ReferenceEngine::Batches::one_by_one : ReferenceEngine::Batches::padded);
}

}  // namespace w2vbert
