#include "tool/store/answer_journal.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "core/escaped_name.h"
#include "core/file.h"
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

std::string answer_digest(std::string_view line) {
  XXH128_canonical_t digest;
  XXH128_canonicalFromHash(&digest, XXH3_128bits(line.data(), line.size()));
  return hex_text(digest.digest);
}

// What tells the clips of a list apart.
std::uint64_t key_of(const std::string& path, const std::optional<InputSegment>& segment,
                     std::optional<int> channel) {
  std::string text = path;
  text += '\0';
  if (segment) {
    text += number_text(segment->offset_seconds) + "+" + number_text(segment->duration_seconds);
  }
  text += '\0';
  if (channel) text += std::to_string(*channel);
  return stable_hash(text);
}

bool is_same_clip(const JournalAnswer& answer, const std::string& path,
                  const std::optional<InputSegment>& segment, std::optional<int> channel) {
  if (answer.input.path != path || answer.channel != channel) return false;
  if (!segment || !answer.input.segment) return !segment && !answer.input.segment;
  return answer.input.segment->offset_seconds == segment->offset_seconds &&
         answer.input.segment->duration_seconds == segment->duration_seconds;
}

// Nothing for another run's, and for what is not as it was written.
std::optional<JournalAnswer> answer_of(std::string_view text, const std::string& run) try {
  const std::size_t begin = text.find(kBeforeAnswer);
  if (begin == std::string_view::npos || !text.ends_with('}')) return std::nullopt;
  JournalAnswer answer;
  answer.line = text.substr(begin + kBeforeAnswer.size());
  answer.line.pop_back();
  const JsonValue about = JsonValue::parse(std::string(text.substr(0, begin)) + "}");
  const JsonValue* of_run = about.find("fingerprint");
  const JsonValue* digest = about.find("digest");
  const JsonValue* input = about.find("input");
  const auto* run_text = of_run ? of_run->get_if<std::string>() : nullptr;
  const auto* digest_text = digest ? digest->get_if<std::string>() : nullptr;
  if (!run_text || *run_text != run || !digest_text || !input) return std::nullopt;
  if (*digest_text != answer_digest(answer.line)) return std::nullopt;
  answer.input = input_in(*input);
  const JsonValue* channel = about.find("channel");
  if (const auto* number = channel ? channel->get_if<std::uint64_t>() : nullptr) {
    answer.channel = static_cast<int>(*number);
  }
  return answer;
} catch (const JsonError&) {
  return std::nullopt;
}

}  // namespace

AnswerJournal::AnswerJournal(std::string path, std::string run)
    : path_(std::move(path)), run_(std::move(run)) {
  check_lines(path_, LinesKind::kAnswers);
  if (!exists(path_)) return;
  there_.emplace(InputFile::open<StorageError>(path_));
  for_each_line(*there_, kMaxAnswerBytes, [&](std::string_view text, std::uint64_t offset) {
    if (const auto answer = answer_of(text, run_)) {
      places_[key_of(answer->input.path, answer->input.segment, answer->channel)] = {offset,
                                                                                     text.size()};
    }
  });
}

std::optional<JournalAnswer> AnswerJournal::find(const std::string& path,
                                                 const std::optional<InputSegment>& segment,
                                                 std::optional<int> channel) const {
  const auto place = places_.find(key_of(path, segment, channel));
  if (place == places_.end()) return std::nullopt;
  std::string text(place->second.bytes, '\0');
  there_->read_at(place->second.offset, text.data(), text.size());
  auto answer = answer_of(text, run_);
  if (answer && !is_same_clip(*answer, path, segment, channel)) answer.reset();  // of one hash
  return answer;
}

void AnswerJournal::add(const JournalAnswer& answer) {
  if (!lines_) lines_.emplace(path_, LinesKind::kAnswers);
  nlohmann::ordered_json about = {{"fingerprint", run_},
                                  {"digest", answer_digest(answer.line)},
                                  {"input", json_of(answer.input)}};
  if (answer.channel) about["channel"] = *answer.channel;
  std::string text = json_line(about);
  text.resize(text.rfind('}'));
  lines_->append(text.append(kBeforeAnswer).append(answer.line).append("}\n"));
}

}  // namespace w2vbert::tool
