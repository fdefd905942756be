#include "tool/cli/parity_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/text.h"
#include "w2vbert/version.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxNameWidth = 72;
constexpr const char* kModulesTitle = "modules, each fed with PyTorch's input for it";
constexpr const char* kChainTitle = "whole model, fed from the start";
constexpr const char* kGradientsTitle = "gradients";
// What both sides tell of themselves, in this order.
constexpr const char* kSettings[] = {"architecture", "dtype",   "attn_implementation", "device",
                                     "device_name",  "threads", "cpu_capability",      "grad",
                                     "train",        "torch",   "transformers",        "python"};

std::string number_text(double number) { return number == 0 ? "0" : fmt::format("{:.3g}", number); }

std::string ulps_text(std::int64_t ulps) {
  return ulps == std::numeric_limits<std::int64_t>::max() ? "nan" : std::to_string(ulps);
}

std::string cosine_text(const Comparison& comparison) {
  return comparison.differing == 0 ? "1" : fmt::format("{:.9f}", comparison.cosine);
}

std::string setting_of(const std::map<std::string, std::string>& settings, const std::string& key) {
  const auto found = settings.find(key);
  return found == settings.end() ? "" : found->second;
}

std::map<std::string, std::string> ours_with_version(const ParityResult& result) {
  auto ours = result.ours;
  ours["w2vbert"] = version();
  return ours;
}

std::string settings_line(const std::map<std::string, std::string>& settings) {
  std::string line;
  const auto add = [&](const std::string& words) {
    if (!words.empty()) line += (line.empty() ? "" : ", ") + quote_bytes(words);
  };
  const auto get = [&](const char* key) { return setting_of(settings, key); };
  if (!get("transformers").empty()) add("transformers " + get("transformers"));
  if (!get("w2vbert").empty()) add("w2vbert " + get("w2vbert"));
  add("torch " + get("torch"));
  add(get("device"));
  add(get("cpu_capability"));
  add(get("threads") + (get("threads") == "1" ? " thread" : " threads"));
  add(get("dtype"));
  add(get("attn_implementation"));
  return line;
}

std::string tolerance_text(const ParityTolerance& tolerance) {
  if (std::isinf(tolerance.module)) return "anything finite";
  if (tolerance.module == tolerance.chain) return number_text(tolerance.module);
  return fmt::format("{} a module, {} the whole model", number_text(tolerance.module),
                     number_text(tolerance.chain));
}

// "12 module outputs", "3 gradients", ...
std::string count_text(const ParityResult& result) {
  std::string text = fmt::format("{} module outputs, {} outputs of the whole model",
                                 result.modules.size(), result.chain.size());
  if (!result.gradients.empty()) text += fmt::format(", {} gradients", result.gradients.size());
  return text + fmt::format(": {} values, {} differ", result.values(), result.differing());
}

std::string verdict(const ParityResult& result) {
  if (!result.missing.empty()) return "missing here: " + result.missing.front();
  const ParityRow* first = result.first_outside();
  if (first) return "first outside its tolerance: " + first->name;
  return result.differing() == 0 ? "every bit is PyTorch's" : "everything is within its tolerance";
}

std::string why_empty(const ParityRow& row) {
  return row.error.empty() ? "another shape" : row.error;
}

bool has_numbers(const ParityRow& row) { return row.error.empty() && row.comparison.same_shape; }

void add_rows(std::string& text, const char* title, const std::vector<ParityRow>& rows,
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
                        number_text(found.largest), number_text(found.largest_relative),
                        ulps_text(found.ulps), cosine_text(found), mark);
  }
  text += "\n";
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

// --- the page ---

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : quote_bytes(text, 400)) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

// Differences on a logarithmic axis. Nothing is at the bottom, what is not a number at the top.
class ErrorAxis {
 public:
  explicit ErrorAxis(const ParityResult& result) {
    double least = std::numeric_limits<double>::infinity(), largest = 0;
    const auto see = [&](double value) {
      if (!std::isfinite(value) || value <= 0) return;
      least = std::min(least, value);
      largest = std::max(largest, value);
    };
    for (const auto* rows : {&result.modules, &result.chain}) {
      for (const ParityRow& row : *rows) {
        see(row.comparison.largest);
        for (const auto& frames : row.comparison.frames) {
          for (const double value : frames) see(value);
        }
      }
    }
    if (largest == 0) return;
    low_ = static_cast<int>(std::floor(std::log10(least)));
    high_ = std::max(low_ + 1, static_cast<int>(std::ceil(std::log10(largest))));
  }
  int low() const { return low_; }
  int high() const { return high_; }
  // 0 (no difference) to 1.
  double place(double value) const {
    constexpr double kRoomForZero = 0.1;
    if (value == 0) return 0;
    if (!std::isfinite(value)) return 1;
    const double share = (std::log10(value) - low_) / (high_ - low_);
    return kRoomForZero + (1 - kRoomForZero) * std::clamp(share, 0.0, 1.0);
  }

 private:
  int low_ = -8;
  int high_ = -7;
};

struct Plot {
  double left, top, width, height;
  const ErrorAxis& axis;

  double y(double value) const { return top + height * (1 - axis.place(value)); }

  std::string frame(bool labels) const {
    std::string svg =
        fmt::format("<rect x='{}' y='{}' width='{}' height='{}' fill='none' stroke='#999'/>", left,
                    top, width, height);
    const int step = std::max(1, (axis.high() - axis.low()) / 5);
    for (int decade = axis.low(); decade <= axis.high(); decade += step) {
      const double at = y(std::pow(10.0, decade));
      svg += fmt::format("<line x1='{}' x2='{}' y1='{:.1f}' y2='{:.1f}' stroke='#ddd'/>", left,
                         left + width, at, at);
      if (labels) {
        svg += fmt::format("<text x='{}' y='{:.1f}' text-anchor='end'>1e{}</text>", left - 4,
                           at + 4, decade);
      }
    }
    if (labels)
      svg += fmt::format("<text x='{}' y='{}' text-anchor='end'>0</text>", left - 4, top + height);
    return svg;
  }

  std::string line(const std::vector<double>& values, const char* colour) const {
    std::string points;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double x =
          left + width * (static_cast<double>(i) + 0.5) / static_cast<double>(values.size());
      points += fmt::format("{:.1f},{:.1f} ", x, y(values[i]));
    }
    return fmt::format("<polyline points='{}' fill='none' stroke='{}' stroke-width='1.5'/>", points,
                       colour);
  }
};

constexpr const char* kChainColour = "#c0392b";
constexpr const char* kModuleColour = "#2471a3";
constexpr const char* kOutsideColour = "#e67e22";

struct Layer {
  std::string title;                      // "encoder.layers.0"
  std::vector<const ParityRow*> modules;  // of it, in order
  const ParityRow* state = nullptr;       // what the whole model had after it
};

// What lies before the layers, each layer, and what follows.
std::vector<Layer> layers_of(const ParityResult& result) {
  std::vector<Layer> layers;
  const auto group_of = [](const std::string& row_name) {
    const std::string name = row_name.substr(0, row_name.find('['));  // of a second output
    for (const std::string stem : {"encoder.layers.", "adapter.layers."}) {
      const std::size_t at = name.find(stem);
      if (at == std::string::npos) continue;
      const std::size_t end = name.find('.', at + stem.size());
      return name.substr(0, end);
    }
    return name.substr(0, name.find('.', name.starts_with("wav2vec2_bert.") ? 14 : 0));
  };
  for (const ParityRow& row : result.modules) {
    const std::string group = group_of(row.name);
    if (layers.empty() || layers.back().title != group) {
      // The encoder's own row ends after its layers.
      const auto same = std::find_if(layers.begin(), layers.end(),
                                     [&](const Layer& layer) { return layer.title == group; });
      if (same == layers.end())
        layers.push_back({group, {}, nullptr});
      else {
        same->modules.push_back(&row);
        continue;
      }
    }
    layers.back().modules.push_back(&row);
  }
  std::size_t next_state = 0;
  const auto state = [&](std::size_t number) -> const ParityRow* {
    const std::string name = "hidden_states." + std::to_string(number);
    for (const ParityRow& row : result.chain) {
      if (row.name == name) return &row;
    }
    return nullptr;
  };
  for (Layer& layer : layers) {
    if (layer.title.find("encoder.layers.") != std::string::npos) {
      if (next_state == 0) next_state = 1;
      layer.state = state(next_state++);
    } else if (layer.title.find("feature_projection") != std::string::npos) {
      layer.state = state(0);
    }
  }
  return layers;
}

// States 0 to L of the whole model, and the worst module of each layer.
std::string growth_picture(const ParityResult& result, const std::vector<Layer>& layers) {
  const ErrorAxis axis(result);
  const Plot plot{60, 10, 800, 220, axis};
  std::string svg = "<svg viewBox='0 0 880 270' width='880' role='img'>" + plot.frame(true);
  std::vector<double> chain;
  for (const ParityRow& row : result.chain) {
    if (row.name.starts_with("hidden_states.")) chain.push_back(row.comparison.largest);
  }
  std::vector<double> modules;
  for (const Layer& layer : layers) {
    if (!layer.state) continue;
    double worst = 0;
    for (const ParityRow* row : layer.modules) worst = std::max(worst, row->comparison.largest);
    modules.push_back(worst);
  }
  if (!chain.empty()) svg += plot.line(chain, kChainColour);
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const double x = plot.left + plot.width * (static_cast<double>(i) + 0.5) /
                                     static_cast<double>(modules.size());
    svg += fmt::format("<circle cx='{:.1f}' cy='{:.1f}' r='3.5' fill='{}'/>", x, plot.y(modules[i]),
                       kModuleColour);
    if (modules.size() <= 40) {
      svg += fmt::format("<text x='{:.1f}' y='246' text-anchor='middle'>{}</text>", x, i);
    }
  }
  svg += fmt::format(
      "<text x='460' y='264' text-anchor='middle'>hidden state: <tspan fill='{}'>line: of the "
      "whole model, "
      "fed from the start</tspan>; <tspan fill='{}'>dots: the worst module on the way to it, fed "
      "with "
      "PyTorch's input</tspan></text>",
      kChainColour, kModuleColour);
  return svg + "</svg>";
}

// Left: the layer's modules, each by itself. Right: the whole model's error after it, over the
// frames.
std::string layer_picture(const ParityResult& result, const Layer& layer) {
  constexpr double kRowHeight = 15;
  const ErrorAxis axis(result);
  const double height = std::max(120.0, kRowHeight * static_cast<double>(layer.modules.size()));
  std::string svg = fmt::format("<svg viewBox='0 0 880 {0}' width='880' role='img'>", height + 40);
  constexpr double kNames = 250, kBars = 190;
  double at = 10;
  for (const ParityRow* row : layer.modules) {
    std::string name = row->name == layer.title ? "(whole)" : row->name.substr(layer.title.size());
    if (name.starts_with('.')) name.erase(0, 1);
    const double share = axis.place(row->error.empty() ? row->comparison.largest : INFINITY);
    svg += fmt::format("<text x='{}' y='{:.1f}' text-anchor='end'>{}</text>", kNames - 6, at + 11,
                       escaped(name));
    svg += fmt::format(
        "<rect x='{}' y='{:.1f}' width='{:.1f}' height='11' fill='{}'><title>{}</title></rect>",
        kNames, at + 2, std::max(1.0, share * kBars), row->within ? kModuleColour : kOutsideColour,
        number_text(row->comparison.largest));
    at += kRowHeight;
  }
  if (layer.state) {
    constexpr double kMaxPlotHeight = 180;
    const Plot plot{520, 10, 340, std::min(height, kMaxPlotHeight), axis};
    svg += plot.frame(true);
    const auto& frames = layer.state->comparison.frames;
    if (frames.empty()) {
      svg += plot.line({0, 0}, kChainColour);
    }
    for (std::size_t row = 0; row < frames.size(); ++row) {
      constexpr const char* kRowColours[] = {"#c0392b", "#8e44ad", "#16a085", "#7f8c8d"};
      svg += plot.line(frames[row], kRowColours[row % 4]);
    }
    svg += fmt::format(
        "<text x='690' y='{}' text-anchor='middle'>{} of the whole model: max |Δ| over the "
        "frames</text>",
        plot.top + plot.height + 18, escaped(layer.state->name));
  }
  return svg + "</svg>";
}

std::string html_rows(const char* title, const std::vector<ParityRow>& rows) {
  if (rows.empty()) return "";
  std::string html = fmt::format(
      "<h2>{}</h2><table><tr><th>name<th>values<th>differing<th>max |Δ|<th>max rel "
      "Δ<th>ULPs<th>cosine</tr>\n",
      escaped(std::string(1, static_cast<char>(std::toupper(title[0]))) + (title + 1)));
  for (const ParityRow& row : rows) {
    const Comparison& found = row.comparison;
    html += fmt::format("<tr{}><td>{}", row.within ? "" : " class='outside'", escaped(row.name));
    if (!has_numbers(row)) {
      html += fmt::format("<td colspan='6'>{}</tr>\n", escaped(why_empty(row)));
      continue;
    }
    html +=
        fmt::format("<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>\n", found.values, found.differing,
                    number_text(found.largest), number_text(found.largest_relative),
                    ulps_text(found.ulps), cosine_text(found));
  }
  return html + "</table>\n";
}

std::string worst_elements(const ParityResult& result) {
  constexpr std::size_t kRows = 12;
  std::vector<const ParityRow*> rows;
  result.for_each_row([&](const ParityRow& row) {
    if (!row.comparison.worst.empty()) rows.push_back(&row);
  });
  // Those outside first, in order; then the largest.
  std::stable_sort(rows.begin(), rows.end(), [](const ParityRow* a, const ParityRow* b) {
    if (a->within != b->within) return !a->within;
    return a->within && a->comparison.largest > b->comparison.largest;
  });
  rows.resize(std::min(rows.size(), kRows));
  if (rows.empty()) return "<h2>Worst elements</h2><p>No value differs.</p>\n";
  std::string html =
      "<h2>Worst "
      "elements</h2><table><tr><th>name<th>index<th>PyTorch<th>here<th>|Δ|<th>ULPs</tr>\n";
  for (const ParityRow* row : rows) {
    for (const auto& element : row->comparison.worst) {
      html += fmt::format("<tr{}><td>{}<td>{}<td>{:.9g}<td>{:.9g}<td>{}<td>{}</tr>\n",
                          row->within ? "" : " class='outside'", escaped(row->name),
                          shape_text(element.index), element.theirs, element.ours,
                          number_text(std::abs(element.ours - element.theirs)),
                          ulps_text(element.ulps));
    }
  }
  return html + "</table>\n";
}

constexpr const char* kStyle =
    "body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:920px;color:#222}"
    "table{border-collapse:collapse;margin:.5em 0 1.5em}"
    "td,th{padding:1px 10px 1px "
    "0;text-align:right;font-variant-numeric:tabular-nums;border-bottom:1px solid #eee}"
    "td:first-child,th:first-child{text-align:left;font-family:ui-monospace,monospace;font-size:12."
    "5px}"
    ".outside td{color:#b03a2e;font-weight:600}.verdict{font-size:1.25em;font-weight:600}"
    ".good{color:#1e8449}.bad{color:#b03a2e}svg text{font-size:11px;fill:#333}"
    "details{margin:.3em 0}summary{cursor:pointer}";

}  // namespace

std::string describe_outside(const ParityRow& row, double tolerance) {
  if (!has_numbers(row)) return row.name + ": " + why_empty(row);
  const Comparison& found = row.comparison;
  return fmt::format("{}: {} of {} values differ, by up to {} ({} ULPs), expected at most {}",
                     row.name, found.differing, found.values, number_text(found.largest),
                     ulps_text(found.ulps),
                     tolerance == 0 ? "0" : number_text(tolerance) + " x max(1, |value|)");
}

std::string parity_table(const ParityResult& result) {
  std::size_t width = std::string(kModulesTitle).size();
  result.for_each_row([&](const ParityRow& row) { width = std::max(width, row.name.size()); });
  width = std::min(width, kMaxNameWidth);
  std::string text;
  add_rows(text, kModulesTitle, result.modules, width);
  add_rows(text, kChainTitle, result.chain, width);
  add_rows(text, kGradientsTitle, result.gradients, width);
  for (const std::string& name : result.missing)
    text += "missing here  " + quote_bytes(name) + "\n";
  text += "PyTorch    " + settings_line(result.theirs) + "\n";
  text += "here       " + settings_line(ours_with_version(result)) + "\n";
  text += "tolerance  " + tolerance_text(result.tolerance) + ": " +
          quote_bytes(result.tolerance.reason) + "\n";
  return text + count_text(result) + "\n" + quote_bytes(verdict(result)) + "\n";
}

std::string parity_json(const ParityResult& result, const ParityPaths& paths) {
  const ParityRow* first = result.first_outside();
  const std::string first_name = !result.missing.empty() ? result.missing.front()
                                 : first                 ? first->name
                                                         : "";
  Json report = {{"command", "parity"},
                 {"model", paths.model},
                 {"reference", paths.reference},
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
  report["theirs"].erase("order");
  report["theirs"].erase("transposed");
  return report.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string parity_html(const ParityResult& result, const ParityPaths& paths) {
  const auto layers = layers_of(result);
  const auto ours = ours_with_version(result);
  std::string html = fmt::format(
      "<!doctype html><html lang='en'><meta charset='utf-8'><title>parity: "
      "{0}</title><style>{1}</style>\n"
      "<h1>Parity of {0}</h1><p class='verdict {2}'>{3}</p><p>{4}. Tolerance: {5} ({6}).</p>\n"
      "<p>Reference: {7}</p>\n",
      escaped(paths.model), kStyle, result.within() ? "good" : "bad", escaped(verdict(result)),
      escaped(count_text(result)), escaped(tolerance_text(result.tolerance)),
      escaped(result.tolerance.reason), escaped(paths.reference));
  html += "<h2>Both sides</h2><table><tr><th>setting<th>PyTorch<th>here</tr>\n";
  for (const char* key : kSettings) {
    const std::string there = setting_of(result.theirs, key), here = setting_of(ours, key);
    if (there.empty() && here.empty()) continue;
    html += fmt::format("<tr><td>{}<td>{}<td>{}</tr>\n", key, escaped(there), escaped(here));
  }
  html += fmt::format("<tr><td>w2vbert<td><td>{}</tr></table>\n", escaped(ours.at("w2vbert")));
  html += "<h2>How the error grows</h2>" + growth_picture(result, layers);
  html +=
      "<h2>Layer by layer</h2><p>Left: each module by itself, fed with PyTorch's input. Right: the "
      "whole model's error after the layer, fed from the start, over the frames; one line a "
      "clip.</p>\n";
  for (const Layer& layer : layers) {
    const bool outside = std::any_of(layer.modules.begin(), layer.modules.end(),
                                     [](const ParityRow* row) { return !row->within; });
    html +=
        fmt::format("<details{}><summary{}>{}</summary>{}</details>\n",
                    layers.size() <= 12 || outside ? " open" : "", outside ? " class='bad'" : "",
                    escaped(layer.title), layer_picture(result, layer));
  }
  html += worst_elements(result);
  html += html_rows(kModulesTitle, result.modules) + html_rows(kChainTitle, result.chain) +
          html_rows(kGradientsTitle, result.gradients);
  return html + "</html>\n";
}

}  // namespace w2vbert::tool
