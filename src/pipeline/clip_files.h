// A file for each clip: <name>.safetensors or <name>.npy.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "outputs.h"

namespace w2vbert {

class ClipFiles : public Outputs {
 public:
  ClipFiles(const InputList& inputs, const ClipRunRequest& request, RunDirectory& directory);

  Found look(const Shard& share, bool verify) override;
  std::size_t clean() override;
  std::string path_of(std::size_t index) const override;
  int most_threads() const override;
  void write(Output& output) override;
  void leave_out(std::size_t) override {}
  void finish() override {}

 private:
  const InputList& inputs_;
  RunDirectory& directory_;
  const std::string frame_rate_hz_;
  std::vector<std::size_t> damaged_;
  std::set<std::string> folders_ = {""};  // where outputs, and the run record, are
};

}  // namespace w2vbert
