// w2vbert parity: a model against what PyTorch computed with it.
#include "tool/parity/parity.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "core/durable_file.h"
#include "core/parse_number.h"
#include "core/text.h"
#include "core/threads.h"
#include "tool/cli/commands.h"
#include "tool/cli/console.h"
#include "tool/cli/exit_status.h"
#include "tool/cli/options.h"
#include "tool/cli/parity_report.h"
#include "tool/store/writable.h"
#include "tool/tasks/model_files.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

struct ParityOptionsGiven {
  ModelOptions model;
  OutputOptions output;
  // What is not given is as it was in PyTorch, as far as this machine goes.
  std::optional<Precision> precision;
  std::optional<std::string> attn_implementation;
  std::optional<HfVersion> hf_version;
  std::optional<int> threads;
  std::string reference;
  std::string report;
  std::optional<double> tolerance;
};

// Reads --tolerance.
struct Tolerance {
  std::string placeholder = "X";

  double operator()(const std::string& option, const std::string& text) const {
    const auto number = parse_number<double>(text);
    if (!number || *number < 0) {
      throw UsageError("", option, in_quotes(text) + " is no such number",
                       "0 or more, such as 1e-5");
    }
    return *number;
  }
};

ParityOptions parity_options(const ParityOptionsGiven& given, const Reference& reference) {
  ModelOptions model = given.model;
  model.precision =
      given.precision ? *given.precision : precisions()("--dtype", reference.setting("dtype"));
  model.attn_implementation =
      given.attn_implementation ? *given.attn_implementation
                                : attn_implementations()("--attn-implementation",
                                                         reference.setting("attn_implementation"));
  apply_threads(given.threads.value_or(std::min(reference.threads(), usable_cores())));
  ParityOptions options;
  ModelRequest request = model.request();
  request.engine = EngineKind::reference;
  options.load = load_options(request, choose_engine(request, Wav2Vec2BertConfig()));
  if (!given.model.revision.empty()) options.load.revision = given.model.revision;
  options.hf_version = given.hf_version;
  options.tolerance = given.tolerance;
  return options;
}

int run(const ParityOptionsGiven& given) {
  if (given.reference.empty()) {
    throw UsageError("", "--reference", "is not given",
                     "a file of scripts/export_parity_fixtures.py");
  }
  if (given.model.model.empty()) {
    throw UsageError("", "--model", "is not given", "a model directory or a Hub id");
  }
  std::optional<OutputFile> page;
  if (!given.report.empty()) {
    ProtectedFiles sources;
    sources.add(given.reference, "the reference");
    add_model_files(sources, given.model.model, given.model.revision, given.model.lora);
    page.emplace(given.report, "report", sources, is_parity_page);
  }
  const Reference reference = Reference::open(given.reference);
  const ParityOptions options = parity_options(given, reference);
  Messages messages(given.output.quiet);
  const ParityResult result = check_parity(
      given.model.model, reference, options,
      [&](std::size_t done, std::size_t total) { messages.progress(done, total, "modules"); });
  messages.clear();
  const ParityPaths paths{given.model.model, given.reference};
  if (page) page->put(StagedFile(page->path(), parity_html(result, paths)));
  int status = kDone;
  if (!result.within()) {
    status = kSomeInputsFailed;
    const std::string first =
        result.missing.empty()
            ? describe_outside(*result.first_outside(),
                               result.tolerance_of(*result.first_outside()))
            : result.missing.front() + ": PyTorch's model has it, this one does not";
    messages.error(quote_bytes(given.reference) + ": " + first);
  }
  print_verdict(given.output.json ? parity_json(result, paths) : parity_table(result));
  return status;
}

}  // namespace

Run add_parity(CLI::App& program) {
  CLI::App& command = *program.add_subcommand(
      "parity", "Compare a model, module by module, with what PyTorch computed");
  const auto given = std::make_shared<ParityOptionsGiven>();
  ModelOptions& model = given->model;
  add_model(command, model.model, model.revision);
  add_value(command, "--reference", given->reference, "REF.safetensors",
            "What scripts/export_parity_fixtures.py has written for the model and a clip");
  add_value(
      command, "--report", given->report, "OUT.html",
      "Write a page with pictures, the worst elements and both sides' settings; an earlier page is "
      "replaced, any other file is left as it is");
  add_value(
      command, "--tolerance", given->tolerance, Tolerance(),
      "How far a value may be off, times max(1, |PyTorch's value|) (default: 0 where LibTorch, CPU "
      "kernels, threads, attention and dtype are PyTorch's; else what was measured for the "
      "difference)");
  add_value(command, "--device", model.device, "cpu|cuda[:N]",
            "Where the model runs (default: cpu)");
  add_value(command, "--dtype", given->precision, precisions("float32|bfloat16|float16"),
            "Type to compute in (default: the reference's)");
  add_value(command, "--attn-implementation", given->attn_implementation, attn_implementations(),
            "Which of HuggingFace's attention paths to follow (default: the reference's)");
  add_value(command, "--hf-version", given->hf_version, HfVersions(),
            "Which release of transformers to follow where they differ (default: the reference's)");
  add_threads(command, given->threads,
              "the reference's, but no more than the cores this process may use");
  add_prefix(command, model.prefix);
  add_lora(command, model.lora, model.lora_prefix);
  given->output.add_to(command);
  command.footer(
      "Example:\n  build/venv/bin/python scripts/export_parity_fixtures.py ref.safetensors --model "
      "MODEL "
      "--audio clip.wav\n  w2vbert parity --model MODEL --reference ref.safetensors --report "
      "report.html\n"
      "Exit status 3: a module is outside its tolerance. Modules are fed with PyTorch's input for "
      "them,\n"
      "so the first that differs is the one to look at; the whole model is fed from the start.");
  return [given] { return run(*given); };
}

}  // namespace w2vbert::tool
