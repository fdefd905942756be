#include "tool/store/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "core/descriptor.h"
#include "core/host_name.h"
#include "core/json.h"
#include "tool/corpus/line_file.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxLineBytes = 1 << 20;

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

Journal::Journal(std::string path) : path_(std::move(path)) {
  Descriptor file(::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (file.number() < 0) fail_storage(path_, "cannot be written", errno);
  struct stat status {};
  if (::fstat(file.number(), &status) != 0) fail_storage(path_, "cannot be looked at", errno);
  const off_t end = end_of_lines(file.number(), status.st_size, path_);
  if (end != status.st_size && ::ftruncate(file.number(), end) != 0) {
    fail_storage(path_, "cannot be cut", errno);
  }
  descriptor_ = file.release();
}

Journal::~Journal() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void Journal::begin(std::size_t inputs, std::size_t finished) {
  append(
      Json{{"inputs", inputs}, {"finished", finished}, {"host", host_name()}, {"pid", ::getpid()}}
          .dump(-1, ' ', false, Json::error_handler_t::replace));
}

void Journal::add(const JournalEntry& entry) {
  Json line = {
      {"name", entry.name}, {"frames", entry.frames}, {"audio_seconds", entry.audio_seconds}};
  if (!entry.sha256.empty()) line["sha256"] = entry.sha256;
  append(line.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void Journal::append(const std::string& line) {
  struct stat before {};
  const bool known = ::fstat(descriptor_, &before) == 0;
  try {
    write_all(descriptor_, line + "\n", path_);
  } catch (...) {
    // Half a line would spoil the next one.
    if (known && ::ftruncate(descriptor_, before.st_size) != 0)
      ::close(std::exchange(descriptor_, -1));
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

bool is_journal(std::string_view file_name, std::string& partition) {
  constexpr std::string_view kBegin = "journal", kEnd = ".jsonl";
  if (file_name.size() < kBegin.size() + kEnd.size() || !file_name.starts_with(kBegin) ||
      !file_name.ends_with(kEnd)) {
    return false;
  }
  partition = file_name.substr(kBegin.size(), file_name.size() - kBegin.size() - kEnd.size());
  if (partition.starts_with('.')) partition.erase(0, 1);
  return true;
}

std::unordered_map<std::string, std::string> journaled_digests(const std::string& directory) {
  std::unordered_map<std::string, std::string> digests;
  std::string partition;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (!is_journal(entry.path().filename().string(), partition)) continue;
    for (JournalEntry& output : read_journal(entry.path().string()).entries) {
      digests[output.name] = std::move(output.sha256);
    }
  }
  return digests;
}

}  // namespace w2vbert::tool
