// Writes outputs behind the model's back, in threads of its own.
#pragma once

#include <cstdint>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "bounded_queue.h"
#include "w2vbert/pipeline/clip_run.h"

namespace w2vbert {

// One clip's tensors, on the CPU, and what is known of it.
struct Output {
  ClipReport report;  // write_seconds is filled in here
  NamedTensors tensors;
  SafetensorsMetadata metadata;

  std::int64_t bytes() const;
};

struct WrittenOutput {
  ClipReport report;
  std::exception_ptr failure;  // anything but a StorageError
};

class OutputWriter {
 public:
  // `directory` outlives the writer.
  OutputWriter(RunDirectory& directory, int threads);
  // Finishes what was given to it.
  ~OutputWriter();
  OutputWriter(const OutputWriter&) = delete;
  OutputWriter& operator=(const OutputWriter&) = delete;

  // Waits while much is waiting already. Throws what take_written() throws.
  void add(Output output);
  // What has been written since the last call, in the order of adding, up to the first that is not.
  // Throws the StorageError that ended the writing.
  std::vector<WrittenOutput> take_written();
  // Waits until all is written. To be called once, by the one who adds.
  void finish();

 private:
  struct Numbered {
    std::size_t number;
    Output output;
  };

  void work();
  void write(Output& output);

  RunDirectory& directory_;
  BoundedQueue<Numbered> waiting_;
  std::size_t added_ = 0;
  std::mutex mutex_;
  std::map<std::size_t, WrittenOutput> written_;  // by number
  std::size_t taken_ = 0;
  std::exception_ptr storage_error_;
  std::vector<std::thread> threads_;  // last: they use the members above
};

}  // namespace w2vbert
