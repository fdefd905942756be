// The inputs of a run and the names of their outputs.
//
// The room `corpus` says what is to be done: manifest.h reads lists of audio files, line_file.h
// text files line by line, InputList below holds the inputs (an input is a clip: a file, or a
// segment of one), and partition.h divides them among processes. It reads no audio and writes
// nothing. Read this header first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace w2vbert::tool {

// A segment: a part of an audio file that is a clip of its own.
struct InputSegment {
  double offset_seconds = 0;
  double duration_seconds = 0;  // 0: to the end
};

// A row of a manifest that names no input.
struct BadRow {
  std::string place;  // the manifest and its line
  std::string problem;
};

// A list of audio paths, kept in one block of memory so that ten million rows cost little more than
// their bytes. An output's name is the input's path below the common root of the whole list,
// without the extension of its last component: a/x.wav and b/x.flac give "a/x" and "b/x"; a single
// input gives its file name. A segment adds its borders in milliseconds:
// a/x-0001500-0004250. Paths are made absolute and freed of "." and ".." by their text alone, for
// the naming only: they are opened as they were given. A list may bring names of its own instead,
// for all inputs or none.
class InputList {
 public:
  // `working_directory` is what relative paths count from; absolute.
  explicit InputList(std::string working_directory);

  void add(std::string_view path);
  void add(std::string_view path, InputSegment segment);
  void add_named(std::string_view name, std::string_view path);
  // Makes of each input one for each channel of its file, as `channels_of` counts them. An output's
  // name then ends in -ch1, -ch2 and so on. To be called behind the last add.
  void split_channels(const std::function<int(const std::string& path)>& channels_of);
  void add_bad_row(BadRow row) { bad_rows_.push_back(std::move(row)); }
  // To be called once, after the last add. Throws UsageError: no inputs, two inputs with one name,
  // a name that is no path below a directory (a component that is "", "." or "..", or has over 255
  // bytes with the ending).
  void finish();

  std::size_t size() const noexcept { return paths_.ends.size(); }
  // As given; relative to the working directory when relative.
  std::string path(std::size_t index) const;
  // Without ".safetensors"; slashes separate components.
  std::string name(std::size_t index) const;
  // Nothing for a whole file.
  std::optional<InputSegment> segment(std::size_t index) const;
  // From 1; nothing where the inputs were not split.
  std::optional<int> channel(std::size_t index) const;
  const std::vector<BadRow>& bad_rows() const noexcept { return bad_rows_; }

 private:
  // Strings in one block.
  struct Strings {
    std::string bytes;
    std::vector<std::uint64_t> ends;

    void add(std::string_view text) {
      bytes += text;
      ends.push_back(bytes.size());
    }
    std::string_view operator[](std::size_t index) const {
      const std::uint64_t begin = index == 0 ? 0 : ends[index - 1];
      return std::string_view(bytes).substr(begin, ends[index] - begin);
    }
  };

  std::string normalised(std::size_t index) const;
  std::string name_of_file(std::size_t index) const;  // without the channel

  std::string working_directory_;
  Strings paths_;
  Strings names_;                       // of all inputs, or of none
  std::vector<InputSegment> segments_;  // of the inputs up to the last one that is a segment
  std::vector<std::uint8_t> channels_;  // of all inputs, or of none
  std::vector<BadRow> bad_rows_;
  std::size_t root_size_ =
      0;  // bytes of the common root of the normalised paths, with its last slash
};

// The ending of every output file.
inline constexpr std::string_view kOutputEnding = ".safetensors";

}  // namespace w2vbert::tool
