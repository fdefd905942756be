// What one thread hands to another, as much as may wait.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace w2vbert {

// Items with a weight, in their order of arrival, or of their turns: 0, 1, 2 ... Safe for any
// number of threads on both ends.
template <class Item>
class BoundedQueue {
 public:
  // Waits to push as long as `capacity` is reached; an item of any weight fits into an empty queue.
  explicit BoundedQueue(std::int64_t capacity) : capacity_(capacity) {}

  // False: the queue was closed, and the item is gone.
  bool push(Item item, std::int64_t weight) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || has_room(); });
    if (closed_) return false;
    add(std::move(item), weight);
    return true;
  }

  // The same; waits for its turn, too, which comes when all earlier ones have been pushed.
  bool push_in_turn(Item item, std::int64_t weight, std::size_t turn) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closed_ || (turn == turn_ && has_room()); });
    if (closed_) return false;
    ++turn_;
    add(std::move(item), weight);
    add_early();
    return true;
  }

  // Waits for nothing: the item is kept, beyond the capacity if need be, and goes in when it is its
  // turn.
  void put_in_turn(Item item, std::int64_t weight, std::size_t turn) {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    early_.emplace(turn, std::pair(std::move(item), weight));
    add_early();
  }

  // Waits for an item; nothing: the queue is closed and empty.
  std::optional<Item> pop() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || !items_.empty(); });
    if (items_.empty()) return std::nullopt;
    return take();
  }

  // The next item if there is one that weighs `most` or less.
  std::optional<Item> pop_if_there(std::int64_t most) {
    const std::lock_guard lock(mutex_);
    if (items_.empty() || items_.front().second > most) return std::nullopt;
    return take();
  }

  // No push works from now on; what is in can still be had.
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

 private:
  bool has_room() const { return items_.empty() || waiting_ < capacity_; }

  void add(Item item, std::int64_t weight) {
    items_.emplace_back(std::move(item), weight);
    waiting_ += weight;
    changed_.notify_all();
  }

  void add_early() {
    for (auto next = early_.find(turn_); next != early_.end(); next = early_.find(turn_)) {
      ++turn_;
      add(std::move(next->second.first), next->second.second);
      early_.erase(next);
    }
  }

  Item take() {
    Item item = std::move(items_.front().first);
    waiting_ -= items_.front().second;
    items_.pop_front();
    changed_.notify_all();
    return item;
  }

  const std::int64_t capacity_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<Item, std::int64_t>> items_;
  std::int64_t waiting_ = 0;                                    // the sum of weights
  std::size_t turn_ = 0;                                        // whose turn it is
  std::map<std::size_t, std::pair<Item, std::int64_t>> early_;  // by turn
  bool closed_ = false;
};

}  // namespace w2vbert
