#include "w2vbert/pipeline/input_list.h"

#include <algorithm>
#include <compare>

#include "w2vbert/core/error.h"
#include "w2vbert/core/text.h"
#include "w2vbert/pipeline/shard.h"

namespace w2vbert {
namespace {

constexpr std::size_t kMaxComponentBytes = 255;  // NAME_MAX of Linux' file systems

// "/a/./b//../c" -> "/a/c"; `path` is absolute.
std::string normalise(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    const std::string_view component = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (component.empty() || component == ".") continue;
    if (component == "..") {
      out.resize(out.empty() ? 0 : out.rfind('/'));
      continue;
    }
    out += '/';
    out += component;
  }
  return out.empty() ? "/" : out;
}

std::size_t directory_size(std::string_view path) { return path.rfind('/') + 1; }

std::string_view without_extension(std::string_view path) {
  const std::size_t start = directory_size(path);
  const std::size_t dot = path.rfind('.');
  // A leading dot starts a hidden file's name, not an extension.
  return dot == std::string_view::npos || dot <= start ? path : path.substr(0, dot);
}

}  // namespace

InputList::InputList(std::string working_directory)
    : working_directory_(std::move(working_directory)) {}

void InputList::add(std::string_view path) {
  bytes_ += path;
  ends_.push_back(bytes_.size());
}

std::string_view InputList::stored(std::size_t index) const {
  const std::uint64_t begin = index == 0 ? 0 : ends_[index - 1];
  return std::string_view(bytes_).substr(begin, ends_[index] - begin);
}

std::string InputList::path(std::size_t index) const { return std::string(stored(index)); }

std::string InputList::normalised(std::size_t index) const {
  const std::string_view path = stored(index);
  if (path.starts_with('/')) return normalise(path);
  return normalise(working_directory_ + "/" + std::string(path));
}

std::string InputList::name(std::size_t index) const {
  const std::string path = normalised(index);
  return std::string(without_extension(path).substr(root_size_));
}

void InputList::finish() {
  if (size() == 0) throw UsageError("", "", "no inputs", "at least one audio file");
  for (std::size_t i = 0; i < size(); ++i) {
    if (stored(i).empty()) throw UsageError("", "", "an empty path", "the path of an audio file");
  }
  std::string root = normalised(0);
  root.resize(directory_size(root));
  for (std::size_t i = 1; i < size() && root.size() > 1; ++i) {
    const std::string path = normalised(i);
    const auto parts = std::mismatch(root.begin(), root.end(), path.begin(), path.end());
    root.erase(parts.first, root.end());
    root.resize(directory_size(root));
  }
  root_size_ = root.size();

  for (std::size_t i = 0; i < size(); ++i) {
    std::string name = this->name(i);
    const std::size_t start = directory_size(name);
    const std::string_view file = std::string_view(name).substr(start);
    if (file.empty() || file == "." || file == "..") {
      throw UsageError(stored(i), "", "gives an output no name", "the path of an audio file");
    }
    name += kOutputEnding;
    for (std::size_t begin = 0; begin < name.size();) {
      const std::size_t end = std::min(name.find('/', begin), name.size());
      if (end - begin > kMaxComponentBytes) {
        throw UsageError(stored(i), "",
                         "gives an output a name of " + std::to_string(end - begin) + " bytes",
                         "at most " + std::to_string(kMaxComponentBytes));
      }
      begin = end + 1;
    }
    if (name.find('\n') != std::string::npos || name.find('\0') != std::string::npos) {
      throw UsageError(stored(i), "", "holds a line break or a NUL byte", "a path without them");
    }
  }

  // By hash, so that the names need not be made again for each comparison; names that share a hash
  // are compared themselves.
  struct Key {
    std::uint64_t hash;
    std::size_t index;
    auto operator<=>(const Key&) const = default;
  };
  std::vector<Key> keys(size());
  for (std::size_t i = 0; i < size(); ++i) keys[i] = {stable_hash(name(i)), i};
  std::sort(keys.begin(), keys.end());
  for (std::size_t i = 1; i < keys.size(); ++i) {
    for (std::size_t j = i; j > 0 && keys[j - 1].hash == keys[i].hash; --j) {
      const std::size_t first = keys[j - 1].index;
      const std::size_t second = keys[i].index;
      if (name(first) != name(second)) continue;
      throw UsageError(stored(second), "",
                       "gives the output name \"" + quote_bytes(name(second)) + "\" as " +
                           quote_bytes(stored(first)) + " does",
                       "names that differ without their extensions");
    }
  }
}

}  // namespace w2vbert
