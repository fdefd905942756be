#include "tool/tasks/inspection.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <string_view>

#include "core/file.h"
#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/checkpoint/from_pretrained.h"
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

// Reads one file through, and counts what its tensors hold.
void read_through(const CheckpointFiles::File& opened, Inspection& result,
                  const std::function<void(std::uint64_t)>& read_so_far) {
  const auto& [file, header] = opened;
  std::vector<std::byte> block(kScanBlockBytes);
  for (const HeaderTensor& info : header.tensors) {
    std::uint64_t not_finite = 0;
    for (std::uint64_t at = info.begin; at < info.end;) {
      const auto count =
          static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), info.end - at));
      file.read_at(header.data_offset + at, block.data(), count);
      not_finite += count_not_finite(block, count, info.dtype_name);
      at += count;
      result.bytes += count;
      read_so_far(result.bytes);
    }
    result.elements += info.element_count;
    auto dtype = result.elements_by_dtype.find(info.dtype_name);
    if (dtype == result.elements_by_dtype.end()) {
      dtype = result.elements_by_dtype.emplace(info.dtype_name, 0).first;
    }
    dtype->second += info.element_count;
    result.not_finite.push_back(not_finite);
  }
  file.check_unchanged();
}

LoadReport compare_with_config(const std::string& directory, const Checkpoint& checkpoint,
                               const LoadOptions& options, HfVersion hf_version,
                               Inspection& result) {
  // The tensors are the same under every attention, also one that is not supported.
  const auto config = Wav2Vec2BertConfig::from_pretrained(directory, hf_version, "eager");
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
  LoadReport report;
  detail::make_of_config_file(directory, [&] {
    const AnyModel model(compared);
    report = compare_state_dict(*model, checkpoint, options);
  });
  return report;
}

}  // namespace

Inspection inspect(const std::string& path, const LoadOptions& options, HfVersion hf_version,
                   const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  Inspection result;
  // A Hub id is no path; anything else is reported as it was given.
  const bool is_model = is_directory<CheckpointError>(path) || !exists<CheckpointError>(path);
  result.path = is_model ? resolve_model(path).path : path;
  result.files = CheckpointFiles::open(result.path);
  result.not_finite.reserve(result.files->tensor_count());
  std::uint64_t total = 0;
  for (const CheckpointFiles::File& file : result.files->files()) {
    if (!file.header.tensors.empty()) total += file.header.tensors.back().end;
  }
  for (const CheckpointFiles::File& file : result.files->files()) {
    read_through(file, result, [&](std::uint64_t bytes) {
      if (progress) progress(bytes, total);
    });
  }
  if (is_model) {
    result.comparison = compare_with_config(result.path, Checkpoint::open(result.path), options,
                                            hf_version, result);
  }
  return result;
}

}  // namespace w2vbert::tool
