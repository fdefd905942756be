// w2vbert status: how far a run of extract or features is.
#include "tool/store/run_status.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "core/text.h"
#include "tool/cli/commands.h"
#include "tool/cli/console.h"
#include "tool/cli/exit_status.h"
#include "tool/cli/format.h"
#include "tool/cli/typed_options.h"
#include "tool/store/json_text.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

struct StatusOptions {
  std::string directory;
  bool json = false;
};

Json json_of(const WorkerStatus& worker) {
  return {{"share", worker.partition},
          {"inputs", worker.inputs},
          {"finished_before", worker.finished},
          {"done", worker.done},
          {"failed", worker.failed},
          {"audio_seconds", worker.audio_seconds},
          {"host", worker.host},
          {"pid", worker.pid},
          {"alive", worker.alive},
          {"silent_seconds", worker.silent_seconds}};
}

Json json_of(const RunStatus& status) {
  Json fields = Json::object(), workers = Json::array();
  for (const auto& [field, value] : status.run.fields) fields[field] = value;
  for (const WorkerStatus& worker : status.workers) workers.push_back(json_of(worker));
  return {{"fingerprint", status.run.digest()},
          {"fields", fields},
          {"inputs", status.inputs > 0 ? Json(status.inputs) : Json()},
          {"outputs", status.outputs},
          {"finished", status.inputs > 0 ? Json(status.finished) : Json()},
          {"failed", status.failed},
          {"audio_seconds", status.audio_seconds},
          {"workers", workers}};
}

// Before how long ago its journal was written.
const char* state_of(const WorkerStatus& worker) {
  if (worker.alive) return "running, its last line is there for";
  const bool is_done = worker.finished + worker.done + worker.failed >= worker.inputs;
  return is_done ? "done for" : "silent for";
}

std::string text_of(const RunStatus& status) {
  std::string text = count(status.outputs, "output");
  if (status.outputs > status.inputs && status.inputs > 0) {  // there have been other lists
    text +=
        fmt::format(", {} of {} of the last list", status.finished, count(status.inputs, "input"));
  } else if (status.inputs > 0) {
    text += fmt::format(" of {}", count(status.inputs, "input"));
  }
  text += fmt::format(", {} failed, {} of audio\n", status.failed, duration(status.audio_seconds));
  for (const auto& [field, value] : status.run.fields) {
    if (value.empty()) continue;
    text += fmt::format("  {:<20} {}\n", quote_bytes(field), quote_bytes(value));
  }
  if (status.workers.empty()) return text;
  text += fmt::format("\n  {:<14} {:>9} {:>9} {:>9} {:>7} {:>9}  {}\n", "share", "inputs", "before",
                      "done", "failed", "audio", "worker");
  for (const WorkerStatus& worker : status.workers) {
    text += fmt::format("  {:<14} {:>9} {:>9} {:>9} {:>7} {:>9}  {} {}, {} {}\n",
                        worker.partition.empty() ? "all" : quote_bytes(worker.partition),
                        worker.inputs, worker.finished, worker.done, worker.failed,
                        duration(worker.audio_seconds), quote_bytes(worker.host), worker.pid,
                        state_of(worker), duration(worker.silent_seconds));
  }
  return text;
}

int run_status_command(const StatusOptions& options) {
  check_run_directory(options.directory);
  const RunStatus status = run_status(options.directory);
  print_result(options.json ? json_text(json_of(status)) : text_of(status));
  return kDone;
}

}  // namespace

Run add_status(CLI::App& program) {
  CLI::App& command = *program.add_subcommand(
      "status", "Say how far a run into a directory is, all its workers added up");
  const auto options = std::make_shared<StatusOptions>();
  add_run_directory(command, options->directory);
  command.add_flag("--json", options->json, "Print it for machines");
  command.footer(
      "Example:\n  w2vbert status states\n"
      "Reads the journals that the workers keep; `w2vbert verify` reads the outputs themselves.");
  return [options] { return run_status_command(*options); };
}

}  // namespace w2vbert::tool
