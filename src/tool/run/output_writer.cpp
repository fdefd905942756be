#include "tool/run/output_writer.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <utility>

#include "core/file_lock.h"
#include "core/stopwatch.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::int64_t kMaxWaitingBytes = 256 << 20;
// An output counts as so much at least, for a small one is more than its tensors: a thousand wait.
constexpr std::int64_t kMinOutputBytes = 256 << 10;

}  // namespace

OutputWriter::OutputWriter(OutputSink& outputs)
    : outputs_(outputs), waiting_(kMaxWaitingBytes), working_(outputs.max_threads()) {
  const int threads = outputs.max_threads();
  threads_.reserve(static_cast<std::size_t>(threads));
  try {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  } catch (...) {
    finish();
    throw;
  }
}

OutputWriter::~OutputWriter() { finish(); }

void OutputWriter::add(Output output) {
  const std::int64_t bytes = std::max(output.bytes(), kMinOutputBytes);
  const std::size_t index = output.index;
  push({added_++, index, std::move(output)}, bytes);
}

void OutputWriter::skip(std::size_t index) { push({0, index, std::nullopt}, 0); }

void OutputWriter::push(Item item, std::int64_t bytes) {
  if (waiting_.push(std::move(item), bytes)) return;
  const std::lock_guard lock(mutex_);
  std::rethrow_exception(error_);  // nothing else closes the queue before finish()
}

std::vector<WrittenOutput> OutputWriter::take_written() {
  const std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(error_);
  std::vector<WrittenOutput> next;
  while (!written_.empty() && written_.begin()->first == taken_) {
    next.push_back(std::move(written_.begin()->second));
    written_.erase(written_.begin());
    ++taken_;
  }
  return next;
}

void OutputWriter::finish() {
  waiting_.close();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void OutputWriter::end_with(std::exception_ptr error) {
  const std::lock_guard lock(mutex_);
  if (!error_) error_ = std::move(error);
  waiting_.close();
}

void OutputWriter::work() {
  const at::NoGradGuard no_grad;
  try {
    while (std::optional<Item> item = waiting_.pop()) write(*item);
    if (working_.fetch_sub(1) == 1) outputs_.finish();
  } catch (...) {
    end_with(std::current_exception());
  }
}

void OutputWriter::write(Item& item) {
  if (!item.output) {
    outputs_.skip(item.index);
    return;
  }
  WrittenOutput written;
  written.report = item.output->report;
  const Stopwatch watch;
  try {
    outputs_.write(*item.output);
  } catch (const StorageError&) {
    throw;
  } catch (const UsageError&) {
    throw;
  } catch (const LockWaitEnded&) {
    throw;
  } catch (const WritingEnded& ended) {
    std::rethrow_exception(ended.cause);
  } catch (...) {
    written.failure = std::current_exception();
    outputs_.skip(item.index);
  }
  written.report.write_seconds = watch.seconds();
  const std::lock_guard lock(mutex_);
  written_.emplace(item.number, std::move(written));
}

}  // namespace w2vbert::tool
