// A safetensors file from its first byte to its last.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/safetensors_header.h"
#include "message.h"
#include "w2vbert/core/error.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

// Mutates header and data; mostly repairs the length, else nothing but the length is ever tested.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  if (seed % 8 == 0 || size < 8 || max_size < 9) return LLVMFuzzerMutate(data, size, max_size);
  std::uint64_t length = 0;
  std::memcpy(&length, data, sizeof length);
  length = length <= size - 8 ? length : size - 8;
  const std::string tail(reinterpret_cast<char*>(data) + 8 + length, size - 8 - length);
  std::size_t room = max_size - 8;
  if (seed % 8 == 1) {  // the data
    if (room <= length) return size;
    const std::size_t bytes = LLVMFuzzerMutate(data + 8 + length, tail.size(), room - length);
    return 8 + length + bytes;
  }
  room = room > tail.size() ? room - tail.size() : 1;
  if (length > room) return size;
  length = LLVMFuzzerMutate(data + 8, length, room);
  const std::size_t kept = std::min(tail.size(), max_size - 8 - length);
  std::memcpy(data, &length, sizeof length);
  std::memcpy(data + 8 + length, tail.data(), kept);
  return 8 + length + kept;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  w2vbert::SafetensorsHeader header;
  try {
    header = w2vbert::parse_safetensors_header(file, file.size(), "file");
  } catch (const w2vbert::CheckpointError& error) {
    w2vbert::check_message(error.what());
    return 0;
  }
  if (header.data_offset < 8 || header.data_offset > size) std::abort();
  const std::string_view bytes = file.substr(header.data_offset);
  std::uint64_t at = 0, sum = 0;
  std::set<std::string_view> names;
  for (const auto& tensor : header.tensors) {
    if (tensor.begin != at || tensor.end < tensor.begin || tensor.end > bytes.size()) std::abort();
    at = tensor.end;
    if (!names.insert(tensor.name).second || tensor.name == "__metadata__") std::abort();
    if (header.find(tensor.name) != &tensor) std::abort();
    std::uint64_t elements = 1;
    for (const std::int64_t extent : tensor.shape) {
      if (extent < 0) std::abort();
      elements *= static_cast<std::uint64_t>(extent);
    }
    const auto bits = static_cast<std::uint64_t>(w2vbert::dtype_bits(tensor.dtype_name));
    if (elements != tensor.element_count || bits == 0) std::abort();
    if (elements * bits != (tensor.end - tensor.begin) * 8) std::abort();
    if (tensor.begin == tensor.end) continue;
    for (const std::uint64_t place :
         {tensor.begin, tensor.begin + (tensor.end - tensor.begin) / 2, tensor.end - 1}) {
      sum += static_cast<unsigned char>(bytes[place]);
    }
  }
  if (at != bytes.size()) std::abort();
  // Cut by a byte, or longer by one, it is another file.
  const volatile std::uint64_t use = sum;
  (void)use;
  for (const std::uint64_t other : {size - 1, size + 1}) {
    try {
      w2vbert::parse_safetensors_header(file, other, "file");
      std::abort();
    } catch (const w2vbert::CheckpointError& error) {
      w2vbert::check_message(error.what());
    }
  }
  return 0;
}
