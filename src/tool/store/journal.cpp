#include "tool/store/journal.h"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include "core/directory_entries.h"
#include "core/escaped_name.h"
#include "core/file_blocks.h"
#include "core/json.h"
#include "core/resolved_path.h"
#include "core/stable_hash.h"
#include "tool/corpus/partition.h"
#include "tool/store/json_text.h"
#include "tool/store/lines_file.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxLineBytes = 1 << 20;
constexpr std::string_view kJournal = "journal";
constexpr std::string_view kFailures = "failures";
constexpr std::string_view kEnding = ".jsonl";

std::string name_of(std::string_view kind, std::string_view label) {
  std::string name(kind);
  if (!label.empty()) name.append(".").append(label);
  return name.append(kEnding);
}

// Whose file of that kind it is; nothing for any other name.
std::optional<Partition> partition_of(std::string_view kind, std::string_view file_name) {
  if (file_name == name_of(kind, "")) return Partition{};
  const std::size_t begin = kind.size() + 1;
  if (file_name.size() < begin + kEnding.size()) return std::nullopt;
  const std::string_view label = file_name.substr(begin, file_name.size() - begin - kEnding.size());
  return file_name == name_of(kind, label) && !label.empty() ? Partition::from_label(label)
                                                             : std::nullopt;
}

std::vector<PartitionFile> files_in(const std::string& directory, std::string_view kind) {
  std::vector<PartitionFile> files;
  for_each_entry(directory, [&](const dirent& entry, DIR*) {
    if (const auto partition = partition_of(kind, entry.d_name)) {
      files.push_back({join_path(directory, entry.d_name), *partition});
    }
  });
  std::sort(files.begin(), files.end(),
            [](const PartitionFile& a, const PartitionFile& b) { return a.path < b.path; });
  return files;
}

// 0 for what is no number, and for one that the type does not hold.
template <class Number>
Number number_of(const JsonValue& object, std::string_view name) {
  const JsonValue* value = object.find(name);
  if (value == nullptr) return {};
  const auto* whole = value->get_if<std::uint64_t>();
  const auto* negative = value->get_if<JsonNegative>();
  if constexpr (std::is_floating_point_v<Number>) {
    if (const auto* real = value->get_if<double>()) return *real;
    if (whole) return static_cast<Number>(*whole);
    return negative ? static_cast<Number>(negative->value) : Number{};
  } else {
    if (whole && std::in_range<Number>(*whole)) return static_cast<Number>(*whole);
    if (negative && std::in_range<Number>(negative->value)) {
      return static_cast<Number>(negative->value);
    }
    return {};
  }
}

std::string text_of(const JsonValue& object, std::string_view name) {
  const auto* text = object.find_as<std::string>(name);
  return text ? *text : "";
}

std::string name_in(const JsonValue& object, std::string_view name) {
  return unescaped_name(text_of(object, name));
}

}  // namespace

Json json_of(const InputIdentity& input) {
  Json object = {{"path", escaped_name(input.path)},
                 {"resolved", escaped_name(input.resolved)},
                 {"bytes", input.bytes},
                 {"modified_ns", input.modified_ns},
                 {"changed_ns", input.changed_ns},
                 {"digest", input.digest}};
  // Such a path says it itself.
  if (!input.path.starts_with('/')) object["absolute"] = escaped_name(input.absolute);
  if (input.segment) {
    object["offset_seconds"] = input.segment->offset_seconds;
    object["duration_seconds"] = input.segment->duration_seconds;
  }
  if (input.part) {
    object[kPartBeginKey] = input.part->begin;
    object[kPartEndKey] = input.part->end;
    object[kPartTotalKey] = input.part->total;
    object[kSourceRateKey] = input.part->sample_rate_hz;
  }
  return object;
}

InputIdentity input_in(const JsonValue& object) {
  InputIdentity input;
  input.path = name_in(object, "path");
  input.resolved = name_in(object, "resolved");
  input.absolute = name_in(object, "absolute");
  // As of a path that is absolute, or by an earlier version.
  if (input.absolute.empty()) {
    input.absolute = input.path.starts_with('/') ? absolute_path(input.path) : input.resolved;
  }
  input.bytes = number_of<std::uint64_t>(object, "bytes");
  input.modified_ns = number_of<std::int64_t>(object, "modified_ns");
  input.changed_ns = number_of<std::int64_t>(object, "changed_ns");
  input.digest = text_of(object, "digest");
  if (object.find("offset_seconds") != nullptr) {
    input.segment = InputSegment{number_of<double>(object, "offset_seconds"),
                                 number_of<double>(object, "duration_seconds")};
  }
  const auto number = [&](const char* name) -> std::optional<std::int64_t> {
    if (object.find(name) == nullptr) return std::nullopt;
    return number_of<std::int64_t>(object, name);
  };
  input.part = file_part(number(kPartBeginKey), number(kPartEndKey), number(kPartTotalKey),
                         number(kSourceRateKey));
  return input;
}

namespace {

JournalEntry entry_of(const JsonValue& value) {
  JournalEntry entry{name_in(value, "name"), number_of<std::int64_t>(value, "frames"),
                     number_of<double>(value, "audio_seconds"), text_of(value, "sha256")};
  if (const JsonValue* input = value.find("input")) entry.input = input_in(*input);
  entry.fingerprint = text_of(value, "fingerprint");
  entry.generation = number_of<std::uint64_t>(value, "generation");
  const auto* is_outdated = value.find_as<bool>("outdated");
  entry.is_outdated = is_outdated && *is_outdated;
  return entry;
}

JournalBegin begin_of(const JsonValue& value) {
  JournalBegin begin;
  begin.inputs = number_of<std::size_t>(value, "inputs");
  begin.finished = number_of<std::size_t>(value, "finished");
  begin.host = text_of(value, "host");
  begin.pid = number_of<std::int64_t>(value, "pid");
  begin.kernel = {text_of(value, "boot"), text_of(value, "pid_namespace")};
  begin.fingerprint = text_of(value, "fingerprint");
  return begin;
}

// Calls line(what stands there, offset, bytes) for each line of a journal that is JSON.
void for_each_json_line(
    const InputFile& file,
    const std::function<void(const JsonValue&, std::uint64_t, std::size_t)>& line) {
  for_each_line(file, kMaxLineBytes, [&](std::string_view text, std::uint64_t offset) {
    try {
      line(JsonValue::parse(text), offset, text.size());
    } catch (const JsonError&) {
      return;  // a line of another kind, or torn in the middle by a lost machine
    }
  });
}

InputFile open_journal(const std::string& path) { return InputFile::open<StorageError>(path); }

}  // namespace

Journal::Journal(std::string path, std::uint64_t generation, std::string fingerprint)
    : generation_(generation),
      fingerprint_(std::move(fingerprint)),
      lines_(std::move(path), LinesKind::kJournal) {}

void Journal::begin(std::size_t inputs, std::size_t finished) {
  Json line = {{"inputs", inputs},           {"finished", finished},
               {"host", host_name()},        {"pid", ::getpid()},
               {"boot", this_kernel().boot}, {"pid_namespace", this_kernel().pid_namespace},
               {"generation", generation_}};
  if (!fingerprint_.empty()) line["fingerprint"] = fingerprint_;
  lines_.append(json_line(line));
}

void Journal::add(const JournalEntry& entry) {
  Json line = {{"name", escaped_name(entry.name)},
               {"frames", entry.frames},
               {"audio_seconds", entry.audio_seconds}};
  if (!entry.sha256.empty()) line["sha256"] = entry.sha256;
  line["generation"] = generation_;
  if (!fingerprint_.empty()) line["fingerprint"] = fingerprint_;
  if (entry.input.is_known()) line["input"] = json_of(entry.input);
  if (entry.is_outdated) line["outdated"] = true;
  lines_.append(json_line(line));
}

void read_journal(const std::string& path, const std::function<void(const JournalBegin&)>& begin,
                  const std::function<void(const JournalEntry&)>& entry) {
  for_each_json_line(open_journal(path), [&](const JsonValue& value, std::uint64_t, std::size_t) {
    if (value.find("inputs") != nullptr) {
      begin(begin_of(value));
    } else if (value.find("name") != nullptr) {
      entry(entry_of(value));
    }
  });
}

std::string journal_name(std::string_view label) { return name_of(kJournal, label); }
std::string failures_name(std::string_view label) { return name_of(kFailures, label); }

std::optional<Partition> partition_of_journal(std::string_view file_name) {
  return partition_of(kJournal, file_name);
}

bool is_name_of_lines(std::string_view file_name) {
  return partition_of(kJournal, file_name) || partition_of(kFailures, file_name);
}

std::vector<PartitionFile> journals_in(const std::string& directory) {
  return files_in(directory, kJournal);
}

std::vector<PartitionFile> failures_in(const std::string& directory) {
  return files_in(directory, kFailures);
}

OutputRecords::OutputRecords(const std::string& directory) {
  for (PartitionFile& file : journals_in(directory)) {
    const auto journal = static_cast<std::uint32_t>(journals_.size());
    journals_.push_back(std::move(file.path));
    for_each_json_line(open_journal(journals_.back()),
                       [&](const JsonValue& value, std::uint64_t offset, std::size_t bytes) {
                         const auto generation = number_of<std::uint64_t>(value, "generation");
                         generation_ = std::max(generation_, generation);
                         if (value.find("name") == nullptr) return;
                         Place& place = places_[stable_hash(name_in(value, "name"))];
                         if (generation < place.generation) return;
                         place = {generation, journal, static_cast<std::uint32_t>(bytes), offset};
                       });
  }
}

JournalEntry OutputRecords::read(const Place& place) const {
  if (!open_ || open_->first != place.journal) {
    open_.reset();
    open_.emplace(place.journal, open_journal(journals_[place.journal]));
  }
  const InputFile& journal = open_->second;
  std::string line(place.bytes, '\0');
  journal.read_at(place.offset, line.data(), line.size());
  try {
    return entry_of(JsonValue::parse(line));
  } catch (const JsonError&) {
    throw StorageError(journal.path(), "", "was changed by another process while it was read",
                       "a journal to which lines are added only");
  }
}

std::optional<JournalEntry> OutputRecords::find(std::string_view name) const {
  const auto place = places_.find(stable_hash(name));
  if (place == places_.end()) return std::nullopt;
  JournalEntry entry = read(place->second);
  if (entry.name != name) return std::nullopt;  // two names of one hash: as if it were not recorded
  return entry;
}

void OutputRecords::for_each(const std::function<void(const JournalEntry&)>& record) const {
  std::vector<Place> places;
  places.reserve(places_.size());
  for (const auto& [hash, place] : places_) places.push_back(place);
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return std::pair(a.journal, a.offset) < std::pair(b.journal, b.offset);
  });
  for (const Place& place : places) record(read(place));
}

}  // namespace w2vbert::tool
