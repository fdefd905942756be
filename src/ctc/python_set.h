// The order in which CPython's sets of small integers are walked. Torch-free.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace w2vbert {

// The elements of `set(numbers) | {added}` in the order of CPython 3.7 to 3.13
// (Objects/setobject.c: set_add_entry, set_table_resize, set_merge): pyctcdecode goes through a
// frame's labels in it, and that decides which of two equal sums comes first. Numbers are distinct
// and not negative. The result is valid until the next call.
class PythonSetOrder {
 public:
  std::span<const int> of(std::span<const int> numbers, int added);

 private:
  static constexpr int kEmpty = -1;
  static std::size_t place_of(const std::vector<int>& table, int number);
  void add(int number);
  void resize(std::size_t least);

  std::vector<int> table_;
  std::size_t used_ = 0;
  std::vector<int> order_;
};

}  // namespace w2vbert
