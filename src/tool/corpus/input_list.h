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

#include "tool/corpus/input_place.h"

namespace w2vbert::tool {

// The ending of an output file, unless another format is requested.
inline constexpr std::string_view kOutputEnding = ".safetensors";

// A segment: a part of an audio file that is a clip of its own.
struct InputSegment {
  double offset_seconds = 0;
  double duration_seconds = 0;  // 0: to the end
  // Whether the list states an offset. Without one the segment is the file's beginning, and as most
  // lists state every file's whole duration, its output is named as the file's.
  bool has_offset = true;
};

// Whether a border of a segment may be so many seconds: 0 to 30 years, which is beyond any
// recording.
inline bool may_be_seconds(double seconds) { return seconds >= 0 && seconds <= 1e9; }

// "0.2 s to 0.5 s", "0.2 s to the end"; "the whole file" for none.
std::string segment_text(const std::optional<InputSegment>& segment);
// Whether audio of so many seconds can be that segment's, which may end a little behind the last
// sample of its file.
bool may_last(const std::optional<InputSegment>& segment, double seconds);

// A row of a list that names no input; or of a directory, a folder that cannot be listed, or a file
// that cannot name an output.
struct BadRow {
  std::string path;   // of the list, or of the folder or file
  std::string place;  // in the list, such as "line 3"; "" for a folder or a file
  std::string problem;
  bool is_folder = false;  // nobody knows how many inputs are in it

  // What decides which partition reports it.
  const std::string& key() const { return place.empty() ? path : place; }
};

// What an output's name is made of.
enum class Naming {
  path,  // the input's path below the common root of the whole list, in which a tar is a folder
  stem,  // its file name alone
  id,    // what the list itself calls it
};

struct InputProblem {
  std::string problem;
  std::string expected;
};

// Whether outputs are files of their own names, which then have to be different and good ones.
enum class OutputNames { kNeeded, kUnneeded };

// A list of audio paths, kept in one block of memory so that ten million rows cost little more than
// their bytes. An output's name is the input's path below the common root of the whole list,
// without the extension of its last component: a/x.wav and b/x.flac give "a/x" and "b/x"; a single
// input gives its file name. A segment adds its borders in milliseconds:
// a/x-0001500-0004250. With Naming::stem the folders are left out: "x". Paths are made absolute and
// freed of "." and ".." by their text alone, for the naming only: they are opened as they were
// given. A list may bring names of its own instead; members of tars have their keys.
class InputList {
 public:
  // `working_directory` is what relative paths count from; absolute.
  explicit InputList(std::string working_directory, OutputNames names = OutputNames::kNeeded);

  void add(std::string_view path);
  void add(std::string_view path, InputSegment segment);
  // With a channel, from 1, the name ends as those of split_channels() do.
  void add_named(std::string_view name, std::string_view path,
                 const std::optional<InputSegment>& segment = {}, std::optional<int> channel = {});
  // Makes of the input that was added last a member of such a container, whose path that of the
  // input begins with.
  void set_member(Member member);
  // What is said in the input that was added last, as the list has it. Kept where keep_texts() was
  // called; the memory of a long list is better spent where nobody asks.
  void set_text(std::string_view text);
  void keep_texts() { keeps_texts_ = true; }
  bool keeps_texts() const noexcept { return keeps_texts_; }
  // Whether an input is of the same file as the one before it: rows of one file mostly follow each
  // other.
  bool repeats_path(std::size_t index) const {
    return index > 0 && paths_[index] == paths_[index - 1];
  }
  // Makes of each input one for each channel of its file, but of those that name one. `channels_of`
  // counts those of an input,
  // and is asked in their order, of the first of those that follow each other alone. An output's
  // name then ends in -ch1, -ch2 and so on; what that makes too long is a bad row. To be called
  // behind the last add.
  void split_channels(const std::function<int(std::size_t index)>& channels_of);
  // In the order of the inputs: slot() counts it, unless it is a folder.
  void add_bad_row(BadRow row);
  // That of an output's file, .safetensors without it. "": outputs are in files of other names, so
  // that no file system limits theirs. To be called before what asks problem_of().
  void set_output_ending(std::string_view ending) { ending_ = ending; }
  // Without it: the list's own names where it has some, else paths.
  void set_naming(Naming naming) { naming_ = naming; }
  // What users should be told of the list, a line each.
  void add_note(std::string note) { notes_.push_back(std::move(note)); }
  // Whether a file that is no output may have that name: no output lies in a folder of it. To be
  // called before the first add.
  void set_reserved(std::function<bool(std::string_view file_name)> is_reserved) {
    is_reserved_ = std::move(is_reserved);
  }
  // Why such an input could have no output; nothing where names are not needed. For lists and
  // directories, in which that is one row's problem: finish() ends the run for it.
  std::optional<InputProblem> problem_of(std::string_view path, std::string_view name,
                                         const std::optional<InputSegment>& segment,
                                         std::optional<int> channel = {}) const;
  // To be called once, after the last add. Throws UsageError: no inputs, Naming::id for a list
  // without names of its own; where names are needed, two inputs with one name, a name that is no
  // path below a directory (a component that is "", "." or "..", or has over 255 bytes with the
  // ending), or one whose folder is another one's file or is reserved.
  void finish();

  std::size_t size() const noexcept { return paths_.ends.size(); }
  // As given; relative to the working directory when relative. Of a member as InputPlace::path.
  std::string path(std::size_t index) const;
  InputPlace place(std::size_t index) const;
  // Whether two inputs are members of one compressed tar, which is read from one end to the other.
  bool are_packed_together(std::size_t index, std::size_t other) const;
  // Without ".safetensors"; slashes separate components.
  std::string name(std::size_t index) const;
  // Nothing for a whole file.
  std::optional<InputSegment> segment(std::size_t index) const;
  // From 1; nothing where the inputs were not split and the list does not say it.
  std::optional<int> channel(std::size_t index) const;
  // Nothing where the list does not say it.
  std::optional<std::string> text(std::size_t index) const;
  const std::vector<BadRow>& bad_rows() const noexcept { return bad_rows_; }
  // The place of an input among all rows, bad ones too: what it keeps when a bad row is mended.
  std::size_t slot(std::size_t index) const;
  std::size_t slots() const noexcept { return size() + inputs_before_.size(); }
  // How many inputs come before the slot `wanted`.
  std::size_t inputs_before(std::size_t wanted) const;
  const std::vector<std::string>& notes() const noexcept { return notes_; }

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

  // What is wrong with the name of an output whose file is <name><ending_>; "": it is in another
  // file.
  std::optional<InputProblem> problem_of_name(std::string_view name,
                                              std::string_view expected) const;
  struct StoredMember {
    std::uint64_t container = 0;  // in containers_, from 1; 0: no member
    std::uint64_t begin = 0;
    std::uint64_t bytes = 0;
  };
  StoredMember member(std::size_t index) const;
  // Whether an input's name is that of the list.
  bool has_own_name(std::size_t index) const;
  std::string normalised(std::string_view path) const;
  std::string name_of_file(std::size_t index) const;  // without the channel
  std::size_t common_root() const;                    // bytes of it
  std::string described(std::size_t index) const;     // its path, and the segment if it is one
  void check_names_differ() const;

  std::function<bool(std::string_view)> is_reserved_ = [](std::string_view) { return false; };
  std::optional<Naming> naming_;
  std::string ending_ = std::string(kOutputEnding);
  std::string working_directory_;
  OutputNames names_needed_;
  Strings paths_;
  Strings names_;  // of the inputs up to the last one that has one; "" for those without
  std::vector<InputSegment> segments_;  // of the inputs up to the last one that is a segment
  std::vector<std::uint8_t>
      channels_;  // of the inputs up to the last one that has one; 0 for those without
  std::vector<StoredMember> members_;  // of the inputs up to the last member
  std::vector<Member> containers_;     // what their members have in common
  bool keeps_texts_ = false;
  Strings texts_;               // of the inputs up to the last one that has one
  std::vector<bool> has_text_;  // of the same
  std::vector<BadRow> bad_rows_;
  std::vector<std::size_t> inputs_before_;  // each bad row that has a slot; ascending
  std::vector<std::string> notes_;
  std::size_t root_size_ =
      0;  // bytes of the common root of the normalised paths, with its last slash
};

}  // namespace w2vbert::tool
