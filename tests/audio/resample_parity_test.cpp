// Both resamplers, compared with what Python's soxr and torchaudio gave
// (tests/features/export_feature_fixtures.py).
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <map>
#include <sstream>

#include "checkpoint/safetensors_header.h"
#include "core/file.h"
#include "w2vbert/audio/resample.h"
#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

// How far a sample may be from Python's. Measured: 0 for all three, with libsoxr 0.1.3 on both
// sides and with torchaudio at the same number of threads.
const std::map<std::string, double> kLimits = {
    {"soxr", 0.0}, {"functional", 0.0}, {"transform", 0.0}};

TEST(ResampleParity, EverySignalGivesTheSamplesOfPython) {
  const char* fixtures = std::getenv("W2VBERT_FEATURE_FIXTURES");
  ASSERT_NE(fixtures, nullptr);
  const std::string path = std::string(fixtures) + "/resample.safetensors";
  const auto tensors = Checkpoint::open(path);
  const auto file = InputFile::open<CheckpointError>(path);
  for (const auto& [key, value] :
       parse_safetensors_header(read_safetensors_head(file), file.size(), path).metadata) {
    if (key == "threads") at::set_num_threads(std::stoi(std::string(value)));
  }
  struct Total {
    std::size_t values = 0;
    std::size_t different = 0;
    double largest = 0.0;
  };
  std::map<std::string, Total> totals;
  for (const auto& tensor : tensors.tensors()) {
    std::istringstream words(tensor.name);  // <method>/<signal>/<from>/<to>
    std::string method, signal, from, to;
    std::getline(words, method, '/');
    if (method == "signal") continue;
    std::getline(words, signal, '/');
    std::getline(words, from, '/');
    std::getline(words, to, '/');
    SCOPED_TRACE(tensor.name);
    const auto clip = tensors.read("signal/" + signal);
    const std::span samples(clip.const_data_ptr<float>(), static_cast<std::size_t>(clip.numel()));
    const auto out = method == "soxr"
                         ? resample_soxr(samples, std::stoi(from), std::stoi(to), signal)
                         : resample_sinc(samples, std::stoi(from), std::stoi(to), signal,
                                         method == "functional" ? SincFilter::functional
                                                                : SincFilter::transform);
    const auto expected = tensors.read(tensor.name);
    ASSERT_EQ(static_cast<std::int64_t>(out.size()), expected.numel());
    Total one;
    one.values = out.size();
    for (std::size_t i = 0; i < out.size(); ++i) {
      const float theirs = expected.const_data_ptr<float>()[i];
      if (out[i] != theirs) ++one.different;
      one.largest = std::max(one.largest, std::abs(static_cast<double>(out[i]) - theirs));
    }
    EXPECT_LE(one.largest, kLimits.at(method))
        << one.different << " of " << one.values << " differ";
    auto& total = totals[method];
    total.values += one.values;
    total.different += one.different;
    total.largest = std::max(total.largest, one.largest);
  }
  ASSERT_EQ(totals.size(), kLimits.size());
  for (const auto& [method, total] : totals) {
    std::cout << method << ": " << total.different << " of " << total.values
              << " samples differ, by at most " << total.largest << "\n";
  }
}

}  // namespace
}  // namespace w2vbert::testing
