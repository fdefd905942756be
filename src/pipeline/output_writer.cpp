#include "output_writer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "npy_header.h"
#include "w2vbert/core/durable_file.h"
#include "w2vbert/core/error.h"
#include "w2vbert/core/stopwatch.h"
#include "w2vbert/pipeline/sha256.h"

namespace w2vbert {
namespace {

constexpr std::int64_t kMaxWaitingBytes = 256 << 20;

// Of the data section as write_safetensors lays it out: the largest elements first, then by name.
std::string data_digest(const NamedTensors& tensors) {
  std::vector<const NamedTensors::value_type*> order;
  order.reserve(tensors.size());
  for (const auto& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    const auto size_a = a->second.element_size();
    const auto size_b = b->second.element_size();
    return size_a != size_b ? size_a > size_b : a->first < b->first;
  });
  Sha256 sha;
  for (const auto* tensor : order) {
    sha.add(std::span(static_cast<const std::byte*>(tensor->second.const_data_ptr()),
                      tensor->second.nbytes()));
  }
  return sha.hex();
}

void write_npy(const std::string& path, const at::Tensor& values) {
  const std::string header =
      npy_header(static_cast<int>(values.element_size()), values.sizes().vec());
  const std::array<std::span<const std::byte>, 2> pieces = {
      std::as_bytes(std::span(header)),
      std::span(static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes())};
  write_durably(path, pieces);
}

}  // namespace

std::int64_t Output::bytes() const {
  std::int64_t sum = 0;
  for (const auto& [name, tensor] : tensors) sum += static_cast<std::int64_t>(tensor.nbytes());
  return sum;
}

OutputWriter::OutputWriter(RunDirectory& directory, int threads)
    : directory_(directory), waiting_(kMaxWaitingBytes) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

OutputWriter::~OutputWriter() { finish(); }

void OutputWriter::add(Output output) {
  const std::int64_t bytes = output.bytes();
  if (waiting_.push({added_++, std::move(output)}, bytes)) return;
  const std::lock_guard lock(mutex_);
  std::rethrow_exception(storage_error_);  // nothing else closes the queue before finish()
}

std::vector<WrittenOutput> OutputWriter::take_written() {
  const std::lock_guard lock(mutex_);
  if (storage_error_) std::rethrow_exception(storage_error_);
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

void OutputWriter::work() {
  while (std::optional<Numbered> next = waiting_.pop()) {
    WrittenOutput written;
    try {
      write(next->output);
    } catch (const StorageError&) {
      const std::lock_guard lock(mutex_);
      if (!storage_error_) storage_error_ = std::current_exception();
      waiting_.close();
      return;
    } catch (...) {
      written.failure = std::current_exception();
    }
    written.report = std::move(next->output.report);
    const std::lock_guard lock(mutex_);
    written_.emplace(next->number, std::move(written));
  }
}

void OutputWriter::write(Output& output) {
  const at::NoGradGuard no_grad;
  const Stopwatch watch;
  const bool npy = directory_.format() == OutputFormat::npy;
  if (npy) output.tensors.resize(1);  // the states; the mask is left out
  output.report.sha256 = data_digest(output.tensors);
  directory_.prepare(output.report.name);
  if (npy) {
    write_npy(output.report.output, output.tensors.front().second);
  } else {
    output.metadata.emplace_back("sha256", output.report.sha256);
    write_safetensors(output.report.output, output.tensors, output.metadata);
  }
  directory_.record(JournalEntry{output.report.name, output.report.frames,
                                 output.report.audio_seconds, output.report.sha256});
  output.report.write_seconds = watch.seconds();
}

}  // namespace w2vbert
