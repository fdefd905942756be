#include "tool/parity/dump_comparison.h"

#include <c10/core/ScalarType.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "core/parse_number.h"
#include "core/text.h"
#include "tool/parity/diagnosis.h"
#include "tool/parity/known_mistakes.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::size_t kNamesShown = 4;

struct Expected {
  std::string row;     // "encoder.layers.0.self_attn[1]", "hidden_states.3"
  std::string tensor;  // of the reference
  bool is_module = false;
};

// What PyTorch gave, in forward order.
std::vector<Expected> expected_of(const Reference& reference) {
  std::vector<Expected> all;
  for (const std::string& module : reference.modules()) {
    for (std::size_t i = 0;; ++i) {
      const std::string tensor = "modules/" + module + "/output/" + std::to_string(i);
      if (!reference.has(tensor)) break;
      all.push_back({i == 0 ? module : module + "[" + std::to_string(i) + "]", tensor, true});
    }
  }
  std::vector<std::string> outputs = reference.outputs();
  constexpr std::string_view kStates = "hidden_states.";
  const auto number_of = [&](const std::string& name) {
    const std::string_view text = name;
    const auto number = text.starts_with(kStates)
                            ? parse_number<std::int64_t>(text.substr(kStates.size()))
                            : std::nullopt;
    return number.value_or(std::numeric_limits<std::int64_t>::max());
  };
  std::stable_sort(outputs.begin(), outputs.end(),
                   [&](const auto& a, const auto& b) { return number_of(a) < number_of(b); });
  for (const std::string& name : outputs) all.push_back({name, "outputs/" + name, false});
  return all;
}

std::vector<std::int64_t> without_ones(torch::IntArrayRef sizes) {
  std::vector<std::int64_t> kept;
  std::copy_if(sizes.begin(), sizes.end(), std::back_inserter(kept),
               [](std::int64_t size) { return size != 1; });
  return kept;
}

// `actual` in the shape of `expected`; undefined where it cannot have it.
torch::Tensor fitted(const torch::Tensor& actual, const torch::Tensor& expected) {
  if (actual.sizes() == expected.sizes()) return actual;
  if (without_ones(actual.sizes()) == without_ones(expected.sizes())) {
    return actual.reshape(expected.sizes());
  }
  if (expected.dim() >= 2 &&
      without_ones(actual.sizes()) == without_ones(expected.transpose(-2, -1).sizes())) {
    return actual.reshape(expected.transpose(-2, -1).sizes()).transpose(-2, -1).contiguous();
  }
  return {};
}

class DumpComparison {
 public:
  DumpComparison(const Reference& reference, const Dump& dump, const NameMapping& mapping,
                 const DumpOptions& options)
      : reference_(reference), dump_(dump), options_(options) {
    for (const Expected& output : expected_of(reference)) {
      expected_.emplace(output.row, output.tensor);
      for (const std::string& name : mapping.candidates(output.row)) {
        if (!dump.has(name)) continue;
        found_.push_back(output);
        names_.emplace(output.row, name);
        break;
      }
      if (!names_.contains(output.row)) result_.absent.push_back(output.row);
    }
    for (const std::string& name : dump.names()) {
      const bool is_used = std::any_of(names_.begin(), names_.end(),
                                       [&](const auto& item) { return item.second == name; });
      if (!is_used) result_.unused.push_back(name);
    }
    if (found_.empty()) fail_without_names();
  }

  ParityResult run(const std::function<void(std::size_t, std::size_t)>& progress) {
    result_.theirs = reference_.settings();
    result_.ours = settings();
    result_.tolerance = default_dump_tolerance(result_.theirs, result_.ours);
    if (options_.tolerance) {
      result_.tolerance = {*options_.tolerance, *options_.tolerance, "as asked for"};
    }
    std::vector<DiagnosedRow> rows;
    for (const Expected& output : found_) {
      ParityRow row = compared(output.row);
      rows.push_back(
          {row.name, row.error.empty() && row.comparison.differing == 0, row.within, row.error});
      (output.is_module ? result_.modules : result_.chain).push_back(std::move(row));
      if (progress) progress(rows.size(), found_.size());
    }
    result_.diagnosis =
        diagnose({reference_, config(), std::move(rows), result_.tolerance.chain,
                  [&](const std::string& row) { return read(row); }, options_.parameter});
    return std::move(result_);
  }

 private:
  [[noreturn]] void fail_without_names() const {
    const auto first = [](const std::vector<std::string>& names) {
      std::vector<std::string> shown(
          names.begin(),
          names.begin() + static_cast<std::ptrdiff_t>(std::min(names.size(), kNamesShown)));
      for (std::string& name : shown) name = quote_bytes(name);
      return comma_list(shown) + (names.size() > kNamesShown ? ", ..." : "");
    };
    throw UsageError(dump_.path(), "names",
                     "holds no output under a name that is known: " + first(result_.unused),
                     "names such as " + first(result_.absent) + ", or a mapping of names", "names");
  }

  OutputPair read(const std::string& row) const {
    OutputPair pair{reference_.tensor(expected_.at(row)), dump_.read(names_.at(row))};
    if (!pair.actual.is_floating_point()) {
      throw CheckpointError(dump_.path(), names_.at(row),
                            std::string("is ") + c10::toString(pair.actual.scalar_type()),
                            "floats");
    }
    pair.actual = fitted(pair.actual, pair.expected);
    if (options_.ignore_padding && pair.actual.defined()) take_padding(pair);
    return pair;
  }

  // Masked frames as in `expected`.
  void take_padding(OutputPair& pair) const {
    const auto mask = reference_.tensor("inputs/attention_mask");
    if (!mask.defined() || mask.dim() != 2) return;
    const std::int64_t axis = frame_axis(pair.expected, mask.size(1));
    if (axis == 0 || pair.expected.size(0) != mask.size(0)) return;
    auto masked = (mask == 0);
    masked = axis == 1 ? masked.unsqueeze(-1) : masked.unsqueeze(1);
    while (masked.dim() < pair.expected.dim()) masked = masked.unsqueeze(-1);
    pair.actual = torch::where(masked, pair.expected.to(pair.actual.scalar_type()), pair.actual);
  }

  ParityRow compared(const std::string& row) const {
    const OutputPair pair = read(row);
    if (!pair.actual.defined()) {
      const auto sizes = dump_.read(names_.at(row)).sizes();
      return {
          row,
          {},
          false,
          "has the shape " + shape_text(sizes) + ", expected " + shape_text(pair.expected.sizes())};
    }
    return row_of(row, pair.actual, pair.expected, result_.tolerance.chain);
  }

  // HF's defaults for a reference that does not tell.
  Wav2Vec2BertConfig config() const {
    const std::string text = reference_.setting("config");
    if (text.empty()) return {};
    return Wav2Vec2BertConfig::from_json(text, reference_.path());
  }

  // What the dump says of itself, and the dtype of its values where it does not say.
  Settings settings() const {
    Settings ours = dump_.settings();
    if (setting_of(ours, "dtype").empty()) {
      ours["dtype"] = dtype_name(dump_.read(names_.begin()->second).scalar_type());
    }
    return ours;
  }

  const Reference& reference_;
  const Dump& dump_;
  const DumpOptions& options_;
  std::map<std::string, std::string> expected_;  // row -> tensor of the reference
  std::map<std::string, std::string> names_;     // row -> name in the dump
  std::vector<Expected> found_;
  ParityResult result_;
};

}  // namespace

ParityResult compare_dump(const Reference& reference, const Dump& dump, const NameMapping& mapping,
                          const DumpOptions& options,
                          const std::function<void(std::size_t, std::size_t)>& progress) {
  return DumpComparison(reference, dump, mapping, options).run(progress);
}

}  // namespace w2vbert::tool
