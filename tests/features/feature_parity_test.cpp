// What SeamlessM4TFeatureExtractor gives, compared with what transformers gave for the same samples
// (export_feature_fixtures.py): on any machine with the committed clips, and with many more where
// there is a Python.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "checkpoint/safetensors_header.h"
#include "core/file.h"
#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/core/error.h"
#include "w2vbert/features/seamless_m4t_feature_extractor.h"

namespace w2vbert::testing {
namespace {

// By kind of clip: how many values must be identical, and how far the others may be. Measured with
// numpy 2.4.6 beside LibTorch 2.11 on x86-64 with AVX512.
struct Limit {
  double identical;
  double largest;
};
// One unit in the last place of a float32 log-mel value between 8 and 16, in a bin that does not
// vary: what is left of its variance is the floor of 1e-7.
constexpr double kUnitOfAConstantBin = 9.5367431640625e-7 / 3.1622776601683795e-4;
const std::map<std::string, Limit> kLimits = {
    {"speech", {0.999, 1e-5}},   // measured: all identical
    {"noise", {0.999, 1e-5}},    // measured: all identical
    {"short", {0.999, 1e-5}},    // measured: all identical
    {"silence", {0.999, 1e-5}},  // measured: all identical
    // Bins far below the tone hold only rounding errors of the two Fourier transforms, and where
    // such a bin hardly varies the normalisation magnifies them. Measured: 98.7 % identical
    // and 2.3e-4 with AVX-512, 99.97 % and 1.5e-3 (half this limit) with AVX2.
    {"tone", {0.98, kUnitOfAConstantBin}},
};

std::string fixtures() {
  const char* path = std::getenv("W2VBERT_FEATURE_FIXTURES");
  return path ? path : "";
}

std::vector<float> samples_of(const Checkpoint& tensors, const std::string& name) {
  const auto clip = tensors.read(name);
  const float* values = clip.const_data_ptr<float>();
  return {values, values + clip.numel()};
}

struct Difference {
  std::int64_t values = 0;
  std::int64_t different = 0;
  double largest = 0.0;
};

// NaN equals NaN.
Difference difference(const torch::Tensor& ours, const torch::Tensor& theirs) {
  const auto both_nan = ours.isnan().logical_and(theirs.isnan());
  const auto different = ours.ne(theirs).logical_and(both_nan.logical_not());
  Difference result{ours.numel(), different.sum().item<std::int64_t>(), 0.0};
  if (result.different > 0) {
    result.largest = (ours.to(torch::kDouble) - theirs.to(torch::kDouble))
                         .abs()
                         .masked_select(different)
                         .max()
                         .item<double>();  // NaN stays NaN and fails
  }
  return result;
}

TEST(FeatureParity, EveryClipGivesTheValuesOfTransformers) {
  const auto tensors = Checkpoint::open(fixtures() + "/features.safetensors");
  SeamlessM4TFeatureExtractorConfig config;
  config.padding_value = 1.0;  // as the exporter
  const SeamlessM4TFeatureExtractor extractor(config);
  std::map<std::string, Difference> totals;
  for (const auto& tensor : tensors.tensors()) {
    if (!tensor.name.starts_with("clip/")) continue;
    const std::string name = tensor.name.substr(5);  // <kind>/<name>
    const std::string kind = name.substr(0, name.find('/'));
    SCOPED_TRACE(name);
    const auto features = extractor({samples_of(tensors, tensor.name)});
    const auto expected = tensors.read("features/" + name);
    ASSERT_EQ(features.input_features[0].sizes(), expected.sizes());
    EXPECT_TRUE(features.attention_mask[0].equal(tensors.read("mask/" + name)));
    const Difference one = difference(features.input_features[0], expected);
    EXPECT_LE(one.largest, kLimits.at(kind).largest);
    EXPECT_GE(static_cast<double>(one.values - one.different),
              kLimits.at(kind).identical * static_cast<double>(one.values));
    if (one.different > 0) {
      std::cout << "  " << name << ": " << one.different << " of " << one.values
                << " values differ, by at most " << one.largest << "\n";
    }
    auto& total = totals[kind];
    total.values += one.values;
    total.different += one.different;
    total.largest = std::max(total.largest, one.largest);
  }
  ASSERT_TRUE(totals.contains("short"));
  for (const auto& [kind, total] : totals) {
    std::cout << kind << ": " << total.different << " of " << total.values
              << " values differ, by at most " << total.largest << "\n";
  }
}

// "clips=abc padding=max_length max_length=45" as the exporter writes it.
std::map<std::string, std::string> arguments_of(const std::string& line) {
  std::map<std::string, std::string> arguments;
  std::istringstream words(line);
  for (std::string word; words >> word;) {
    const auto equals = word.find('=');
    arguments[word.substr(0, equals)] = word.substr(equals + 1);
  }
  return arguments;
}

TEST(FeatureParity, EveryCallOptionGivesWhatTransformersGives) {
  const std::string path = fixtures() + "/options.safetensors";
  const auto tensors = Checkpoint::open(path);
  const auto file = InputFile::open<CheckpointError>(path);
  const auto header = parse_safetensors_header(read_safetensors_head(file), file.size(), path);
  int calls = 0;
  for (const auto& [call, line] : header.metadata) {
    if (!line.starts_with("clips=")) continue;
    SCOPED_TRACE(std::string(call) + ": " + std::string(line));
    SeamlessM4TFeatureExtractorConfig config;
    SeamlessM4TFeatureExtractor::Options options;
    std::vector<std::vector<float>> clips;
    std::set<std::string> unknown;
    for (const auto& [key, value] : arguments_of(std::string(line))) {
      if (key == "clips") {
        for (const char name : value)
          clips.push_back(samples_of(tensors, std::string("clip/") + name));
      } else if (key == "padding_value") {
        config.padding_value = std::stod(value);
      } else if (key == "stride") {
        config.stride = std::stol(value);
      } else if (key == "num_mel_bins") {
        config.num_mel_bins = std::stol(value);
      } else if (key == "feature_size") {
        config.feature_size = std::stol(value);
      } else if (key == "sampling_rate") {
        config.sampling_rate = std::stol(value);
        options.sampling_rate = config.sampling_rate;
      } else if (key == "padding") {
        options.padding = value == "max_length" ? SeamlessM4TFeatureExtractor::Padding::max_length
                                                : SeamlessM4TFeatureExtractor::Padding::do_not_pad;
      } else if (key == "max_length") {
        options.max_length = std::stol(value);
      } else if (key == "pad_to_multiple_of") {
        options.pad_to_multiple_of =
            value == "None" ? std::nullopt : std::optional<std::int64_t>(std::stol(value));
      } else if (key == "truncation") {
        options.truncation = value == "True";
      } else if (key == "do_normalize_per_mel_bins") {
        options.do_normalize_per_mel_bins = value == "True";
      } else {
        unknown.insert(key);
      }
    }
    ASSERT_TRUE(unknown.empty()) << *unknown.begin();
    const auto features = SeamlessM4TFeatureExtractor(config)(clips, options);
    const auto expected = tensors.read(std::string(call) + "/input_features");
    ASSERT_EQ(features.input_features.sizes(), expected.sizes());
    EXPECT_TRUE(features.attention_mask.equal(tensors.read(std::string(call) + "/attention_mask")));
    const Difference one = difference(features.input_features, expected);
    EXPECT_LE(one.largest, 1e-5);
    EXPECT_LE(static_cast<double>(one.different), 0.001 * static_cast<double>(one.values));
    if (one.different > 0) {
      std::cout << "  " << call << ": " << one.different << " of " << one.values
                << " values differ, by at most " << one.largest << "\n";
    }
    ++calls;
  }
  EXPECT_GE(calls, 20);
  std::cout << calls << " calls\n";
}

}  // namespace
}  // namespace w2vbert::testing
