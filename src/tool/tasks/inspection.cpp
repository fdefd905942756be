#include "tool/tasks/inspection.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <string_view>

#include "checkpoint/safetensors_header.h"
#include "core/file.h"
#include "w2vbert/checkpoint/model_directory.h"
#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/core/error.h"
#include "w2vbert/models/any_model.h"
#include "w2vbert/nn/initialization.h"

namespace w2vbert::tool {
namespace {

constexpr std::size_t kScanBlockBytes = 4 << 20;  // a multiple of every element's size

// Values whose exponent bits are all ones: NaN and infinity of every IEEE type.
template <typename Bits>
std::uint64_t count_by_exponent(const std::vector<std::byte>& block, std::size_t bytes,
                                Bits exponent) {
  std::uint64_t count = 0;
  for (std::size_t at = 0; at + sizeof(Bits) <= bytes; at += sizeof(Bits)) {
    Bits bits;
    std::memcpy(&bits, block.data() + at, sizeof bits);
    count += (bits & exponent) == exponent ? 1 : 0;
  }
  return count;
}

std::uint64_t count_not_finite(const std::vector<std::byte>& block, std::size_t bytes,
                               std::string_view dtype) {
  static_assert(std::endian::native == std::endian::little);
  if (dtype == "F32") return count_by_exponent<std::uint32_t>(block, bytes, 0x7F800000);
  if (dtype == "BF16") return count_by_exponent<std::uint16_t>(block, bytes, 0x7F80);
  if (dtype == "F16") return count_by_exponent<std::uint16_t>(block, bytes, 0x7C00);
  if (dtype == "F64") return count_by_exponent<std::uint64_t>(block, bytes, 0x7FF0000000000000);
  return 0;
}

// Reads one file through; appends its tensors.
void read_through(const std::string& path, Inspection& result,
                  const std::function<void(std::uint64_t)>& read_so_far) {
  const auto file = InputFile::open<CheckpointError>(path);
  const SafetensorsHeader header =
      parse_safetensors_header(read_safetensors_head(file), file.size(), path);
  std::vector<std::byte> block(kScanBlockBytes);
  for (const TensorInfo& info : header.tensors) {
    InspectedTensor inspected;
    inspected.tensor = {{info.dtype_name, info.shape}, info.name, path, info.end - info.begin};
    inspected.elements = info.element_count;
    for (std::uint64_t at = info.begin; at < info.end;) {
      const auto count =
          static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), info.end - at));
      file.read_at(header.data_offset + at, block.data(), count);
      inspected.not_finite += count_not_finite(block, count, info.dtype_name);
      at += count;
      result.bytes += count;
      read_so_far(result.bytes);
    }
    result.elements += inspected.elements;
    result.elements_by_dtype[info.dtype_name] += inspected.elements;
    result.tensors.push_back(std::move(inspected));
  }
  file.check_unchanged();
}

LoadReport compare_with_config(const std::string& directory, const Checkpoint& checkpoint,
                               const LoadOptions& options, Inspection& result) {
  const Wav2Vec2BertConfig config = Wav2Vec2BertConfig::from_pretrained(directory);
  result.architectures = config.architectures;
  const SkipInitialization skip;  // nothing is written to the parameters: they cost no memory
  const auto& known = AnyModel::classes();
  const bool is_known =
      !config.architectures.empty() &&
      std::find(known.begin(), known.end(), config.architectures.front()) != known.end();
  Wav2Vec2BertConfig compared = config;
  // Another class may still hold the base model.
  if (!is_known) compared.architectures = {"Wav2Vec2BertModel"};
  result.compared_with = compared.architectures.front();
  const AnyModel model(compared);
  return compare_state_dict(*model, checkpoint, options);
}

}  // namespace

Inspection inspect(const std::string& path, const LoadOptions& options,
                   const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  Inspection result;
  // A Hub id is no path; anything else is reported as it was given.
  const bool is_model = is_directory<CheckpointError>(path) || !exists<CheckpointError>(path);
  result.path = is_model ? resolve_model(path).path : path;
  const Checkpoint checkpoint = Checkpoint::open(result.path);
  result.files = checkpoint.files();
  result.warnings = checkpoint.warnings();
  std::uint64_t total = 0;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) total += tensor.bytes;
  for (const std::string& file : result.files) {
    read_through(file, result, [&](std::uint64_t bytes) {
      if (progress) progress(bytes, total);
    });
  }
  if (is_model) result.comparison = compare_with_config(result.path, checkpoint, options, result);
  return result;
}

}  // namespace w2vbert::tool
