// Whether what is finished is of the inputs that have its names now.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "tool/store/input_identity.h"
#include "tool/store/journal.h"
#include "tool/store/outputs.h"

namespace w2vbert::tool {

class InputCheck {
 public:
  // What it finds is counted in `found`. All outlive it.
  InputCheck(const InputList& inputs, RunDirectory& directory, Outputs::ScanResult& found)
      : inputs_(inputs), directory_(directory), found_(found) {}

  // `output`: what is known of the finished output of input `index`, in the file `path`: its
  // record, or, without one, what the file itself says. `input_digest`, `part`: what the file says
  // of the input; "" and nothing where it does not. `is_record`: whether the record is of what lies
  // there now. `is_whole`: it is not to be redone in any case. False: the input has been replaced,
  // which the journal says from now on until the output is, too. Throws UsageError where the output
  // is another input's.
  bool is_of_input(std::size_t index, const std::string& path, JournalEntry output,
                   const std::string& input_digest, const std::optional<FilePart>& part,
                   bool is_record, bool is_whole);

 private:
  bool is_replaced(JournalEntry output, bool is_recorded, bool is_whole);

  const InputList& inputs_;
  RunDirectory& directory_;
  Outputs::ScanResult& found_;
  OriginCheck check_;
};

}  // namespace w2vbert::tool
