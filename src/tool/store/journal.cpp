#include "tool/store/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "core/host_name.h"
#include "core/json.h"
#include "tool/corpus/line_file.h"
#include "tool/store/json_text.h"
#include "tool/store/lines_file.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxLineBytes = 1 << 20;
constexpr std::string_view kJournal = "journal";
constexpr std::string_view kEnding = ".jsonl";

std::string name_of(std::string_view kind, std::string_view label) {
  std::string name(kind);
  if (!label.empty()) name.append(".").append(label);
  return name.append(kEnding);
}

// Where the last whole line ends.
off_t end_of_lines(int descriptor, off_t size, const std::string& path) {
  std::array<char, 4096> block{};
  while (size > 0) {
    const off_t begin =
        size > static_cast<off_t>(block.size()) ? size - static_cast<off_t>(block.size()) : 0;
    const ssize_t count =
        ::pread(descriptor, block.data(), static_cast<std::size_t>(size - begin), begin);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_storage(path, "cannot be read", errno);
    if (count == 0) break;
    const std::size_t end =
        std::string_view(block.data(), static_cast<std::size_t>(count)).rfind('\n');
    if (end != std::string_view::npos) return begin + static_cast<off_t>(end) + 1;
    size = begin;
  }
  return 0;
}

// Other processes may add to the same journal: one cuts or adds at a time, as far as the file
// system has locks.
class Locked {
 public:
  explicit Locked(const Descriptor& file) : file_(file) {
    while (::flock(file_.number(), LOCK_EX) != 0 && errno == EINTR) continue;
  }
  ~Locked() { ::flock(file_.number(), LOCK_UN); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  const Descriptor& file_;
};

template <class Number>
Number number_of(const JsonValue& object, std::string_view name) {
  const JsonValue* value = object.find(name);
  if (value == nullptr) return {};
  if (const auto* whole = value->get_if<std::uint64_t>()) return static_cast<Number>(*whole);
  if (const auto* real = value->get_if<double>()) return static_cast<Number>(*real);
  return {};
}

std::string text_of(const JsonValue& object, std::string_view name) {
  const JsonValue* value = object.find(name);
  const auto* text = value ? value->get_if<std::string>() : nullptr;
  return text ? *text : "";
}

}  // namespace

Journal::Journal(std::string path)
    : path_(std::move(path)),
      descriptor_(open_lines(path_, LinesKind::kJournal, O_RDWR | O_CREAT | O_APPEND)) {
  const Locked locked(descriptor_);
  const int file = descriptor_.number();
  struct stat status {};
  if (::fstat(file, &status) != 0) fail_storage(path_, "cannot be looked at", errno);
  const off_t end = end_of_lines(file, status.st_size, path_);
  if (end != status.st_size && ::ftruncate(file, end) != 0) {
    fail_storage(path_, "cannot be cut", errno);
  }
}

void Journal::begin(std::size_t inputs, std::size_t finished) {
  append(json_line(
      {{"inputs", inputs}, {"finished", finished}, {"host", host_name()}, {"pid", ::getpid()}}));
}

void Journal::add(const JournalEntry& entry) {
  Json line = {
      {"name", entry.name}, {"frames", entry.frames}, {"audio_seconds", entry.audio_seconds}};
  if (!entry.sha256.empty()) line["sha256"] = entry.sha256;
  append(json_line(line));
}

void Journal::append(const std::string& line) {
  const Locked locked(descriptor_);
  struct stat before {};
  const bool known = ::fstat(descriptor_.number(), &before) == 0;
  try {
    write_all(descriptor_.number(), line, path_);
  } catch (...) {
    // Half a line would spoil the next one.
    if (known && ::ftruncate(descriptor_.number(), before.st_size) != 0) (void)descriptor_.close();
    throw;
  }
}

JournalRead read_journal(const std::string& path) {
  JournalRead read;
  read_lines(path, kMaxLineBytes, "a journal", [&](std::size_t, std::string_view line) {
    try {
      const JsonValue value = JsonValue::parse(line);
      if (value.find("inputs") != nullptr) {
        read.inputs = number_of<std::size_t>(value, "inputs");
        read.finished = number_of<std::size_t>(value, "finished");
        read.host = text_of(value, "host");
        read.pid = number_of<std::int64_t>(value, "pid");
        read.entries_of_last = 0;
      } else if (value.find("name") != nullptr) {
        read.entries.push_back({text_of(value, "name"), number_of<std::int64_t>(value, "frames"),
                                number_of<double>(value, "audio_seconds"),
                                text_of(value, "sha256")});
        ++read.entries_of_last;
      }
    } catch (const JsonError&) {
      return;  // a line of another kind, or torn in the middle by a lost machine
    }
  });
  return read;
}

std::string journal_name(std::string_view label) { return name_of(kJournal, label); }
std::string failures_name(std::string_view label) { return name_of("failures", label); }

std::optional<std::string> label_of_journal(std::string_view file_name) {
  if (file_name.size() < kJournal.size() + kEnding.size() || !file_name.starts_with(kJournal) ||
      !file_name.ends_with(kEnding)) {
    return std::nullopt;
  }
  file_name.remove_prefix(kJournal.size());
  file_name.remove_suffix(kEnding.size());
  if (file_name.starts_with('.')) file_name.remove_prefix(1);
  return std::string(file_name);
}

std::unordered_map<std::string, std::string> journaled_digests(const std::string& directory) {
  std::unordered_map<std::string, std::string> digests;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (!label_of_journal(entry.path().filename().string())) continue;
    for (JournalEntry& output : read_journal(entry.path().string()).entries) {
      digests[output.name] = std::move(output.sha256);
    }
  }
  return digests;
}

}  // namespace w2vbert::tool
