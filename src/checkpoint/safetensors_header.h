// The header of a safetensors file, checked so that every later read stays inside the file.
// Torch-free. The format: https://github.com/huggingface/safetensors
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/file.h"

namespace w2vbert {

constexpr std::uint64_t kLengthBytes = 8;  // of the header's length, at the start of the file
constexpr std::uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;  // as in the reference

struct TensorInfo {
  std::string name;
  std::string dtype_name;           // as the format spells it: "F32", "BF16", ...
  std::vector<std::int64_t> shape;  // empty for a scalar
  std::uint64_t begin = 0;          // bytes from the start of the data
  std::uint64_t end = 0;
  std::uint64_t element_count = 0;
};

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  // in the order of their data
  std::vector<std::pair<std::string, std::string>> metadata;
  std::uint64_t data_offset = 0;  // bytes from the start of the file

  const TensorInfo* find(std::string_view name) const;      // null when absent
  std::string metadata_value(std::string_view name) const;  // "" when absent
};

// Bits of one element, or 0 for a dtype that the format does not have.
int dtype_bits(std::string_view dtype_name);

// Checks and reads the header of a file of `file_size` bytes from `head`, its first bytes up to the
// end of the header at least: dtypes, shapes, and data offsets that tile the data without hole or
// overlap. A length that cannot be is refused before anything is allocated. Throws CheckpointError
// naming `path` and the tensor; a file that is something else (a web page, a Git LFS pointer, a
// pickle) is told what it is.
SafetensorsHeader parse_safetensors_header(std::string_view head, std::uint64_t file_size,
                                           const std::string& path);

// The first bytes of a file as parse_safetensors_header wants them: the length and the header, or,
// where the length cannot be, some bytes that tell what the file is instead.
std::string read_safetensors_head(const InputFile& file);

// Whether the file begins as PyTorch's .bin and .pt do: a zip file, or a pickle by itself.
bool is_pickle(const InputFile& file);

}  // namespace w2vbert
