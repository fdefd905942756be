#include "checkpoint/safetensors_stream.h"

#include <ATen/ATen.h>

#include "checkpoint/tensor_dtype.h"

namespace w2vbert {

SafetensorsStream::SafetensorsStream(const std::string& path, std::uint64_t header_bytes)
    : file_(path), header_bytes_(header_bytes) {
  file_.append(std::vector<std::byte>(header_bytes));
}

void SafetensorsStream::add(const std::string& name, const at::Tensor& tensor) {
  TORCH_CHECK_VALUE(tensor.layout() == at::kStrided && tensor.is_cpu() && tensor.is_contiguous(),
                    "safetensors: ", name, ": expected a dense, contiguous tensor on the CPU");
  const auto dtype_name = dtype_name_of(tensor.scalar_type());
  TORCH_CHECK_VALUE(dtype_name.has_value(), "safetensors: ", name, " has dtype ",
                    tensor.scalar_type(), ", which the format does not know");
  TensorInfo info;
  info.name = name;
  info.dtype_name = *dtype_name;
  info.shape = tensor.sizes().vec();
  add(info, {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
}

void SafetensorsStream::add(const TensorInfo& tensor, std::span<const std::byte> data) {
  TensorInfo& added = tensors_.emplace_back(tensor);
  added.begin = data_bytes_;
  added.end = data_bytes_ += data.size();
  file_.append(data);
}

Committed SafetensorsStream::commit(const SafetensorsMetadata& metadata,
                                    const std::optional<FileIdentity>& in_place_of,
                                    const std::function<void()>& last_look,
                                    const FinishHeader& finish_header) {
  std::string header =
      serialize_safetensors_header(tensors_, metadata, file_.path(), header_bytes_);
  if (finish_header) finish_header(header);
  TORCH_INTERNAL_ASSERT(header.size() == header_bytes_, "a longer header than was planned");
  file_.overwrite(0, std::as_bytes(std::span(header)));
  return file_.commit_in_place_of(in_place_of, last_look);
}

}  // namespace w2vbert
