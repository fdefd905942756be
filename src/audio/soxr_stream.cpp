#include "audio/soxr_stream.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr std::size_t kMaxBlock = 1 << 16;  // samples
constexpr std::size_t kMinRoom = 4096;      // samples to be got at once

}  // namespace

SoxrStream::SoxrStream(int from_hz, int to_hz, std::string path)
    : path_(std::move(path)), ratio_(static_cast<double>(to_hz) / from_hz) {
  const auto io = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
  const auto quality = soxr_quality_spec(SOXR_HQ, 0);
  const auto runtime = soxr_runtime_spec(1);
  soxr_error_t error = nullptr;
  soxr_.reset(soxr_create(from_hz, to_hz, 1, &error, &io, &quality, &runtime));
  if (error) throw AudioError(path_, "", std::string("cannot be resampled: ") + error);
}

void SoxrStream::add(std::span<const float> samples, std::vector<float>& out) {
  while (!samples.empty()) {
    const std::size_t count = std::min(samples.size(), kMaxBlock);
    process(samples.data(), count, out);
    samples = samples.subspan(count);
    read_ += count;
  }
}

void SoxrStream::finish(std::vector<float>& out) {
  process(nullptr, 0, out);
  const auto length = static_cast<std::size_t>(std::ceil(static_cast<double>(read_) * ratio_));
  out.resize(out.size() - written_ + length);
}

void SoxrStream::process(const float* samples, std::size_t count, std::vector<float>& out) {
  block_.resize(static_cast<std::size_t>(static_cast<double>(count) * ratio_) + kMinRoom);
  for (;;) {
    std::size_t used = 0;
    std::size_t done = 0;
    const char* error =
        soxr_process(soxr_.get(), samples, count, &used, block_.data(), block_.size(), &done);
    if (error) throw AudioError(path_, "", std::string("cannot be resampled: ") + error);
    out.insert(out.end(), block_.begin(), block_.begin() + static_cast<std::ptrdiff_t>(done));
    written_ += done;
    if (samples) {
      samples += used;
      count -= used;
    }
    if (done < block_.size() && count == 0) return;
  }
}

}  // namespace w2vbert
