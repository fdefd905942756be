#include "tool/corpus/manifest.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <optional>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "core/parse_number.h"
#include "core/text.h"
#include "tool/corpus/line_file.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::string_view kBlanks = " \t";
// Beyond any recording: 30 years.
constexpr double kMaxSeconds = 1e9;

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::string below(const std::string& folder, std::string_view path) {
  return path.starts_with('/') ? std::string(path) : folder + std::string(path);
}

// One row after the other, of any format.
class ManifestReader {
 public:
  ManifestReader(const std::string& path, ManifestFormat format, InputList& inputs)
      : path_(path),
        format_(format),
        folder_(path == "-" ? "" : directory_prefix(path)),
        inputs_(inputs) {}

  std::string_view expected() const {
    switch (format_) {
      case ManifestFormat::tsv:
        return "a line with the root directory, then a path below it, a tab and the number of "
               "samples a line";
      case ManifestFormat::jsonl:
        return "one JSON object with \"audio_filepath\" a line";
      case ManifestFormat::scp:
        return "a name, a blank and an audio path a line";
      default:
        return "a list with one audio path a line";
    }
  }

  void line(std::size_t number, std::string_view bytes) {
    number_ = number;
    if (bytes.find('\0') != std::string_view::npos) refuse("holds a NUL byte");
    if (format_ == ManifestFormat::tsv && number == 1) {
      root_ = join_path(std::string(bytes), "");
      return;
    }
    if (trimmed(bytes).empty()) return;
    ++rows_;
    switch (format_) {
      case ManifestFormat::list:
        inputs_.add(below(folder_, bytes));
        break;
      case ManifestFormat::tsv:
        add_tsv(bytes);
        break;
      case ManifestFormat::jsonl:
        add_jsonl(bytes);
        break;
      case ManifestFormat::scp:
        add_scp(bytes);
    }
  }

  void finish() const {
    if (rows_ == 0) throw UsageError(path_, "", "is empty", expected());
  }

 private:
  std::string place() const { return "line " + std::to_string(number_); }
  [[noreturn]] void refuse(std::string_view problem) const {
    throw UsageError(path_, place(), problem, expected());
  }
  void bad_row(const std::string& problem) {
    inputs_.add_bad_row({path_ + ": " + place(), problem});
  }

  void add_tsv(std::string_view row) {
    const std::vector<std::string> fields = split(row, '\t');
    if (fields.size() != 2) {
      bad_row("has " + std::to_string(fields.size()) +
              " fields, expected a path, a tab and the "
              "number of samples");
    } else if (!parse_number<std::uint64_t>(fields[1])) {
      bad_row(in_quotes(fields[1]) + " is no number of samples");
    } else {
      inputs_.add(below(root_, fields[0]));
    }
  }

  void add_scp(std::string_view row) {
    row = trimmed(row);
    if (row.ends_with('|')) refuse("is a command");
    const std::size_t blank = row.find_first_of(kBlanks);
    if (blank == std::string_view::npos) {
      bad_row("has one field, expected a name, a blank and a path");
      return;
    }
    inputs_.add_named(row.substr(0, blank), below(folder_, trimmed(row.substr(blank))));
  }

  void add_jsonl(std::string_view row) {
    std::string audio;
    std::optional<double> offset, duration;
    try {
      const JsonValue object = JsonValue::parse(row);
      const JsonValue* path = object.find("audio_filepath");
      const auto* text = path ? path->get_if<std::string>() : nullptr;
      if (text == nullptr || text->empty()) refuse("has no \"audio_filepath\" that is a string");
      audio = *text;
      if (!read_seconds(object, "offset", offset) || !read_seconds(object, "duration", duration)) {
        return;
      }
    } catch (const JsonError& error) {
      refuse(error.what());
    }
    if (audio.find('\0') != std::string::npos) refuse("holds a NUL byte");
    if (duration && *duration == 0) {
      bad_row("\"duration\" is 0, expected more");
    } else if (offset) {
      inputs_.add(below(folder_, audio), {*offset, duration.value_or(0)});
    } else {
      inputs_.add(below(folder_, audio));
    }
  }

  // False: the row is bad. A key that is not there, or null, leaves `seconds` empty.
  bool read_seconds(const JsonValue& object, std::string_view key, std::optional<double>& seconds) {
    const JsonValue* value = object.find(key);
    if (value == nullptr || value->is_null()) return true;
    if (const auto* whole = value->get_if<std::uint64_t>()) seconds = static_cast<double>(*whole);
    if (const auto* real = value->get_if<double>()) seconds = *real;
    if (seconds && *seconds >= 0 && *seconds <= kMaxSeconds) return true;
    bad_row(in_quotes(key) + " is " + value->describe() + ", expected seconds, 0 or more");
    return false;
  }

  const std::string& path_;
  ManifestFormat format_;
  std::string folder_;
  std::string root_;  // of a tsv
  InputList& inputs_;
  std::size_t number_ = 0;
  std::size_t rows_ = 0;
};

bool is_audio_name(std::string name) {
  constexpr std::array<std::string_view, 13> kEndings = {".wav", ".flac", ".ogg",  ".oga",  ".opus",
                                                         ".mp3", ".aif",  ".aiff", ".aifc", ".au",
                                                         ".caf", ".w64",  ".rf64"};
  for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return std::any_of(kEndings.begin(), kEndings.end(),
                     [&](std::string_view ending) { return name.ends_with(ending); });
}

}  // namespace

ManifestFormat manifest_format_of(std::string_view path) {
  if (path.ends_with(".tsv")) return ManifestFormat::tsv;
  if (path.ends_with(".jsonl") || path.ends_with(".json")) return ManifestFormat::jsonl;
  if (path.ends_with(".scp")) return ManifestFormat::scp;
  return ManifestFormat::list;
}

void read_manifest(const std::string& path, ManifestFormat format, InputList& inputs) {
  ManifestReader reader(path, format, inputs);
  read_lines(path, kMaxManifestLineBytes, reader.expected(),
             [&](std::size_t number, std::string_view bytes) { reader.line(number, bytes); });
  reader.finish();
}

void read_audio_directory(const std::string& path, InputList& inputs) {
  namespace fs = std::filesystem;
  std::vector<std::string> files;
  std::error_code error;
  fs::recursive_directory_iterator entry(path, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with('.')) {
      entry.disable_recursion_pending();
      continue;
    }
    std::error_code no_file;  // a link that leads nowhere, or a directory: passed over
    if (is_audio_name(name) && entry->is_regular_file(no_file))
      files.push_back(entry->path().string());
  }
  if (error)
    throw UsageError(path, "", "cannot be listed: " + error.message(),
                     "a directory with audio files");
  if (files.empty())
    throw UsageError(path, "", "holds no audio files", "a directory with audio files");
  std::sort(files.begin(), files.end());
  for (const std::string& file : files) inputs.add(file);
}

}  // namespace w2vbert::tool
