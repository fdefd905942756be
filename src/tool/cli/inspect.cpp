// w2vbert inspect: the tensors of a checkpoint, and what a model directory lacks.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "core/text.h"
#include "tool/cli/commands.h"
#include "tool/cli/console.h"
#include "tool/cli/exit_status.h"
#include "tool/cli/options.h"
#include "tool/store/json_text.h"
#include "tool/tasks/inspection.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

struct InspectOptions {
  std::string path;
  std::string prefix;
  OutputOptions output;
};

std::string byte_text(std::uint64_t bytes) {
  if (bytes < 1'000'000) return fmt::format("{} bytes", bytes);
  const double number = static_cast<double>(bytes);
  return bytes < 1'000'000'000 ? fmt::format("{:.1f} MB", number / 1e6)
                               : fmt::format("{:.2f} GB", number / 1e9);
}

// "1234567" -> "1,234,567"
std::string grouped(std::uint64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

std::size_t column_width(const Inspection& inspection, std::size_t least,
                         const std::function<std::string(const InspectedTensor&)>& text) {
  constexpr std::size_t kMaxWidth = 90;
  for (const InspectedTensor& tensor : inspection.tensors)
    least = std::max(least, text(tensor).size());
  return std::min(least, kMaxWidth);
}

std::string table(const Inspection& inspection) {
  const auto name = [](const InspectedTensor& tensor) { return quote_bytes(tensor.tensor.name); };
  const auto shape = [](const InspectedTensor& tensor) { return shape_text(tensor.tensor.shape); };
  const std::size_t name_width = column_width(inspection, 6, name);
  const std::size_t shape_width = column_width(inspection, 5, shape);
  std::string text = fmt::format("{:<{}}  {:<8}{:<{}}  {}\n", "tensor", name_width, "dtype",
                                 "shape", shape_width, "file");
  for (const InspectedTensor& tensor : inspection.tensors) {
    text +=
        fmt::format("{:<{}}  {:<8}{:<{}}  {}\n", name(tensor), name_width, tensor.tensor.dtype_name,
                    shape(tensor), shape_width, quote_bytes(file_name(tensor.tensor.file)));
  }
  return text;
}

std::string summary(const Inspection& inspection) {
  std::string text = fmt::format("\n{}\n", quote_bytes(inspection.path));
  for (const std::string& warning : inspection.warnings) {
    text += fmt::format("warning      {}\n", quote_bytes(warning, 1000));
  }
  std::size_t shown = 0;
  for (const InspectedTensor& tensor : inspection.tensors) {
    if (tensor.not_finite == 0) continue;
    constexpr std::size_t kMaxShown = 20;
    if (++shown > kMaxShown) continue;
    text += fmt::format("warning      {}: {} of {} values are NaN or infinite\n",
                        quote_bytes(tensor.tensor.name), grouped(tensor.not_finite),
                        grouped(tensor.elements));
  }
  std::string dtypes;
  for (const auto& [dtype, elements] : inspection.elements_by_dtype) {
    dtypes += fmt::format("{}{} {}", dtypes.empty() ? "" : ", ", grouped(elements), dtype);
  }
  text += fmt::format("{} tensors, {} parameters, {} in {} file{}; {}\n", inspection.tensors.size(),
                      grouped(inspection.elements), byte_text(inspection.bytes),
                      inspection.files.size(), inspection.files.size() == 1 ? "" : "s",
                      dtypes.empty() ? "no data" : dtypes);
  if (!inspection.comparison) return text;

  const LoadReport& comparison = *inspection.comparison;
  const std::string classes = quote_bytes(comma_list(inspection.architectures));
  text += fmt::format(
      "config.json  {}; against {}: {} found, {} missing, {} of another "
      "shape or type, {} unexpected\n",
      classes.empty() ? "names no architecture" : classes, inspection.compared_with,
      comparison.loaded, comparison.missing.size(), comparison.mismatched.size(),
      comparison.unexpected.size());
  for (const std::string& name : comparison.missing) {
    text += fmt::format("missing      {}\n", quote_bytes(name));
  }
  for (const std::string& name : comparison.initialized) {
    text += fmt::format("not there    {}: only training uses it\n", quote_bytes(name));
  }
  for (const LoadReport::Mismatch& mismatch : comparison.mismatched) {
    text += fmt::format("misshapen    {}: {}, expected {}\n", quote_bytes(mismatch.name),
                        quote_bytes(mismatch.problem), quote_bytes(mismatch.expected));
  }
  for (const std::string& name : comparison.unexpected) {
    text += fmt::format("unexpected   {}\n", quote_bytes(name));
  }
  if (!comparison.prefix_found.empty()) {
    text += fmt::format("hint         the missing names are there behind {}: --prefix {}\n",
                        quote_bytes(comparison.prefix_found), quote_bytes(comparison.prefix_found));
  }
  return text;
}

Json json_of(const Inspection& inspection) {
  Json tensors = Json::array();
  for (const InspectedTensor& tensor : inspection.tensors) {
    tensors.push_back({{"name", tensor.tensor.name},
                       {"dtype", tensor.tensor.dtype_name},
                       {"shape", tensor.tensor.shape},
                       {"file", tensor.tensor.file},
                       {"bytes", tensor.tensor.bytes},
                       {"not_finite", tensor.not_finite}});
  }
  Json report = {{"command", "inspect"},
                 {"path", inspection.path},
                 {"files", inspection.files},
                 {"parameters", inspection.elements},
                 {"bytes", inspection.bytes},
                 {"dtypes", inspection.elements_by_dtype},
                 {"warnings", inspection.warnings},
                 {"complete", inspection.complete()}};
  if (inspection.comparison) {
    const LoadReport& comparison = *inspection.comparison;
    Json mismatched = Json::array();
    for (const auto& mismatch : comparison.mismatched) {
      mismatched.push_back({{"name", mismatch.name},
                            {"problem", mismatch.problem},
                            {"expected", mismatch.expected}});
    }
    report["architectures"] = inspection.architectures;
    report["compared_with"] = inspection.compared_with;
    report["found"] = comparison.loaded;
    report["missing"] = comparison.missing;
    report["initialized"] = comparison.initialized;
    report["mismatched"] = std::move(mismatched);
    report["unexpected"] = comparison.unexpected;
  }
  report["tensors"] = std::move(tensors);
  return report;
}

int run(const InspectOptions& options) {
  if (options.path.empty()) {
    throw UsageError("", "PATH", "is not given",
                     "a model directory, a .safetensors file or an index");
  }
  LoadOptions load;
  load.prefix = options.prefix;
  Messages messages(options.output.quiet);
  constexpr std::uint64_t kMegabyte = 1'000'000;
  const Inspection inspection =
      inspect(options.path, load, [&](std::uint64_t bytes, std::uint64_t total) {
        if (total > 100 * kMegabyte)
          messages.progress(bytes / kMegabyte, total / kMegabyte, "MB read");
      });
  messages.clear();
  int status = kDone;
  if (!inspection.complete()) {
    status = kBadModel;
    messages.error(CheckpointError(inspection.path, "", inspection.comparison->summary(),
                                   "the tensors that config.json asks for")
                       .what());
  }
  // The error is out before the listing: a reader that goes away early does not change the status.
  try {
    if (options.output.json) {
      print_result(json_text(json_of(inspection)));
    } else {
      print_result(table(inspection) + summary(inspection));
    }
  } catch (const ReaderGone&) {
  }
  return status;
}

}  // namespace

Run add_inspect(CLI::App& program) {
  CLI::App& command = *program.add_subcommand("inspect",
                                              "List every tensor, read every byte once, and "
                                              "compare a model directory with its config.json");
  const auto options = std::make_shared<InspectOptions>();
  command
      .add_option("PATH", options->path,
                  "A model directory or Hub id, a .safetensors file, or an index")
      ->type_name("");
  add_prefix(command, options->prefix);
  options->output.add_to(command);
  command.footer(
      "Example:\n  w2vbert inspect facebook/w2v-bert-2.0\n"
      "Exit status 4: a bad file, or tensors that are missing or of another shape.");
  return [options] { return run(*options); };
}

}  // namespace w2vbert::tool
