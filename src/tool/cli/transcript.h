// The lines of `w2vbert transcribe`.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "tool/corpus/input_list.h"
#include "tool/store/writable.h"
#include "tool/tasks/transcription.h"

namespace w2vbert::tool {

// [{"word": ..., "start": ..., "end": ...}, ...]
nlohmann::ordered_json words_json(const std::vector<TimedWord>& timed);

// A line of JSON.
std::string json_line_of(const ClipText& clip);

// The file of `--output`: the lines of all clips in the list's order, written whole at the end. An
// input that fails keeps its line of an earlier call, for a failure says nothing of what is
// finished, and so do the files of a folder that could not be listed; lines of inputs that are not
// in the list any more go.
class TranscriptFile {
 public:
  // `path`: free, or such a file. Throws as OutputFile does. `inputs` outlives it.
  TranscriptFile(std::string path, const ProtectedFiles& sources, const InputList& inputs);

  void add(const ClipText& clip);
  void add_failed(std::size_t index);  // into the input list
  // Returns how many lines of the earlier call are kept. Throws StorageError.
  std::size_t write();

 private:
  std::size_t keep_earlier_lines();

  const InputList& inputs_;
  OutputFile output_;
  // The first string, and one for each input: its line, and behind it the earlier lines of files in
  // folders that could not be listed.
  std::vector<std::string> lines_;
  std::set<std::size_t> failed_;
};

}  // namespace w2vbert::tool
