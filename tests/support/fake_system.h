// A made-up /proc and /sys.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "support/namespaces.h"
#include "support/temporary_directory.h"

namespace w2vbert::testing {

class FakeSystem {
 public:
  void put(const std::string& path, const std::string& text) {
    const std::string full = directory_.path() + path;
    std::filesystem::create_directories(std::filesystem::path(full).parent_path());
    std::ofstream(full) << text;
  }
  const std::string& path() const { return directory_.path(); }

 private:
  TemporaryDirectory directory_;
};

}  // namespace w2vbert::testing
