#include "tool/cli/parity_pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tool/cli/html.h"
#include "tool/cli/parity_words.h"

namespace w2vbert::tool {
namespace {

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

}  // namespace

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
      "whole model, fed from the start</tspan>; <tspan fill='{}'>dots: the worst module on the way "
      "to "
      "it{}</tspan></text>",
      kChainColour, kModuleColour, result.diagnosis ? "" : ", fed with PyTorch's input");
  return svg + "</svg>";
}

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
                       html_text(name));
    svg += fmt::format(
        "<rect x='{}' y='{:.1f}' width='{:.1f}' height='11' fill='{}'><title>{}</title></rect>",
        kNames, at + 2, std::max(1.0, share * kBars), row->within ? kModuleColour : kOutsideColour,
        short_number(row->comparison.largest));
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
        plot.top + plot.height + 18, html_text(layer.state->name));
  }
  return svg + "</svg>";
}

}  // namespace w2vbert::tool
