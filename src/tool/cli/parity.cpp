// w2vbert parity: a model against what PyTorch computed with it.
#include "tool/parity/parity.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "core/durable_file.h"
#include "core/parse_number.h"
#include "core/text.h"
#include "core/threads.h"
#include "tool/cli/commands.h"
#include "tool/cli/console.h"
#include "tool/cli/exit_status.h"
#include "tool/cli/html.h"
#include "tool/cli/options.h"
#include "tool/cli/parity_report.h"
#include "tool/parity/dump.h"
#include "tool/parity/dump_comparison.h"
#include "tool/parity/name_mapping.h"
#include "tool/store/writable.h"
#include "tool/tasks/model_files.h"
#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/checkpoint/model_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

struct ParityOptionsGiven {
  ModelOptions model;
  OutputOptions output;
  // What is not given is as it was in PyTorch, as far as this machine goes.
  std::optional<Precision> precision;
  std::optional<HfVersion> hf_version;
  std::optional<int> threads;
  std::string reference;
  std::string report;
  std::optional<double> tolerance;
  // For another engine's dump.
  std::string expected;
  std::string actual;
  std::string names;
  bool ignore_padding = false;
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
  if (!model.attn_implementation) {
    model.attn_implementation =
        attn_implementations()("--attn-implementation", reference.setting("attn_implementation"));
  }
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

// Where the page goes; `sources` are what must not be written over.
std::optional<OutputFile> page_of(const ParityOptionsGiven& given, ProtectedFiles& sources) {
  std::optional<OutputFile> page;
  if (given.report.empty()) return page;
  if (!given.model.model.empty()) {
    add_model_files(sources, given.model.model, given.model.revision, given.model.lora);
  }
  page.emplace(given.report, "report", sources,
               [](const std::string& path) { return is_page_of("parity", path); });
  return page;
}

int report(const ParityOptionsGiven& given, const ParityResult& result, const ParityPaths& paths,
           std::optional<OutputFile>& page, Messages& messages) {
  messages.clear();
  if (page) page->put(StagedFile(page->path(), parity_html(result, paths)));
  int status = kDone;
  const bool is_known_mistake = result.diagnosis && result.diagnosis->kind != Divergence::none &&
                                result.diagnosis->kind != Divergence::rounding;
  if (!result.within() || is_known_mistake) {
    status = kSomeInputsFailed;
    const std::string first =
        result.diagnosis && is_known_mistake ? result.diagnosis->text
        : result.missing.empty()
            ? describe_outside(*result.first_outside(),
                               result.tolerance_of(*result.first_outside()))
            : result.missing.front() + ": PyTorch's model has it, this one does not";
    messages.error(quote_bytes(paths.dump.empty() ? paths.reference : paths.dump) + ": " + first);
  }
  print_verdict(given.output.json ? parity_json(result, paths) : parity_table(result));
  return status;
}

// A parameter of the checkpoint in `directory`, whose names may lack what a head's model puts
// before the encoder's, or have it where the reference's do not.
std::function<torch::Tensor(const std::string&)> parameters_of(const std::string& directory) {
  if (directory.empty()) return {};
  const auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(directory));
  return [checkpoint](const std::string& name) {
    const std::string encoder = name.substr(std::min(name.find("encoder."), name.size()));
    for (const std::string& stored : checkpoint->names()) {
      if (stored == name || stored == encoder || stored.ends_with("." + encoder)) {
        return checkpoint->read(stored);
      }
    }
    return torch::Tensor();
  };
}

// Another engine's values.
int run_dump(const ParityOptionsGiven& given) {
  for (const auto& [option, value] :
       {std::pair("--expected", &given.expected), std::pair("--actual", &given.actual)}) {
    if (value->empty()) {
      throw UsageError("", option, "is not given", "both --expected and --actual, or --reference");
    }
  }
  if (!given.reference.empty()) {
    throw UsageError("", "--reference", "is given beside --expected", "one of them");
  }
  for (const auto& [option, is_given] :
       {std::pair("--dtype", given.precision.has_value()),
        std::pair("--attn-implementation", given.model.attn_implementation.has_value()),
        std::pair("--hf-version", given.hf_version.has_value()),
        std::pair("--device", !given.model.device.empty() && given.model.device != "cpu"),
        std::pair("--prefix", !given.model.prefix.empty()),
        std::pair("--lora", !given.model.lora.empty())}) {
    if (is_given) {
      throw UsageError("", option, "is given beside --actual",
                       "no options of a model that runs: the dump's values are there already");
    }
  }
  const ReferencePaths expected = reference_paths(given.expected);
  ProtectedFiles sources;
  sources.add(expected.file, "the reference");
  sources.add(given.actual, "the dump");
  auto page = page_of(given, sources);
  apply_threads(given.threads);
  const Reference reference = Reference::open(given.expected);
  const Dump dump = Dump::open(given.actual);
  DumpOptions options;
  options.tolerance = given.tolerance;
  options.ignore_padding = given.ignore_padding;
  options.parameter = parameters_of(
      given.model.model.empty() ? expected.model
                                : resolve_model(given.model.model, given.model.revision).path);
  Messages messages(given.output.quiet);
  const ParityResult result = compare_dump(
      reference, dump, given.names.empty() ? NameMapping() : NameMapping::open(given.names),
      options,
      [&](std::size_t done, std::size_t total) { messages.progress(done, total, "outputs"); });
  return report(given, result, {given.model.model, given.expected, given.actual}, page, messages);
}

int run(ParityOptionsGiven given) {
  if (!given.expected.empty() || !given.actual.empty()) return run_dump(given);
  for (const auto& [option, is_given] : {std::pair("--names", !given.names.empty()),
                                         std::pair("--ignore-padding", given.ignore_padding)}) {
    if (is_given) {
      throw UsageError("", option, "is given without --actual", "--expected and --actual");
    }
  }
  if (given.reference.empty()) {
    throw UsageError("", "--reference", "is not given",
                     "a file of scripts/export_parity_fixtures.py");
  }
  const ReferencePaths pack = reference_paths(given.reference);
  if (given.model.model.empty()) given.model.model = pack.model;
  if (given.model.model.empty()) {
    throw UsageError("", "--model", "is not given", "a model directory or a Hub id");
  }
  ProtectedFiles sources;
  sources.add(pack.file, "the reference");
  auto page = page_of(given, sources);
  const Reference reference = Reference::open(given.reference);
  const ParityOptions options = parity_options(given, reference);
  Messages messages(given.output.quiet);
  const ParityResult result = check_parity(
      given.model.model, reference, options,
      [&](std::size_t done, std::size_t total) { messages.progress(done, total, "modules"); });
  return report(given, result, {given.model.model, given.reference, ""}, page, messages);
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
  add_value(command, "--expected", given->expected, "REF",
            "The same, or a reference pack (--pack), to compare another engine's values with");
  add_value(
      command, "--actual", given->actual, "DUMP",
      "What another engine computed: a .safetensors file, a .npy file, or a directory of .npy "
      "files, with the names of HuggingFace's modules or those of --names");
  add_value(command, "--names", given->names, "NAME|FILE.json",
            "Names of the dump: " + comma_list(NameMapping::ready()) +
                ", or a JSON object {HuggingFace's name: the dump's} with {i} and {name}");
  command.add_flag("--ignore-padding", given->ignore_padding,
                   "Take the masked frames of the dump as PyTorch's");
  add_value(
      command, "--report", given->report, OutputPath{"OUT.html"},
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
  add_value(command, "--attn-implementation", model.attn_implementation, attn_implementations(),
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
      "  w2vbert parity --expected ref.safetensors --actual dump.safetensors --names fairseq2\n"
      "Exit status 3: a module is outside its tolerance. Modules are fed with PyTorch's input for "
      "them,\n"
      "so the first that differs is the one to look at; the whole model is fed from the start.");
  return [given] { return run(*given); };
}

}  // namespace w2vbert::tool
