// The requests of `w2vbert worker`, as they come in over a descriptor, for a ClipReader.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "tool/corpus/line_file.h"
#include "tool/corpus/worker_request.h"
#include "tool/run/clip_source.h"

namespace w2vbert::tool {

// What a request says, without its samples, and where it stands.
struct AcceptedRequest {
  std::size_t turn = 0;
  std::size_t line = 0;        // of the input, from 1
  WorkerRequest request = {};  // its id alone where it could not be understood
};

// Each line that is not blank is a turn. A line that is no request is a clip that fails with
// RequestError; one that comes in too late, when a stop has been requested, with Interrupted.
class RequestSource : public ClipSource {
 public:
  struct Limits {
    std::size_t max_line_bytes;  // a longer line is a RequestError
    std::size_t max_waiting;     // requests without an answer; no more is read meanwhile
  };

  // Reads `input`, of which blocks that have come in may hold more lines than one. What is done for
  // it ends as well when nothing reads `output` any more. `stop_requested` is asked several times a
  // second.
  RequestSource(int input, int output, Limits limits, std::function<bool()> stop_requested);

  // Throws StorageError where the input cannot be read, or the output is closed.
  Turns next() override;
  std::size_t index(std::size_t turn) const override { return turn; }
  ClipInput input(std::size_t turn) override;
  void close() override;

  // What the clip of a turn was asked for by.
  AcceptedRequest find(std::size_t turn) const;
  AcceptedRequest take(std::size_t turn);  // and forgets it
  // One more answer is out.
  void count_answer();
  // Whether nothing reads the output any more.
  bool is_output_gone() const;

 private:
  struct ReceivedLine {
    std::size_t number = 0;
    std::string text;
    bool is_cut = false;
  };

  bool has_room() const;
  void read_some();
  void end_reading(bool is_output_gone);

  const int input_;
  const int output_;
  const Limits limits_;
  const std::function<bool()> stop_requested_;
  // Those of the thread that is in next():
  LineSplitter splitter_;
  std::deque<ReceivedLine> received_;
  bool is_at_end_ = false;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t turns_ = 0;
  std::size_t answers_ = 0;
  std::map<std::size_t, ReceivedLine> lines_;        // handed out and not yet asked for
  std::map<std::size_t, AcceptedRequest> accepted_;  // asked for and not yet taken
  bool is_closed_ = false;
  bool is_output_gone_ = false;
};

}  // namespace w2vbert::tool
