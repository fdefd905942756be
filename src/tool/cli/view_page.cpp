#include "tool/cli/view_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "tool/cli/html.h"
#include "tool/cli/page_files.h"
#include "tool/corpus/base64.h"
#include "tool/store/json_text.h"
#include "tool/store/sha256.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

Json grid_json(const Grid& grid) {
  return {
      {"rows", grid.rows}, {"columns", grid.columns}, {"secondsPerColumn", grid.seconds_per_column},
      {"lows", grid.lows}, {"highs", grid.highs},     {"codes", base64_text(grid.codes)}};
}

// [[text, start, end, score or null], ...]: short, for an hour has tens of thousands.
Json texts_json(const std::vector<TimedText>& texts) {
  const auto rounded = [](double value) { return std::round(value * 1e4) / 1e4; };
  Json list = Json::array();
  for (const TimedText& text : texts) {
    list.push_back({text.text, rounded(text.start), rounded(text.end),
                    text.score ? Json(rounded(*text.score)) : Json()});
  }
  return list;
}

Json parts_json(const std::vector<PartAnswer>& parts) {
  Json list = Json::array();
  for (const PartAnswer& part : parts) {
    Json labels = Json::array();
    for (const ScoredLabel& label : part.labels) labels.push_back({label.label, label.score});
    list.push_back({{"start", part.start}, {"end", part.end}, {"labels", labels}});
  }
  return list;
}

Json data_json(const ViewPage& page, const RecordingView& view,
               const SeamlessM4TFeatureExtractorConfig& features) {
  const auto rate = static_cast<double>(features.sampling_rate);
  constexpr std::int64_t kHop = SeamlessM4TFeatureExtractorConfig::kHopLength;
  Json facts = Json::array();
  for (const auto& [name, value] : page.facts) facts.push_back({name, value});
  Json data = {{"seconds", view.seconds},
               {"summary", page.summary},
               {"playback", page.playback},
               {"facts", facts},
               {"hopSeconds", static_cast<double>(kHop) / rate},
               {"frameSeconds", static_cast<double>(kHop * features.stride) / rate},
               {"waveform", grid_json(view.waveform)},
               {"logMel", grid_json(view.log_mel)},
               {"mels", view.mels},
               {"energies", grid_json(view.energies)}};
  if (view.has_words) {
    data["text"] = view.text;
    data["words"] = texts_json(view.words);
    data["characters"] = texts_json(view.characters);
  }
  if (!view.parts.empty() && !view.parts.front().labels.empty()) {
    data["parts"] = parts_json(view.parts);
  }
  if (view.num_labels > 0) {
    std::vector<TimedText> segments;
    for (const Segment& segment : view.segments) segments.push_back(timed_text(segment));
    data["segments"] = texts_json(segments);
    data["curveLabels"] = view.curve_labels;
    data["curves"] = grid_json(view.curves);
    data["numLabels"] = view.num_labels;
  }
  return data;
}

// JSON in which no "</script>" or "<!--" can stand: only strings have a "<".
std::string json_for_html(const Json& data) {
  std::string text;
  for (const char c : json_line(data)) {
    if (c == '<') {
      text += "\\u003c";
    } else {
      text += c;
    }
  }
  return text;
}

// A RIFF file of 16-bit samples, one channel.
std::vector<std::byte> wav_of(const Waveform& waveform) {
  constexpr std::uint32_t kHeaderBytes = 44, kSampleBytes = 2;
  const auto data_bytes = static_cast<std::uint32_t>(waveform.samples.size()) * kSampleBytes;
  const auto rate = static_cast<std::uint32_t>(waveform.sample_rate_hz);
  std::vector<std::byte> wav;
  wav.reserve(kHeaderBytes + data_bytes);
  const auto text = [&](std::string_view word) {
    for (const char c : word) wav.push_back(static_cast<std::byte>(c));
  };
  const auto number = [&](std::uint32_t value, int bytes) {  // little endian
    for (int i = 0; i < bytes; ++i) wav.push_back(static_cast<std::byte>(value >> (8 * i) & 0xFF));
  };
  text("RIFF");
  number(kHeaderBytes - 8 + data_bytes, 4);
  text("WAVEfmt ");
  number(16, 4);
  number(1, 2);  // PCM
  number(1, 2);  // channels
  number(rate, 4);
  number(rate * kSampleBytes, 4);
  number(kSampleBytes, 2);
  number(16, 2);  // bits
  text("data");
  number(data_bytes, 4);
  for (const float sample : waveform.samples) {
    const float value = std::clamp(sample * 32768.0F, -32768.0F, 32767.0F);
    number(static_cast<std::uint32_t>(std::lrint(value)), kSampleBytes);
  }
  return wav;
}

// What a Content-Security-Policy names an inline script or style by.
std::string policy_hash(std::string_view content) {
  Sha256 sha;
  sha.add(content);
  return "'sha256-" + base64_text(sha.bytes()) + "'";
}

}  // namespace

std::string view_html(const ViewPage& page, const RecordingView& view,
                      const SeamlessM4TFeatureExtractorConfig& features) {
  const std::string policy =
      fmt::format("default-src 'none'; media-src blob:; script-src {}; style-src {}",
                  policy_hash(kViewScript), policy_hash(kViewStyle));
  return sealed_page(
      page_begin("view") +
      fmt::format(fmt::runtime(kViewHtml), fmt::arg("policy", policy),
                  fmt::arg("title", html_text(page.title)), fmt::arg("style", kViewStyle),
                  fmt::arg("data", json_for_html(data_json(page, view, features))),
                  fmt::arg("wav", page.audio ? base64_text(wav_of(*page.audio)) : ""),
                  fmt::arg("script", kViewScript)));
}

}  // namespace w2vbert::tool
