// w2vbert extract: audio files -> hidden states.
#include <ATen/Parallel.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "clip_report.h"
#include "command_line.h"
#include "commands.h"
#include "console.h"
#include "options.h"
#include "w2vbert/pipeline/extraction.h"

namespace w2vbert::cli {
namespace {

// Decoding and features take one core for about a hundred times real time; the model is slower.
constexpr int kCoresPerReader = 8;
constexpr double kMaxBatchSeconds = 1e6;

struct ExtractOptions {
  ClipOptions clips;
  ModelOptions model;
  OutputOptions output;
  std::string states;
  std::string stats;
  std::string batch_seconds;

  std::optional<double> batch() const {
    if (batch_seconds.empty()) return std::nullopt;
    return positive_number("--batch-seconds", batch_seconds, kMaxBatchSeconds);
  }
};

int run_extract(const ExtractOptions& options) {
  options.clips.check();
  (void)options.batch();
  apply_threads(options.model.threads);
  const InputList inputs = options.clips.inputs();
  check_no_input_is_an_output(inputs, options.clips.output);
  const Extraction extraction(options.model.request(), options.states, options.stats);
  Messages messages(options.output.quiet);
  ClipRunRequest request;
  request.features = extraction.features();
  request.audio = options.clips.audio(request.features.sampling_rate);
  request.shard = options.clips.shard();
  request.verify = options.clips.verify;
  request.reading_threads =
      options.clips.reading_threads(std::max(1, at::get_num_threads() / kCoresPerReader));
  request.max_failures = options.clips.failures_allowed();
  request.batch_frames = extraction.batch_frames(options.batch());
  request.prepare = [&] {
    LoadReport report;
    const BatchFunction function = extraction.load(&report);
    say_warnings(report, messages);
    say_engine(extraction.engine(), messages);
    return function;
  };
  return run_over_clips("extract", options.clips, options.output, inputs,
                        extraction.fingerprint(request.audio), request, messages,
                        {{"engine", extraction.engine().name},
                         {"engine_reason", extraction.engine().reason}});
}

}  // namespace

Run add_extract(CLI::App& program) {
  CLI::App& command = *program.add_subcommand(
      "extract", "Write the hidden states of each file");
  const auto options = std::make_shared<ExtractOptions>();
  options->clips.add_to(command);
  add_value(command, "--states", options->states, "N,N,...|all",
            "Write hidden_states.<n> (T, C), numbered as HuggingFace numbers them, instead of "
            "last_hidden_state; layers past the highest are not computed");
  add_value(command, "--stats", options->stats, "FILE",
            "A safetensors file with mean and var (C): write (x - mean) / sqrt(var)");
  add_value(command, "--batch-seconds", options->batch_seconds, "S",
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

}  // namespace w2vbert::cli
