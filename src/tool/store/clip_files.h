// A file for each clip: <name>.safetensors or <name>.npy.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "core/file.h"
#include "tool/store/outputs.h"

namespace w2vbert::tool {

class ClipFiles : public Outputs {
 public:
  ClipFiles(const InputList& inputs, const OutputContent& content, RunDirectory& directory);

  ScanResult scan(const Partition& partition, bool verify) override;
  std::size_t clean() override;
  std::string path_of(std::size_t index) const override;
  int max_threads() const override;
  void write(Output& output) override;
  void skip(std::size_t) override {}
  void finish() override {}

 private:
  // What scan() found in the output's place and is to be replaced.
  std::optional<FileIdentity> to_be_replaced(std::size_t index) const;
  void put_in_place(Output& output);

  const InputList& inputs_;
  RunDirectory& directory_;
  const std::string frame_rate_hz_;
  std::map<std::size_t, FileIdentity> to_be_replaced_;  // by the input's index
  std::set<std::string> folders_ = {""};                // where outputs, and the run record, are
};

}  // namespace w2vbert::tool
