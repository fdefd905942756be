// w2vbert forward: tensors -> the outputs of the model class.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "core/escaped_name.h"
#include "core/text.h"
#include "tool/cli/clip_report.h"
#include "tool/cli/commands.h"
#include "tool/cli/console.h"
#include "tool/cli/exit_status.h"
#include "tool/cli/options.h"
#include "tool/store/json_text.h"
#include "tool/tasks/forward.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

struct ForwardOptionsGiven {
  ModelOptions model;
  OutputOptions report;
  std::string input;
  std::string output;
  bool output_hidden_states = false;
  bool output_attentions = false;
};

int run(const ForwardOptionsGiven& options) {
  if (options.input.empty()) throw UsageError("", "--input", "is not given", "a safetensors file");
  if (options.output.empty()) throw UsageError("", "--output", "is not given", "a file name");
  apply_threads(options.model.threads);
  ForwardRequest request;
  request.model = options.model.request();
  request.input = options.input;
  request.output = options.output;
  request.output_hidden_states = options.output_hidden_states;
  request.output_attentions = options.output_attentions;
  Messages messages(options.report.quiet);
  const ForwardSummary summary = run_forward(request);
  say_warnings(summary.report, messages);
  say_engine(summary.engine, messages);
  if (options.output_attentions && summary.attn_implementation == "sdpa") {
    messages.say(
        "sdpa gives no attention weights, as in HuggingFace; --attn-implementation eager does");
  }
  messages.say(fmt::format("{}: {} tensors in {}; loaded in {:.2f} s, computed in {:.2f} s",
                           summary.architecture, summary.outputs.size(),
                           quote_bytes(options.output), summary.load_seconds,
                           summary.compute_seconds));
  if (options.report.json) {
    const Json report = {{"command", "forward"},
                         {"architecture", summary.architecture},
                         {"engine", name_of(summary.engine.kind)},
                         {"engine_reason", summary.engine.reason},
                         {"hf_version", name_of(request.model.hf_version)},
                         {"output", escaped_name(options.output)},
                         {"tensors", summary.outputs},
                         {"load_seconds", summary.load_seconds},
                         {"compute_seconds", summary.compute_seconds}};
    print_report(json_text(report));
  }
  return kDone;
}

}  // namespace

Run add_forward(CLI::App& program) {
  CLI::App& command = *program.add_subcommand(
      "forward", "Run the class that config.json names on tensors, and write what it returns");
  const auto options = std::make_shared<ForwardOptionsGiven>();
  add_value(
      command, "--input", options->input, "IN.safetensors",
      "input_features (B, T, 160); optional attention_mask (B, T), mask_time_indices (B, T), and "
      "labels for the classes that have a loss; or those of one clip without B, as features writes "
      "them");
  add_value(command, "--output", options->output, OutputPath{"OUT.safetensors"},
            "Gets HuggingFace's output fields under their names; those of an earlier call are "
            "replaced, any other file is left as it is");
  command.add_flag("--output-hidden-states", options->output_hidden_states,
                   "Write hidden_states.<n> as well");
  command.add_flag("--output-attentions", options->output_attentions,
                   "Write attentions.<n> as well (eager attention only, as in HuggingFace)");
  options->model.add_to(command);
  options->report.add_to(command);
  command.footer(
      "Example:\n  w2vbert forward --model facebook/w2v-bert-2.0 --input in.safetensors "
      "--output out.safetensors");
  return [options] { return run(*options); };
}

}  // namespace w2vbert::tool
