// The header of NumPy's .npy files, version 1.0.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace w2vbert::tool {

// For little-endian floats of `bytes_of_value` (2, 4 or 8) bytes in C order, or for signed integers
// ('i'). What numpy.save writes.
std::string npy_header(int bytes_of_value, const std::vector<std::int64_t>& shape, char kind = 'f');

// How many bytes a whole file has that begins with `head`, when that is a header as npy_header
// makes it; else nothing.
struct NpyScan {
  std::uint64_t data_offset;
  std::uint64_t file_bytes;
};
std::optional<NpyScan> scan_npy(std::string_view head);

// What another program's file begins with: numpy.save's header, of format 1.0 or 2.0.
struct NpyArray {
  std::string descr;  // the type, as "<f4"
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
  std::uint64_t data_offset = 0;
};
// Bytes that are enough for a header of some dimensions.
inline constexpr std::size_t kMaxNpyHeadBytes = 4096;
// Nothing for anything else, or where `head` ends too early.
std::optional<NpyArray> read_npy_head(std::string_view head);

}  // namespace w2vbert::tool
