#include "tool/store/answer_journal.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "core/json.h"
#include "core/stable_hash.h"
#include "core/text.h"
#include "tool/store/journal.h"
#include "tool/store/json_text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::size_t kMaxAnswerBytes = 256 << 20;
// The answer is the last member, as it was written. No string of JSON holds this.
constexpr std::string_view kBeforeAnswer = ", \"line\": ";

std::string answer_digest(std::string_view text) {
  XXH128_canonical_t digest;
  XXH128_canonicalFromHash(&digest, XXH3_128bits(text.data(), text.size()));
  return hex_text(digest.digest);
}

// In a line.
std::string asked_text(const std::string& asked) {
  return asked.empty() ? asked : answer_digest(asked);
}

// What tells the clips of a list apart. `asked`: as asked_text() gives it.
std::string key_of(const std::string& path, const std::optional<InputSegment>& segment,
                   std::optional<int> channel, const std::string& asked) {
  std::string key = path;
  key += '\0';
  if (segment) {
    key += number_text(segment->offset_seconds) + "+" + number_text(segment->duration_seconds);
  }
  key += '\0';
  if (channel) key += std::to_string(*channel);
  return key + '\0' + asked;
}

struct AnswerLine {
  std::string run;
  std::string key;
  JournalAnswer answer;
};

// Nothing for what is not as it was written.
std::optional<AnswerLine> parse_answer(std::string_view text) try {
  const std::size_t begin = text.find(kBeforeAnswer);
  if (begin == std::string_view::npos || !text.ends_with('}')) return std::nullopt;
  AnswerLine parsed;
  parsed.answer.line = text.substr(begin + kBeforeAnswer.size());
  parsed.answer.line.pop_back();
  const std::string about_text = std::string(text.substr(0, begin)) + "}";
  const JsonValue about = JsonValue::parse(about_text);
  const JsonValue* input = about.find("input");
  if (!input) return std::nullopt;
  const auto* run = about.find_as<std::string>("fingerprint");
  const auto* digest = about.find_as<std::string>("digest");
  if (!run || !digest || digest->empty()) return std::nullopt;
  // The digest, which stands behind the run, is of what stands behind it.
  const std::size_t behind = about_text.find(*digest);
  if (behind == std::string::npos) return std::nullopt;
  if (*digest != answer_digest(text.substr(behind + digest->size()))) return std::nullopt;
  parsed.run = *run;
  parsed.answer.input = input_in(*input);
  std::optional<int> channel;
  if (const auto* number = about.find_as<std::uint64_t>("channel")) {
    channel = static_cast<int>(*number);
  }
  const auto* asked = about.find_as<std::string>("asked");
  parsed.key =
      key_of(parsed.answer.input.path, parsed.answer.input.segment, channel, asked ? *asked : "");
  return parsed;
} catch (const JsonError&) {
  return std::nullopt;
}

}  // namespace

AnswerJournal::AnswerJournal(std::string path, const std::vector<std::string>& others,
                             std::string run)
    : path_(std::move(path)), run_(std::move(run)) {
  read(path_);
  for (const std::string& other : others) read(other);
}

void AnswerJournal::read(const std::string& path) {
  check_lines(path, LinesKind::kAnswers);
  if (!exists(path)) return;
  Source& source = sources_.emplace_back(Source{InputFile::open<StorageError>(path), {}});
  std::uint64_t end = 0;  // of the last whole line
  for_each_line(source.file, kMaxAnswerBytes, [&](std::string_view text, std::uint64_t offset) {
    end = offset + text.size() + 1;
    const auto parsed = parse_answer(text);
    if (!parsed) {
      is_damaged_ = true;
    } else if (parsed->run == run_) {
      source.places[stable_hash(parsed->key)] = {offset, text.size()};
    }
  });
  if (end == 0 || end != source.file.size()) is_damaged_ = true;  // torn, or emptied
}

std::vector<JournalAnswer> AnswerJournal::find(const AskedClip& clip) const {
  std::vector<JournalAnswer> answers;
  const std::string key = key_of(clip.path, clip.segment, clip.channel, asked_text(clip.asked));
  for (const Source& source : sources_) {
    const auto place = source.places.find(stable_hash(key));
    if (place == source.places.end()) continue;
    std::string text(place->second.bytes, '\0');
    source.file.read_at(place->second.offset, text.data(), text.size());
    auto parsed = parse_answer(text);
    // Another clip of the same hash is as if it were not recorded.
    if (parsed && parsed->key == key) answers.push_back(std::move(parsed->answer));
  }
  return answers;
}

void AnswerJournal::open() {
  if (!lines_ && exists(path_)) lines_.emplace(path_, LinesKind::kAnswers);
}

void AnswerJournal::add(const AskedClip& clip, const InputIdentity& input, std::string_view line) {
  if (!lines_) lines_.emplace(path_, LinesKind::kAnswers);
  nlohmann::ordered_json about;
  if (!clip.asked.empty()) about["asked"] = asked_text(clip.asked);
  if (clip.channel) about["channel"] = *clip.channel;
  about["input"] = json_of(input);
  std::string behind = json_line(about);
  behind.replace(0, 1, "\",");  // of "{"
  behind.resize(behind.rfind('}'));
  behind.append(kBeforeAnswer).append(line).append("}");
  lines_->append("{\"fingerprint\":\"" + run_ + "\",\"digest\":\"" + answer_digest(behind) +
                 behind + "\n");
}

void AnswerJournal::synchronise() {
  if (lines_) lines_->synchronise();
}

}  // namespace w2vbert::tool
