#include "tool/cli/answer_file.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "core/durable_file.h"
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

bool is_plain(const JsonValue& value) {
  return !value.get_if<JsonValue::Object>() && !value.get_if<JsonValue::Array>();
}

// A number, or an object of strings and numbers and of lists of such: a word with its times, a
// label with its score, a text with its words. JSON has null for NaN.
bool is_element(const JsonValue& value) {
  const auto* members = value.get_if<JsonValue::Object>();
  if (!members) return is_plain(value) && !value.get_if<std::string>();
  return std::all_of(members->begin(), members->end(), [](const auto& member) {
    const auto* list = member.second.template get_if<JsonValue::Array>();
    return list ? std::all_of(list->begin(), list->end(), is_element) : is_plain(member.second);
  });
}

// Nothing for a line that this program has not written: one with a member more, for example.
std::optional<EarlierLine> parse_line(std::string_view text, const AnswerMembers& wanted) try {
  const JsonValue value = JsonValue::parse(text);
  const auto* members = value.get_if<JsonValue::Object>();
  if (!members) return std::nullopt;
  EarlierLine line;
  bool has_path = false, has_seconds = false;
  std::size_t answers = 0;
  for (const auto& [name, member] : *members) {
    const auto* string = member.get_if<std::string>();
    const std::optional<double> number = number_in(member);
    const auto* list = member.get_if<JsonValue::Array>();
    if (name == "path" && string) {
      has_path = true;
      line.path = unescaped_name(*string);
    } else if (wanted.each.contains(name) || wanted.some.contains(name)) {
      if (name == "text" ? !string
                         : !list || !std::all_of(list->begin(), list->end(), is_element)) {
        return std::nullopt;
      }
      if (wanted.each.contains(name)) ++answers;
    } else if (name == "seconds" && number) {
      has_seconds = true;
      line.seconds = *number;
    } else if (name == "offset" && number) {
      line.offset_seconds = number;
    } else if (const auto* channel = member.get_if<std::uint64_t>(); name == "channel" && channel) {
      line.channel = *channel;
    } else {
      return std::nullopt;
    }
  }
  if (!has_path || !has_seconds || answers != wanted.each.size()) return std::nullopt;
  line.text = std::string(text) + "\n";
  return line;
} catch (const JsonError&) {
  return std::nullopt;
}

// Calls line(text) for each line until it returns false; returns whether it never did.
template <class Function>
bool for_each_line(const std::string& path, const Function& line) {
  const std::string text =
      read_small_file<StorageError>(path, std::numeric_limits<std::uint64_t>::max());
  for (std::string_view left = text; !left.empty();) {
    const std::size_t end = std::min(left.find('\n'), left.size() - 1);
    if (left[end] != '\n' || !line(left.substr(0, end))) return false;
    left.remove_prefix(end + 1);
  }
  return true;
}

bool has_such_lines(const std::string& path, const AnswerMembers& members) {
  return for_each_line(
      path, [&](std::string_view line) { return parse_line(line, members).has_value(); });
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

AnswerFile::AnswerFile(std::string path, const ProtectedFiles& sources, const InputList& inputs,
                       AnswerMembers members)
    : inputs_(inputs),
      members_(std::move(members)),
      output_(std::move(path), "output", sources,
              [kept = members_](const std::string& there) { return has_such_lines(there, kept); }),
      lines_(inputs.size() + 1) {}

void AnswerFile::add(std::size_t index, std::string line) { lines_[index + 1] = std::move(line); }

void AnswerFile::add_failed(std::size_t index) { failed_.insert(index); }

std::size_t AnswerFile::keep_earlier_lines() {
  std::vector<std::string> folders;  // that could not be listed: their files are not in the list
  for (const BadRow& row : inputs_.bad_rows()) {
    if (row.place.empty()) folders.push_back(join_path(row.path, ""));
  }
  if ((failed_.empty() && folders.empty()) || !exists(output_.path())) return 0;
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
  const auto is_wanted = [&](const EarlierLine& line, std::size_t index) {
    if (!is_of_segment(line, inputs_.segment(index))) return false;
    const auto channel = inputs_.channel(index);
    if (channel.has_value() != line.channel.has_value()) return false;
    if (!channel || *line.channel == static_cast<std::uint64_t>(*channel)) {
      return !has_earlier[index];  // a list may name a clip twice
    }
    // The channels of a file that cannot be read are not known: it stands for all of them.
    const bool is_last = index + 1 == inputs_.size() || inputs_.path(index + 1) != line.path;
    return is_last && *line.channel > static_cast<std::uint64_t>(*channel);
  };
  std::size_t kept = 0;
  std::size_t place = 0;  // in lines_: behind what stood before it in the earlier call
  for_each_line(output_.path(), [&](std::string_view text) {
    const std::optional<EarlierLine> line = parse_line(text, members_);
    if (!line) return true;
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
    if (!is_kept) return true;
    lines_[place] += line->text;
    ++kept;
    return true;
  });
  return kept;
}

std::size_t AnswerFile::write() {
  const std::size_t kept = keep_earlier_lines();
  std::string text;
  for (const std::string& line : lines_) text += line;
  output_.put(StagedFile(output_.path(), text));
  return kept;
}

}  // namespace w2vbert::tool
