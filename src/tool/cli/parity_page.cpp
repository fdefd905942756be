// The page of `w2vbert parity`: everything in one HTML file.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "core/text.h"
#include "tool/cli/html.h"
#include "tool/cli/page_files.h"
#include "tool/cli/parity_pictures.h"
#include "tool/cli/parity_report.h"
#include "tool/cli/parity_words.h"

namespace w2vbert::tool {
namespace {

// What both sides tell of themselves, in this order.
constexpr const char* kSettings[] = {"architecture",   "dtype",        "attn_implementation",
                                     "device",         "device_name",  "threads",
                                     "cpu_capability", "grad",         "train",
                                     "torch",          "transformers", "python",
                                     "w2vbert",        "engine",       "version"};

std::string html_rows(const std::string& title, const std::vector<ParityRow>& rows) {
  if (rows.empty()) return "";
  std::string html = fmt::format(
      "<h2>{}</h2><table><tr><th>name<th>values<th>differing<th>max |Δ|<th>max rel "
      "Δ<th>ULPs<th>cosine</tr>\n",
      html_text(std::string(1, static_cast<char>(std::toupper(title[0]))) + title.substr(1)));
  for (const ParityRow& row : rows) {
    const Comparison& found = row.comparison;
    html += fmt::format("<tr{}><td>{}", row.within ? "" : " class='outside'", html_text(row.name));
    if (!has_numbers(row)) {
      html += fmt::format("<td colspan='6'>{}</tr>\n", html_text(why_empty(row)));
      continue;
    }
    html +=
        fmt::format("<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>\n", found.values, found.differing,
                    short_number(found.largest), short_number(found.largest_relative),
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
  std::string html = fmt::format(
      "<h2>Worst "
      "elements</h2><table><tr><th>name<th>index<th>PyTorch<th>{}<th>|Δ|<th>ULPs</tr>\n",
      our_side(result));
  for (const ParityRow* row : rows) {
    for (const auto& element : row->comparison.worst) {
      html += fmt::format("<tr{}><td>{}<td>{}<td>{:.9g}<td>{:.9g}<td>{}<td>{}</tr>\n",
                          row->within ? "" : " class='outside'", html_text(row->name),
                          shape_text(element.index), element.theirs, element.ours,
                          short_number(std::abs(element.ours - element.theirs)),
                          ulps_text(element.ulps));
    }
  }
  return html + "</table>\n";
}

// What a reader wants to know first of another engine's dump.
std::string diagnosis_html(const ParityResult& result) {
  if (!result.diagnosis) return "";
  const std::string left_out = left_out_text(result);
  return fmt::format("<p class='diagnosis'>{}</p>{}\n", html_text(diagnosis_text(result), kMaxText),
                     left_out.empty() ? "" : "<p>" + html_text(left_out, kMaxText) + ".</p>");
}

const std::string& title_of(const ParityPaths& paths) {
  return paths.dump.empty() ? paths.model : paths.dump;
}

}  // namespace

std::string parity_html(const ParityResult& result, const ParityPaths& paths) {
  const auto layers = layers_of(result);
  const auto ours = ours_with_version(result);
  std::string html = fmt::format(
      "{8}<title>parity: {0}</title><style>{1}</style>\n"
      "<h1>Parity of {0}</h1><p class='verdict {2}'>{3}</p><p>{4}. Tolerance: {5} ({6}).</p>\n"
      "{9}<p>Reference: {7}{10}</p>\n",
      html_text(title_of(paths)), kParityStyle, result.within() ? "good" : "bad",
      html_text(verdict(result)), html_text(count_text(result)),
      html_text(tolerance_text(result.tolerance)), html_text(result.tolerance.reason),
      html_text(paths.reference), page_begin("parity"), diagnosis_html(result),
      paths.dump.empty() ? "" : ". Dump: " + html_text(paths.dump));
  html += fmt::format("<h2>Both sides</h2><table><tr><th>setting<th>PyTorch<th>{}</tr>\n",
                      our_side(result));
  for (const char* key : kSettings) {
    const std::string there = setting_of(result.theirs, key), here = setting_of(ours, key);
    if (there.empty() && here.empty()) continue;
    html += fmt::format("<tr><td>{}<td>{}<td>{}</tr>\n", key, html_text(there), html_text(here));
  }
  html += "</table>\n";
  html += "<h2>How the error grows</h2>" + growth_picture(result, layers);
  html += fmt::format(
      "<h2>Layer by layer</h2><p>Left: {}. Right: the whole model's error after the layer, fed "
      "from "
      "the start, over the frames; one line a clip.</p>\n",
      result.diagnosis ? "each module of the dump"
                       : "each module by itself, fed with PyTorch's input");
  for (const Layer& layer : layers) {
    const bool outside = std::any_of(layer.modules.begin(), layer.modules.end(),
                                     [](const ParityRow* row) { return !row->within; });
    html +=
        fmt::format("<details{}><summary{}>{}</summary>{}</details>\n",
                    layers.size() <= 12 || outside ? " open" : "", outside ? " class='bad'" : "",
                    html_text(layer.title), layer_picture(result, layer));
  }
  html += worst_elements(result);
  html += html_rows(modules_title(result), result.modules) +
          html_rows(chain_title(result), result.chain) +
          html_rows(kGradientsTitle, result.gradients);
  return sealed_page(html + "</html>\n");
}

}  // namespace w2vbert::tool
