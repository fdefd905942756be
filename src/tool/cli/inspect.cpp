// w2vbert inspect: the tensors of a checkpoint, and what a model directory lacks.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/escaped_name.h"
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
  HfVersion hf_version = kNewestHfVersion;
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

// Hands text to standard output block by block: a listing of a million tensors is never in memory
// whole.
class ResultStream {
 public:
  void add(std::string_view text) {
    text_ += text;
    constexpr std::size_t kBlockBytes = 1 << 16;
    if (text_.size() >= kBlockBytes) flush();
  }
  // Throws as print_result.
  void flush() {
    print_result(text_);
    text_.clear();
  }

 private:
  std::string text_;
};

void print_table(const Inspection& inspection, ResultStream& out) {
  constexpr std::size_t kMaxWidth = 90;
  std::size_t name_width = std::string_view("tensor").size();
  std::size_t shape_width = std::string_view("shape").size();
  inspection.for_each_tensor([&](const std::string&, const HeaderTensor& tensor, std::uint64_t) {
    name_width = std::max(name_width, quote_bytes(tensor.name).size());
    shape_width = std::max(shape_width, shape_text(tensor.shape).size());
  });
  name_width = std::min(name_width, kMaxWidth);
  shape_width = std::min(shape_width, kMaxWidth);
  const auto line = [&](std::string_view name, std::string_view dtype, std::string_view shape,
                        std::string_view file) {
    out.add(fmt::format("{:<{}}  {:<8}{:<{}}  {}\n", name, name_width, dtype, shape, shape_width,
                        file));
  };
  line("tensor", "dtype", "shape", "file");
  inspection.for_each_tensor(
      [&](const std::string& file, const HeaderTensor& tensor, std::uint64_t) {
        line(quote_bytes(tensor.name), tensor.dtype_name, shape_text(tensor.shape),
             quote_bytes(file_name(file)));
      });
}

std::string summary(const Inspection& inspection) {
  std::string text = fmt::format("\n{}\n", quote_bytes(inspection.path));
  for (const std::string& warning : inspection.files->warnings()) {
    text += fmt::format("warning      {}\n", quote_bytes(warning, 1000));
  }
  std::size_t shown = 0;
  inspection.for_each_tensor(
      [&](const std::string& file, const HeaderTensor& tensor, std::uint64_t not_finite) {
        constexpr std::size_t kMaxShown = 20;
        if (not_finite == 0 || ++shown > kMaxShown) return;
        text += fmt::format("warning      {}: {}: {} of {} values are NaN or infinite\n",
                            quote_bytes(file_name(file)), quote_bytes(tensor.name),
                            grouped(not_finite), grouped(tensor.element_count));
      });
  std::string dtypes;
  for (const auto& [dtype, elements] : inspection.elements_by_dtype) {
    dtypes += fmt::format("{}{} {}", dtypes.empty() ? "" : ", ", grouped(elements), dtype);
  }
  const std::size_t files = inspection.files->files().size();
  text += fmt::format("{} tensors, {} parameters, {} in {} file{}; {}\n",
                      inspection.files->tensor_count(), grouped(inspection.elements),
                      byte_text(inspection.bytes), files, files == 1 ? "" : "s",
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

// All but the tensors.
Json json_of(const Inspection& inspection) {
  Json files = Json::array();
  for (std::size_t i = 0; i < inspection.files->files().size(); ++i) {
    files.push_back(escaped_name(inspection.files->path_of(i)));
  }
  Json report = {{"command", "inspect"},
                 {"path", escaped_name(inspection.path)},
                 {"files", std::move(files)},
                 {"parameters", inspection.elements},
                 {"bytes", inspection.bytes},
                 {"dtypes", inspection.elements_by_dtype},
                 {"warnings", inspection.files->warnings()},
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
  return report;
}

std::string json_string(std::string_view text) {
  std::string line = json_line(text);
  line.pop_back();
  return line;
}

// json_text() of the report with a list of the tensors as its last member.
void print_json(const Inspection& inspection, ResultStream& out) {
  std::string text = json_text(json_of(inspection));
  text.resize(text.rfind("\n}"));
  out.add(text);
  out.add(",\n  \"tensors\": [");
  bool is_first = true;
  inspection.for_each_tensor(
      [&](const std::string& file, const HeaderTensor& tensor, std::uint64_t not_finite) {
        std::string shape;
        for (const std::int64_t size : tensor.shape) {
          shape += fmt::format("{}\n        {}", shape.empty() ? "" : ",", size);
        }
        if (!shape.empty()) shape += "\n      ";
        out.add(fmt::format(
            "{}\n    {{\n      \"name\": {},\n      \"dtype\": {},\n"
            "      \"shape\": [{}],\n      \"file\": {},\n      \"bytes\": {},\n"
            "      \"not_finite\": {}\n    }}",
            is_first ? "" : ",", json_string(tensor.name), json_string(tensor.dtype_name), shape,
            json_string(escaped_name(file)), tensor.end - tensor.begin, not_finite));
        is_first = false;
      });
  out.add(is_first ? "]\n}\n" : "\n  ]\n}\n");
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
  const Inspection inspection = inspect(
      options.path, load, options.hf_version, [&](std::uint64_t bytes, std::uint64_t total) {
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
    ResultStream out;
    if (options.output.json) {
      print_json(inspection, out);
    } else {
      print_table(inspection, out);
      out.add(summary(inspection));
    }
    out.flush();
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
  add_hf_version(command, options->hf_version);
  add_prefix(command, options->prefix);
  options->output.add_to(command);
  command.footer(
      "Example:\n  w2vbert inspect facebook/w2v-bert-2.0\n"
      "Exit status 4: a bad file, or tensors that are missing or of another shape.");
  return [options] { return run(*options); };
}

}  // namespace w2vbert::tool
