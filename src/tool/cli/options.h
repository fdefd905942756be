// The options that several subcommands share.
#pragma once

#include <c10/core/Device.h>

#include <CLI/App.hpp>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "tool/cli/typed_options.h"
#include "tool/corpus/input_list.h"
#include "tool/corpus/manifest.h"
#include "tool/corpus/partition.h"
#include "tool/store/output_format.h"
#include "tool/tasks/extraction.h"
#include "w2vbert/audio/audio_file.h"
#include "w2vbert/config/hf_version.h"
#include "w2vbert/engine/engine.h"
#include "w2vbert/engine/precision.h"

namespace w2vbert::tool {

struct OutputOptions {
  bool quiet = false;
  bool json = false;
  void add_to(CLI::App& command);
};

struct ModelOptions {
  std::string model;
  std::string revision;
  // Read by request(): others than the CPU need LibTorch's CUDA backend.
  std::string device;   // "": cpu
  std::string devices;  // several; "": the one
  Precision precision = Precision::float32;
  EngineKind engine = EngineKind::fused;
  std::optional<std::string> attn_implementation;
  HfVersion hf_version = kNewestHfVersion;
  std::optional<int> threads;
  std::string prefix;
  std::string lora;
  std::string lora_prefix;
  bool lenient = false;

  // All of it: these parts, and --dtype between them. `several`: with --devices.
  void add_to(CLI::App& command, bool several = false);
  void add_model_to(CLI::App& command);   // --model, --revision, --device
  void add_engine_to(CLI::App& command);  // --engine and what is behind it
  // Looks at the device, too: for CUDA at the machine. Throws UsageError.
  ModelRequest request() const;
};

// Reads --hf-version.
struct HfVersions {
  std::string placeholder = "X.Y";

  HfVersion operator()(const std::string& option, const std::string& text) const;
  std::string text(const HfVersion& version) const { return name_of(version); }
};

// Options that stand in several commands by themselves, and their readers.
OneOf<Precision> precisions(const std::string& shown_instead = "");
OneOf<std::vector<Precision>> precisions_or_all();
OneOf<EngineKind> engine_kinds();
OneOf<std::string> attn_implementations();
void add_model(CLI::App& command, std::string& model, std::string& revision);
void add_lora(CLI::App& command, std::string& lora, std::string& lora_prefix);
void add_hf_version(CLI::App& command, HfVersion& version);
void add_prefix(CLI::App& command, std::string& prefix);
void add_quiet(CLI::App& command, bool& quiet);
void add_threads(CLI::App& command, std::optional<int>& threads, const std::string& by_default);

// Gives LibTorch that many threads, or as many as there are cores that this process may use. To be
// called before any work.
void apply_threads(std::optional<int> threads);

// --state-weights and --no-softmax.
void add_state_weights(CLI::App& command, std::string& file, bool& no_softmax);

// The audio files, how they are read, and which of them this process does.
struct ClipOptions {
  std::vector<std::string> paths;
  std::string manifest;
  std::string output;
  AudioOptions::Resampler resampler = AudioOptions::Resampler::soxr;
  ChannelChoice channels;
  bool salvage = false;
  std::optional<double> max_seconds;
  std::optional<ManifestFormat> manifest_format;
  std::optional<Naming> naming;
  OutputFormat output_format = OutputFormat::safetensors;
  std::optional<std::size_t> shard_size;  // clips; without: a file for each
  // Read by partition(), in the words of choose_partition, as a launcher's variables are.
  std::string share;
  std::string num_shards;
  std::string shard_index;
  std::optional<int> readers;
  double read_timeout_seconds = 60;
  std::optional<std::size_t> max_failures;
  bool allow_failures = false;
  bool verify = false;
  bool keep_texts = false;  // in the inputs; no option of its own

  void add_to(CLI::App& command);            // all of it, of which these are parts
  void add_inputs_to(CLI::App& command);     // AUDIO, --manifest
  void add_partition_to(CLI::App& command);  // --partition, --num-shards, --shard-index
  void add_readers_to(CLI::App& command);    // --readers, --read-timeout
  void add_audio_to(CLI::App& command);      // --resampler, --channels, --salvage ...
  void add_naming_to(CLI::App& command);     // --name
  InputList inputs() const;
  InputList unnamed_inputs() const;  // whose outputs need no names: two may be of one name
  AudioOptions audio(std::int64_t sampling_rate) const;
  PartitionChoice partition() const;
  int reading_threads(int by_default) const;
  int reading_threads_beside_model(c10::Device device) const;  // where the model runs
  void check() const;                                          // which options go together
  void check_inputs() const;                                   // the same without --output
  // Throws UsageError where `path`, the value of `option`, and the list are both the standard
  // input.
  void check_is_another_input(const char* option, const std::string& path) const;

 private:
  InputList inputs(OutputNames names) const;
};

}  // namespace w2vbert::tool
