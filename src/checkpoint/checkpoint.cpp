#include "w2vbert/checkpoint/checkpoint.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "checkpoint/checkpoint_index.h"
#include "checkpoint/safetensors_header.h"
#include "checkpoint/tensor_dtype.h"
#include "checkpoint/weight_checks.h"
#include "core/file.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

// What is converted, or copied to another device, goes through a buffer of this size.
constexpr std::uint64_t kStagingBytes = 16 << 20;

struct OpenFile {
  InputFile file;
  SafetensorsHeader header;
};

struct Place {
  std::size_t file;          // in State::files
  const TensorInfo* tensor;  // in that file's header
  std::size_t listed;        // in State::tensors
};

OpenFile open_safetensors(const std::string& path) {
  InputFile file = InputFile::open<CheckpointError>(path);
  SafetensorsHeader header =
      parse_safetensors_header(read_safetensors_head(file), file.size(), path);
  return {std::move(file), std::move(header)};
}

}  // namespace

struct Checkpoint::State {
  std::string path;
  std::vector<OpenFile> files;
  std::vector<std::string> file_paths;
  std::vector<CheckpointTensor> tensors;
  std::unordered_map<std::string_view, Place> places;  // keys live in the headers
  std::vector<std::string> warnings;

  void add_file(const std::string& file_path) {
    files.push_back(open_safetensors(file_path));
    file_paths.push_back(file_path);
  }

  // After the last add_file: the places point into the headers.
  void list_tensors() {
    std::size_t count = 0;
    for (const OpenFile& open : files) count += open.header.tensors.size();
    tensors.reserve(count);
    places.reserve(count);
    for (std::size_t i = 0; i < files.size(); ++i) {
      for (const TensorInfo& tensor : files[i].header.tensors) {
        const auto [place, added] =
            places.try_emplace(tensor.name, Place{i, &tensor, tensors.size()});
        if (!added) {
          throw CheckpointError(file_paths[i], tensor.name,
                                "is in two shards, also in " + file_paths[place->second.file]);
        }
        tensors.push_back({{tensor.dtype_name, tensor.shape},
                           tensor.name,
                           file_paths[i],
                           tensor.end - tensor.begin});
      }
    }
  }

  void open_shards(const std::string& index_path) {
    const std::string text = read_small_file<CheckpointError>(index_path, kMaxCheckpointIndexBytes);
    const CheckpointIndex index = parse_checkpoint_index(text, index_path);
    const std::size_t slash = index_path.rfind('/');
    const std::string directory = slash == std::string::npos ? "" : index_path.substr(0, slash + 1);
    std::vector<std::string_view> shards;
    for (const auto& [tensor, shard] : index.weight_map) shards.push_back(shard);
    std::sort(shards.begin(), shards.end());
    shards.erase(std::unique(shards.begin(), shards.end()), shards.end());
    for (const std::string_view shard : shards) add_file(directory + std::string(shard));
    list_tensors();

    std::uint64_t total = 0;
    for (const CheckpointTensor& tensor : tensors) {
      total += tensor.bytes;
      const auto stated = index.weight_map.find(tensor.name);
      if (stated == index.weight_map.end()) {
        throw CheckpointError(tensor.file, tensor.name, "is not in the index",
                              "only the tensors that " + quote_bytes(index_path) + " gives it");
      }
      if (directory + stated->second != tensor.file) {
        throw CheckpointError(tensor.file, tensor.name, "is in another shard than the index says",
                              stated->second);
      }
    }
    for (const auto& [tensor, shard] : index.weight_map) {
      if (!places.contains(tensor)) {
        throw CheckpointError(directory + shard, tensor, "is not there, but the index says so");
      }
    }
    if (index.total_size && *index.total_size != total) {
      warnings.push_back(quote_bytes(index_path) + ": metadata.total_size is " +
                         std::to_string(*index.total_size) + ", the tensors have " +
                         std::to_string(total) + " bytes");
    }
  }

  const Place& place_of(std::string_view name) const {
    const auto found = places.find(name);
    if (found == places.end()) throw CheckpointError(path, name, "is not in the checkpoint");
    return found->second;
  }
};

Checkpoint::Checkpoint(std::unique_ptr<State> state) : state_(std::move(state)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

const std::string& Checkpoint::path() const { return state_->path; }
std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  names.reserve(state_->tensors.size());
  for (const CheckpointTensor& tensor : state_->tensors) names.push_back(tensor.name);
  return names;
}

const std::vector<CheckpointTensor>& Checkpoint::tensors() const { return state_->tensors; }
const std::vector<std::string>& Checkpoint::files() const { return state_->file_paths; }
const std::vector<std::string>& Checkpoint::warnings() const { return state_->warnings; }

const CheckpointTensor* Checkpoint::find(std::string_view name) const {
  const auto found = state_->places.find(name);
  return found == state_->places.end() ? nullptr : &state_->tensors[found->second.listed];
}

Checkpoint Checkpoint::open(const std::string& path) {
  auto state = std::make_unique<State>();
  state->path = path;
  if (is_directory<CheckpointError>(path)) {
    const std::string single = join_path(path, kCheckpointFile);
    const std::string index = join_path(path, kCheckpointIndexFile);
    const bool has_index = exists<CheckpointError>(index);
    if (exists<CheckpointError>(single)) {
      if (has_index) {
        state->warnings.push_back(quote_bytes(index) + " is not used: " + quote_bytes(single) +
                                  " is there and goes before it");
      }
      state->add_file(single);
      state->list_tensors();
    } else if (has_index) {
      state->open_shards(index);
    } else {
      throw CheckpointError(
          path, "", "holds no weights",
          std::string(kCheckpointFile) + " or " + std::string(kCheckpointIndexFile));
    }
  } else if (path.ends_with(".json")) {
    state->open_shards(path);
  } else {
    state->add_file(path);
    state->list_tensors();
  }
  return Checkpoint(std::move(state));
}

namespace {

c10::ScalarType readable_type(const TensorInfo& tensor, const std::string& file) {
  const auto type = scalar_type_of(tensor.dtype_name);
  if (!type) {
    throw CheckpointError(file, tensor.name, "has dtype " + tensor.dtype_name,
                          "a dtype that LibTorch can hold");
  }
  return *type;
}

// By one thread: from the page cache this is as fast as new memory can be had, and neither a second
// thread nor huge pages (madvise) made it faster where that was measured.
void read_bytes(const OpenFile& open, const TensorInfo& tensor, std::uint64_t offset, void* to,
                std::uint64_t bytes) {
  open.file.read_at(open.header.data_offset + tensor.begin + offset, to, bytes);
}

}  // namespace

at::Tensor Checkpoint::read(std::string_view name) const {
  const Place& place = state_->place_of(name);
  const at::ScalarType type = readable_type(*place.tensor, state_->file_paths[place.file]);
  // The header has been checked against the file's size, so this much is really there.
  at::Tensor tensor = at::empty(place.tensor->shape, at::TensorOptions().dtype(type));
  read(name, tensor);
  return tensor;
}

void Checkpoint::read(std::string_view name, const at::Tensor& destination) const {
  const Place& place = state_->place_of(name);
  const TensorInfo& tensor = *place.tensor;
  const OpenFile& open = state_->files[place.file];
  const at::ScalarType type = readable_type(tensor, state_->file_paths[place.file]);
  check_destination(name, tensor.shape, "in the checkpoint", destination);
  const at::Tensor target = destination.detach();
  const bool plain = target.is_cpu() && target.is_contiguous();
  if (plain && target.scalar_type() == type) {
    read_bytes(open, tensor, 0, target.mutable_data_ptr(), tensor.end - tensor.begin);
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
      read_bytes(open, tensor, static_cast<std::uint64_t>(first * element_bytes),
                 staging.mutable_data_ptr(), static_cast<std::uint64_t>(count * element_bytes));
      flat.narrow(0, first, count).copy_(staging.narrow(0, 0, count));
    }
  } else {
    at::Tensor whole = at::empty(tensor.shape, at::TensorOptions().dtype(type));
    read_bytes(open, tensor, 0, whole.mutable_data_ptr(), tensor.end - tensor.begin);
    target.copy_(whole);
  }
  open.file.check_unchanged();
}

void Checkpoint::read_rows(std::string_view name, std::int64_t first, std::int64_t count,
                           float* to) const {
  const Place& place = state_->place_of(name);
  const TensorInfo& tensor = *place.tensor;
  const OpenFile& open = state_->files[place.file];
  const at::ScalarType type = readable_type(tensor, state_->file_paths[place.file]);
  check_rows(name, tensor.shape, first, count);
  if (tensor.shape[0] == 0) return;
  const std::uint64_t row_bytes =
      (tensor.end - tensor.begin) / static_cast<std::uint64_t>(tensor.shape[0]);
  const std::uint64_t offset = static_cast<std::uint64_t>(first) * row_bytes;
  const std::uint64_t bytes = static_cast<std::uint64_t>(count) * row_bytes;
  if (type == at::kFloat) {
    read_bytes(open, tensor, offset, to, bytes);
  } else {
    const auto numel =
        static_cast<std::int64_t>(bytes) / static_cast<std::int64_t>(c10::elementSize(type));
    const at::Tensor rows = at::empty(numel, at::TensorOptions().dtype(type));
    read_bytes(open, tensor, offset, rows.mutable_data_ptr(), bytes);
    at::from_blob(to, {numel}, at::kFloat).copy_(rows);
  }
  open.file.check_unchanged();
}

}  // namespace w2vbert
