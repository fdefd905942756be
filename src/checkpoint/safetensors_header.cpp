#include "checkpoint/safetensors_header.h"

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <memory_resource>
#include <optional>

#include "core/file.h"
#include "core/git_lfs.h"
#include "core/json.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

struct DtypeBits {
  const char* name;
  int bits;
};
constexpr std::array kDtypes = {
    DtypeBits{"BOOL", 8},        DtypeBits{"U8", 8},          DtypeBits{"I8", 8},
    DtypeBits{"F8_E4M3", 8},     DtypeBits{"F8_E5M2", 8},     DtypeBits{"F8_E8M0", 8},
    DtypeBits{"F8_E4M3FNUZ", 8}, DtypeBits{"F8_E5M2FNUZ", 8}, DtypeBits{"I16", 16},
    DtypeBits{"U16", 16},        DtypeBits{"F16", 16},        DtypeBits{"BF16", 16},
    DtypeBits{"I32", 32},        DtypeBits{"U32", 32},        DtypeBits{"F32", 32},
    DtypeBits{"C64", 64},        DtypeBits{"I64", 64},        DtypeBits{"U64", 64},
    DtypeBits{"F64", 64},        DtypeBits{"F4", 4},          DtypeBits{"F6_E2M3", 6},
    DtypeBits{"F6_E3M2", 6},
};

// What weighs several times its text where it is written as short as it can be: entries of
// __metadata__, the dimensions of a shape, and those of all shapes.
constexpr std::size_t kMaxMetadataEntries = 1 << 20;
constexpr std::size_t kMaxNumbers = 1 << 20;
constexpr std::size_t kMaxDimensions = 1 << 23;
constexpr std::uint64_t kMaxInt64 = std::numeric_limits<std::int64_t>::max();

std::optional<std::uint64_t> multiply(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// The little-endian length in the first 8 bytes.
std::uint64_t header_length(std::string_view head) {
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    length |= static_cast<std::uint64_t>(static_cast<unsigned char>(head[i])) << (8 * i);
  }
  return length;
}

}  // namespace

// The text of a header, and beside it what stands in it in another form.
struct SafetensorsHeader::Bytes {
  explicit Bytes(std::string&& head) : text(std::move(head)) {}

  // A view that lives as long as this: most are views of the text already.
  std::string_view keep(std::string_view piece) {
    const std::less_equal<> before;
    if (before(text.data(), piece.data()) &&
        before(piece.data() + piece.size(), text.data() + text.size())) {
      return piece;
    }
    if (piece.empty()) return {};
    auto* const to = static_cast<char*>(arena.allocate(piece.size(), alignof(char)));
    std::copy(piece.begin(), piece.end(), to);
    return {to, piece.size()};
  }
  // Numbers below 2^63.
  std::span<const std::int64_t> keep(std::span<const std::uint64_t> numbers) {
    if (numbers.empty()) return {};
    auto* const to =
        static_cast<std::int64_t*>(arena.allocate(numbers.size_bytes(), alignof(std::int64_t)));
    std::transform(numbers.begin(), numbers.end(), to,
                   [](std::uint64_t number) { return static_cast<std::int64_t>(number); });
    return {to, numbers.size()};
  }

  const std::string text;
  std::pmr::monotonic_buffer_resource arena;
};

namespace {

bool is_all_zeros(std::string_view bytes) {
  return bytes.find_first_not_of('\0') == std::string_view::npos;
}

// Whether a file at least begins as safetensors files do: a length below 2^32, then an object.
bool begins_as_safetensors(std::string_view bytes) {
  constexpr std::uint64_t kPlausible = std::uint64_t{1} << 32;
  if (bytes.size() <= kLengthBytes || header_length(bytes) >= kPlausible) return false;
  const std::size_t first = bytes.find_first_not_of(" \t\r\n", kLengthBytes);
  return first != std::string_view::npos && bytes[first] == '{';
}

constexpr std::string_view kZip("PK\x03\x04", 4);
constexpr std::size_t kTarMagicAt = 257;

// Whether the first file in a zip archive is an array of NumPy's; PyTorch's are pickles and what
// they name.
bool is_zip_of_arrays(std::string_view bytes) {
  constexpr std::size_t kNameLengthAt = 26, kNameAt = 30;
  if (!bytes.starts_with(kZip) || bytes.size() < kNameAt) return false;
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(bytes[at]); };
  const std::size_t length = byte(kNameLengthAt) | byte(kNameLengthAt + 1) << 8;
  return bytes.substr(kNameAt, length).ends_with(".npy");
}

// A protobuf that says its version, from 1 to 31, and then who has written it.
bool is_onnx(std::string_view bytes) {
  return bytes.size() > 3 && bytes[0] == '\x08' && bytes[1] > 0 && bytes[1] < 32 &&
         bytes[2] == '\x12';
}

bool is_bare_pickle(std::string_view bytes) {
  return bytes.size() > 1 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5;
}

// What a file is that cannot be read as safetensors; null when nothing is recognised. The length of
// a header may spell any of these beginnings (640 bytes: a pickle's, 123: an object's).
const char* foreign_file(std::string_view bytes) {
  if (begins_as_safetensors(bytes)) return nullptr;
  const auto starts = [&](std::string_view magic) { return bytes.starts_with(magic); };
  if (starts(kGitLfsPointer)) return kGitLfsProblem;
  if (is_zip_of_arrays(bytes)) return "is an archive of NumPy's arrays (.npz)";
  if (starts("\x93NUMPY")) return "is an array of NumPy's (.npy)";
  if (starts("\x89HDF\r\n")) return "is an HDF5 file (TensorFlow's .h5)";
  if (is_onnx(bytes)) return "is an ONNX graph";
  if (bytes.size() > kTarMagicAt && bytes.substr(kTarMagicAt).starts_with("ustar")) {
    return "is a tar archive: unpack it";
  }
  if (starts(kZip)) {
    return "is a zip file (PyTorch .bin or .pt): convert it to safetensors with transformers' "
           "save_pretrained";
  }
  if (is_bare_pickle(bytes)) {
    return "is a pickle (PyTorch .bin or .pt): convert it to safetensors with transformers' "
           "save_pretrained";
  }
  if (starts("GGUF")) return "is a GGUF file";
  if (starts("\x1f\x8b")) return "is a gzip file: unpack it";
  if (!bytes.empty() && is_all_zeros(bytes)) {
    return "begins with zeros only: the disk or the download lost its contents";
  }
  const std::string_view text =
      bytes.substr(std::min(bytes.find_first_not_of(" \t\r\n"), bytes.size()));
  if (text.starts_with('<')) return "is a web page, not a checkpoint: the download went wrong";
  if (text.starts_with('{')) return "is a JSON text";
  return nullptr;
}

// Collects __metadata__ and tensor entries from the reader's events.
class HeaderHandler : public JsonHandler {
 public:
  HeaderHandler(const std::string& path, SafetensorsHeader& header, SafetensorsHeader::Bytes& bytes)
      : path_(path), header_(header), bytes_(bytes) {}

  void scalar(const JsonScalar& value) override {
    switch (where_) {
      case Where::kRoot:
        if (!in_root_) fail("", "the header is " + describe(value), "a JSON object");
        if (key_ == "__metadata__") {
          // MLX writes null.
          if (!std::holds_alternative<std::nullptr_t>(value)) {
            fail(key_, describe(value), "an object of strings");
          }
          return;
        }
        fail(key_, "the entry is " + describe(value), kEntry);
      case Where::kMetadata:
        if (const auto* text = std::get_if<std::string_view>(&value)) {
          if (header_.metadata.size() == kMaxMetadataEntries) {
            fail("__metadata__",
                 "holds more than " + std::to_string(kMaxMetadataEntries) + " entries", "fewer");
          }
          header_.metadata.emplace_back(key_, bytes_.keep(*text));
          return;
        }
        fail_metadata(describe(value));
      case Where::kTensor:
        if (field_ == "dtype") {
          const auto* text = std::get_if<std::string_view>(&value);
          if (!text) fail(tensor_.name, "dtype is " + describe(value), "a string such as \"F32\"");
          tensor_.dtype_name = bytes_.keep(*text);
          has_dtype_ = true;
        } else if (field_ == "shape" || field_ == "data_offsets") {
          fail(tensor_.name, std::string(field_) + " is " + describe(value),
               "a list of unsigned integers");
        } else {
          check_ignored(value);
        }
        return;
      case Where::kList:
        if (const auto* number = std::get_if<std::uint64_t>(&value)) {
          if (numbers_.size() == kMaxNumbers) {
            fail(tensor_.name,
                 std::string(field_) + " holds more than " + std::to_string(kMaxNumbers) +
                     " numbers",
                 "fewer");
          }
          numbers_.push_back(*number);
          return;
        }
        fail(tensor_.name, std::string(field_) + " holds " + describe(value),
             "unsigned 64-bit integers");
      case Where::kIgnored:
        return check_ignored(value);
    }
  }

  void begin_object() override {
    ++depth_;
    if (where_ == Where::kRoot && !in_root_) {
      in_root_ = true;
    } else if (where_ == Where::kRoot) {
      if (key_ == "__metadata__") {
        where_ = Where::kMetadata;
      } else {
        where_ = Where::kTensor;
        tensor_ = HeaderTensor{};
        tensor_.name = key_;
        has_dtype_ = has_shape_ = has_offsets_ = false;
      }
    } else if (where_ == Where::kMetadata) {
      fail_metadata("an object");
    } else if (where_ == Where::kList) {
      fail(tensor_.name, std::string(field_) + " holds an object", "unsigned 64-bit integers");
    } else if (where_ == Where::kTensor) {
      if (field_ == "dtype" || field_ == "shape" || field_ == "data_offsets") {
        fail(tensor_.name, std::string(field_) + " is an object",
             field_ == "dtype" ? "a string such as \"F32\"" : "a list of unsigned integers");
      }
      ignore();
    }
  }

  void key(std::string_view name) override {
    if (where_ == Where::kTensor) {
      field_ = bytes_.keep(name);
    } else if (where_ != Where::kIgnored) {
      key_ = bytes_.keep(name);
    }
  }

  void end_object() override {
    --depth_;
    if (leave_ignored()) return;
    if (where_ == Where::kTensor) {
      if (!has_dtype_ || !has_shape_ || !has_offsets_) {
        fail(tensor_.name,
             std::string("the entry has no ") + (!has_dtype_   ? "dtype"
                                                 : !has_shape_ ? "shape"
                                                               : "data_offsets"),
             kEntry);
      }
      header_.tensors.push_back(tensor_);
      where_ = Where::kRoot;
    } else if (where_ == Where::kMetadata) {
      where_ = Where::kRoot;
    }
  }

  void begin_array() override {
    ++depth_;
    if (where_ == Where::kRoot && !in_root_) fail("", "the header is a list", "a JSON object");
    if (where_ == Where::kRoot && key_ == "__metadata__") {
      fail(key_, "a list", "an object of strings");
    }
    if (where_ == Where::kRoot) fail(key_, "the entry is a list", kEntry);
    if (where_ == Where::kMetadata) fail_metadata("a list");
    if (where_ == Where::kList) {
      fail(tensor_.name, std::string(field_) + " holds a list", "unsigned 64-bit integers");
    }
    if (where_ == Where::kTensor) {
      if (field_ == "dtype") fail(tensor_.name, "dtype is a list", "a string such as \"F32\"");
      if (field_ == "shape" || field_ == "data_offsets") {
        where_ = Where::kList;
        numbers_.clear();
      } else {
        ignore();
      }
    }
  }

  void end_array() override {
    --depth_;
    if (leave_ignored()) return;
    if (where_ != Where::kList) return;
    where_ = Where::kTensor;
    if (field_ == "shape") {
      for (const std::uint64_t size : numbers_) {
        if (size > kMaxInt64) {
          fail(tensor_.name, "shape has a dimension of " + std::to_string(size),
               "at most 2^63 - 1");
        }
      }
      dimensions_ += numbers_.size();
      if (dimensions_ > kMaxDimensions) {
        fail(tensor_.name,
             "the shapes have more than " + std::to_string(kMaxDimensions) + " dimensions in all",
             "fewer");
      }
      tensor_.shape = bytes_.keep(std::span<const std::uint64_t>(numbers_));
      has_shape_ = true;
    } else {
      if (numbers_.size() != 2) {
        fail(tensor_.name, "data_offsets has " + std::to_string(numbers_.size()) + " numbers",
             "begin and end");
      }
      tensor_.begin = numbers_[0];
      tensor_.end = numbers_[1];
      has_offsets_ = true;
    }
  }

 private:
  enum class Where { kRoot, kMetadata, kTensor, kList, kIgnored };
  static constexpr const char* kEntry = "an object with dtype, shape and data_offsets";

  [[noreturn]] void fail(std::string_view key, std::string_view problem,
                         std::string_view expected) const {
    throw CheckpointError(path_, key, problem, expected);
  }
  [[noreturn]] void fail_metadata(const std::string& value) const {
    fail("__metadata__", "the value of \"" + quote_bytes(key_, 100) + "\" is " + value, "a string");
  }
  // The reference reads numbers of fields that it ignores, too.
  void check_ignored(const JsonScalar& value) const {
    if (std::holds_alternative<JsonUnfitNumber>(value)) {
      fail(tensor_.name, std::string(field_) + " holds " + describe(value), "numbers that fit");
    }
  }
  void ignore() {
    before_ignored_ = where_;
    ignored_depth_ = depth_ - 1;
    where_ = Where::kIgnored;
  }
  bool leave_ignored() {
    if (where_ != Where::kIgnored) return false;
    if (depth_ == ignored_depth_) where_ = before_ignored_;
    return true;
  }

  const std::string& path_;
  SafetensorsHeader& header_;
  SafetensorsHeader::Bytes& bytes_;
  Where where_ = Where::kRoot;
  Where before_ignored_ = Where::kRoot;
  bool in_root_ = false;
  std::size_t depth_ = 0;
  std::size_t ignored_depth_ = 0;
  std::string_view key_;
  std::string_view field_;
  HeaderTensor tensor_;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  std::vector<std::uint64_t> numbers_;
  std::size_t dimensions_ = 0;  // of all shapes
};

// Bytes of a tensor by dtype and shape; counts its elements.
std::uint64_t byte_size(HeaderTensor& tensor, const std::string& path) {
  const int bits_per_element = dtype_bits(tensor.dtype_name);
  if (bits_per_element == 0) {
    throw CheckpointError(path, tensor.name,
                          "unknown dtype \"" + quote_bytes(tensor.dtype_name, 60) + '"',
                          "a dtype of the safetensors format");
  }
  std::uint64_t elements = 1;
  std::uint64_t span = 1;  // with zeros counted as 1: what LibTorch makes strides of
  for (const std::int64_t size : tensor.shape) {
    const auto extent = static_cast<std::uint64_t>(size);
    const auto wider = multiply(span, std::max<std::uint64_t>(extent, 1));
    if (!wider || *wider > kMaxInt64) {
      throw CheckpointError(path, tensor.name, "the shape's product does not fit 63 bits",
                            "a smaller shape");
    }
    span = *wider;
    elements *= extent;  // at most span
  }
  tensor.element_count = elements;
  const auto bits = multiply(elements, static_cast<std::uint64_t>(bits_per_element));
  if (!bits) {
    throw CheckpointError(path, tensor.name, "the size in bits does not fit 64 bits",
                          "a smaller shape");
  }
  if (*bits % 8 != 0) {
    throw CheckpointError(path, tensor.name,
                          std::to_string(*bits) + " bits are no whole number of bytes",
                          "a shape that fills whole bytes");
  }
  return *bits / 8;
}

void check_offsets(SafetensorsHeader& header, std::uint64_t data_bytes, const std::string& path) {
  for (HeaderTensor& tensor : header.tensors) {
    const std::uint64_t bytes = byte_size(tensor, path);
    if (tensor.begin > tensor.end || tensor.end - tensor.begin != bytes) {
      throw CheckpointError(
          path, tensor.name,
          "data_offsets [" + std::to_string(tensor.begin) + ", " + std::to_string(tensor.end) + "]",
          std::to_string(bytes) + " bytes for its dtype and shape");
    }
  }
  std::sort(header.tensors.begin(), header.tensors.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t position = 0;
  for (const HeaderTensor& tensor : header.tensors) {
    if (tensor.begin != position) {
      throw CheckpointError(path, tensor.name, "its data begins at " + std::to_string(tensor.begin),
                            std::to_string(position) + ", where the tensor before it ended");
    }
    position = tensor.end;
  }
  if (position != data_bytes) {
    const std::string_view last = header.tensors.empty() ? "" : header.tensors.back().name;
    throw CheckpointError(path, last,
                          "the file holds " + std::to_string(data_bytes) + " bytes of data" +
                              (position > data_bytes ? ", it is truncated" : ""),
                          std::to_string(position));
  }
}

}  // namespace

int dtype_bits(std::string_view dtype) {
  for (const auto& known : kDtypes) {
    if (dtype == known.name) return known.bits;
  }
  return 0;
}

TensorInfo HeaderTensor::copy() const {
  TensorInfo info;
  info.name = name;
  info.dtype_name = dtype_name;
  info.shape.assign(shape.begin(), shape.end());
  info.begin = begin;
  info.end = end;
  info.element_count = element_count;
  return info;
}

const HeaderTensor* SafetensorsHeader::find(std::string_view name) const {
  for (const HeaderTensor& tensor : tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

std::string SafetensorsHeader::metadata_value(std::string_view name) const {
  for (const auto& [key, value] : metadata) {
    if (key == name) return std::string(value);
  }
  return {};
}

SafetensorsHeader parse_safetensors_header(std::string_view head, std::uint64_t file_size,
                                           const std::string& path) {
  return parse_safetensors_header(std::string(head), file_size, path);
}

SafetensorsHeader parse_safetensors_header(std::string&& text, std::uint64_t file_size,
                                           const std::string& path) {
  const auto bytes = std::make_shared<SafetensorsHeader::Bytes>(std::move(text));
  const std::string_view head = bytes->text;
  // Nothing can be read: say what the file is instead, where that can be told.
  const auto refuse = [&](const std::string& problem, const std::string& expected) {
    const char* const foreign = foreign_file(head);
    if (foreign) throw CheckpointError(path, "", foreign, "a safetensors file");
    throw CheckpointError(path, "", problem, expected);
  };
  if (file_size < kLengthBytes || head.size() < kLengthBytes) {
    refuse("has " + std::to_string(file_size) + " bytes", "a safetensors file of at least 8");
  }
  const std::uint64_t length = header_length(head);
  if (length > kMaxSafetensorsHeaderBytes) {
    refuse("claims a header of " + std::to_string(length) + " bytes",
           "a safetensors file, whose header has at most " +
               std::to_string(kMaxSafetensorsHeaderBytes));
  }
  if (length > file_size - kLengthBytes) {
    refuse("claims a header of " + std::to_string(length) + " bytes and has " +
               std::to_string(file_size) + " in all, it is truncated",
           "a whole safetensors file");
  }
  if (length > head.size() - kLengthBytes) {
    throw CheckpointError(
        path, "", "its header of " + std::to_string(length) + " bytes was not handed over whole",
        "the first bytes as read_safetensors_head gives them");
  }
  SafetensorsHeader header;
  header.bytes = bytes;
  header.data_offset = kLengthBytes + length;
  HeaderHandler handler(path, header, *bytes);
  try {
    read_json(head.substr(kLengthBytes, length), handler);
  } catch (const JsonError& error) {
    refuse(std::string("the header: ") + error.what(), "a safetensors header");
  }
  check_offsets(header, file_size - header.data_offset, path);
  return header;
}

std::string read_safetensors_head(const InputFile& file) {
  constexpr std::uint64_t kEnoughToTell = 512;
  std::string head(std::min(file.size(), kLengthBytes), '\0');
  file.read_at(0, head.data(), head.size());
  if (head.size() < kLengthBytes) return head;
  const std::uint64_t rest = file.size() - kLengthBytes;
  const std::uint64_t length = header_length(head);
  const bool possible = length <= kMaxSafetensorsHeaderBytes && length <= rest;
  const std::uint64_t wanted = possible ? length : std::min(rest, kEnoughToTell);
  head.resize(kLengthBytes + wanted);
  file.read_at(kLengthBytes, head.data() + kLengthBytes, wanted);
  return head;
}

bool is_pickle(const InputFile& file) {
  std::string head(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), 64)), '\0');
  file.read_at(0, head.data(), head.size());
  if (begins_as_safetensors(head)) return false;
  return (head.starts_with(kZip) && !is_zip_of_arrays(head)) || is_bare_pickle(head);
}

}  // namespace w2vbert
