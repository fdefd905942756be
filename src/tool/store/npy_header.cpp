#include "tool/store/npy_header.h"

#include "core/parse_number.h"
#include "core/text.h"

namespace w2vbert::tool {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY\x01";
constexpr std::size_t kPrefixBytes = 10;  // magic, version, length of the text in two bytes
constexpr std::size_t kAlignment = 64;
constexpr std::string_view kDescr = "{'descr': '<f";
constexpr std::string_view kShape = "', 'fortran_order': False, 'shape': (";

}  // namespace

std::string npy_header(int bytes_of_value, const std::vector<std::int64_t>& shape) {
  std::string text(kDescr);
  text.append(std::to_string(bytes_of_value)).append(kShape);
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
  const std::size_t number = descr + kDescr.size();
  const auto bytes_of_value = parse_number<int>(head.substr(number, shape_begin - number));
  std::vector<std::int64_t> shape;
  std::uint64_t bytes = static_cast<std::uint64_t>(bytes_of_value.value_or(0));
  std::string_view numbers =
      head.substr(shape_begin + kShape.size(), shape_end - shape_begin - kShape.size());
  if (numbers.ends_with(',')) numbers.remove_suffix(1);  // one dimension: "(3,)"
  for (const std::string& word : split(numbers, ',')) {
    const auto size =
        parse_number<std::int64_t>(std::string_view(word).substr(word.starts_with(' ') ? 1 : 0));
    std::uint64_t product = 0;
    if (!size || *size < 0 ||
        __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(*size), &product)) {
      return std::nullopt;
    }
    bytes = product;
    shape.push_back(*size);
  }
  if (!bytes_of_value) return std::nullopt;
  const std::string header = npy_header(*bytes_of_value, shape);
  if (!head.starts_with(header)) return std::nullopt;
  return NpyScan{header.size(), header.size() + bytes};
}

}  // namespace w2vbert::tool
