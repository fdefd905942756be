// The options that several subcommands share, as words and as what the words mean.
#pragma once

#include <CLI/App.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tool/corpus/input_list.h"
#include "tool/corpus/partition.h"
#include "tool/store/output_format.h"
#include "tool/tasks/extraction.h"
#include "w2vbert/audio/audio_file.h"

namespace w2vbert::tool {

inline constexpr double kMaxSeconds = 1e6;  // of any option that takes seconds

// An option that takes a value; `placeholder` stands for it in the help.
CLI::Option* add_value(CLI::App& command, const std::string& name, std::string& value,
                       const std::string& placeholder, const std::string& help);

struct OutputOptions {
  bool quiet = false;
  bool json = false;
  void add_to(CLI::App& command);
};

struct ModelOptions {
  std::string model;
  std::string device = "cpu";
  std::string dtype = "float32";
  std::string engine = "fused";
  std::string attn_implementation = "sdpa";
  std::string threads;
  std::string prefix;
  std::string lora;
  bool lenient = false;

  void add_to(CLI::App& command);
  // Looks at every word and, for a CUDA device, at the machine.
  ModelRequest request() const;
};

// Checks --threads and gives LibTorch that many, or the cores this process may use. To be called
// before any work.
void apply_threads(const std::string& threads);

// The audio files, how they are read, and which of them this process does.
struct ClipOptions {
  std::vector<std::string> paths;
  std::string manifest;
  std::string output;
  std::string resampler = "soxr";
  std::string channels = "first";
  std::string max_seconds;
  std::string manifest_format;
  std::string output_format = "safetensors";
  std::string shard_size;
  std::string num_shards;
  std::string shard_index;
  std::string readers;
  std::string read_timeout;
  std::string max_failures;
  bool allow_failures = false;
  bool verify = false;

  void add_to(CLI::App& command);         // all of it, of which these are parts
  void add_inputs_to(CLI::App& command);  // AUDIO, --manifest
  void add_audio_to(CLI::App& command);   // --resampler, --channels, --max-seconds
  InputList inputs() const;
  InputList unnamed_inputs() const;  // whose outputs need no names: two may be of one name
  AudioOptions audio(std::int64_t sampling_rate) const;
  Partition partition() const;
  OutputFormat format() const;
  std::size_t clips_in_shard() const;  // 0: a file for each
  double read_timeout_seconds() const;
  int reading_threads(int by_default) const;
  std::size_t failures_allowed() const;
  void check() const;         // what can be wrong with the words alone
  void check_inputs() const;  // the same without --output and the share
};

}  // namespace w2vbert::tool
