// What one thread hands to another, as much as may wait.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace w2vbert {

// Items in their order of arrival, each with a weight. Safe for any number of threads on both ends.
template <class Item>
class BoundedQueue {
 public:
  // Waits to push as long as `capacity` is reached; an item of any weight fits into an empty queue.
  explicit BoundedQueue(std::int64_t capacity) : capacity_(capacity) {}

  // False: the queue was closed, and the item is gone.
  bool push(Item item, std::int64_t weight) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || items_.empty() || waiting_ < capacity_; });
    if (closed_) return false;
    items_.emplace_back(std::move(item), weight);
    waiting_ += weight;
    changed_.notify_all();
    return true;
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
  std::int64_t waiting_ = 0;  // the sum of weights
  bool closed_ = false;
};

}  // namespace w2vbert
