#include "tool/cli/answer_file.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "core/escaped_name.h"
#include "core/file.h"
#include "core/json.h"
#include "tool/store/json_text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

// What a line says of its clip.
struct EarlierLine {
  JsonValue json;
  std::string path = {};
  std::optional<double> offset_seconds = {};
  std::optional<std::uint64_t> channel = {};
  double seconds = 0;
  std::string text = {};  // the line itself
};

std::optional<double> number_in(const JsonValue& value) {
  if (const double* number = value.get_if<double>()) return *number;
  if (const auto* number = value.get_if<std::uint64_t>()) return static_cast<double>(*number);
  return std::nullopt;
}

// Nothing for a line that tells of no clip.
std::optional<EarlierLine> parse_line(std::string_view text) try {
  EarlierLine line{JsonValue::parse(text)};
  const JsonValue* path = line.json.find("path");
  const JsonValue* seconds = line.json.find("seconds");
  const auto* path_text = path ? path->get_if<std::string>() : nullptr;
  const std::optional<double> number = seconds ? number_in(*seconds) : std::nullopt;
  if (!path_text || !number) return std::nullopt;
  line.path = unescaped_name(*path_text);
  line.seconds = *number;
  if (const JsonValue* offset = line.json.find("offset")) line.offset_seconds = number_in(*offset);
  const JsonValue* channel = line.json.find("channel");
  if (const auto* value = channel ? channel->get_if<std::uint64_t>() : nullptr) {
    line.channel = *value;
  }
  line.text = std::string(text) + "\n";
  return line;
} catch (const JsonError&) {
  return std::nullopt;
}

// Calls line(text) for each line.
template <class Function>
void for_each_line(const std::string& path, const Function& line) {
  const std::string text =
      read_small_file<StorageError>(path, std::numeric_limits<std::uint64_t>::max());
  for (std::string_view left = text; !left.empty();) {
    const std::size_t end = std::min(left.find('\n'), left.size() - 1);
    line(left.substr(0, end));
    left.remove_prefix(end + 1);
  }
}

// Whether a line is of the segment `wanted` of its file, as far as it tells.
bool is_of_segment(const EarlierLine& line, const std::optional<InputSegment>& wanted) {
  const bool has_offset = wanted && wanted->has_offset;
  if (has_offset != line.offset_seconds.has_value()) return false;
  if (has_offset && *line.offset_seconds != wanted->offset_seconds) return false;
  return may_last(wanted, line.seconds);
}

}  // namespace

std::string json_line_of(const AnsweredClip& clip, const Json& answer) {
  Json line = {{"path", escaped_name(clip.path)}, {"seconds", clip.audio_seconds}};
  line.update(answer);
  if (clip.segment) line["offset"] = clip.segment->offset_seconds;
  if (clip.channel) line["channel"] = *clip.channel;
  return json_line(line);
}

AnswerFile::AnswerFile(const std::string& path, const ProtectedFiles& sources,
                       const InputList& inputs, const Fingerprint& run, StillAsked still_asked)
    : inputs_(inputs),
      still_asked_(std::move(still_asked)),
      output_(path, "output", sources, run),
      records_(path, sources, inputs, run.digest()),
      lines_(inputs.size() + 1),
      answered_(inputs.size()) {}

std::size_t AnswerFile::take_answered(const Partition& partition) {
  std::size_t taken = 0;
  for (std::size_t index = 0; index < inputs_.size(); ++index) {
    if (!partition.holds(inputs_.name(index))) continue;
    const auto found = records_.find(index);
    if (!found || (still_asked_ && !still_asked_(index, JsonValue::parse(found->line)))) continue;
    const std::string line = found->line + "\n";
    if (found->origin == EarlierAnswer::kOfInput) {
      lines_[index + 1] = line;
      answered_[index] = true;
      ++taken;
    } else {
      earlier_[index] = found->origin == EarlierAnswer::kUnknown ? line : "";
    }
  }
  return taken;
}

void AnswerFile::add(const AnsweredClip& clip, const Answer& answer) {
  std::string line = json_line_of(clip, answer.json);
  records_.add({clip.input, clip.channel, line.substr(0, line.size() - 1)});
  lines_[clip.index + 1] = std::move(line);
}

void AnswerFile::add(const ClipFailure& failure, std::optional<std::size_t> index) {
  if (index) failed_.insert(*index);
  records_.add(failure);
}

std::size_t AnswerFile::keep_earlier_lines() {
  std::vector<std::string> folders;  // that could not be listed: their files are not in the list
  for (const BadRow& row : inputs_.bad_rows()) {
    if (row.place.empty()) folders.push_back(join_path(row.path, ""));
  }
  if (failed_.empty() && folders.empty()) return 0;
  // The inputs of each path, in the list's order: of a list that may be long, those that are asked
  // about.
  std::multimap<std::string, std::size_t> indexes;
  if (folders.empty()) {
    for (const std::size_t index : failed_) indexes.emplace(inputs_.path(index), index);
  } else {
    for (std::size_t index = 0; index < inputs_.size(); ++index) {
      indexes.emplace(inputs_.path(index), index);
    }
  }
  std::vector<bool> has_earlier(inputs_.size());
  std::size_t kept = 0;
  for (const auto& [index, line] : earlier_) {
    if (!failed_.contains(index)) continue;
    has_earlier[index] = true;
    lines_[index + 1] = line;
    kept += line.empty() ? 0 : 1;
  }
  if (!exists(output_.path())) return kept;
  const auto is_wanted = [&](const EarlierLine& line, std::size_t index) {
    if (!is_of_segment(line, inputs_.segment(index))) return false;
    if (still_asked_ && !still_asked_(index, line.json)) return false;
    const auto channel = inputs_.channel(index);
    if (channel.has_value() != line.channel.has_value()) return false;
    if (!channel || *line.channel == static_cast<std::uint64_t>(*channel)) {
      return !has_earlier[index];  // a list may name a clip twice
    }
    // The channels of a file that cannot be read are not known: it stands for all of them.
    const bool is_last = index + 1 == inputs_.size() || inputs_.path(index + 1) != line.path;
    return is_last && *line.channel > static_cast<std::uint64_t>(*channel);
  };
  std::size_t place = 0;  // in lines_: behind what stood before it in the earlier call
  for_each_line(output_.path(), [&](std::string_view text) {
    const std::optional<EarlierLine> line = parse_line(text);
    if (!line) return;
    const auto [begin, end] = indexes.equal_range(line->path);
    const auto found = std::find_if(
        begin, end, [&](const auto& candidate) { return is_wanted(*line, candidate.second); });
    if (begin != end) place = (found == end ? begin : found)->second + 1;
    if (found != end) has_earlier[found->second] = true;
    const bool is_kept =
        begin == end
            ? std::any_of(folders.begin(), folders.end(),
                          [&](const auto& folder) { return line->path.starts_with(folder); })
            : found != end && failed_.contains(found->second);
    if (!is_kept) return;
    lines_[place] += line->text;
    ++kept;
  });
  return kept;
}

std::size_t AnswerFile::finish() {
  records_.synchronise();
  const std::size_t kept = keep_earlier_lines();
  std::string text;
  for (const std::string& line : lines_) text += line;
  output_.put(text);
  return kept;
}

}  // namespace w2vbert::tool
