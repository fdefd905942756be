// w2vbert bench: how fast a model runs here.
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/text.h"
#include "tool/cli/clip_report.h"
#include "tool/cli/commands.h"
#include "tool/cli/console.h"
#include "tool/cli/exit_status.h"
#include "tool/cli/options.h"
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

int run(const BenchOptions& options) {
  const bool serving = options.frames.empty();
  const int rounds = options.rounds;
  const auto batches = serving ? std::vector<std::vector<std::int64_t>>{} : batches_of(options);
  if (options.ragged && options.batch != 1) {
    throw UsageError("", "--batch", "is given beside --ragged", "one of the two");
  }
  apply_threads(options.model.threads);
  const ModelRequest request = options.model.request();
  Messages messages(options.output.quiet);
  Benchmark benchmark(request);
  say_warnings(benchmark.report(), messages);
  say_engine(benchmark.engine(), messages);
  if (serving) return serve(benchmark);

  Json results = Json::array();
  std::string table = fmt::format(
      "{} engine, {}, {} threads; the model alone, {} runs after a warm-up\n\n",
      name_of(benchmark.engine().kind), name_of(request.precision), at::get_num_threads(), rounds);
  table += fmt::format("{:>8} {:>6} {:>10} {:>10} {:>8} {:>8}\n", "frames", "batch", "min s",
                       "median s", "RTF", "floor");
  for (std::size_t i = 0; i < batches.size(); ++i) {
    messages.progress(i, batches.size(), "batches");
    const BenchmarkResult result = benchmark.measure(batches[i], rounds, options.profile);
    results.push_back(json_of(result, options.profile));
    table +=
        fmt::format("{:>8} {:>6} {:>10.3f} {:>10.3f} {:>8.4f}",
                    options.ragged ? result.frames() : result.lengths.front(),
                    result.lengths.size(), result.seconds_min, result.seconds_median, result.rtf);
    table += result.gemm_roofline_fraction > 0
                 ? fmt::format(" {:>8.3f}\n", result.gemm_roofline_fraction)
                 : fmt::format(" {:>8}\n", "-");
    if (!result.profile.empty()) table += profile_table(result.profile);
  }
  messages.clear();
  if (options.output.json) {
    const Json report = {{"command", "bench"},
                         {"engine", name_of(benchmark.engine().kind)},
                         {"engine_reason", benchmark.engine().reason},
                         {"dtype", name_of(request.precision)},
                         {"threads", at::get_num_threads()},
                         {"rounds", rounds},
                         {"results", results}};
    print_result(json_text(report));
  } else {
    table +=
        "\nRTF: seconds of computing for a second of audio. floor: the share of the time that the "
        "arithmetic\nalone takes at the rate of oneDNN's linear layers, measured in the same "
        "run.\n";
    print_result(table);
  }
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
  options->model.add_to(command);
  options->output.add_to(command);
  command.footer(
      "Example:\n  w2vbert bench --model facebook/w2v-bert-2.0 --frames 250,500,1500,3000 "
      "--profile");
  return [options] { return run(*options); };
}

}  // namespace w2vbert::tool
