#include "checkpoint/checkpoint_files.h"

#include <algorithm>
#include <utility>

#include "checkpoint/checkpoint_index.h"
#include "checkpoint/missing_weights.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert {

std::unique_ptr<const CheckpointFiles> CheckpointFiles::open(const std::string& path) {
  std::unique_ptr<CheckpointFiles> opened(new CheckpointFiles(path));
  if (is_directory<CheckpointError>(path)) {
    check_weights(path);
    const std::string single = join_path(path, kCheckpointFile);
    const std::string index = join_path(path, kCheckpointIndexFile);
    const bool has_index = exists<CheckpointError>(index);
    if (exists<CheckpointError>(single)) {
      if (has_index) {
        opened->warnings_.push_back(quote_bytes(index) + " is not used: " + quote_bytes(single) +
                                    " is there and goes before it");
      }
      opened->add_file(single);
    } else {
      opened->open_shards(index);
    }
  } else if (path.ends_with(".json")) {
    opened->open_shards(path);
  } else {
    opened->add_file(path);
  }
  return opened;
}

std::optional<CheckpointFiles::Place> CheckpointFiles::find(std::string_view name) const {
  const std::vector<Place>& places = sorted_places();
  const auto found = std::lower_bound(
      places.begin(), places.end(), name,
      [&](Place place, std::string_view wanted) { return tensor(place).name < wanted; });
  if (found == places.end() || tensor(*found).name != name) return std::nullopt;
  return *found;
}

void CheckpointFiles::add_file(const std::string& path) {
  InputFile file = InputFile::open<CheckpointError>(path);
  SafetensorsHeader header =
      parse_safetensors_header(read_safetensors_head(file), file.size(), path);
  tensor_count_ += header.tensors.size();
  files_.push_back({std::move(file), std::move(header)});
}

const std::vector<CheckpointFiles::Place>& CheckpointFiles::sorted_places() const {
  std::call_once(sorted_, [&] {
    places_.clear();  // of an attempt that ran out of memory
    places_.reserve(tensor_count_);
    for (std::uint32_t file = 0; file < files_.size(); ++file) {
      const auto count = static_cast<std::uint32_t>(files_[file].header.tensors.size());
      for (std::uint32_t i = 0; i < count; ++i) places_.push_back({file, i});
    }
    const auto precedes = [&](Place a, Place b) { return tensor(a).name < tensor(b).name; };
    if (std::is_sorted(places_.begin(), places_.end(), precedes)) return;
    std::stable_sort(places_.begin(), places_.end(), precedes);
  });
  return places_;
}

void CheckpointFiles::open_shards(const std::string& index_path) {
  const std::string text = read_small_file<CheckpointError>(index_path, kMaxCheckpointIndexBytes);
  const CheckpointIndex index = parse_checkpoint_index(text, index_path);
  const std::string directory(directory_prefix(index_path));
  std::vector<std::string_view> shards;
  for (const auto& [tensor, shard] : index.weight_map) shards.push_back(shard);
  std::sort(shards.begin(), shards.end());
  shards.erase(std::unique(shards.begin(), shards.end()), shards.end());
  for (const std::string_view shard : shards) add_file(directory + std::string(shard));

  // A name that is in two files stands twice in a row, of the earlier file first.
  const std::vector<Place>& places = sorted_places();
  const auto twice = std::adjacent_find(places.begin(), places.end(), [&](Place a, Place b) {
    return tensor(a).name == tensor(b).name;
  });
  if (twice != places.end()) {
    throw CheckpointError(path_of((twice + 1)->file), tensor(*twice).name,
                          "is in two shards, also in " + path_of(twice->file),
                          "each tensor in one");
  }

  std::uint64_t total = 0;
  for (const File& file : files_) {
    for (const HeaderTensor& tensor : file.header.tensors) {
      total += tensor.end - tensor.begin;
      const auto stated = index.weight_map.find(tensor.name);
      if (stated == index.weight_map.end()) {
        throw CheckpointError(file.file.path(), tensor.name, "is not in the index",
                              "only the tensors that " + quote_bytes(index_path) + " gives it");
      }
      if (directory + stated->second != file.file.path()) {
        const bool swapped = std::all_of(
            file.header.tensors.begin(), file.header.tensors.end(), [&](const HeaderTensor& other) {
              const auto of_other = index.weight_map.find(other.name);
              return of_other != index.weight_map.end() && of_other->second == stated->second;
            });
        if (swapped) {
          throw CheckpointError(file.file.path(), "",
                                "holds what the index expects in " + quote_bytes(stated->second),
                                "its own tensors: have files been swapped or renamed?");
        }
        throw CheckpointError(file.file.path(), tensor.name,
                              "is in another shard than the index says", stated->second);
      }
    }
  }
  for (const auto& [name, shard] : index.weight_map) {
    if (!find(name)) {
      throw CheckpointError(directory + shard, name, "is not there",
                            "every tensor that " + quote_bytes(index_path) + " gives it");
    }
  }
  if (index.total_size && *index.total_size != total) {
    warnings_.push_back(quote_bytes(index_path) + ": metadata.total_size is " +
                        std::to_string(*index.total_size) + ", the tensors have " +
                        std::to_string(total) + " bytes");
  }
}

}  // namespace w2vbert
