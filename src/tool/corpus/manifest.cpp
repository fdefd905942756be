#include "tool/corpus/manifest.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <utility>
#include <variant>
#include <vector>

#include "core/environment.h"
#include "core/file.h"
#include "core/json.h"
#include "core/parse_number.h"
#include "core/text.h"
#include "tool/corpus/archive.h"
#include "tool/corpus/delimited_rows.h"
#include "tool/corpus/json_rows.h"
#include "tool/corpus/lhotse_row.h"
#include "tool/corpus/line_file.h"
#include "w2vbert/audio/audio_file.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::string_view kBlanks = " \t";
// A file of another kind shows itself by then, and its bad rows still cost little memory.
constexpr std::size_t kMaxBadRowsBeforeAGoodOne = 10'000;
// Names of the path in a table's header and in JSON objects: NeMo's two, datasets' two, Common
// Voice's.
constexpr std::array<std::string_view, 5> kPathKeys = {"audio_filepath", "audio_filename",
                                                       "file_name", "audio_file_name", "path"};
// Names of what is said: NeMo's, datasets', Common Voice's, and another usual one.
constexpr std::array<std::string_view, 4> kTextKeys = {"text", "transcription", "sentence",
                                                       "transcript"};
constexpr std::string_view kScpRow = "a name, a blank and a path";
constexpr std::string_view kCommonVoiceKey = "client_id";
constexpr std::string_view kCommonVoiceFolder = "clips/";

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

// "~/a" below the home directory; everything else, and without HOME, as it is.
std::string with_home(std::string_view path) {
  const std::string home = path.starts_with("~/") ? environment_text("HOME") : "";
  return home.empty() ? std::string(path) : join_path(home, path.substr(2));
}

std::string below(const std::string& folder, std::string_view path) {
  std::string expanded = with_home(path);
  return expanded.starts_with('/') ? expanded : folder + expanded;
}

std::string too_long_text() {
  return "is longer than " + std::to_string(kMaxManifestLineBytes) + " bytes";
}

// One row after the other, of any format.
class ManifestReader {
 public:
  ManifestReader(const std::string& path, std::optional<ManifestFormat> format, InputList& inputs)
      : path_(path),
        format_(format.value_or(manifest_format_of(path))),
        format_is_guessed_(!format),
        folder_(path == "-" ? "" : directory_prefix(path)),
        inputs_(inputs),
        archives_(inputs),
        lines_(kMaxManifestLineBytes, [this](const Line& one) { line(one); }),
        csv_([this](const CsvRows::Row& row) { add_csv(row); }),
        array_(kMaxManifestLineBytes,
               [this](const JsonArraySplitter::Element& element) { add_element(element); }) {}

  std::string_view expected() const {
    switch (format_) {
      case ManifestFormat::tsv:
        return "a line with the root directory, then a path below it, a tab and the number of "
               "samples a line; or a header with \"path\", then rows";
      case ManifestFormat::csv:
        return "a header with \"file_name\" (or \"path\", \"audio_filepath\"), then rows";
      case ManifestFormat::jsonl:
        return "one JSON object with \"audio_filepath\" (or \"file_name\", \"path\") or one of "
               "Lhotse's "
               "cuts a line, or an array of them";
      case ManifestFormat::scp:
        return "a name, a blank and an audio path a line";
      case ManifestFormat::segments:
        return "a name, a name in the wav.scp beside it, a start and an end in seconds a line";
      default:
        return "a list with one audio path a line";
    }
  }

  void block(std::string_view bytes) {
    if (format_ == ManifestFormat::jsonl && !is_array_) {
      // What stands first, behind white space.
      const std::size_t first = bytes.find_first_not_of(" \t\r\n");
      if (first == std::string_view::npos) return;
      is_array_ = bytes[first] == '[';
    }
    is_array_.value_or(false) ? array_.add(bytes) : lines_.add(bytes);
  }

  void finish() {
    lines_.finish();
    csv_.finish();
    if (is_array_.value_or(false)) array_.finish();
    archives_.finish();
    if (good_rows_ > 0) return;
    if (first_problem_) throw *first_problem_;
    throw UsageError(path_, "", "is empty", expected());
  }

 private:
  void line(const Line& one) {
    place_ = "line " + std::to_string(one.number);
    if (format_ == ManifestFormat::csv) {
      // Unless it is said to be a CSV, it may be a list with that ending.
      if (!header_ && format_is_guessed_ && !begins_a_table(one)) {
        format_ = ManifestFormat::list;
      } else {
        return csv_.add(one);
      }
    }
    const bool is_first_of_tsv = format_ == ManifestFormat::tsv && one.number == 1;
    if (one.is_cut && is_first_of_tsv) refuse(too_long_text());
    if (one.is_cut) return bad_row(too_long_text());
    if (is_first_of_tsv) return begin_tsv(one.bytes);
    if (trimmed(one.bytes).empty()) return;
    if (format_ == ManifestFormat::list && format_is_guessed_ && good_rows_ + bad_rows_ == 0) {
      refuse_json(trimmed(one.bytes));
    }
    switch (format_) {
      case ManifestFormat::tsv:
        header_ ? add_of_table(tsv_fields(one.bytes)) : add_tsv(one.bytes);
        break;
      case ManifestFormat::jsonl:
        add_json(one.bytes);
        break;
      case ManifestFormat::scp:
        add_scp(one.bytes);
        break;
      case ManifestFormat::segments:
        add_kaldi_segment(one.bytes);
        break;
      default:
        add(one.bytes);
    }
  }

  [[noreturn]] void refuse(std::string_view problem) const {
    throw UsageError(path_, place_, problem, expected());
  }

  // A list by its ending, whose first line is no path.
  void refuse_json(std::string_view first) const {
    constexpr std::string_view kBeginnings[] = {"{\"", "{ \"", "[{", "[ {"};
    for (const std::string_view beginning : kBeginnings) {
      if (first.starts_with(beginning)) {
        throw UsageError(path_, place_, "begins as JSON",
                         std::string(expected()) + ", or --manifest-format jsonl");
      }
    }
  }

  void bad_row(const std::string& problem, std::string_view expected_instead = {}) {
    if (good_rows_ == 0) {
      if (!first_problem_) {
        first_problem_.emplace(path_, place_, problem,
                               expected_instead.empty() ? expected() : expected_instead);
      }
      if (++bad_rows_ == kMaxBadRowsBeforeAGoodOne) throw *first_problem_;
    }
    inputs_.add_bad_row(
        {path_, place_,
         problem + ", expected " +
             std::string(expected_instead.empty() ? expected() : expected_instead)});
  }

  // An input of the row at hand: `path` as it stands there, below `folder` when relative.
  void add(std::string_view path) { add(folder_, path, {}, {}); }

  void add(const std::string& folder, std::string_view path, std::string_view name,
           const std::optional<InputSegment>& segment, std::optional<int> channel = {}) {
    if (path.find('\0') != std::string_view::npos || name.find('\0') != std::string_view::npos) {
      return bad_row("holds a NUL byte");
    }
    const std::string whole = below(folder, path);
    if (has_archive_name(whole)) return add_archive(whole, path, !name.empty() || segment);
    std::optional<Member> member;
    if (const std::size_t colon = place_in_archive(whole); format_has_archives() && colon > 0) {
      member = Member{whole.substr(0, colon), Member::Kind::wav,
                      *parse_number<std::uint64_t>(std::string_view(whole).substr(colon + 1))};
    }
    if (const auto bad = inputs_.problem_of(whole, name, segment, channel)) {
      return bad_row(in_quotes(path) + " " + bad->problem, bad->expected);
    }
    if (good_rows_ > 0 && has_names_ == name.empty()) {
      return bad_row(name.empty() ? "has no name, as the rows before have one"
                                  : "has a name, as the rows before do not",
                     "rows of one kind");
    }
    ++good_rows_;
    has_names_ = !name.empty();
    if (!name.empty()) {
      inputs_.add_named(name, whole, segment, channel);
    } else if (segment) {
      inputs_.add(whole, *segment);
    } else {
      inputs_.add(whole);
    }
    if (text_) inputs_.set_text(*text_);
    if (member) inputs_.set_member(std::move(*member));
  }

  // Its members are inputs, by names of their own.
  void add_archive(const std::string& whole, std::string_view path, bool is_part_or_named) {
    if (is_part_or_named) {
      return bad_row(in_quotes(path) + " is a tar, whose members have names and no segments",
                     "a row with the path alone");
    }
    ++good_rows_;
    archives_.add(whole);
  }

  bool format_has_archives() const {
    return format_ == ManifestFormat::scp || format_ == ManifestFormat::segments;
  }

  // Kaldi: ClassifyRxfilename, kOffsetFileInput. Where the colon is of "wav.ark:1234"; 0 for
  // others.
  static std::size_t place_in_archive(std::string_view path) {
    const std::size_t colon = path.rfind(':');
    if (colon == std::string_view::npos || colon == 0) return 0;
    return parse_number<std::uint64_t>(path.substr(colon + 1)) ? colon : 0;
  }

  // A table's header -> which field is the path. False: no field is.
  bool read_header(const std::vector<std::string>& fields) {
    for (const std::string_view key : kPathKeys) {
      const auto found = std::find(fields.begin(), fields.end(), key);
      if (found == fields.end()) continue;
      header_ = Header{
          fields.size(), static_cast<std::size_t>(found - fields.begin()), folder_, {}, {}, {}};
      // A duration alone may be of any unit, and says how long the file is.
      header_->offset = field_of(fields, "offset");
      if (header_->offset) header_->duration = field_of(fields, "duration");
      for (const std::string_view text : kTextKeys) {
        if (!header_->text) header_->text = field_of(fields, text);
      }
      return true;
    }
    return false;
  }

  void add_of_table(const std::vector<std::string>& fields) {
    if (fields.size() != header_->fields) {
      return bad_row("has " + std::to_string(fields.size()) + " fields",
                     std::to_string(header_->fields) + ", as the header");
    }
    const std::string_view path = trimmed(fields[header_->path]);
    if (path.empty()) return bad_row("has no path");
    std::optional<double> offset, duration;
    if (!read_seconds(fields, header_->offset, "offset", offset) ||
        !read_seconds(fields, header_->duration, "duration", duration)) {
      return;
    }
    if (header_->text) text_ = fields[*header_->text];
    add_part(header_->folder, path, offset, duration);
    text_.reset();
  }

  static std::optional<std::size_t> field_of(const std::vector<std::string>& header,
                                             std::string_view key) {
    const auto found = std::find(header.begin(), header.end(), key);
    if (found == header.end()) return std::nullopt;
    return static_cast<std::size_t>(found - header.begin());
  }

  // False: the row is bad. A column that is not there, or an empty field, leaves `seconds` empty.
  bool read_seconds(const std::vector<std::string>& fields, std::optional<std::size_t> field,
                    std::string_view key, std::optional<double>& seconds) {
    const std::string_view text = field ? trimmed(fields[*field]) : std::string_view{};
    if (text.empty()) return true;
    seconds = parse_number<double>(text);
    return are_seconds(key, seconds, in_quotes(text));
  }

  // False: the row is bad. `text`: what stands there.
  bool are_seconds(std::string_view key, const std::optional<double>& seconds,
                   const std::string& text) {
    if (seconds && may_be_seconds(*seconds)) return true;
    bad_row(in_quotes(key) + " is " + text, "seconds, 0 or more");
    return false;
  }

  // The part of a file that a row asks for; all of it where it says neither.
  void add_part(const std::string& folder, std::string_view path, std::optional<double> offset,
                std::optional<double> duration) {
    if (duration && *duration == 0) {
      bad_row("\"duration\" is 0", "more");
    } else if (offset || duration) {
      add(folder, path, {},
          InputSegment{offset.value_or(0), duration.value_or(0), offset.has_value()});
    } else {
      add(folder, path, {}, {});
    }
  }

  void begin_tsv(std::string_view first) {
    if (first.find('\0') != std::string_view::npos) refuse("holds a NUL byte");
    const std::vector<std::string> fields = tsv_fields(first);
    if (fields.size() > 1 && read_header(fields)) {
      if (std::find(fields.begin(), fields.end(), kCommonVoiceKey) != fields.end()) {
        header_->folder += kCommonVoiceFolder;
      }
    } else if (fields.size() > 1) {
      refuse("is neither a directory nor a header with a path");
    } else {
      root_ = join_path(below(folder_, first), "");
    }
  }

  void add_tsv(std::string_view row) {
    const std::vector<std::string> fields = tsv_fields(row);
    constexpr std::string_view kFairseqRow = "a path, a tab and the number of samples";
    if (fields.size() != 2) {
      bad_row("has " + std::to_string(fields.size()) + " fields", kFairseqRow);
    } else if (!parse_number<std::uint64_t>(fields[1])) {
      bad_row(in_quotes(fields[1]) + " is no number of samples", kFairseqRow);
    } else if (trimmed(fields[0]).empty()) {
      bad_row("has no path", kFairseqRow);
    } else {
      add(root_, fields[0], {}, {});
    }
  }

  static bool begins_a_table(const Line& first) {
    return first.bytes.find_first_of(CsvRows::kDelimiters) != std::string_view::npos ||
           std::find(kPathKeys.begin(), kPathKeys.end(), trimmed(first.bytes)) != kPathKeys.end();
  }

  void add_csv(const CsvRows::Row& row) {
    place_ = "line " + std::to_string(row.line);
    if (header_ && !row.problem.empty()) {
      bad_row(std::string(row.problem));
    } else if (header_) {
      add_of_table(row.fields);
    } else if (!row.problem.empty()) {
      refuse(row.problem);
    } else if (!read_header(row.fields)) {
      refuse("is no header with a path");
    }
  }

  void add_scp(std::string_view row) {
    row = trimmed(row);
    const std::size_t blank = row.find_first_of(kBlanks);
    if (blank == std::string_view::npos) {
      bad_row("has one field", kScpRow);
    } else if (const auto bad = problem_of_scp(row)) {
      bad_row(bad->problem, bad->expected);
    } else {
      add(folder_, trimmed(row.substr(blank)), row.substr(0, blank), {});
    }
  }

  // What a row of a wav.scp has in the place of a path.
  static std::optional<InputProblem> problem_of_scp(std::string_view row) {
    if (row.ends_with('|')) {
      return InputProblem{
          "is a command",
          "a name, a blank and a path (run the command once, and name the file that "
          "it writes)"};
    }
    if (row.ends_with(']') && place_in_archive(row.substr(0, row.rfind('['))) > 0) {
      return InputProblem{"is a range of an entry",
                          "a name, a blank and a path, with :offset behind that of an archive"};
    }
    return std::nullopt;
  }

  // The recordings of a wav.scp, which segments are parts of.
  void read_recordings() {
    recordings_.emplace();
    const std::string path = folder_ + "wav.scp";
    LineSplitter lines(kMaxManifestLineBytes, [&](const Line& one) {
      const std::string_view row = trimmed(one.bytes);
      const std::size_t blank = row.find_first_of(kBlanks);
      if (one.is_cut || blank == std::string_view::npos) return;  // segments of it have none
      recordings_->try_emplace(std::string(row.substr(0, blank)), trimmed(row.substr(blank)));
    });
    read_blocks(path, "the wav.scp that the segments are of",
                [&](std::string_view bytes) { lines.add(bytes); });
    lines.finish();
  }

  void add_kaldi_segment(std::string_view row) {
    if (!recordings_) read_recordings();
    std::vector<std::string> fields;
    for (row = trimmed(row); !row.empty();) {
      const std::size_t end = std::min(row.find_first_of(kBlanks), row.size());
      fields.emplace_back(row.substr(0, end));
      row = trimmed(row.substr(end));
    }
    if (fields.size() != 4 && fields.size() != 5) {
      return bad_row("has " + std::to_string(fields.size()) + " fields");
    }
    const auto found = recordings_->find(fields[1]);
    if (found == recordings_->end()) {
      return bad_row("is of " + in_quotes(fields[1]) + ", which the wav.scp does not have",
                     "one of its names");
    }
    if (const auto bad = problem_of_scp(found->second)) {
      return bad_row("is of " + in_quotes(fields[1]) + ", which " + bad->problem, bad->expected);
    }
    const auto start = parse_number<double>(fields[2]), end = parse_number<double>(fields[3]);
    const bool is_to_the_end = end && *end == -1;
    if (!start || !end || !may_be_seconds(*start) ||
        !(is_to_the_end || (may_be_seconds(*end) && *end > *start))) {
      return bad_row(in_quotes(fields[2] + " " + fields[3]) + " is no segment",
                     "a start of 0 or more and an end behind it, in seconds (-1: the file's)");
    }
    std::optional<int> channel;
    if (fields.size() == 5) {
      const auto number = parse_number<int>(fields[4]);
      if (!number || *number < 0 || *number >= AudioOptions::kMaxChannels) {
        return bad_row(in_quotes(fields[4]) + " is no channel",
                       "a number from 0 to " + std::to_string(AudioOptions::kMaxChannels - 1));
      }
      channel = *number + 1;
    }
    add(folder_, found->second, fields[0], InputSegment{*start, is_to_the_end ? 0 : *end - *start},
        channel);
  }

  void add_element(const JsonArraySplitter::Element& element) {
    place_ = "line " + std::to_string(element.line) + ", row " + std::to_string(element.number);
    element.problem.empty() ? add_json(element.text) : bad_row(std::string(element.problem));
  }

  void add_json(std::string_view row) {
    std::string audio;
    std::optional<double> offset, duration;
    text_.reset();
    try {
      const JsonValue object = JsonValue::parse(row, JsonDialect::kPythonNames);
      const JsonValue* path = nullptr;
      for (const std::string_view key : kPathKeys) {
        if (path == nullptr) path = object.find(key);
      }
      if (path == nullptr && is_lhotse_row(object)) return add_lhotse(object);
      const auto* text = path ? path->get_if<std::string>() : nullptr;
      if (text == nullptr || text->empty()) {
        return bad_row("has no path that is a string");
      }
      audio = *text;
      for (const std::string_view key : kTextKeys) {
        const JsonValue* said = object.find(key);
        const auto* words = said && !text_ ? said->get_if<std::string>() : nullptr;
        if (words) text_ = *words;
      }
      if (!read_seconds(object, "offset", offset) || !read_seconds(object, "duration", duration)) {
        return;
      }
    } catch (const JsonError& error) {
      return bad_row(error.what());
    }
    add_part(folder_, audio, offset, duration);
    text_.reset();
  }

  void add_lhotse(const JsonValue& object) {
    const auto read = read_lhotse_row(object);
    if (const auto* bad = std::get_if<InputProblem>(&read)) {
      return bad_row(bad->problem, bad->expected);
    }
    const auto& row = std::get<LhotseRow>(read);
    text_ = row.text;
    add(folder_, row.path, row.id, row.segment, row.channel);
    text_.reset();
  }

  // False: the row is bad. A key that is not there, or null, leaves `seconds` empty.
  bool read_seconds(const JsonValue& object, std::string_view key, std::optional<double>& seconds) {
    const JsonValue* value = object.find(key);
    if (value == nullptr || value->is_null()) return true;
    if (const auto* whole = value->get_if<std::uint64_t>()) seconds = static_cast<double>(*whole);
    if (const auto* real = value->get_if<double>()) seconds = *real;
    return are_seconds(key, seconds, value->describe());
  }

  struct Header {
    std::size_t fields = 0;
    std::size_t path = 0;                         // which field it is
    std::string folder;                           // that relative paths count from
    std::optional<std::size_t> offset, duration;  // fields, in seconds
    std::optional<std::size_t> text;              // which field it is
  };

  const std::string& path_;
  ManifestFormat format_;
  bool format_is_guessed_;
  std::string folder_;
  std::string root_;  // of a tsv
  std::optional<Header> header_;
  InputList& inputs_;
  ArchiveLister archives_;
  LineSplitter lines_;
  CsvRows csv_;
  JsonArraySplitter array_;
  std::optional<bool> is_array_;  // of jsonl, once something but white space has come
  std::optional<std::map<std::string, std::string>> recordings_;  // name -> path, of segments
  bool has_names_ = false;                                        // the rows that are good so far
  std::string place_;                                             // of the row at hand
  std::optional<std::string> text_;                               // the same
  std::size_t good_rows_ = 0;
  std::size_t bad_rows_ = 0;  // before the first good one
  std::optional<UsageError> first_problem_;
};

}  // namespace

ManifestFormat manifest_format_of(std::string_view path) {
  constexpr std::string_view kGzipEnding = ".gz";
  if (lower_case(path).ends_with(kGzipEnding)) path.remove_suffix(kGzipEnding.size());
  if (file_name(path) == "segments") return ManifestFormat::segments;
  const std::size_t dot = path.rfind('.');
  if (dot == std::string_view::npos) return ManifestFormat::list;
  const std::string ending = lower_case(path.substr(dot));
  if (ending == ".tsv") return ManifestFormat::tsv;
  if (ending == ".csv") return ManifestFormat::csv;
  if (ending == ".jsonl" || ending == ".json") return ManifestFormat::jsonl;
  if (ending == ".scp") return ManifestFormat::scp;
  return ManifestFormat::list;
}

void read_manifest(const std::string& path, std::optional<ManifestFormat> format,
                   InputList& inputs) {
  ManifestReader reader(path, format, inputs);
  read_blocks(path, reader.expected(), [&](std::string_view bytes) { reader.block(bytes); });
  reader.finish();
}

}  // namespace w2vbert::tool
