// w2vbert bench: how fast a model runs here.
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/text.h"
#include "tool/cli/clip_report.h"
#include "tool/cli/commands.h"
#include "tool/cli/console.h"
#include "tool/cli/exit_status.h"
#include "tool/cli/options.h"
#include "tool/run/failure.h"
#include "tool/store/json_text.h"
#include "tool/tasks/benchmark.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

// An hour, in frames; a thousand clips.
constexpr std::int64_t kMaxFrames = 180'000;
constexpr std::int64_t kMaxClips = 1000;
constexpr std::int64_t kMaxRounds = 1000;

// The lengths of some clips in frames: "250,500".
std::vector<std::int64_t> lengths_of(const std::string& option, const std::string& text) {
  std::vector<std::int64_t> lengths;
  for (const std::string& word : split(text, ',')) {
    lengths.push_back(whole_number(option, word, 1, kMaxFrames));
  }
  if (static_cast<std::int64_t>(lengths.size()) > kMaxClips) {
    throw UsageError("", option, "has " + std::to_string(lengths.size()) + " numbers",
                     std::to_string(kMaxClips) + " at most");
  }
  return lengths;
}

// Reads --frames; nothing for "-", where they come from stdin.
struct FrameLengths {
  std::string placeholder = "N,N,...";

  std::vector<std::int64_t> operator()(const std::string& option, const std::string& text) const {
    return text == "-" ? std::vector<std::int64_t>() : lengths_of(option, text);
  }
};

struct BenchOptions {
  ModelOptions model;
  OutputOptions output;
  std::vector<Precision> precisions = {Precision::float32};
  std::vector<std::int64_t> frames = {250, 500, 1500};
  std::size_t batch = 1;
  int rounds = 5;
  bool ragged = false;
  bool profile = false;
};

// What is timed: each entry is one batch.
std::vector<std::vector<std::int64_t>> batches_of(const BenchOptions& options) {
  if (options.ragged) return {options.frames};
  std::vector<std::vector<std::int64_t>> batches;
  for (const std::int64_t length : options.frames) batches.emplace_back(options.batch, length);
  return batches;
}

Json json_of(const BenchmarkResult& result, bool profile) {
  Json json = {{"frames", result.lengths.front()},
               {"batch", result.lengths.size()},
               {"audio_seconds", result.audio_seconds()},
               {"seconds_min", result.seconds_min},
               {"seconds_median", result.seconds_median},
               {"rtf", result.rtf},
               {"gemm_floor_fraction", result.gemm_roofline_fraction},
               {"gemm_flops_per_second", result.gemm_flops_per_second}};
  if (profile) {
    Json steps = Json::array();
    for (const auto& step : result.profile) {
      steps.push_back({{"step", step.name}, {"seconds", step.seconds}, {"flops", step.flops}});
    }
    json["profile"] = std::move(steps);
  }
  return json;
}

std::string profile_table(const std::vector<FusedEncoder::Step>& profile) {
  double total = 0;
  for (const auto& step : profile) total += step.seconds;
  std::string text = fmt::format("\n  {:<36} {:>9} {:>6} {:>8}\n", "step", "ms", "%", "GFLOP/s");
  for (const auto& step : profile) {
    text += fmt::format("  {:<36} {:>9.2f} {:>6.1f}", step.name, 1e3 * step.seconds,
                        100 * step.seconds / total);
    text += step.flops > 0 ? fmt::format(" {:>8.0f}\n", step.flops / step.seconds / 1e9) : "\n";
  }
  return text + "\n";
}

// "-": a line of --frames at a time from stdin, each one batch that is run once.
int serve(Benchmark& benchmark) {
  std::string line;
  while (std::getline(std::cin, line)) {
    BenchmarkResult result;
    result.lengths = lengths_of("--frames", line);
    result.seconds_min = benchmark.run(result.lengths);
    const Json json = {{"engine", name_of(benchmark.engine().kind)},
                       {"frames", result.frames()},
                       {"seconds", result.seconds_min},
                       {"rtf", result.seconds_min / result.audio_seconds()}};
    print_result(json.dump() + "\n");
  }
  return kDone;
}

// What is measured of one type.
struct TypeRun {
  Precision precision = Precision::float32;
  EngineChoice engine;
  std::string unsupported;  // why nothing was
  std::vector<BenchmarkResult> results;
  std::vector<double> errors;  // of the states against float32's; empty where one type is asked for
};

// The states of float32, which is the first of all types.
using ExactStates = std::vector<std::vector<at::Tensor>>;

TypeRun run_type(const BenchOptions& options, Precision precision, Messages& messages,
                 std::optional<ExactStates>& exact) {
  const auto batches = batches_of(options);
  ModelRequest request = options.model.request();
  request.precision = precision;
  TypeRun run;
  run.precision = precision;
  Benchmark benchmark(request);
  run.engine = benchmark.engine();
  say_warnings(benchmark.report(), messages);
  say_engine(benchmark.engine(), messages);
  for (std::size_t i = 0; i < batches.size(); ++i) {
    messages.progress(i, batches.size(), name_of(precision) + ", batches");
    run.results.push_back(benchmark.measure(batches[i], options.rounds, options.profile));
    if (!exact) continue;
    std::vector<at::Tensor> states = benchmark.last_hidden_states(batches[i]);
    if (precision == Precision::float32) {
      run.errors.push_back(0);
      exact->push_back(std::move(states));
    } else {
      run.errors.push_back(relative_error(states, (*exact)[i]));
    }
  }
  messages.clear();
  return run;
}

std::string table_of(const BenchOptions& options, const std::vector<TypeRun>& runs) {
  const bool all = runs.size() > 1;
  std::string table = fmt::format(
      "{} engine, {}, {} threads; the model alone, {} runs after a warm-up\n\n",
      name_of(runs.front().engine.kind), all ? "all types" : name_of(runs.front().precision),
      at::get_num_threads(), options.rounds);
  if (all) table += fmt::format("{:<9} ", "dtype");
  table += fmt::format("{:>8} {:>6} {:>10} {:>10} {:>8} {:>8}", "frames", "batch", "min s",
                       "median s", "RTF", "floor");
  table += all ? fmt::format(" {:>7} {:>9}\n", "speed", "error") : "\n";
  for (const TypeRun& run : runs) {
    if (!run.unsupported.empty()) {
      table += fmt::format("{:<9} -> {}\n", name_of(run.precision), run.unsupported);
    }
    for (std::size_t i = 0; i < run.results.size(); ++i) {
      const BenchmarkResult& result = run.results[i];
      if (all) table += fmt::format("{:<9} ", name_of(run.precision));
      table +=
          fmt::format("{:>8} {:>6} {:>10.3f} {:>10.3f} {:>8.4f}",
                      options.ragged ? result.frames() : result.lengths.front(),
                      result.lengths.size(), result.seconds_min, result.seconds_median, result.rtf);
      table += result.gemm_roofline_fraction > 0
                   ? fmt::format(" {:>8.3f}", result.gemm_roofline_fraction)
                   : fmt::format(" {:>8}", "-");
      if (all) {
        table +=
            fmt::format(" {:>7.2f} {:>9.1e}",
                        runs.front().results[i].seconds_min / result.seconds_min, run.errors[i]);
      }
      table += '\n';
      if (!result.profile.empty()) table += profile_table(result.profile);
    }
  }
  table +=
      "\nRTF: seconds of computing for a second of audio. floor: the share of the time that the "
      "arithmetic\nalone takes at the rate of oneDNN's linear layers, measured in the same run.\n";
  if (all) {
    table +=
        "speed: how many times as fast as float32, by the fastest runs. error: of "
        "last_hidden_state "
        "beside\nfloat32's, for random features (Euclidean norms).\n";
  }
  return table;
}

Json json_of(const BenchOptions& options, const std::vector<TypeRun>& runs) {
  const bool all = runs.size() > 1;
  Json results = Json::array();
  for (const TypeRun& run : runs) {
    if (!run.unsupported.empty()) {
      results.push_back({{"dtype", name_of(run.precision)}, {"unsupported", run.unsupported}});
    }
    for (std::size_t i = 0; i < run.results.size(); ++i) {
      Json json = json_of(run.results[i], options.profile);
      if (all) {
        json["dtype"] = name_of(run.precision);
        json["engine"] = name_of(run.engine.kind);
        json["speed"] = runs.front().results[i].seconds_min / run.results[i].seconds_min;
        json["error"] = run.errors[i];
      }
      results.push_back(std::move(json));
    }
  }
  return {{"command", "bench"},
          {"engine", name_of(runs.front().engine.kind)},
          {"engine_reason", runs.front().engine.reason},
          {"dtype", all ? "all" : name_of(runs.front().precision)},
          {"threads", at::get_num_threads()},
          {"rounds", options.rounds},
          {"results", results}};
}

int run(const BenchOptions& options) {
  const bool serving = options.frames.empty();
  const bool all = options.precisions.size() > 1;
  if (options.ragged && options.batch != 1) {
    throw UsageError("", "--batch", "is given beside --ragged", "one of the two");
  }
  if (serving && all) {
    throw UsageError("", "--dtype", "is all where lengths come from stdin", "one type");
  }
  apply_threads(options.model.threads);
  Messages messages(options.output.quiet);
  if (serving) {
    ModelRequest request = options.model.request();
    request.precision = options.precisions.front();
    Benchmark benchmark(request);
    say_warnings(benchmark.report(), messages);
    say_engine(benchmark.engine(), messages);
    return serve(benchmark);
  }
  std::vector<TypeRun> runs;
  std::optional<ExactStates> exact;
  if (all) exact.emplace();
  for (const Precision precision : options.precisions) {
    try {
      runs.push_back(run_type(options, precision, messages, exact));
    } catch (const UsageError& error) {
      // int8, where the fused engine does not run it.
      if (!all || error.setting() != "precision") throw;
      runs.emplace_back().precision = precision;
      runs.back().unsupported = message_of(error);
    }
  }
  print_result(options.output.json ? json_text(json_of(options, runs)) : table_of(options, runs));
  return kDone;
}

}  // namespace

Run add_bench(CLI::App& program) {
  CLI::App& command = *program.add_subcommand("bench", "Time the model alone on random features");
  const auto options = std::make_shared<BenchOptions>();
  add_value(
      command, "--frames", options->frames, FrameLengths(),
      "Lengths in frames, 50 a second (default: 250,500,1500); - reads them from stdin, one batch "
      "a line, and answers each with a line of JSON");
  add_value(command, "--batch", options->batch, WholeNumber<std::size_t>{1, kMaxClips, "B"},
            "Clips of that length at a time");
  command.add_flag("--ragged", options->ragged, "The lengths are those of the clips of one batch");
  add_value(command, "--rounds", options->rounds, WholeNumber<int>{1, kMaxRounds},
            "Timed runs of each");
  command.add_flag("--profile", options->profile,
                   "Where the fused engine's time goes, step by step");
  options->model.add_model_to(command);
  add_value(command, "--dtype", options->precisions, precisions_or_all(),
            "Type to compute in; all: each in turn, with its speed and its error beside float32");
  options->model.add_engine_to(command);
  options->output.add_to(command);
  command.footer(
      "Example:\n  w2vbert bench --model facebook/w2v-bert-2.0 --frames 250,500,1500,3000 "
      "--profile\n  w2vbert bench --model facebook/w2v-bert-2.0 --frames 500 --dtype all");
  return [options] { return run(*options); };
}

}  // namespace w2vbert::tool
