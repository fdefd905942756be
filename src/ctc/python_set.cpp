#include "ctc/python_set.h"

#include <algorithm>
#include <utility>

namespace w2vbert {
namespace {

constexpr std::size_t kMinPlaces = 8;
constexpr std::size_t kLinearProbes = 9;
constexpr int kPerturbShift = 5;
constexpr std::size_t kLargeSet = 50000;

}  // namespace

std::size_t PythonSetOrder::place_of(const std::vector<int>& table, int number) {
  const std::size_t mask = table.size() - 1;
  auto perturb = static_cast<std::size_t>(number);
  std::size_t place = perturb & mask;
  for (;;) {
    const std::size_t probes = place + kLinearProbes <= mask ? kLinearProbes : 0;
    for (std::size_t i = 0; i <= probes; ++i) {
      if (table[place + i] == kEmpty || table[place + i] == number) return place + i;
    }
    perturb >>= kPerturbShift;
    place = (place * 5 + 1 + perturb) & mask;
  }
}

void PythonSetOrder::resize(std::size_t least) {
  std::size_t places = kMinPlaces;
  while (places <= least) places *= 2;
  std::vector<int> larger(places, kEmpty);
  for (const int number : table_) {
    if (number != kEmpty) larger[place_of(larger, number)] = number;
  }
  table_.swap(larger);
}

void PythonSetOrder::add(int number) {
  int& place = table_[place_of(table_, number)];
  if (place == number) return;
  place = number;
  ++used_;
  if (used_ * 5 >= (table_.size() - 1) * 3) resize(used_ > kLargeSet ? used_ * 2 : used_ * 4);
}

std::span<const int> PythonSetOrder::of(std::span<const int> numbers, int added) {
  table_.assign(kMinPlaces, kEmpty);
  used_ = 0;
  for (const int number : numbers) add(number);
  // The copy, which is made in the order of the first one.
  std::vector<int> first(kMinPlaces, kEmpty);
  first.swap(table_);
  if (used_ * 5 >= (kMinPlaces - 1) * 3) resize(used_ * 2);
  if (table_.size() == first.size()) {
    table_ = std::move(first);
  } else {
    for (const int number : first) {
      if (number != kEmpty) table_[place_of(table_, number)] = number;
    }
  }
  if ((used_ + 1) * 5 >= (table_.size() - 1) * 3) resize((used_ + 1) * 2);
  add(added);
  order_.clear();
  std::copy_if(table_.begin(), table_.end(), std::back_inserter(order_),
               [](int number) { return number != kEmpty; });
  return order_;
}

}  // namespace w2vbert
