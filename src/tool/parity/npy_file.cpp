#include "tool/parity/npy_file.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "core/file.h"
#include "core/parse_number.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::uint64_t kMaxHeaderBytes = 65536;  // NumPy's own are below 1 KiB
constexpr std::size_t kMaxDimensions = 64;

struct Type {
  std::string_view descr;
  torch::ScalarType dtype;
};
constexpr std::array<Type, 9> kTypes = {{{"<f2", torch::kHalf},
                                         {"<f4", torch::kFloat},
                                         {"<f8", torch::kDouble},
                                         {"<i2", torch::kShort},
                                         {"<i4", torch::kInt},
                                         {"<i8", torch::kLong},
                                         {"|i1", torch::kChar},
                                         {"|u1", torch::kByte},
                                         {"|b1", torch::kBool}}};

struct Header {
  torch::ScalarType dtype = torch::kFloat;
  bool is_fortran = false;
  std::vector<std::int64_t> shape;
  std::uint64_t data_offset = 0;
};

// The header is the text of a Python dict with the keys descr, fortran_order and shape.
class HeaderText {
 public:
  HeaderText(std::string_view text, const std::string& path) : rest_(text), path_(path) {}

  Header read() {
    Header header;
    std::array<bool, 3> seen{};
    take("{");
    while (!takes("}")) {
      const std::string_view key = quoted();
      take(":");
      if (key == "descr") {
        header.dtype = dtype(quoted());
      } else if (key == "fortran_order") {
        header.is_fortran = boolean();
      } else if (key == "shape") {
        header.shape = shape();
      } else {
        fail("has the key " + quote_bytes(key));
      }
      bool& first = seen[key == "descr" ? 0 : key == "shape" ? 1 : 2];
      if (std::exchange(first, true)) fail("has the key " + quote_bytes(key) + " twice");
      if (!takes(",") && !begins("}")) fail("has no comma behind " + quote_bytes(key));
    }
    if (!std::all_of(seen.begin(), seen.end(), [](bool is_there) { return is_there; })) {
      fail("lacks descr, fortran_order or shape");
    }
    skip_blanks();
    if (!rest_.empty()) fail("goes on behind its end");
    return header;
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw CheckpointError(path_, "", "its header " + problem, "a file of numpy.save");
  }
  void skip_blanks() {
    const std::size_t blanks = std::min(rest_.find_first_not_of(" \n"), rest_.size());
    rest_.remove_prefix(blanks);
  }
  bool begins(std::string_view word) {
    skip_blanks();
    return rest_.starts_with(word);
  }
  bool takes(std::string_view word) {
    if (!begins(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  void take(std::string_view word) {
    if (!takes(word)) fail("has no " + in_quotes(word) + " where there has to be one");
  }
  std::string_view quoted() {
    const char quote = begins("\"") ? '"' : '\'';
    take(std::string_view(&quote, 1));
    const std::size_t end = rest_.find(quote);
    if (end == std::string_view::npos) fail("has a string without an end");
    const std::string_view word = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return word;
  }
  bool boolean() {
    if (takes("True")) return true;
    take("False");
    return false;
  }
  torch::ScalarType dtype(std::string_view descr) const {
    const auto* const found = std::find_if(kTypes.begin(), kTypes.end(), [&](const Type& type) {
      return type.descr == descr ||
             (type.descr[0] == '|' && descr.substr(1) == type.descr.substr(1));
    });
    if (found == kTypes.end()) {
      throw CheckpointError(path_, "", "holds the dtype " + quote_bytes(descr),
                            "little-endian floats, whole numbers or booleans");
    }
    return found->dtype;
  }
  std::vector<std::int64_t> shape() {
    std::vector<std::int64_t> sizes;
    take("(");
    while (!takes(")")) {
      skip_blanks();
      const std::size_t end = std::min(rest_.find_first_not_of("0123456789"), rest_.size());
      const auto size = parse_number<std::int64_t>(rest_.substr(0, end));
      if (!size) fail("has a shape that cannot be read");
      rest_.remove_prefix(end);
      sizes.push_back(*size);
      if (sizes.size() > kMaxDimensions) fail("has more dimensions than NumPy's arrays can have");
      if (!takes(",") && !begins(")")) fail("has a shape that cannot be read");
    }
    return sizes;
  }

  std::string_view rest_;
  const std::string& path_;
};

Header read_header(const InputFile& file) {
  const auto fail = [&](const char* problem) {
    throw CheckpointError(file.path(), "", problem, "a file of numpy.save");
  };
  constexpr std::uint64_t kPrefix = 8;  // magic and version
  std::array<unsigned char, 12> begin{};
  if (file.size() < begin.size()) fail("is too short");
  file.read_at(0, begin.data(), begin.size());
  if (std::string_view(reinterpret_cast<const char*>(begin.data()), kMagic.size()) != kMagic) {
    fail("does not begin as one");
  }
  const unsigned major = begin[6];
  if (major < 1 || major > 3) fail("has a format version that is unknown");
  // Version 1.0 has two bytes for the length of the text, the others have four.
  const std::uint64_t bytes_of_length = major == 1 ? 2 : 4;
  std::uint64_t length = 0;
  for (std::uint64_t i = bytes_of_length; i-- > 0;) length = length << 8U | begin[kPrefix + i];
  const std::uint64_t offset = kPrefix + bytes_of_length + length;
  if (length > kMaxHeaderBytes || offset > file.size()) fail("has no whole header");
  std::string text(length, '\0');
  file.read_at(kPrefix + bytes_of_length, text.data(), length);
  Header header = HeaderText(text, file.path()).read();
  header.data_offset = offset;
  return header;
}

}  // namespace

torch::Tensor read_npy(const std::string& path) {
  const auto file = InputFile::open<CheckpointError>(path);
  const Header header = read_header(file);
  std::uint64_t bytes = torch::elementSize(header.dtype);
  for (const std::int64_t size : header.shape) {
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes)) bytes = UINT64_MAX;
  }
  if (bytes != file.size() - header.data_offset) {
    throw CheckpointError(
        path, "", "has " + std::to_string(file.size() - header.data_offset) + " bytes of data",
        "the " + std::to_string(bytes) + " that its shape needs");
  }
  std::vector<std::int64_t> shape = header.shape;
  if (header.is_fortran) std::reverse(shape.begin(), shape.end());
  torch::Tensor values = torch::empty(shape, header.dtype);
  file.read_at(header.data_offset, values.data_ptr(), bytes);
  if (!header.is_fortran) return values;
  std::vector<std::int64_t> axes(shape.size());
  for (std::size_t i = 0; i < axes.size(); ++i)
    axes[i] = static_cast<std::int64_t>(axes.size() - 1 - i);
  return values.permute(axes).contiguous();
}

}  // namespace w2vbert::tool
