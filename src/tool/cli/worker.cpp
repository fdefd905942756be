// w2vbert worker: requests on stdin -> answers on stdout.
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/text.h"
#include "tool/cli/clip_report.h"
#include "tool/cli/commands.h"
#include "tool/cli/console.h"
#include "tool/cli/exit_status.h"
#include "tool/cli/options.h"
#include "tool/cli/signals.h"
#include "tool/cli/worker_answer.h"
#include "tool/tasks/worker.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::size_t kDefaultWaiting = 256;
constexpr std::size_t kDefaultRequestBytes = 64 << 20;  // of base64: 13 minutes at 16 kHz
constexpr std::size_t kMinRequestBytes = 1 << 10;
constexpr std::size_t kMaxRequestBytes = 1 << 30;  // what is parsed is in memory several times

struct WorkerCommand {
  ClipOptions clips;
  ModelOptions model;
  std::string state_weights;
  bool no_softmax = false;
  std::optional<double> batch_seconds;
  std::size_t max_waiting = kDefaultWaiting;
  std::size_t max_request_bytes = kDefaultRequestBytes;
  bool unordered = false;
  bool quiet = false;
};

int run_worker(const WorkerCommand& command) {
  if (command.clips.channels.channel == kEachChannel) {
    throw UsageError("", "--channels", "each makes several clips of a request",
                     "first, second, mean or a number; a request names its channel as well");
  }
  apply_threads(command.model.threads);
  ServedModel model(command.model.request(), {command.state_weights, !command.no_softmax});
  Messages messages(command.quiet);
  for (const std::string& warning : model.warnings()) messages.say(warning);
  WorkerOptions options;
  options.audio = command.clips.audio(model.features().sampling_rate);
  options.reading_threads = command.clips.reading_threads_beside_model(model.device());
  options.read_timeout_seconds = command.clips.read_timeout_seconds;
  options.batch_seconds = command.batch_seconds;
  options.in_order = !command.unordered;

  catch_stop_signals();
  const auto source = std::make_shared<RequestSource>(
      STDIN_FILENO, STDOUT_FILENO,
      RequestSource::Limits{command.max_request_bytes, command.max_waiting}, is_stopping);
  AnswerPrinter printer(options.in_order, print_result, [&] { source->count_answer(); });
  StopGrace grace(is_stopping);
  WorkerEvents events;
  events.load = [&] {
    LoadReport report;
    model.load(&report, [&] { return printer.has_failed() || grace.is_over(); });
    say_warnings(report, messages);
    say_engine(model.engine(), messages);
  };
  events.answered = [&](WorkerAnswer answer) {
    const std::size_t turn = answer.asked.turn;
    printer.add(turn, json_line_of(answer));
    if (printer.has_failed()) source->close();
  };
  events.stop_requested = [&] { return is_stopping() || printer.has_failed(); };
  const WorkerSummary summary = serve(source, model, options, events);
  std::string line =
      summary_line(summary.done, summary.failed, summary.audio_seconds, summary.elapsed_seconds);
  if (is_stopping()) line += "; stopped by a signal";
  messages.say(line);
  int status = is_stopping() ? kSignalBase + stop_signal() : static_cast<int>(kDone);
  if (!is_stopping()) {
    try {
      printer.rethrow_failure();
    } catch (const StorageError& error) {
      messages.error(error.what());
      status = kBadStorage;
    } catch (const ReaderGone&) {  // nothing is wrong
    }
  }
  if (summary.hanging_readers > 0) end_without_waiting(status);
  return status;
}

}  // namespace

Run add_worker(CLI::App& program) {
  CLI::App& command = *program.add_subcommand(
      "worker",
      "Load a model once and answer requests: a JSON object a line on stdin, and one on stdout for "
      "each, with states, features or text");
  const auto options = std::make_shared<WorkerCommand>();
  options->clips.add_audio_to(command);
  add_state_weights(command, options->state_weights, options->no_softmax);
  add_value(command, "--max-waiting", options->max_waiting, WholeNumber<std::size_t>{1, 1'000'000},
            "Read no further request while N are without an answer");
  add_value(command, "--max-request-bytes", options->max_request_bytes,
            WholeNumber<std::size_t>{kMinRequestBytes, kMaxRequestBytes},
            "A longer line is answered with an error");
  command.add_flag("--unordered", options->unordered,
                   "Answer each request as it is ready, to be told by its id (default: in the "
                   "requests' order)");
  add_value(command, "--batch-seconds", options->batch_seconds, PositiveNumber{kMaxSeconds},
            "Seconds of audio that go through the model together, of the requests that wait "
            "(default: as extract); on a CPU the answers do not depend on it");
  options->clips.add_readers_to(command);
  options->model.add_to(command);
  add_quiet(command, options->quiet);
  command.footer(
      "Example:\n  w2vbert worker --model facebook/w2v-bert-2.0 < requests.jsonl > answers.jsonl\n"
      "A request: {\"id\": 1, \"path\": \"a.wav\", \"states\": \"17\", \"output\": "
      "\"a.safetensors\"}; docs/worker.md has\nall keys. What is wrong with a request is its "
      "answer; the end of stdin ends the worker with exit status 0.");
  return [options] { return run_worker(*options); };
}

}  // namespace w2vbert::tool
