#include "weight_watch.h"

#include <algorithm>
#include <string_view>

#include "core/stable_hash.h"

namespace w2vbert::python {
namespace {

constexpr std::int64_t kSamples = 32;  // of each tensor: a cache miss each

bool has_storage(const at::Tensor& tensor) {
  return tensor.defined() && tensor.layout() == at::kStrided && tensor.has_storage();
}

const c10::StorageImpl* storage_of(const at::Tensor& tensor) {
  return has_storage(tensor) ? tensor.storage().unsafeGetStorageImpl() : nullptr;
}

const void* data_of(const at::Tensor& tensor) {
  return storage_of(tensor) == nullptr ? nullptr : tensor.const_data_ptr();
}

std::optional<std::uint32_t> version_of(const at::Tensor& tensor) {
  if (tensor.is_inference()) return {};
  return static_cast<std::uint32_t>(tensor._version());
}

// Bytes from the tensor's first value to that of this number in its order.
std::int64_t offset_of(const at::Tensor& tensor, std::int64_t number) {
  std::int64_t offset = 0;
  for (std::int64_t d = tensor.dim() - 1; d >= 0; --d) {
    offset += number % tensor.size(d) * tensor.stride(d);
    number /= tensor.size(d);
  }
  return offset * tensor.element_size();
}

std::uint64_t samples_of(const at::Tensor& tensor) {
  const auto* const data = static_cast<const char*>(data_of(tensor));
  const std::int64_t count = tensor.numel();
  if (data == nullptr || !tensor.is_cpu() || count == 0) return 0;
  const auto width = static_cast<std::size_t>(tensor.element_size());
  const std::int64_t samples = std::min(count, kSamples);
  std::uint64_t hash = 0;
  for (std::int64_t i = 0; i < samples; ++i) {
    const std::int64_t number = samples == 1 ? 0 : i * (count - 1) / (samples - 1);
    const std::uint64_t value = stable_hash({data + offset_of(tensor, number), width});
    hash = (hash ^ value) * 0x100000001b3;
  }
  return hash;
}

}  // namespace

WeightWatch::Seen::Seen(const at::Tensor& tensor)
    : kept(has_storage(tensor)
               ? tensor.storage().getWeakStorageImpl()
               : c10::weak_intrusive_ptr<c10::StorageImpl>(c10::intrusive_ptr<c10::StorageImpl>())),
      storage(storage_of(tensor)),
      data(data_of(tensor)),
      shape(tensor.sizes().vec()),
      strides(tensor.layout() == at::kStrided ? tensor.strides().vec()
                                              : std::vector<std::int64_t>()),
      dtype(tensor.scalar_type()),
      version(version_of(tensor)),
      samples(samples_of(tensor)) {}

bool WeightWatch::Seen::is(const at::Tensor& tensor) const {
  return tensor.defined() && storage_of(tensor) == storage && data_of(tensor) == data &&
         tensor.scalar_type() == dtype && tensor.sizes() == at::IntArrayRef(shape) &&
         (storage == nullptr || tensor.strides() == at::IntArrayRef(strides)) &&
         version_of(tensor) == version && samples_of(tensor) == samples;
}

WeightWatch::WeightWatch(const std::vector<at::Tensor>& tensors) {
  seen_.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) seen_.emplace_back(tensor);
}

bool WeightWatch::sees_no_change(const std::vector<at::Tensor>& tensors) const {
  return std::equal(tensors.begin(), tensors.end(), seen_.begin(), seen_.end(),
                    [](const at::Tensor& tensor, const Seen& seen) { return seen.is(tensor); });
}

}  // namespace w2vbert::python
