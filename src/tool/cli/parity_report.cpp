#include "tool/cli/parity_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/escaped_name.h"
#include "core/text.h"
#include "tool/cli/parity_words.h"
#include "tool/store/json_text.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxNameWidth = 72;

std::string settings_line(const Settings& settings) {
  std::string line;
  const auto add = [&](const std::string& words) {
    if (!words.empty()) line += (line.empty() ? "" : ", ") + quote_bytes(words);
  };
  const auto get = [&](const char* key) { return setting_of(settings, key); };
  if (!get("transformers").empty()) add("transformers " + get("transformers"));
  if (!get("w2vbert").empty()) add("w2vbert " + get("w2vbert"));
  if (!get("hf_version").empty()) add("as transformers " + get("hf_version"));
  if (!get("engine").empty()) add(get("engine") + " " + get("version"));
  if (!get("torch").empty()) add("torch " + get("torch"));
  add(get("device"));
  add(get("cpu_capability"));
  if (!get("threads").empty()) {
    add(get("threads") + (get("threads") == "1" ? " thread" : " threads"));
  }
  add(get("dtype"));
  add(get("attn_implementation"));
  return line;
}

void add_rows(std::string& text, const std::string& title, const std::vector<ParityRow>& rows,
              std::size_t width) {
  if (rows.empty()) return;
  text += fmt::format("{:<{}}  {:>10} {:>10} {:>8} {:>12}\n", title, width, "max |Δ|", "max rel Δ",
                      "ULPs", "cosine");
  for (const ParityRow& row : rows) {
    const Comparison& found = row.comparison;
    const std::string name = quote_bytes(row.name);
    const char* mark = row.within ? "" : "  <-- outside";
    if (!has_numbers(row)) {
      text += fmt::format("{:<{}}  {}{}\n", name, width, why_empty(row), mark);
      continue;
    }
    text += fmt::format("{:<{}}  {:>10} {:>10} {:>8} {:>12}{}\n", name, width,
                        short_number(found.largest), short_number(found.largest_relative),
                        ulps_text(found.ulps), cosine_text(found), mark);
  }
  text += '\n';
}

Json number_json(double number) {
  // JSON has neither infinity nor NaN.
  return std::isfinite(number) ? Json(number) : Json(fmt::format("{}", number));
}

Json rows_json(const std::vector<ParityRow>& rows) {
  Json list = Json::array();
  for (const ParityRow& row : rows) {
    const Comparison& found = row.comparison;
    Json one = {{"name", row.name}, {"within", row.within}};
    if (has_numbers(row)) {
      Json worst = Json::array();
      for (const auto& element : found.worst) {
        worst.push_back({{"index", element.index},
                         {"ours", number_json(element.ours)},
                         {"theirs", number_json(element.theirs)},
                         {"ulps", element.ulps}});
      }
      one.update({{"values", found.values},
                  {"differing", found.differing},
                  {"max_abs", number_json(found.largest)},
                  {"max_rel", number_json(found.largest_relative)},
                  {"ulps", found.ulps},
                  {"cosine", number_json(found.cosine)},
                  {"worst", std::move(worst)}});
    } else {
      one["error"] = why_empty(row);
    }
    list.push_back(std::move(one));
  }
  return list;
}

}  // namespace

std::string describe_outside(const ParityRow& row, double tolerance) {
  if (!has_numbers(row)) return row.name + ": " + why_empty(row);
  const Comparison& found = row.comparison;
  return fmt::format("{}: {} of {} values differ, by up to {} ({} ULPs), expected at most {}",
                     row.name, found.differing, found.values, short_number(found.largest),
                     ulps_text(found.ulps),
                     tolerance == 0 ? "0" : short_number(tolerance) + " x max(1, |value|)");
}

std::string parity_table(const ParityResult& result) {
  std::size_t width = modules_title(result).size();
  result.for_each_row([&](const ParityRow& row) { width = std::max(width, row.name.size()); });
  width = std::min(width, kMaxNameWidth);
  std::string text;
  add_rows(text, modules_title(result), result.modules, width);
  add_rows(text, chain_title(result), result.chain, width);
  add_rows(text, kGradientsTitle, result.gradients, width);
  for (const std::string& name : result.missing)
    text += "missing here  " + quote_bytes(name) + "\n";
  text += "PyTorch    " + settings_line(result.theirs) + "\n";
  text +=
      fmt::format("{:<10} ", our_side(result)) + settings_line(ours_with_version(result)) + "\n";
  text += "tolerance  " + tolerance_text(result.tolerance) + ": " +
          quote_bytes(result.tolerance.reason) + "\n";
  const std::string left_out = left_out_text(result);
  if (!left_out.empty()) text += quote_bytes(left_out, kMaxText) + "\n";
  text += count_text(result) + "\n" + quote_bytes(verdict(result)) + "\n";
  const std::string diagnosis = diagnosis_text(result);
  return diagnosis.empty() ? text : text + quote_bytes(diagnosis, kMaxText) + "\n";
}

std::string parity_json(const ParityResult& result, const ParityPaths& paths) {
  const ParityRow* first = result.first_outside();
  const std::string first_name = !result.missing.empty() ? result.missing.front()
                                 : first                 ? first->name
                                                         : "";
  Json report = {{"command", "parity"},
                 {"model", escaped_name(paths.model)},
                 {"reference", escaped_name(paths.reference)},
                 {"within", result.within()},
                 {"first_outside", first_name.empty() ? Json(nullptr) : Json(first_name)},
                 {"values", result.values()},
                 {"differing", result.differing()},
                 {"tolerance",
                  {{"module", number_json(result.tolerance.module)},
                   {"chain", number_json(result.tolerance.chain)},
                   {"reason", result.tolerance.reason}}},
                 {"theirs", result.theirs},
                 {"ours", ours_with_version(result)},
                 {"modules", rows_json(result.modules)},
                 {"chain", rows_json(result.chain)},
                 {"gradients", rows_json(result.gradients)},
                 {"missing", result.missing},
                 {"not_compared", result.not_compared}};
  for (const char* key : {"order", "transposed", "misaligned", "config"}) {
    report["theirs"].erase(key);
  }
  if (result.diagnosis) {
    const Diagnosis& diagnosis = *result.diagnosis;
    report["dump"] = escaped_name(paths.dump);
    report["diagnosis"] = {
        {"kind", name_of(diagnosis.kind)},
        {"module", diagnosis.module.empty() ? Json(nullptr) : Json(diagnosis.module)},
        {"cause", diagnosis.cause.empty() ? Json(nullptr) : Json(diagnosis.cause)},
        {"text", diagnosis.text}};
    report["absent"] = result.absent;
    report["unused"] = result.unused;
  }
  return json_text(report);
}

}  // namespace w2vbert::tool
