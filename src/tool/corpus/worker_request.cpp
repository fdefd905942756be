#include "tool/corpus/worker_request.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "audio/audio_limits.h"
#include "core/escaped_name.h"
#include "core/json.h"
#include "core/text.h"
#include "tool/corpus/base64.h"
#include "w2vbert/audio/audio_file.h"

namespace w2vbert::tool {
namespace {

constexpr const char* kJsonKind = "json";
constexpr const char* kRequestKind = "request";
constexpr const char* kAudioKind = "audio";
static_assert(std::endian::native == std::endian::little);  // samples are read as they come

// The members of one request, each by its type.
class RequestReader {
 public:
  explicit RequestReader(const JsonValue& object) : object_(object) { read_id(); }

  WorkerRequest read() {
    check_keys();
    WorkerRequest request;
    request.id = id_;
    request.path = name("path");
    request.segment = segment();
    request.channel = channel();
    request.want = want();
    request.states = states();
    request.output = name("output");
    request.samples = samples();
    check_together(request);
    return request;
  }

 private:
  [[noreturn]] void fail(std::string_view key, const std::string& problem,
                         std::string_view expected = {}, const char* kind = kRequestKind) const {
    throw RequestError(id_, kind, key, problem, expected);
  }

  // Null where it is not there, or null.
  const JsonValue* find(std::string_view key) const {
    const JsonValue* value = object_.find(key);
    return value && value->is_null() ? nullptr : value;
  }

  void read_id() {
    const JsonValue* value = find("id");
    if (!value) return;
    if (const auto* text = value->get_if<std::string>();
        text && text->size() <= kMaxRequestIdBytes) {
      id_ = *text;
    } else if (const auto* number = value->get_if<std::uint64_t>()) {
      id_ = *number;
    } else if (const auto* negative = value->get_if<JsonNegative>()) {
      id_ = negative->value;
    } else {
      fail("id", "is " + value->describe(),
           "a string of at most " + std::to_string(kMaxRequestIdBytes) +
               " bytes or an integer of 64 bits");
    }
  }

  void check_keys() const {
    constexpr std::string_view kKeys[] = {"id",      "path", "offset", "duration", "channel",
                                          "samples", "want", "states", "output",   "sampling_rate"};
    for (const auto& [key, value] : *object_.get_if<JsonValue::Object>()) {
      if (std::find(std::begin(kKeys), std::end(kKeys), key) != std::end(kKeys)) continue;
      fail(key, "is unknown",
           "id, path, offset, duration, channel, samples, sampling_rate, want, states or output");
    }
  }

  const std::string* text(std::string_view key) const {
    const JsonValue* value = find(key);
    if (!value) return nullptr;
    const auto* text = value->get_if<std::string>();
    if (!text) fail(key, "is " + value->describe(), "a string");
    return text;
  }

  // A file's; "" where it is not there.
  std::string name(std::string_view key) const {
    const std::string* given = text(key);
    if (!given) return "";
    std::string bytes = unescaped_name(*given);
    if (bytes.empty()) fail(key, "is empty", "a path");
    if (bytes.find('\0') != std::string::npos) fail(key, "holds a NUL byte", "a path");
    return bytes;
  }

  std::optional<double> seconds(std::string_view key) const {
    const JsonValue* value = find(key);
    if (!value) return std::nullopt;
    std::optional<double> number;
    if (const auto* whole = value->get_if<std::uint64_t>()) number = static_cast<double>(*whole);
    if (const auto* real = value->get_if<double>()) number = *real;
    if (!number || !may_be_seconds(*number)) {
      fail(key, "is " + value->describe(), "seconds, 0 or more");
    }
    return number;
  }

  std::optional<InputSegment> segment() const {
    const auto offset = seconds("offset");
    const auto duration = seconds("duration");
    if (duration && *duration == 0) fail("duration", "is 0", "more");
    if (!offset && !duration) return std::nullopt;
    return InputSegment{offset.value_or(0), duration.value_or(0), offset.has_value()};
  }

  std::optional<int> whole(std::string_view key, int min, int max) const {
    const JsonValue* value = find(key);
    if (!value) return std::nullopt;
    const auto* number = value->get_if<std::uint64_t>();
    if (!number || *number < static_cast<std::uint64_t>(min) ||
        *number > static_cast<std::uint64_t>(max)) {
      fail(key, "is " + value->describe(),
           "a whole number from " + std::to_string(min) + " to " + std::to_string(max));
    }
    return static_cast<int>(*number);
  }

  std::optional<int> channel() const { return whole("channel", 1, AudioOptions::kMaxChannels); }

  WorkerRequest::Want want() const {
    const std::string* word = text("want");
    if (!word || *word == "states") return WorkerRequest::Want::states;
    if (*word == "features") return WorkerRequest::Want::features;
    if (*word == "text") return WorkerRequest::Want::text;
    fail("want", "is " + in_quotes(*word), "states, features or text");
  }

  // As --states has them.
  std::string states() const {
    const JsonValue* value = find("states");
    if (!value) return "";
    constexpr std::string_view kStatesExpected =
        "a number, an array of numbers, or a string as --states takes it";
    if (const auto* number = value->get_if<std::uint64_t>()) return std::to_string(*number);
    if (const auto* word = value->get_if<std::string>(); word && !word->empty()) return *word;
    const auto* list = value->get_if<JsonValue::Array>();
    if (!list || list->empty()) fail("states", "is " + value->describe(), kStatesExpected);
    std::string words;
    for (const JsonValue& one : *list) {
      const auto* number = one.get_if<std::uint64_t>();
      if (!number) fail("states", "holds " + one.describe(), kStatesExpected);
      words += (words.empty() ? "" : ",") + std::to_string(*number);
    }
    return words;
  }

  std::optional<Waveform> samples() const {
    const std::string* given = text("samples");
    const auto rate = whole("sampling_rate", kMinRateHz, kMaxRateHz);
    if (given && !rate) fail("sampling_rate", "is not given", "that of the samples");
    if (!given && rate) fail("sampling_rate", "is given without samples", "both");
    if (!given) return std::nullopt;
    constexpr std::string_view kSamplesExpected = "base64 of little-endian float32";
    const auto bytes = base64_bytes(*given);
    if (!bytes) fail("samples", "are not base64", kSamplesExpected);
    if (bytes->empty() || bytes->size() % sizeof(float) != 0) {
      fail("samples", "have " + std::to_string(bytes->size()) + " bytes", kSamplesExpected);
    }
    Waveform waveform;
    waveform.samples.resize(bytes->size() / sizeof(float));
    std::memcpy(waveform.samples.data(), bytes->data(), bytes->size());
    if (const auto bad = find_bad_sample(waveform.samples)) {
      fail("samples",
           "have " + number_text(waveform.samples[*bad]) + " at sample " + std::to_string(*bad),
           "finite samples up to 32768", kAudioKind);
    }
    waveform.sample_rate_hz = waveform.source_sample_rate_hz = *rate;
    waveform.source_channels = 1;
    waveform.source_samples = static_cast<std::int64_t>(waveform.samples.size());
    return waveform;
  }

  void check_together(const WorkerRequest& request) const {
    if (request.path.empty() == !request.samples) {
      fail(request.samples ? "samples" : "path",
           request.samples ? "are given beside a path" : "is not given",
           "a path, or samples with their sampling_rate");
    }
    if (request.samples && (request.segment || request.channel)) {
      fail(request.channel  ? "channel"
           : find("offset") ? "offset"
                            : "duration",
           "is given beside samples", "a path, or the samples that are wanted");
    }
    if (!request.states.empty() && request.want != WorkerRequest::Want::states) {
      fail("states", "is given beside another want", "one of the two");
    }
    if (request.output.empty()) return;
    if (request.want == WorkerRequest::Want::text) {
      fail("output", "is given for text", "text in the answer");
    }
    if (!request.output.ends_with(kOutputEnding)) {
      fail("output", "is " + in_quotes(request.output),
           "a name that ends in " + std::string(kOutputEnding));
    }
  }

  const JsonValue& object_;
  RequestId id_;
};

}  // namespace

WorkerRequest parse_worker_request(std::string_view line) {
  JsonValue value;
  try {
    value = JsonValue::parse(line, JsonDialect::kPythonNames);
  } catch (const JsonError& error) {
    throw RequestError({}, kJsonKind, "", error.what(), "one JSON object a line");
  }
  if (!value.get_if<JsonValue::Object>()) {
    throw RequestError({}, kJsonKind, "", "is " + value.describe(), "one JSON object a line");
  }
  return RequestReader(value).read();
}

}  // namespace w2vbert::tool
