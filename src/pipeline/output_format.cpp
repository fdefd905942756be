#include "w2vbert/pipeline/output_format.h"

#include "w2vbert/pipeline/input_list.h"

namespace w2vbert {
namespace {

constexpr std::string_view kField = "output_format";
constexpr std::string_view kNpy = "npy";

}  // namespace

std::string_view ending_of(OutputFormat format) {
  return format == OutputFormat::npy ? ".npy" : kOutputEnding;
}

OutputFormat output_format_of(const Fingerprint& run) {
  for (const auto& [field, value] : run.fields) {
    if (field == kField && value == kNpy) return OutputFormat::npy;
  }
  return OutputFormat::safetensors;
}

void add_output_format(Fingerprint& run, OutputFormat format) {
  if (format == OutputFormat::npy) run.fields.emplace_back(kField, kNpy);
}

}  // namespace w2vbert
