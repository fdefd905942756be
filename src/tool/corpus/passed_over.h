// What a directory or a tar holds that is no input. Torch-free.
#pragma once

#include <cstddef>
#include <map>
#include <string>

namespace w2vbert::tool {

class PassedOver {
 public:
  void add(const std::string& kind) { ++counts_[kind]; }
  // By the ending of its name.
  void add_file(const std::string& name);
  // "12 .txt, 3 .m4a, 2 hidden", the most frequent first; "" where it is nothing.
  std::string text() const;

 private:
  std::map<std::string, std::size_t> counts_;
};

}  // namespace w2vbert::tool
