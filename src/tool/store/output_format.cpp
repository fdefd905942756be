#include "tool/store/output_format.h"

#include <string>

#include "core/parse_number.h"
#include "tool/corpus/input_list.h"

namespace w2vbert::tool {
namespace {

constexpr std::string_view kField = "output_format";
constexpr std::string_view kNpy = "npy";
constexpr std::string_view kShardSize = "shard_size";

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

std::size_t shard_size_of(const Fingerprint& run) {
  for (const auto& [field, value] : run.fields) {
    if (field == kShardSize) return parse_number<std::size_t>(value).value_or(0);
  }
  return 0;
}

void add_shard_size(Fingerprint& run, std::size_t shard_size) {
  if (shard_size > 0) run.fields.emplace_back(kShardSize, std::to_string(shard_size));
}

}  // namespace w2vbert::tool
