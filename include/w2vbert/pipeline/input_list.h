// The inputs of a run and the names of their outputs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace w2vbert {

// A list of audio paths, kept in one block of memory so that ten million rows cost little more than
// their bytes. An output's name is the input's path below the common root of the whole list, without
// the extension of its last component: a/x.wav and b/x.flac give "a/x" and "b/x"; a single input
// gives its file name. Paths are made absolute and freed of "." and ".." by their text alone, for the
// naming only: they are opened as they were given.
class InputList {
 public:
  // `working_directory` is what relative paths count from; absolute.
  explicit InputList(std::string working_directory);

  void add(std::string_view path);
  // To be called once, after the last add. Throws UsageError: no inputs, two inputs with one name, a
  // name that is no file name ("", ".", "..", a component over 255 bytes with its ending).
  void finish();

  std::size_t size() const noexcept { return ends_.size(); }
  // As given; relative to the working directory when relative.
  std::string path(std::size_t index) const;
  // Without ".safetensors"; slashes separate components.
  std::string name(std::size_t index) const;

 private:
  std::string_view stored(std::size_t index) const;
  std::string normalised(std::size_t index) const;

  std::string working_directory_;
  std::string bytes_;
  std::vector<std::uint64_t> ends_;
  std::size_t root_size_ = 0;  // bytes of the common root of the normalised paths, with its last slash
};

// The ending of every output file.
inline constexpr std::string_view kOutputEnding = ".safetensors";

}  // namespace w2vbert
