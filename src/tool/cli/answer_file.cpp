#include "tool/cli/answer_file.h"

#include <algorithm>
#include <cstdint>
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
  std::string path;
  std::optional<double> offset_seconds;
  std::optional<std::uint64_t> channel;
  double seconds = 0;
  std::string text;  // the line itself
};

std::optional<double> number_in(const JsonValue& value) {
  if (const double* number = value.get_if<double>()) return *number;
  if (const auto* number = value.get_if<std::uint64_t>()) return static_cast<double>(*number);
  return std::nullopt;
}

// Nothing for a line that tells of no clip.
std::optional<EarlierLine> parse_line(std::string_view text) try {
  EarlierLine line;
  const JsonValue json = JsonValue::parse(text);
  const auto* path = json.find_as<std::string>("path");
  const JsonValue* seconds = json.find("seconds");
  const std::optional<double> number = seconds ? number_in(*seconds) : std::nullopt;
  if (!path || !number) return std::nullopt;
  line.path = unescaped_name(*path);
  line.seconds = *number;
  if (const JsonValue* offset = json.find("offset")) line.offset_seconds = number_in(*offset);
  if (const auto* channel = json.find_as<std::uint64_t>("channel")) line.channel = *channel;
  line.text = std::string(text) + "\n";
  return line;
} catch (const JsonError&) {
  return std::nullopt;
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
                       const InputList& inputs, const Fingerprint& run,
                       const AnswerRecords::Asked& asked)
    : inputs_(inputs),
      is_asked_more_(asked),
      output_(path, "output", sources, run),
      records_(path, {}, sources, inputs, run.digest(), asked),
      lines_(inputs.size() + 1),
      answered_(inputs.size()) {}

std::size_t AnswerFile::take_answered(const Partition& partition) {
  std::size_t taken = 0;
  for (std::size_t index = 0; index < inputs_.size(); ++index) {
    if (!partition.holds(inputs_.name(index))) continue;
    const auto found = records_.find(index);
    if (found.empty()) continue;
    if (found.front().origin == EarlierAnswer::kOfInput) {
      lines_[index + 1] = found.front().line + "\n";
      answered_[index] = true;
      ++taken;
      continue;
    }
    std::string& earlier = earlier_[index];
    if (found.front().origin == EarlierAnswer::kOfAnother) continue;
    earlier = found.front().line + "\n";
    // The channels of a file that cannot be read are not known: the first stands for all of them.
    const auto channel = inputs_.channel(index);
    const bool has_next = index + 1 < inputs_.size() && inputs_.repeats_path(index + 1) &&
                          inputs_.channel(index + 1) > channel;
    for (int other = channel.value_or(0) + 1; channel && !has_next; ++other) {
      const auto of_other = records_.find(index, other);
      if (of_other.empty()) break;
      earlier += of_other.front().line + "\n";
    }
  }
  return taken;
}

void AnswerFile::add(const AnsweredClip& clip, const Answer& answer) {
  std::string line = json_line_of(clip, answer.json);
  records_.add(clip.index, clip.input, std::string_view(line).substr(0, line.size() - 1));
  lines_[clip.index + 1] = std::move(line);
}

void AnswerFile::add(const ClipFailure& failure, std::optional<std::size_t> index) {
  if (index) failed_.insert(*index);
  records_.add(failure);
}

std::size_t AnswerFile::keep_earlier_lines() {
  std::size_t kept = 0;
  std::vector<std::size_t> unknown;  // that failed, and the journal has nothing of them
  for (const std::size_t index : failed_) {
    const auto earlier = earlier_.find(index);
    if (earlier == earlier_.end()) {
      if (!is_asked_more_) unknown.push_back(index);
      continue;
    }
    lines_[index + 1] = earlier->second;
    kept +=
        static_cast<std::size_t>(std::count(earlier->second.begin(), earlier->second.end(), '\n'));
  }
  std::vector<std::string> folders;  // that could not be listed: their files are not in the list
  for (const BadRow& row : inputs_.bad_rows()) {
    if (row.place.empty()) folders.push_back(join_path(row.path, ""));
  }
  if ((unknown.empty() && folders.empty()) || !exists(output_.path())) return kept;
  // The first input of each path, in the list's order, and those that are asked about.
  std::map<std::string, std::size_t> places;
  std::multimap<std::string, std::size_t> asked;
  for (const std::size_t index : unknown) {
    asked.emplace(inputs_.path(index), index);
    places.emplace(inputs_.path(index), index);
  }
  for (std::size_t index = 0; index < inputs_.size() && !folders.empty(); ++index) {
    places.emplace(inputs_.path(index), index);
  }
  std::size_t place = 0;  // in lines_: behind what stood before it in the earlier call
  const auto file = InputFile::open<StorageError>(output_.path());
  for_each_line(file, file.size(), [&](std::string_view text, std::uint64_t) {
    const std::optional<EarlierLine> line = parse_line(text);
    if (!line) return;
    const auto listed = places.find(line->path);
    if (listed != places.end()) {
      place = listed->second + 1;
      const auto [begin, end] = asked.equal_range(line->path);
      const auto found = std::find_if(begin, end, [&](const auto& candidate) {
        const auto channel = inputs_.channel(candidate.second);
        return is_of_segment(*line, inputs_.segment(candidate.second)) &&
               channel.has_value() == line->channel.has_value() &&
               (!channel || *line->channel == static_cast<std::uint64_t>(*channel));
      });
      if (found == end) return;
      place = found->second + 1;
      asked.erase(found);  // a list may name a clip twice
    } else if (std::none_of(folders.begin(), folders.end(), [&](const std::string& folder) {
                 return line->path.starts_with(folder);
               })) {
      return;
    }
    lines_[place] += line->text;
    ++kept;
  });
  return kept;
}

std::size_t AnswerFile::finish() {
  // First: the journal tells more of a clip that fails than the file.
  records_.synchronise();
  const std::size_t kept = keep_earlier_lines();
  std::string text;
  for (const std::string& line : lines_) text += line;
  output_.put(text);
  return kept;
}

}  // namespace w2vbert::tool
