#include "checkpoint/safetensors_header_writer.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::size_t kAlignment = 8;

std::string json_string(const std::string& text, const std::string& path) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {  // its text would carry the input
    throw CheckpointError(path, text, "cannot be written", "UTF-8");
  }
}

template <typename Entry>
void refuse_equal_names(const std::vector<const Entry*>& sorted, const std::string Entry::*name,
                        const std::string& path) {
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i]->*name == sorted[i - 1]->*name) {
      throw CheckpointError(path, sorted[i]->*name, "is given twice");
    }
  }
}

template <typename Entry>
std::vector<const Entry*> sorted_by(std::span<const Entry> entries,
                                    const std::string Entry::*name) {
  std::vector<const Entry*> sorted;
  sorted.reserve(entries.size());
  for (const Entry& entry : entries) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(),
            [name](const Entry* a, const Entry* b) { return a->*name < b->*name; });
  return sorted;
}

}  // namespace

std::string serialize_safetensors_header(std::span<const TensorInfo> tensors,
                                         const SafetensorsMetadata& metadata,
                                         const std::string& path, std::uint64_t min_bytes) {
  using Pair = SafetensorsMetadata::value_type;
  std::string header = "{";
  if (!metadata.empty()) {
    const auto sorted = sorted_by(std::span<const Pair>(metadata), &Pair::first);
    refuse_equal_names(sorted, &Pair::first, path);
    header += json_string(std::string(kMetadataKey), path) + ":{";
    for (const Pair* entry : sorted) {
      if (header.back() != '{') header += ',';
      header += json_string(entry->first, path) + ":" + json_string(entry->second, path);
    }
    header += '}';
  }
  const auto sorted = sorted_by(tensors, &TensorInfo::name);
  refuse_equal_names(sorted, &TensorInfo::name, path);
  for (const TensorInfo* tensor : sorted) {
    if (tensor->name == kMetadataKey) {
      throw CheckpointError(path, tensor->name, "cannot be a tensor's name");
    }
    if (header.size() > 1) header += ',';
    header += json_string(tensor->name, path) +
              ":{\"dtype\":" + json_string(tensor->dtype_name, path) + ",\"shape\":[";
    for (std::size_t i = 0; i < tensor->shape.size(); ++i) {
      header += (i == 0 ? "" : ",") + std::to_string(tensor->shape[i]);
    }
    header += "],\"data_offsets\":[" + std::to_string(tensor->begin) + "," +
              std::to_string(tensor->end) + "]}";
  }
  header += '}';
  const std::size_t least = min_bytes < kLengthBytes ? 0 : min_bytes - kLengthBytes;
  header.resize((std::max(header.size(), least) + kAlignment - 1) / kAlignment * kAlignment, ' ');

  std::string bytes(kLengthBytes, '\0');
  const std::uint64_t length = header.size();
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    bytes[i] = static_cast<char>(static_cast<std::uint8_t>(length >> (8 * i)));
  }
  return bytes + header;
}

}  // namespace w2vbert
