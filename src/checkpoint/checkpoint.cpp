#include "w2vbert/checkpoint/checkpoint.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "checkpoint/checkpoint_files.h"
#include "checkpoint/tensor_dtype.h"
#include "checkpoint/weight_checks.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

// What is converted, or copied to another device, goes through a buffer of this size.
constexpr std::uint64_t kStagingBytes = 16 << 20;

}  // namespace

struct Checkpoint::State {
  std::unique_ptr<const CheckpointFiles> files;
  std::vector<std::string> file_paths;

  // Made when the first is asked for: a million of them take several times what their headers do.
  const std::vector<CheckpointTensor>& tensors() const {
    std::call_once(listed_, [&] {
      tensors_.clear();  // of an attempt that ran out of memory
      first_of_file_.clear();
      tensors_.reserve(files->tensor_count());
      for (const CheckpointFiles::File& file : files->files()) {
        first_of_file_.push_back(tensors_.size());
        for (const HeaderTensor& tensor : file.header.tensors) {
          tensors_.push_back({{std::string(tensor.dtype_name),
                               std::vector<std::int64_t>(tensor.shape.begin(), tensor.shape.end())},
                              std::string(tensor.name),
                              file.file.path(),
                              tensor.end - tensor.begin});
        }
      }
    });
    return tensors_;
  }
  const CheckpointTensor* find(std::string_view name) const {
    const auto place = files->find(name);
    if (!place) return nullptr;
    const auto& listed = tensors();
    return &listed[first_of_file_[place->file] + place->tensor];
  }

 private:
  mutable std::once_flag listed_;
  mutable std::vector<CheckpointTensor> tensors_;
  mutable std::vector<std::size_t> first_of_file_;  // in tensors_
};

Checkpoint::Checkpoint(std::unique_ptr<State> state) : state_(std::move(state)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

const std::string& Checkpoint::path() const { return state_->files->path(); }
std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  names.reserve(state_->files->tensor_count());
  for (const CheckpointFiles::File& file : state_->files->files()) {
    for (const HeaderTensor& tensor : file.header.tensors) names.emplace_back(tensor.name);
  }
  return names;
}

const std::vector<CheckpointTensor>& Checkpoint::tensors() const { return state_->tensors(); }
const std::vector<std::string>& Checkpoint::files() const { return state_->file_paths; }
const std::vector<std::string>& Checkpoint::warnings() const { return state_->files->warnings(); }
const CheckpointTensor* Checkpoint::find(std::string_view name) const { return state_->find(name); }

Checkpoint Checkpoint::open(const std::string& path) {
  auto state = std::make_unique<State>();
  state->files = CheckpointFiles::open(path);
  for (const CheckpointFiles::File& file : state->files->files()) {
    state->file_paths.push_back(file.file.path());
  }
  return Checkpoint(std::move(state));
}

namespace {

// What is read: the tensor of a name, in its file.
struct Source {
  const CheckpointFiles::File& open;
  const HeaderTensor& tensor;
  c10::ScalarType type;
};

Source source_of(const CheckpointFiles& files, std::string_view name) {
  const auto place = files.find(name);
  if (!place) throw CheckpointError(files.path(), name, "is not in the checkpoint");
  const HeaderTensor& tensor = files.tensor(*place);
  const auto type = scalar_type_of(tensor.dtype_name);
  if (!type) {
    throw CheckpointError(files.path_of(place->file), name,
                          "has dtype " + std::string(tensor.dtype_name),
                          "a dtype that LibTorch can hold");
  }
  return {files.files()[place->file], tensor, *type};
}

// By one thread: from the page cache this is as fast as new memory can be had, and neither a second
// thread nor huge pages (madvise) made it faster where that was measured.
void read_bytes(const Source& source, std::uint64_t offset, void* to, std::uint64_t bytes) {
  const auto& [file, header] = source.open;
  file.read_at(header.data_offset + source.tensor.begin + offset, to, bytes);
}

std::uint64_t byte_count(const HeaderTensor& tensor) { return tensor.end - tensor.begin; }

}  // namespace

at::Tensor Checkpoint::read(std::string_view name) const {
  const Source source = source_of(*state_->files, name);
  // The header has been checked against the file's size, so this much is really there.
  at::Tensor tensor =
      at::empty(at::IntArrayRef(source.tensor.shape.data(), source.tensor.shape.size()),
                at::TensorOptions().dtype(source.type));
  read(name, tensor);
  return tensor;
}

void Checkpoint::read(std::string_view name, const at::Tensor& destination) const {
  const Source source = source_of(*state_->files, name);
  const HeaderTensor& tensor = source.tensor;
  const at::ScalarType type = source.type;
  check_destination(name, tensor.shape, "in the checkpoint", destination);
  const at::Tensor target = destination.detach();
  const bool plain = target.is_cpu() && target.is_contiguous();
  if (plain && target.scalar_type() == type) {
    read_bytes(source, 0, target.mutable_data_ptr(), byte_count(tensor));
  } else if (target.is_contiguous()) {
    // Block by block, so that a conversion costs no second copy of the tensor.
    const at::Tensor flat = target.view(-1);
    const auto element_bytes = static_cast<std::int64_t>(c10::elementSize(type));
    const std::int64_t block = static_cast<std::int64_t>(kStagingBytes) / element_bytes;
    const at::Tensor staging =
        at::empty(std::min(block, flat.numel()),
                  at::TensorOptions().dtype(type).pinned_memory(target.is_cuda()));
    for (std::int64_t first = 0; first < flat.numel(); first += block) {
      const std::int64_t count = std::min(block, flat.numel() - first);
      read_bytes(source, static_cast<std::uint64_t>(first * element_bytes),
                 staging.mutable_data_ptr(), static_cast<std::uint64_t>(count * element_bytes));
      flat.narrow(0, first, count).copy_(staging.narrow(0, 0, count));
    }
  } else {
    at::Tensor whole = at::empty(target.sizes(), at::TensorOptions().dtype(type));
    read_bytes(source, 0, whole.mutable_data_ptr(), byte_count(tensor));
    target.copy_(whole);
  }
  source.open.file.check_unchanged();
}

void Checkpoint::read_rows(std::string_view name, std::int64_t first, std::int64_t count,
                           float* to) const {
  const Source source = source_of(*state_->files, name);
  const HeaderTensor& tensor = source.tensor;
  const at::ScalarType type = source.type;
  check_rows(name, tensor.shape, first, count);
  if (tensor.shape[0] == 0) return;
  const std::uint64_t row_bytes =
      (byte_count(tensor)) / static_cast<std::uint64_t>(tensor.shape[0]);
  const std::uint64_t offset = static_cast<std::uint64_t>(first) * row_bytes;
  const std::uint64_t bytes = static_cast<std::uint64_t>(count) * row_bytes;
  if (type == at::kFloat) {
    read_bytes(source, offset, to, bytes);
  } else {
    const auto numel =
        static_cast<std::int64_t>(bytes) / static_cast<std::int64_t>(c10::elementSize(type));
    const at::Tensor rows = at::empty(numel, at::TensorOptions().dtype(type));
    read_bytes(source, offset, rows.mutable_data_ptr(), bytes);
    at::from_blob(to, {numel}, at::kFloat).copy_(rows);
  }
  source.open.file.check_unchanged();
}

}  // namespace w2vbert
