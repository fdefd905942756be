// w2vbert verify: whether the outputs of a run are what was written.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "core/stopwatch.h"
#include "core/threads.h"
#include "tool/cli/commands.h"
#include "tool/cli/console.h"
#include "tool/cli/exit_status.h"
#include "tool/cli/format.h"
#include "tool/cli/options.h"
#include "tool/store/json_text.h"
#include "tool/store/verify_run.h"

namespace w2vbert::tool {
namespace {

struct VerifyOptions {
  std::string directory;
  OutputOptions output;
};

void print_verification(const VerifyOptions& options, const Verification& result,
                        const nlohmann::ordered_json& problems, double seconds) {
  if (options.output.json) {
    const nlohmann::ordered_json report = {
        {"outputs", result.outputs}, {"bad", result.bad},
        {"missing", result.missing}, {"unreadable", result.unreadable},
        {"foreign", result.foreign}, {"gigabytes", result.gigabytes},
        {"problems", problems}};
    print_verdict(json_text(report));
  } else {
    std::string counts = fmt::format("{} whole, {} bad, {} missing", count(result.whole, "output"),
                                     result.bad, result.missing);
    if (result.unreadable > 0) counts += fmt::format(", {} cannot be read", result.unreadable);
    if (result.foreign > 0) {
      counts += fmt::format(", {} not known to be this run's", count(result.foreign, "file"));
    }
    print_verdict(
        fmt::format("{}; {} in {}\n", counts, size_text(result.gigabytes), duration(seconds)));
  }
}

int run_verify(const VerifyOptions& options) {
  Messages messages(options.output.quiet);
  nlohmann::ordered_json problems = nlohmann::ordered_json::array();
  VerifyEvents events;
  events.progress = [&](std::size_t done, std::size_t total) {
    messages.progress(done, total, "outputs");
  };
  events.bad = [&](const std::string& message) {
    messages.error(message);
    if (options.output.json) problems.push_back(message);
  };
  const Stopwatch watch;
  check_run_directory(options.directory);
  const Verification result = verify_run(options.directory, usable_cores(), events);
  messages.clear();
  const int status = result.bad + result.missing + result.unreadable > 0 ? kBadStorage : kDone;
  print_verification(options, result, problems, watch.seconds());
  return status;
}

}  // namespace

Run add_verify(CLI::App& program) {
  CLI::App& command = *program.add_subcommand(
      "verify", "Read every output of a run and compare it with its digest");
  const auto options = std::make_shared<VerifyOptions>();
  add_run_directory(command, options->directory);
  options->output.add_to(command);
  command.footer(
      "Example:\n  w2vbert verify states\n"
      "Exit status 5: some outputs are damaged or missing. The same extract command again, with "
      "--verify, redoes them.");
  return [options] { return run_verify(*options); };
}

}  // namespace w2vbert::tool
