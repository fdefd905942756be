// The lines of the commands that give an answer for each clip: transcribe, classify, segment,
// embed.
#pragma once

#include <cstddef>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "tool/corpus/input_list.h"
#include "tool/run/answer_run.h"
#include "tool/store/writable.h"

namespace w2vbert::tool {

// A line of JSON: the clip's path and seconds, `answer`, and what else tells which clip it is of.
std::string json_line_of(const AnsweredClip& clip, const nlohmann::ordered_json& answer);

// The members of an answer, and what each is: "text" a string, the others arrays.
struct AnswerMembers {
  std::set<std::string, std::less<>> each = {};  // line has them
  std::set<std::string, std::less<>> some = {};  // lines have them, others do without
};

// The file of `--output`: the lines of all clips in the list's order, written whole at the end. An
// input that fails keeps its line of an earlier call, for a failure says nothing of what is
// finished, and so do the files of a folder that could not be listed; lines of inputs that are not
// in the list any more go.
class AnswerFile {
 public:
  // `path`: free, or such a file. Throws as OutputFile does. `inputs` outlives it.
  AnswerFile(std::string path, const ProtectedFiles& sources, const InputList& inputs,
             AnswerMembers members);

  void add(std::size_t index, std::string line);  // of json_line_of
  void add_failed(std::size_t index);             // into the input list
  // Returns how many lines of the earlier call are kept. Throws StorageError.
  std::size_t write();

 private:
  std::size_t keep_earlier_lines();

  const InputList& inputs_;
  const AnswerMembers members_;
  OutputFile output_;
  // The first string, and one for each input: its line, and behind it the earlier lines of files in
  // folders that could not be listed.
  std::vector<std::string> lines_;
  std::set<std::size_t> failed_;
};

}  // namespace w2vbert::tool
