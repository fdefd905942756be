#include "core/bounded_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "support/namespaces.h"

namespace w2vbert::testing {
namespace {

TEST(BoundedQueue, GivesEachItemToOneOfManyThreads) {
  constexpr int kItems = 2000;
  constexpr int kProducers = 3;
  constexpr int kConsumers = 3;
  BoundedQueue<std::unique_ptr<int>> queue(5);
  std::vector<std::atomic<int>> seen(kProducers * kItems);
  std::vector<std::thread> producers;
  std::vector<std::thread> consumers;
  for (int producer = 0; producer < kProducers; ++producer) {
    producers.emplace_back([&queue, producer] {
      for (int i = 0; i < kItems; ++i) {
        EXPECT_TRUE(queue.push(std::make_unique<int>(producer * kItems + i), 1 + i % 7));
      }
    });
  }
  for (int consumer = 0; consumer < kConsumers; ++consumer) {
    consumers.emplace_back([&queue, &seen, consumer] {
      while (true) {
        auto item = consumer == 0 ? queue.pop_if_there(3) : std::nullopt;
        if (!item) item = queue.pop();
        if (!item) return;
        ++seen[static_cast<std::size_t>(**item)];
      }
    });
  }
  for (auto& producer : producers) producer.join();
  queue.close();
  for (auto& consumer : consumers) consumer.join();
  for (const auto& times : seen) EXPECT_EQ(times, 1);
}

TEST(BoundedQueue, GivesItemsInTheirTurn) {
  constexpr std::size_t kItems = 3000;
  constexpr std::size_t kProducers = 3;
  BoundedQueue<std::size_t> queue(5);
  std::atomic<std::size_t> next{0};
  std::vector<std::thread> producers;
  for (std::size_t producer = 0; producer < kProducers; ++producer) {
    producers.emplace_back([&] {
      for (std::size_t turn = next++; turn < kItems; turn = next++) {
        if (turn % 7 == 3) {
          queue.put_in_turn(turn, 9, turn);
        } else {
          EXPECT_TRUE(queue.push_in_turn(turn, 1 + static_cast<std::int64_t>(turn % 3), turn));
        }
      }
    });
  }
  for (std::size_t turn = 0; turn < kItems; ++turn) ASSERT_EQ(queue.pop(), turn);
  for (auto& producer : producers) producer.join();
  queue.close();
  EXPECT_EQ(queue.pop(), std::nullopt);
}

TEST(BoundedQueue, KeepsWhatComesBeforeItsTurn) {
  BoundedQueue<int> queue(1);
  for (const int turn : {3, 1, 2}) queue.put_in_turn(10 + turn, 1, static_cast<std::size_t>(turn));
  EXPECT_EQ(queue.pop_if_there(9), std::nullopt);
  ASSERT_TRUE(queue.push_in_turn(10, 1, 0));
  for (const int item : {10, 11, 12, 13}) EXPECT_EQ(queue.pop_if_there(9), item);
  EXPECT_EQ(queue.pop_if_there(9), std::nullopt);
  // A thread that waits for its turn is let go by close().
  std::thread waiting([&] { EXPECT_FALSE(queue.push_in_turn(16, 1, 6)); });
  queue.close();
  waiting.join();
  queue.put_in_turn(14, 1, 4);
  EXPECT_EQ(queue.pop(), std::nullopt);
}

TEST(BoundedQueue, WaitsWhileItIsFull) {
  BoundedQueue<int> queue(2);
  ASSERT_TRUE(queue.push(1, 2));
  std::atomic<bool> pushed = false;
  std::thread waiting([&] {
    EXPECT_TRUE(queue.push(2, 1));
    pushed = true;
  });
  EXPECT_FALSE(pushed);  // whether or not the thread has begun
  EXPECT_EQ(queue.pop(), 1);
  waiting.join();
  EXPECT_TRUE(pushed);
  EXPECT_EQ(queue.pop(), 2);
}

TEST(BoundedQueue, LetsAnItemOfAnyWeightIntoAnEmptyQueue) {
  BoundedQueue<int> queue(1);
  EXPECT_TRUE(queue.push(1, 1000));
  EXPECT_EQ(queue.pop_if_there(999), std::nullopt);
  EXPECT_EQ(queue.pop_if_there(1000), 1);
}

TEST(BoundedQueue, EndsThoseWhoWaitWhenItIsClosed) {
  BoundedQueue<int> full(1);
  BoundedQueue<int> empty(1);
  ASSERT_TRUE(full.push(1, 1));
  std::thread pushing([&] { EXPECT_FALSE(full.push(2, 1)); });
  std::thread popping([&] { EXPECT_EQ(empty.pop(), std::nullopt); });
  full.close();
  empty.close();
  pushing.join();
  popping.join();
  EXPECT_EQ(full.pop(), 1);  // what is in can still be had
  EXPECT_EQ(full.pop(), std::nullopt);
  EXPECT_FALSE(full.push(3, 1));
}

}  // namespace
}  // namespace w2vbert::testing
