// The header of a safetensors file, checked so that every later read stays inside the file.
// Torch-free. The format: https://github.com/huggingface/safetensors
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
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

// The same as views of a header that was read: a million of them weigh little more than their text.
struct HeaderTensor {
  std::string_view name;
  std::string_view dtype_name;
  std::span<const std::int64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t element_count = 0;

  TensorInfo copy() const;
};

struct SafetensorsHeader {
  // In the order of their data. Deques, for a vector that grows needs three times its memory.
  std::deque<HeaderTensor> tensors;
  std::deque<std::pair<std::string_view, std::string_view>> metadata;
  std::uint64_t data_offset = 0;  // bytes from the start of the file

  const HeaderTensor* find(std::string_view name) const;    // null when absent
  std::string metadata_value(std::string_view name) const;  // "" when absent

  // What the views are of; copies of the header share it.
  struct Bytes;
  std::shared_ptr<const Bytes> bytes;
};

// Bits of one element, or 0 for a dtype that the format does not have.
int dtype_bits(std::string_view dtype_name);

// Checks and reads the header of a file of `file_size` bytes from `head`, its first bytes up to the
// end of the header at least: dtypes, shapes, and data offsets that tile the data without hole or
// overlap. A length that cannot be is refused before anything is allocated. Throws CheckpointError
// naming `path` and the tensor; a file that is something else (a web page, a Git LFS pointer, a
// pickle) is told what it is. Takes at most three times the header's memory and 64 MiB, with `text`
// itself, which the header keeps.
SafetensorsHeader parse_safetensors_header(std::string&& text, std::uint64_t file_size,
                                           const std::string& path);
// The same with a copy of `head`.
SafetensorsHeader parse_safetensors_header(std::string_view head, std::uint64_t file_size,
                                           const std::string& path);

// The first bytes of a file as parse_safetensors_header wants them: the length and the header, or,
// where the length cannot be, some bytes that tell what the file is instead.
std::string read_safetensors_head(const InputFile& file);

// Whether the file begins as PyTorch's .bin and .pt do: a zip file, or a pickle by itself.
bool is_pickle(const InputFile& file);

}  // namespace w2vbert
