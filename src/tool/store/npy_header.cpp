#include "tool/store/npy_header.h"

#include <algorithm>

#include "core/parse_number.h"
#include "core/text.h"

namespace w2vbert::tool {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY\x01";
constexpr std::size_t kPrefixBytes = 10;  // magic, version, length of the text in two bytes
constexpr std::size_t kAlignment = 64;
constexpr std::string_view kDescr = "{'descr': '<";  // then f or i
constexpr std::string_view kShape = "', 'fortran_order': False, 'shape': (";

// Takes `expected` from the front of `text`; false where it does not begin so.
bool take(std::string_view& text, std::string_view expected) {
  if (!text.starts_with(expected)) return false;
  text.remove_prefix(expected.size());
  return true;
}

// "3, 4" or "3,".
std::optional<std::vector<std::int64_t>> dimensions_of(std::string_view numbers) {
  std::vector<std::int64_t> shape;
  if (numbers.empty()) return shape;
  if (numbers.ends_with(',')) numbers.remove_suffix(1);
  for (const std::string& word : split(numbers, ',')) {
    const auto size =
        parse_number<std::int64_t>(std::string_view(word).substr(word.starts_with(' ') ? 1 : 0));
    if (!size || *size < 0) return std::nullopt;
    shape.push_back(*size);
  }
  return shape;
}

}  // namespace

std::string npy_header(int bytes_of_value, const std::vector<std::int64_t>& shape, char kind) {
  std::string text(kDescr);
  text.append(1, kind).append(std::to_string(bytes_of_value)).append(kShape);
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text.append(", ");
    text.append(std::to_string(shape[i]));
  }
  text.append(shape.size() == 1 ? ",), }" : "), }");
  const std::size_t unpadded = kPrefixBytes + text.size() + 1;
  text.append((kAlignment - unpadded % kAlignment) % kAlignment, ' ').append(1, '\n');
  std::string header(kMagic);
  header.append(1, '\0');
  header.append(1, static_cast<char>(text.size() & 0xFF));
  header.append(1, static_cast<char>(text.size() >> 8));
  return header.append(text);
}

std::optional<NpyScan> scan_npy(std::string_view head) {
  // Read what it says, and see whether npy_header says the same.
  const std::size_t descr = head.find(kDescr);
  const std::size_t shape_begin = head.find(kShape);
  const std::size_t shape_end = head.find(')');
  if (descr != kPrefixBytes || shape_begin == std::string_view::npos ||
      shape_end == std::string_view::npos || shape_end < shape_begin + kShape.size()) {
    return std::nullopt;
  }
  const char kind = head[descr + kDescr.size()];
  if (kind != 'f' && kind != 'i') return std::nullopt;
  const std::size_t number = descr + kDescr.size() + 1;
  if (number > shape_begin) return std::nullopt;
  const auto bytes_of_value = parse_number<int>(head.substr(number, shape_begin - number));
  std::uint64_t bytes = static_cast<std::uint64_t>(bytes_of_value.value_or(0));
  const auto shape = dimensions_of(
      head.substr(shape_begin + kShape.size(), shape_end - shape_begin - kShape.size()));
  if (!bytes_of_value || !shape) return std::nullopt;
  for (const std::int64_t size : *shape) {
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes)) {
      return std::nullopt;
    }
  }
  const std::string header = npy_header(*bytes_of_value, *shape, kind);
  if (!head.starts_with(header)) return std::nullopt;
  return NpyScan{header.size(), header.size() + bytes};
}

std::optional<NpyArray> read_npy_head(std::string_view head) {
  constexpr std::string_view kAnyVersion = "\x93NUMPY";
  NpyArray array;
  std::string_view left = head;
  if (!take(left, kAnyVersion) || left.size() < 6) return std::nullopt;
  const auto byte = [&](std::size_t i) {
    return static_cast<std::uint64_t>(static_cast<unsigned char>(left[i]));
  };
  const bool is_short = byte(0) == 1;
  if ((byte(0) != 1 && byte(0) != 2) || byte(1) != 0) return std::nullopt;
  std::uint64_t length = byte(2) | byte(3) << 8;
  if (!is_short) length |= byte(4) << 16 | byte(5) << 24;
  left.remove_prefix(is_short ? 4 : 6);
  if (length > left.size()) return std::nullopt;
  array.data_offset = head.size() - left.size() + length;
  left = left.substr(0, length);
  if (!take(left, "{'descr': '")) return std::nullopt;
  const std::size_t quote = std::min(left.find('\''), left.size());
  array.descr = left.substr(0, quote);
  left.remove_prefix(quote);
  if (!take(left, "', 'fortran_order': ")) return std::nullopt;
  array.fortran_order = take(left, "True");
  if (!array.fortran_order && !take(left, "False")) return std::nullopt;
  if (!take(left, ", 'shape': (")) return std::nullopt;
  const std::size_t end = left.find(')');
  if (end == std::string_view::npos) return std::nullopt;
  const auto shape = dimensions_of(left.substr(0, end));
  left.remove_prefix(end);
  if (!shape || !take(left, "), }")) return std::nullopt;
  if (left.find_first_not_of(" \n") != std::string_view::npos) return std::nullopt;
  array.shape = *shape;
  return array;
}

}  // namespace w2vbert::tool
