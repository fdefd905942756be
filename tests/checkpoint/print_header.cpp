// Reads files from standard input, each behind its size in 8 bytes (little-endian), as safetensors
// and prints one line of JSON for each: {"tensors": ...} or {"refused": message}. For
// compare_with_safetensors.py.
#include <cstdint>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "checkpoint/safetensors_header.h"
#include "w2vbert/core/error.h"

int main() {
  std::ios::sync_with_stdio(false);
  const std::string input{std::istreambuf_iterator<char>(std::cin), {}};
  for (std::size_t at = 0; at < input.size();) {
    std::uint64_t size = 0;
    for (std::size_t i = 0; i < 8; ++i) {
      size |= static_cast<std::uint64_t>(static_cast<unsigned char>(input.at(at + i))) << (8 * i);
    }
    const std::string_view file = std::string_view(input).substr(at + 8, size);
    at += 8 + size;
    nlohmann::ordered_json line;
    try {
      const auto header = w2vbert::parse_safetensors_header(file, file.size(), "file");
      line["tensors"] = nlohmann::ordered_json::object();
      for (const auto& tensor : header.tensors) {
        line["tensors"][std::string(tensor.name)] = {tensor.dtype_name, tensor.shape,
                                                     header.data_offset + tensor.begin,
                                                     header.data_offset + tensor.end};
      }
    } catch (const w2vbert::CheckpointError& error) {
      line["refused"] = error.what();
    }
    std::cout << line.dump(-1, ' ', true) << '\n';
  }
}
