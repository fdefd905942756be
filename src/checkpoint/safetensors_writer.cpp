#include "checkpoint/safetensors_writer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <span>

#include "checkpoint/tensor_dtype.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data are little-endian");

struct Entry {
  std::string name;
  std::string_view dtype_name;
  at::Tensor bytes;  // contiguous, on the CPU
};

Entry entry_of(const std::string& name, const at::Tensor& tensor) {
  const std::string shown = quote_bytes(name);
  TORCH_CHECK_VALUE(tensor.defined(), "safetensors: ", shown, " is undefined");
  TORCH_CHECK_VALUE(tensor.layout() == at::kStrided && !tensor.is_meta(), "safetensors: ", shown,
                    " has layout ", tensor.layout(), " on ", tensor.device(),
                    ", expected a dense tensor with data");
  const auto dtype_name = dtype_name_of(tensor.scalar_type());
  TORCH_CHECK_VALUE(dtype_name.has_value(), "safetensors: ", shown, " has dtype ",
                    tensor.scalar_type(), ", which the format does not know");
  at::Tensor plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous();
  return {name, *dtype_name, std::move(plain)};
}

// A whole file in memory, the tensors where they are.
struct Contents {
  std::string header;
  std::vector<Entry> entries;

  std::vector<std::span<const std::byte>> pieces() const {
    std::vector<std::span<const std::byte>> pieces = {std::as_bytes(std::span(header))};
    for (const Entry& entry : entries) {
      if (entry.bytes.nbytes() == 0) continue;
      pieces.emplace_back(static_cast<const std::byte*>(entry.bytes.const_data_ptr()),
                          entry.bytes.nbytes());
    }
    return pieces;
  }
};

Contents contents_of(const std::string& path, const NamedTensors& tensors,
                     const SafetensorsMetadata& metadata) {
  std::vector<Entry> entries;
  entries.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) entries.push_back(entry_of(name, tensor));
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    const auto size_a = a.bytes.element_size(), size_b = b.bytes.element_size();
    return size_a != size_b ? size_a > size_b : a.name < b.name;
  });

  std::vector<TensorInfo> infos;
  std::uint64_t offset = 0;
  for (const Entry& entry : entries) {
    TensorInfo info;
    info.name = entry.name;
    info.dtype_name = entry.dtype_name;
    info.shape.assign(entry.bytes.sizes().begin(), entry.bytes.sizes().end());
    info.begin = offset;
    info.end = offset += entry.bytes.nbytes();
    infos.push_back(std::move(info));
  }

  try {
    return {serialize_safetensors_header(infos, metadata, path), std::move(entries)};
  } catch (const CheckpointError& error) {  // names are the caller's, not a file's
    TORCH_CHECK_VALUE(false, "safetensors: ", error.what());
  }
}

}  // namespace

Committed write_safetensors(const std::string& path, const NamedTensors& tensors,
                            const SafetensorsMetadata& metadata, IfPresent if_present) {
  const Contents contents = contents_of(path, tensors, metadata);
  return write_durably(path, contents.pieces(), if_present);
}

StagedFile stage_safetensors(const std::string& path, const NamedTensors& tensors,
                             const SafetensorsMetadata& metadata,
                             const FinishHeader& finish_header) {
  Contents contents = contents_of(path, tensors, metadata);
  if (finish_header) finish_header(contents.header);
  return StagedFile(path, contents.pieces());
}

}  // namespace w2vbert
