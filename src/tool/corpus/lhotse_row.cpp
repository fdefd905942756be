#include "tool/corpus/lhotse_row.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

#include "core/text.h"
#include "w2vbert/audio/audio_file.h"

namespace w2vbert::tool {
namespace {

constexpr std::string_view kCut =
    "a MonoCut or MultiCut of a recording in one file, or a recording";
constexpr double kMaxLhotseRate = 1e9;

std::optional<double> number_in(const JsonValue& object, std::string_view key) {
  const JsonValue* value = object.find(key);
  if (!value) return std::nullopt;
  if (const auto* whole = value->get_if<std::uint64_t>()) return static_cast<double>(*whole);
  if (const auto* real = value->get_if<double>()) return *real;
  return std::nullopt;
}

bool is_empty(const JsonValue* value) {
  if (!value || value->is_null()) return true;
  const auto* list = value->get_if<JsonValue::Array>();
  return list && list->empty();
}

// Whole numbers in a list, or one of them.
std::optional<std::vector<std::uint64_t>> numbers_in(const JsonValue& object,
                                                     std::string_view key) {
  const JsonValue* value = object.find(key);
  if (!value) return std::nullopt;
  if (const auto* one = value->get_if<std::uint64_t>()) return std::vector{*one};
  const auto* list = value->get_if<JsonValue::Array>();
  if (!list) return std::nullopt;
  std::vector<std::uint64_t> numbers;
  for (const JsonValue& element : *list) {
    const auto* number = element.get_if<std::uint64_t>();
    if (!number) return std::nullopt;
    numbers.push_back(*number);
  }
  return numbers;
}

InputProblem problem(std::string text, std::string_view expected = kCut) {
  return {std::move(text), std::string(expected)};
}

// Lhotse: compute_num_samples, which rounds half up.
double samples_of(double seconds, double rate) { return std::floor(seconds * rate + 0.5); }

// Seconds of which cut_audio() makes that many samples again: it cuts down to whole ones.
double seconds_of(double samples, double rate) {
  double seconds = samples / rate;
  while (std::floor(seconds * rate) < samples) {
    seconds = std::nextafter(seconds, std::numeric_limits<double>::infinity());
  }
  return seconds;
}

// The file of a recording, and which of its channels `wanted` (those of the recording; nothing:
// all) are: all of them, or one.
std::variant<LhotseRow, InputProblem> read_sources(
    const JsonValue& recording, const std::optional<std::vector<std::uint64_t>>& wanted) {
  if (!is_empty(recording.find("transforms"))) {
    return problem("its recording has transforms, which change the audio");
  }
  const JsonValue* sources = recording.find("sources");
  const auto* list = sources ? sources->get_if<JsonValue::Array>() : nullptr;
  if (!list || list->empty()) return problem("its recording has no sources");
  const JsonValue* chosen = nullptr;
  std::vector<std::uint64_t> channels;
  for (const JsonValue& source : *list) {
    const auto own = numbers_in(source, "channels");
    if (!own || own->empty()) return problem("a source of its recording has no channels");
    const bool is_wanted =
        !wanted || std::any_of(wanted->begin(), wanted->end(), [&](std::uint64_t channel) {
          return std::find(own->begin(), own->end(), channel) != own->end();
        });
    if (!is_wanted) continue;
    if (chosen) return problem("has channels of more files than one");
    chosen = &source;
    channels = *own;
  }
  if (!chosen) return problem("has a channel that its recording does not have");
  const std::string* type = chosen->find_as<std::string>("type");
  const std::string* path = chosen->find_as<std::string>("source");
  if (!type || *type != "file") {
    return problem("its audio is of the type " +
                       (type ? in_quotes(*type) : std::string("that it does not say")) +
                       ", which is not read",
                   "a file (lhotse's move_to_memory, shar and url sources: save the audio first)");
  }
  if (!path || path->empty()) return problem("a source of its recording has no path");
  LhotseRow row;
  row.path = *path;
  if (!wanted || *wanted == channels) {
    // All of them: one is the file's, and of several the options choose.
    return row;
  }
  if (wanted->size() > 1) {
    return problem("has " + std::to_string(wanted->size()) + " of " +
                       std::to_string(channels.size()) + " channels",
                   "one channel, or all in their order");
  }
  const auto place = std::find(channels.begin(), channels.end(), wanted->front());
  if (place == channels.end()) return problem("has a channel that its recording does not have");
  const auto number = place - channels.begin() + 1;
  if (number > AudioOptions::kMaxChannels) {
    return problem("is of channel " + std::to_string(number),
                   "one of the first " + std::to_string(AudioOptions::kMaxChannels));
  }
  row.channel = static_cast<int>(number);
  return row;
}

// Nothing for a cut without a text.
std::optional<std::string> text_of_supervisions(const JsonValue& cut) {
  const JsonValue* supervisions = cut.find("supervisions");
  const auto* list = supervisions ? supervisions->get_if<JsonValue::Array>() : nullptr;
  if (!list) return std::nullopt;
  std::optional<std::string> text;
  for (const JsonValue& supervision : *list) {
    const std::string* own = supervision.find_as<std::string>("text");
    if (!own) continue;
    text = text ? *text + " " + *own : *own;
  }
  return text;
}

// "MixedCut" and the like; "" where a row does not say it.
std::string kind_of_row(const JsonValue& row) {
  const std::string* type = row.find_as<std::string>("type");
  if (type) return *type;
  if (row.find("tracks")) return "MixedCut";
  return "";
}

}  // namespace

bool is_lhotse_row(const JsonValue& row) {
  const std::string* type = row.find_as<std::string>("type");
  return (type && type->ends_with("Cut")) || row.find("recording") || row.find("sources") ||
         row.find("tracks") || row.find("recording_id") ||
         (row.find("features") && row.find("start"));
}

std::variant<LhotseRow, InputProblem> read_lhotse_row(const JsonValue& row) {
  const std::string kind = kind_of_row(row);
  if (kind == "MixedCut") return problem("is a mix of several cuts, which is not made here");
  if (kind == "PaddingCut") return problem("is a padding cut, which has no audio");
  if (!kind.empty() && kind != "MonoCut" && kind != "MultiCut") {
    return problem("is of the type " + in_quotes(kind));
  }
  const std::string* id = row.find_as<std::string>("id");
  if (!id || id->empty()) return problem("has no id");
  const JsonValue* recording = row.find("recording");
  const bool is_recording = !recording && row.find("sources");
  if (is_recording) recording = &row;
  if (!recording || recording->is_null()) {
    return problem(is_empty(row.find("features")) ? "has no recording"
                                                  : "has features alone, and no recording");
  }
  const auto wanted = is_recording ? std::nullopt : numbers_in(row, "channel");
  if (!is_recording && (!wanted || wanted->empty())) return problem("has no channel");
  auto read = read_sources(*recording, wanted);
  auto* made = std::get_if<LhotseRow>(&read);
  if (!made) return read;
  made->id = *id;
  if (is_recording) return read;
  made->text = text_of_supervisions(row);

  const auto rate = number_in(*recording, "sampling_rate");
  const auto start = number_in(row, "start"), duration = number_in(row, "duration");
  if (!rate || !(*rate >= 1 && *rate <= kMaxLhotseRate)) {
    return problem("its recording has no sampling_rate");
  }
  if (!start || !may_be_seconds(*start)) return problem("has no start", "seconds, 0 or more");
  if (!duration || !may_be_seconds(*duration) || samples_of(*duration, *rate) < 1) {
    return problem("has no duration", "seconds, more than 0");
  }
  const double first = samples_of(*start, *rate), samples = samples_of(*duration, *rate);
  const auto total = number_in(*recording, "num_samples");
  if (first > 0 || !total || samples < *total) {
    made->segment = InputSegment{seconds_of(first, *rate), seconds_of(samples, *rate)};
  }
  return read;
}

}  // namespace w2vbert::tool
