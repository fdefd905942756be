#include "models/model_size.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>

#include "core/memory.h"
#include "w2vbert/core/error.h"
#include "w2vbert/nn/initialization.h"

namespace w2vbert {
namespace {

constexpr double kGigabyte = 1e9;
constexpr double kPackedBytes = 1;  // of a parameter of the encoder, in int8

// Nobody asks the kernel for the sake of a model that any machine holds.
constexpr double kMinCheckedBytes = kGigabyte;

std::string gigabytes(double bytes) {
  return std::to_string(std::llround(std::ceil(bytes / kGigabyte))) + " GB";
}

std::vector<ModelPart> parts_of_base(const Wav2Vec2BertConfig& config, double relative_bytes) {
  Wav2Vec2BertConfig encoder = config;
  encoder.add_adapter = false;
  const double encoder_parameters = encoder.parameter_count();
  // The tables of distances, which no engine packs.
  encoder.position_embeddings_type = {};
  const double other_parameters = encoder.parameter_count();
  const std::string layers = " in " + std::to_string(config.num_hidden_layers) + " layers";
  std::vector<ModelPart> parts = {{"hidden_size", std::to_string(config.hidden_size) + layers,
                                   relative_bytes * other_parameters}};
  if (config.position_embeddings_type == "relative_key") {
    parts.push_back({"left_max_position_embeddings",
                     std::to_string(config.left_max_position_embeddings) + " beside " +
                         std::to_string(config.right_max_position_embeddings) + " to the right" +
                         layers,
                     encoder_parameters - other_parameters});
  } else {
    parts.front().parameters = relative_bytes * encoder_parameters;
  }
  if (config.add_adapter) {
    parts.push_back({"output_hidden_size", std::to_string(config.adapter_size()),
                     config.parameter_count() - encoder_parameters});
  }
  return parts;
}

}  // namespace

void refuse_too_large(const Wav2Vec2BertConfig& config, std::vector<ModelPart> head) {
  config.validate();
  const auto bytes_each = static_cast<double>(torch::get_default_dtype().itemsize());
  const bool may_be_packed = SkipInitialization::active();
  const std::vector<ModelPart> base =
      parts_of_base(config, may_be_packed ? kPackedBytes / bytes_each : 1);
  head.insert(head.end(), base.begin(), base.end());
  double bytes = 0;
  for (const ModelPart& part : head) bytes += bytes_each * part.parameters;
  if (bytes < kMinCheckedBytes) return;
  const auto usable = static_cast<double>(usable_memory());
  if (bytes <= usable) return;
  const ModelPart& largest = *std::max_element(
      head.begin(), head.end(),
      [](const ModelPart& a, const ModelPart& b) { return a.parameters < b.parameters; });
  throw ConfigError(
      "config", largest.key, largest.value + " makes a model of " + gigabytes(bytes),
      "one that fits into the " + gigabytes(usable) + " of memory that this process may use");
}

}  // namespace w2vbert
