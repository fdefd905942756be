// w2vbert extract: audio files -> hidden states.
#include <ATen/Parallel.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "tool/cli/clip_report.h"
#include "tool/cli/command_line.h"
#include "tool/cli/commands.h"
#include "tool/cli/console.h"
#include "tool/cli/options.h"
#include "tool/cli/signals.h"
#include "tool/tasks/extraction.h"
#include "tool/tasks/preset.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

// Decoding and features take one core for about a hundred times real time; the model is slower.
constexpr int kCoresPerReader = 8;
constexpr std::int64_t kMaxPool = 1000;
constexpr double kOverlapSeconds = 2;  // or a quarter of a piece

struct ExtractOptions {
  ClipOptions clips;
  ModelOptions model;
  OutputOptions output;
  std::string states;
  std::string stats;
  std::string batch_seconds;
  std::string chunk_seconds;
  std::string overlap_seconds;
  std::string output_dtype;
  std::string preset;
  std::string pool;

  std::optional<Preset> recipe() const {
    if (preset.empty()) return std::nullopt;
    std::vector<std::string> names;
    for (const Preset& one : presets()) names.emplace_back(one.name);
    return find_preset(one_of("--preset", preset, names));
  }
  ExtractionOptions extraction() const {
    ExtractionOptions wanted;
    wanted.states = states;
    wanted.stats = stats;
    if (const auto known = recipe()) {
      for (const auto& [option, given] : {std::pair("--states", !states.empty()),
                                          {"--resampler", clips.resampler != "soxr"},
                                          {"--channels", clips.channels != "first"}}) {
        if (given) {
          throw UsageError("", option, "is what --preset " + preset + " chooses", "one of the two");
        }
      }
      if (known->stats != !stats.empty()) {
        throw UsageError(
            "", "--stats",
            known->stats ? "is not given, --preset " + preset + " needs it"
                         : "is given, --preset " + preset + " stores the states as they are",
            known->stats
                ? "a safetensors file with mean and var (scripts/convert_stats.py makes one)"
                : "one of the two");
      }
      wanted.preset = preset;
      wanted.states = std::to_string(known->state);
      wanted.attention_mask = known->attention_mask;
      wanted.pool = known->pool;
    }
    if (!pool.empty()) wanted.pool = whole_number("--pool", pool, 1, kMaxPool);
    if (!chunk_seconds.empty()) {
      wanted.chunk_seconds = positive_number("--chunk-seconds", chunk_seconds, kMaxSeconds);
      wanted.overlap_seconds = std::min(kOverlapSeconds, wanted.chunk_seconds / 4);
    }
    if (!overlap_seconds.empty()) {
      if (chunk_seconds.empty()) {
        throw UsageError("", "--overlap-seconds", "is given without --chunk-seconds", "both");
      }
      wanted.overlap_seconds =
          overlap_seconds == "0"
              ? 0
              : positive_number("--overlap-seconds", overlap_seconds, kMaxSeconds);
    }
    if (!output_dtype.empty()) {
      wanted.output_dtype =
          dtype_of(one_of("--output-dtype", output_dtype, {"float32", "bfloat16", "float16"}));
    }
    return wanted;
  }
  std::optional<double> batch() const {
    if (batch_seconds.empty()) return std::nullopt;
    return positive_number("--batch-seconds", batch_seconds, kMaxSeconds);
  }
};

int run_extract(const ExtractOptions& options) {
  options.clips.check();
  (void)options.batch();
  const ExtractionOptions wanted = options.extraction();
  apply_threads(options.model.threads);
  const InputList inputs = options.clips.inputs();
  check_no_input_is_an_output(inputs, options.clips.output);
  const Extraction extraction(options.model.request(), wanted);
  if (options.clips.format() == OutputFormat::npy) {
    if (extraction.states() > 1) {
      throw UsageError("", "--output-format", "a .npy file holds one state",
                       "one number behind --states, or safetensors");
    }
    if (extraction.output_dtype() == at::kBFloat16) {
      throw UsageError("", "--output-format", "NumPy has no bfloat16",
                       "--output-dtype float32 or float16, or safetensors");
    }
  }
  Messages messages(options.output.quiet);
  ClipRunRequest request;
  request.features = extraction.features();
  request.audio = options.clips.audio(request.features.sampling_rate);
  if (const auto preset = options.recipe()) {
    const double max_seconds = request.audio.max_seconds;
    request.audio = preset->audio;
    request.audio.max_seconds = max_seconds;
    if (request.features.sampling_rate != request.audio.target_sample_rate_hz) {
      throw UsageError("", "--preset",
                       "is for models of 16000 Hz, this one has " +
                           std::to_string(request.features.sampling_rate) + " Hz",
                       "another model");
    }
  }
  request.reading_threads =
      options.clips.reading_threads(std::max(1, at::get_num_threads() / kCoresPerReader));
  request.tensor_names = extraction.tensor_names();
  request.batch_frames = extraction.batch_frames(options.batch());
  request.prepare = [&] {
    LoadReport report;
    const BatchFunction function = extraction.load(request.batch_frames, &report, is_stopping);
    say_warnings(report, messages);
    say_engine(extraction.engine(), messages);
    return function;
  };
  return run_over_clips("extract", options.clips, options.output, inputs,
                        extraction.fingerprint(request.audio), request, messages,
                        {{"engine", name_of(extraction.engine().kind)},
                         {"engine_reason", extraction.engine().reason}});
}

}  // namespace

Run add_extract(CLI::App& program) {
  CLI::App& command = *program.add_subcommand("extract", "Write the hidden states of each file");
  const auto options = std::make_shared<ExtractOptions>();
  options->clips.add_to(command);
  add_value(command, "--states", options->states, "N,N,...|all",
            "Write hidden_states.<n> (T, C), numbered as HuggingFace numbers them, instead of "
            "last_hidden_state; layers past the highest are not computed");
  add_value(command, "--stats", options->stats, "FILE",
            "A safetensors file with mean and var (C): write (x - mean) / sqrt(var)");
  std::string known;
  for (const Preset& preset : presets()) {
    known.append("\n").append(preset.name).append(": ").append(preset.summary);
  }
  add_value(
      command, "--preset", options->preset, "NAME",
      "Do what a project does, from the audio file to what it takes from the encoder:" + known);
  add_value(command, "--pool", options->pool, "N", "Write the mean of each N frames (default: 1)");
  add_value(command, "--output-dtype", options->output_dtype, "float32|bfloat16|float16",
            "Type of the states in the files (default: as computed)");
  add_value(
      command, "--chunk-seconds", options->chunk_seconds, "S",
      "Run longer clips through the model in pieces of S seconds: memory and time then grow with "
      "the length alone, and the states differ from those of the whole clip (default: whole)");
  add_value(command, "--overlap-seconds", options->overlap_seconds, "S",
            "By which pieces overlap; the first half of an overlap is the left piece's, the rest "
            "the right "
            "one's (default: 2, or a quarter of a piece)");
  add_value(
      command, "--batch-seconds", options->batch_seconds, "S",
      "Seconds of audio that go through the model together (default: 60, or less where memory is "
      "short); the outputs do not depend on it");
  options->model.add_to(command);
  options->output.add_to(command);
  command.footer(
      "Example:\n  w2vbert extract a.wav b.flac --model facebook/w2v-bert-2.0 --states 17 "
      "--output states\n"
      "The same command again does what is left. Exit status 3: some files failed, see "
      "failures.jsonl.");
  return [options] { return run_extract(*options); };
}

}  // namespace w2vbert::tool
