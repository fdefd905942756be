// The files of a checkpoint, opened and checked against each other: headers only. Torch-free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/safetensors_header.h"
#include "core/file.h"

namespace w2vbert {

// Not changed by reading: several threads may use it at once.
class CheckpointFiles {
 public:
  struct File {
    InputFile file;
    SafetensorsHeader header;
  };
  struct Place {
    std::uint32_t file;    // in files()
    std::uint32_t tensor;  // in its header
  };

  // `path`: as of Checkpoint::open(), with the same exceptions.
  static std::unique_ptr<const CheckpointFiles> open(const std::string& path);

  const std::string& path() const { return path_; }
  const std::vector<File>& files() const { return files_; }
  const std::string& path_of(std::size_t file) const { return files_[file].file.path(); }
  const HeaderTensor& tensor(Place place) const {
    return files_[place.file].header.tensors[place.tensor];
  }
  std::size_t tensor_count() const { return tensor_count_; }
  // As of WeightSource::warnings().
  const std::vector<std::string>& warnings() const { return warnings_; }

  std::optional<Place> find(std::string_view name) const;

 private:
  explicit CheckpointFiles(std::string path) : path_(std::move(path)) {}
  void add_file(const std::string& path);
  void open_shards(const std::string& index_path);
  const std::vector<Place>& sorted_places() const;

  std::string path_;
  std::vector<File> files_;
  std::size_t tensor_count_ = 0;
  std::vector<std::string> warnings_;
  // By name. Sorted, for names made to collide would turn a hash table into a list; made when the
  // first name is asked for, as a listing asks for none.
  mutable std::once_flag sorted_;
  mutable std::vector<Place> places_;
};

}  // namespace w2vbert
