// Writes outputs behind the model's back, in threads of its own.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/bounded_queue.h"
#include "tool/store/outputs.h"

namespace w2vbert::tool {

struct WrittenOutput {
  ClipReport report;
  std::exception_ptr failure;  // anything but what ends the writing
};

class OutputWriter {
 public:
  // `outputs` outlives the writer. Throws std::system_error when a thread cannot be started.
  explicit OutputWriter(OutputSink& outputs);
  // Finishes what was given to it.
  ~OutputWriter();
  OutputWriter(const OutputWriter&) = delete;
  OutputWriter& operator=(const OutputWriter&) = delete;

  // Waits while much is waiting already. Throws what take_written() throws.
  void add(Output output);
  // There is no output for that input.
  void skip(std::size_t index);
  // What has been written since the last call, in the order of adding, up to the first that is not.
  // Throws what ended the writing.
  std::vector<WrittenOutput> take_written();
  // Waits until all is written. To be called once, by the one who adds.
  void finish();

 private:
  struct Item {
    std::size_t number = 0;  // of outputs
    std::size_t index = 0;
    std::optional<Output> output;  // without: skipped
  };

  void work();
  void write(Item& item);
  void push(Item item, std::int64_t bytes);
  void end_with(std::exception_ptr error);

  OutputSink& outputs_;
  BoundedQueue<Item> waiting_;
  std::size_t added_ = 0;
  std::mutex mutex_;
  std::map<std::size_t, WrittenOutput> written_;  // by number
  std::size_t taken_ = 0;
  std::exception_ptr error_;
  std::atomic<int> working_;
  std::vector<std::thread> threads_;  // last: they use the members above
};

}  // namespace w2vbert::tool
