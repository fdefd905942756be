// soxr HQ, block by block. Torch-free.
#pragma once

#include <soxr.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace w2vbert {

// The blocks' results, one after the other, are those of all samples in one go, to the last bit:
// soxr's stages read from queues.
class SoxrStream {
 public:
  // `path` is for the AudioError that soxr may give reason for.
  SoxrStream(int from_hz, int to_hz, std::string path);

  // Room for the result of so many samples, with the few that soxr may give beyond.
  static std::size_t capacity_for(std::size_t samples, int from_hz, int to_hz) {
    return static_cast<std::size_t>(static_cast<double>(samples) * to_hz / from_hz) + 16;
  }

  // Appends to `out` what can be computed so far.
  void add(std::span<const float> samples, std::vector<float>& out);
  // Appends the rest: cut, or filled with zeros, to ceil(samples * to_hz / from_hz) in all, as
  // librosa does (util.fix_length).
  void finish(std::vector<float>& out);

 private:
  void process(const float* samples, std::size_t count, std::vector<float>& out);

  std::string path_;
  double ratio_;
  std::unique_ptr<struct soxr, decltype(&soxr_delete)> soxr_{nullptr, &soxr_delete};
  std::vector<float> block_;
  std::size_t read_ = 0;
  std::size_t written_ = 0;
};

}  // namespace w2vbert
