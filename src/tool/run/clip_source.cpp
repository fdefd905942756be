#include "tool/run/clip_source.h"

#include <utility>

namespace w2vbert::tool {

ClipSource::Turns ListedClips::next() {
  const std::size_t begin = next_;
  if (begin == pending_.size()) return {begin, begin};
  const auto is_part_of_first = [&](std::size_t turn) {
    const std::size_t first = pending_[begin], other = pending_[turn];
    return inputs_.segment(other) && inputs_.channel(other) == inputs_.channel(first) &&
           inputs_.path(other) == inputs_.path(first);
  };
  next_ = begin + 1;
  while (next_ < pending_.size() && inputs_.are_packed_together(pending_[begin], pending_[next_])) {
    ++next_;
  }
  if (inputs_.segment(pending_[begin])) {
    while (next_ < pending_.size() && is_part_of_first(next_)) ++next_;
  }
  return {begin, next_};
}

ClipInput ListedClips::input(std::size_t turn) {
  const std::size_t index = pending_[turn];
  InputPlace place = inputs_.place(index);
  return {std::move(place.path), inputs_.segment(index), inputs_.channel(index), std::nullopt,
          std::move(place.member)};
}

}  // namespace w2vbert::tool
