#include "tool/parity/dump.h"

#include <algorithm>
#include <string_view>

#include "checkpoint/safetensors_header.h"
#include "core/directory_entries.h"
#include "core/file.h"
#include "tool/parity/npy_file.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::string_view kNpy = ".npy";
constexpr const char* kExpectedDump =
    "a .safetensors file, a .npy file or a directory of .npy files";
constexpr std::size_t kMaxFolders = 16;  // one in the other

void add_files(const std::string& directory, const std::string& before, std::size_t depth,
               std::map<std::string, std::string>& files) {
  for_each_entry(directory, [&](const dirent& entry, DIR*) {
    const std::string name = entry.d_name;
    if (name.starts_with('.')) return;
    const std::string path = join_path(directory, name);
    if (name.ends_with(kNpy)) {
      files.emplace(before + name.substr(0, name.size() - kNpy.size()), path);
    } else if (is_directory<CheckpointError>(path)) {
      if (depth == kMaxFolders) {
        throw CheckpointError(path, "", "is in too many folders", "at most 16, one in the other");
      }
      add_files(path, before + name + "/", depth + 1, files);
    }
  });
}

}  // namespace

Dump Dump::open(const std::string& path) {
  Dump dump(path);
  if (is_directory<CheckpointError>(path)) {
    add_files(path, "", 0, dump.files_);
    if (dump.files_.empty()) throw CheckpointError(path, "", "holds no .npy files", kExpectedDump);
    return dump;
  }
  if (path.ends_with(kNpy)) {
    const std::string_view name = file_name(path);
    dump.files_.emplace(name.substr(0, name.size() - kNpy.size()), path);
    return dump;
  }
  if (path.ends_with(".npz")) {
    throw CheckpointError(path, "", "is an archive of .npy files",
                          "the same unpacked into a directory (unzip), or a .safetensors file");
  }
  if (!path.ends_with(".safetensors")) {
    throw CheckpointError(path, "", "is of a kind that is not read", kExpectedDump);
  }
  dump.tensors_ = std::make_shared<const Checkpoint>(Checkpoint::open(path));
  const auto file = InputFile::open<CheckpointError>(path);
  const auto header = parse_safetensors_header(read_safetensors_head(file), file.size(), path);
  dump.settings_.insert(header.metadata.begin(), header.metadata.end());
  return dump;
}

std::vector<std::string> Dump::names() const {
  std::vector<std::string> names;
  if (tensors_) names = tensors_->names();
  for (const auto& [name, path] : files_) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

bool Dump::has(const std::string& name) const {
  return tensors_ ? tensors_->find(name) != nullptr : files_.contains(name);
}

torch::Tensor Dump::read(const std::string& name) const {
  return tensors_ ? tensors_->read(name) : read_npy(files_.at(name));
}

}  // namespace w2vbert::tool
