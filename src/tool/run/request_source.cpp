#include "tool/run/request_source.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <utility>

#include "core/descriptor.h"
#include "w2vbert/engine/engine.h"

namespace w2vbert::tool {
namespace {

// How often a stop is looked for.
constexpr std::chrono::milliseconds kStopInterval{100};
constexpr std::size_t kInputBlockBytes = 1 << 16;

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

}  // namespace

RequestSource::RequestSource(int input, int output, Limits limits,
                             std::function<bool()> stop_requested)
    : input_(input),
      output_(output),
      limits_(limits),
      stop_requested_(std::move(stop_requested)),
      splitter_(limits.max_line_bytes, [this](const Line& line) {
        if (!line.is_cut && is_blank(line.bytes)) return;
        received_.push_back(
            {line.number, line.is_cut ? std::string() : std::string(line.bytes), line.is_cut});
      }) {}

bool RequestSource::is_output_gone() const {
  const std::lock_guard lock(mutex_);
  return is_output_gone_;
}

void RequestSource::close() {
  const std::lock_guard lock(mutex_);
  is_closed_ = true;
  changed_.notify_all();
}

bool RequestSource::has_room() const { return turns_ - answers_ < limits_.max_waiting; }

ClipSource::Turns RequestSource::next() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, kStopInterval, [this] { return is_closed_ || has_room(); });
      if (is_closed_) return {};
      // What has come in before a stop is answered all the same.
      const bool is_stopping = stop_requested_();
      if (!received_.empty() && (is_stopping || has_room())) {
        const std::size_t turn = turns_++;
        lines_.emplace(turn, std::move(received_.front()));
        received_.pop_front();
        return {turn, turn + 1};
      }
      if (received_.empty() && (is_at_end_ || is_stopping)) return {};
      if (!has_room()) continue;
    }
    read_some();
  }
}

void RequestSource::read_some() {
  std::array<pollfd, 2> watched = {{{input_, POLLIN, 0}, {output_, 0, 0}}};
  const int count = ::poll(watched.data(), watched.size(), static_cast<int>(kStopInterval.count()));
  if (count < 0 && errno != EINTR) fail_storage("stdin", "cannot be waited for", errno);
  if (count <= 0) return;
  if ((watched[1].revents & POLLNVAL) != 0) fail_storage("stdout", "cannot be written", EBADF);
  // The reading end of a pipe has been closed, or the other end of a socket.
  if ((watched[1].revents & (POLLERR | POLLHUP)) != 0) return end_reading(true);
  if (watched[0].revents == 0) return;
  std::array<char, kInputBlockBytes> block;
  const ssize_t bytes = ::read(input_, block.data(), block.size());
  if (bytes < 0 && errno != EINTR && errno != EAGAIN) {
    fail_storage("stdin", "cannot be read", errno);
  }
  if (bytes == 0) return end_reading(false);
  if (bytes > 0) splitter_.add({block.data(), static_cast<std::size_t>(bytes)});
}

void RequestSource::end_reading(bool is_output_gone) {
  is_at_end_ = true;
  if (!is_output_gone) return splitter_.finish();
  received_.clear();
  const std::lock_guard lock(mutex_);
  is_output_gone_ = true;
}

ClipInput RequestSource::input(std::size_t turn) {
  ReceivedLine line;
  {
    const std::lock_guard lock(mutex_);
    line = std::move(lines_.at(turn));
    lines_.erase(turn);
  }
  AcceptedRequest accepted{turn, line.number};
  const auto accept = [&] {
    const std::lock_guard lock(mutex_);
    accepted_.insert_or_assign(turn, std::move(accepted));
  };
  ClipInput input;
  try {
    if (line.is_cut) {
      throw RequestError({}, "request", "",
                         "is longer than " + std::to_string(limits_.max_line_bytes) + " bytes",
                         "a shorter line");
    }
    accepted.request = parse_worker_request(line.text);
    input.path = accepted.request.path;
    input.segment = accepted.request.segment;
    input.channel = accepted.request.channel;
    input.waveform = std::exchange(accepted.request.samples, std::nullopt);
    accept();
  } catch (const RequestError& error) {
    accepted.request.id = error.id();
    accept();
    throw;
  } catch (...) {  // no memory for it
    accept();
    throw;
  }
  if (stop_requested_()) throw Interrupted();
  return input;
}

AcceptedRequest RequestSource::find(std::size_t turn) const {
  const std::lock_guard lock(mutex_);
  const auto found = accepted_.find(turn);
  return found == accepted_.end() ? AcceptedRequest{turn} : found->second;
}

AcceptedRequest RequestSource::take(std::size_t turn) {
  const std::lock_guard lock(mutex_);
  auto found = accepted_.extract(turn);
  return found ? std::move(found.mapped()) : AcceptedRequest{turn};
}

void RequestSource::count_answer() {
  const std::lock_guard lock(mutex_);
  ++answers_;
  changed_.notify_all();
}

}  // namespace w2vbert::tool
