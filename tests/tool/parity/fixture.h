// The cases that tests/tool/parity/export_suite.py has written.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "tool/parity/reference.h"
#include "w2vbert/checkpoint/from_pretrained.h"

namespace w2vbert::tool::testing {

struct Case {
  std::string name;
  std::string model_directory;
  Reference reference;

  // AnyModel: of the class that the checkpoint is of; Wav2Vec2BertModel: the base model in it.
  template <class Model>
  Model load() const {
    FromPretrainedOptions options;
    options.dtype = reference.dtype();
    options.attn_implementation = reference.setting("attn_implementation");
    options.hf_version = reference.hf_version();
    return from_pretrained<Model>(model_directory, options);
  }
};

inline std::vector<Case> read_cases(const std::string& root) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(root + "/cases")) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Case> cases;
  for (const auto& path : paths) {
    auto reference = Reference::open(path);
    const auto directory = root + "/models/" + reference.setting("model");
    cases.push_back({path.stem(), directory, std::move(reference)});
  }
  return cases;
}

}  // namespace w2vbert::tool::testing
