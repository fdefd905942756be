// w2vbert extract: audio files -> hidden states.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/parse_number.h"
#include "core/text.h"
#include "tool/cli/clip_report.h"
#include "tool/cli/commands.h"
#include "tool/cli/console.h"
#include "tool/cli/options.h"
#include "tool/cli/signals.h"
#include "tool/tasks/extraction.h"
#include "tool/tasks/model_files.h"
#include "tool/tasks/preset.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

struct ExtractOptions {
  // That the options were declared in: tells an option that was given from one that was not.
  const CLI::App* command = nullptr;
  ClipOptions clips;
  ModelOptions model;
  OutputOptions output;
  std::string states;
  std::string state_weights;
  bool no_softmax = false;
  std::string stats;
  std::optional<double> batch_seconds;
  std::optional<double> chunk_seconds;
  std::optional<double> overlap_seconds;
  std::optional<c10::ScalarType> output_dtype;
  std::optional<Preset> preset;
  std::optional<RowPooling> pool;
  std::string kmeans;
  bool dedup_units = false;

  ExtractionOptions extraction() const {
    ExtractionOptions wanted;
    wanted.states = states;
    wanted.state_weights = state_weights;
    wanted.softmax = !no_softmax;
    wanted.stats = stats;
    if (preset) {
      check_beside(*preset, beside_preset());
      wanted.preset = preset->name;
    }
    wanted.pool = pool;
    if (dedup_units && kmeans.empty()) {
      throw UsageError("", "--kmeans-dedup", "is given without --kmeans", "both");
    }
    wanted.kmeans = kmeans;
    wanted.dedup_units = dedup_units;
    if (chunk_seconds) {
      wanted.chunk_seconds = *chunk_seconds;
      wanted.overlap_seconds = default_overlap_seconds(wanted.chunk_seconds);
    }
    if (overlap_seconds) {
      if (!chunk_seconds) {
        throw UsageError("", "--overlap-seconds", "is given without --chunk-seconds", "both");
      }
      wanted.overlap_seconds = *overlap_seconds;
    }
    wanted.output_dtype = output_dtype;
    return with_weighted_sum(std::move(wanted));
  }

  // What is read besides the clips.
  ProtectedFiles sources() const {
    ProtectedFiles files;
    add_model_files(files, model.model, model.revision, model.lora);
    files.add(state_weights, "the file of --state-weights");
    files.add(stats, "the file of --stats");
    files.add(kmeans, "the file of --kmeans");
    return files;
  }

 private:
  BesidePreset beside_preset() const {
    BesidePreset given{states, state_weights, stats, {}, {}};
    if (command->get_option("--resampler")->count() > 0) given.resampler = clips.resampler;
    if (command->get_option("--channels")->count() > 0) given.channels = clips.channels;
    return given;
  }
};

OneOf<Preset> preset_names() {
  std::vector<std::pair<std::string, Preset>> choices;
  for (const Preset& preset : presets()) choices.emplace_back(preset.name, preset);
  return OneOf<Preset>(std::move(choices), "NAME");
}

OneOf<c10::ScalarType> output_dtypes() {
  return OneOf<c10::ScalarType>(
      {{"float32", at::kFloat}, {"bfloat16", at::kBFloat16}, {"float16", at::kHalf}});
}

int run_extract(const ExtractOptions& options) {
  options.clips.check();
  const ExtractionOptions wanted = options.extraction();
  apply_threads(options.model.threads);
  const InputList inputs = options.clips.inputs();
  check_no_input_is_an_output(inputs, options.clips.output);
  const Extraction extraction(options.model.request(), wanted);
  if (options.clips.output_format == OutputFormat::npy) {
    if (extraction.states() > 1) {
      throw UsageError("", "--output-format", "a .npy file holds one state",
                       "one number behind --states, or safetensors");
    }
    if (options.dedup_units) {
      throw UsageError("", "--output-format", "a .npy file holds the units or their counts",
                       "safetensors, or no --kmeans-dedup");
    }
    if (extraction.output_dtype() == at::kBFloat16 && options.kmeans.empty()) {
      throw UsageError("", "--output-format", "NumPy has no bfloat16",
                       "--output-dtype float32 or float16, or safetensors");
    }
  }
  Messages messages(options.output.quiet);
  ClipRunRequest request;
  request.features = extraction.features();
  request.audio = options.clips.audio(request.features.sampling_rate);
  if (options.preset) request.audio = with_way_of(*options.preset, request.audio);
  request.reading_threads = options.clips.reading_threads_beside_model(extraction.device());
  request.tensor_names = extraction.tensor_names();
  request.row_bytes = extraction.row_bytes();
  request.batch_frames = extraction.batch_frames(options.batch_seconds);
  request.functions = extraction.functions();
  request.prepare = [&] {
    LoadReport report;
    std::vector<BatchFunction> functions =
        extraction.load(request.batch_frames, &report, is_stopping);
    say_warnings(report, messages);
    say_engine(extraction.engine(), messages);
    return functions;
  };
  return run_over_clips("extract", options.clips, options.output, inputs,
                        extraction.fingerprint(request.audio), request, options.sources(), messages,
                        {{"engine", name_of(extraction.engine().kind)},
                         {"engine_reason", extraction.engine().reason}});
}

}  // namespace

Run add_extract(CLI::App& program) {
  CLI::App& command = *program.add_subcommand("extract", "Write the hidden states of each file");
  const auto options = std::make_shared<ExtractOptions>();
  options->command = &command;
  options->clips.add_to(command);
  add_value(command, "--states", options->states, "N,N-N,...|all|mean:N-N|weighted:N-N",
            "Write hidden_states.<n> (T, C), numbered as HuggingFace numbers them, instead of "
            "last_hidden_state; those behind mean: as one, hidden_states.mean.<numbers>, and those "
            "behind weighted: as a sum with --state-weights; layers past the highest are not "
            "computed");
  add_state_weights(command, options->state_weights, options->no_softmax);
  add_value(command, "--stats", options->stats, "FILE",
            "A safetensors file with mean and var (C): write (x - mean) / sqrt(var)");
  std::string known;
  for (const Preset& preset : presets()) {
    known.append("\n").append(preset.name).append(": ").append(preset.summary);
  }
  add_value(
      command, "--preset", options->preset, preset_names(),
      "Do what a project does, from the audio file to what it takes from the encoder; options that "
      "say another thing (--states, --stats, --resampler, --channels) are refused:" +
          known);
  add_value(
      command, "--pool", [options](const std::string& text) { options->pool = parse_pool(text); },
      "N|mean|mean+std",
      "Write the mean of each N frames (default: the preset's, else 1), or of each clip one row: "
      "the mean of the frames that the mask counts, or it and behind it the standard deviation");
  add_value(command, "--kmeans", options->kmeans, "FILE",
            "A .npy file of centres (K, C): write units (T), the number of the centre nearest to "
            "each row of the one state, instead of it");
  command.add_flag(
      "--kmeans-dedup", options->dedup_units,
      "Write runs of equal units once, with their counts of frames, instead of the mask");
  add_value(command, "--output-dtype", options->output_dtype, output_dtypes(),
            "Type of the states in the files (default: that of --dtype, float32 for int8)");
  add_value(
      command, "--chunk-seconds", options->chunk_seconds, PositiveNumber{kMaxSeconds},
      "Run longer clips through the model in chunks of S seconds: memory and time then grow with "
      "the length alone, and the states differ from those of the whole clip (default: whole)");
  add_value(command, "--overlap-seconds", options->overlap_seconds, NumberFromZero{kMaxSeconds},
            "By which chunks overlap; the first half of an overlap is the left chunk's, the rest "
            "the right one's (default: 2, or a quarter of a chunk)");
  add_value(
      command, "--batch-seconds", options->batch_seconds, PositiveNumber{kMaxSeconds},
      "Seconds of audio that go through the model together (default: 60, on a GPU 320, or less "
      "where memory is short; with --engine reference one clip on a CPU, 120 s on a GPU); on a CPU "
      "the outputs do not depend on it");
  options->model.add_to(command, /*several=*/true);
  options->output.add_to(command);
  command.footer(
      "Example:\n  w2vbert extract a.wav b.flac --model facebook/w2v-bert-2.0 --states 17 "
      "--output states\n"
      "The same command again does what is left. Exit status 3: some files failed, see "
      "failures.jsonl.");
  return [options] { return run_extract(*options); };
}

}  // namespace w2vbert::tool
