#include "tool/corpus/input_list.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "core/file.h"
#include "core/resolved_path.h"
#include "core/stable_hash.h"
#include "core/text.h"
#include "tool/corpus/partition.h"
#include "w2vbert/audio/audio_file.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::size_t kMaxComponentBytes = 255;  // NAME_MAX of Linux' file systems
// A whole name leaves room below PATH_MAX for the output directory and a temporary's name.
constexpr std::size_t kMaxNameBytes = 3072;

constexpr InputSegment kWholeFile = {-1, 0, false};

// "-0001500-0004250", in milliseconds; "-0001500" for a segment to the end.
std::string borders(const InputSegment& segment) {
  std::array<char, 64> text{};
  const auto milliseconds = [](double seconds) { return std::llround(seconds * 1000); };
  int size =
      std::snprintf(text.data(), text.size(), "-%07lld", milliseconds(segment.offset_seconds));
  if (segment.duration_seconds > 0) {
    size +=
        std::snprintf(text.data() + size, text.size() - static_cast<std::size_t>(size), "-%07lld",
                      milliseconds(segment.offset_seconds + segment.duration_seconds));
  }
  return {text.data(), static_cast<std::size_t>(size)};
}

std::string channel_suffix(int channel) { return "-ch" + std::to_string(channel); }

std::string_view without_extension(std::string_view path) {
  const std::size_t start = directory_prefix(path).size();
  const std::size_t dot = path.rfind('.');
  // A leading dot starts a hidden file's name, not an extension.
  return dot == std::string_view::npos || dot <= start ? path : path.substr(0, dot);
}

constexpr std::string_view kPathExpected = "the path of an audio file";
constexpr std::string_view kNameExpected =
    "a name whose parts between slashes are not empty, \".\" or \"..\"";

}  // namespace

bool may_last(const std::optional<InputSegment>& segment, double seconds) {
  if (!segment || segment->duration_seconds == 0) return true;
  constexpr double kRounding = 1e-3;  // of the borders, and by resampling
  const double missing = segment->duration_seconds - seconds;
  return missing > -kRounding && missing < kPartEndTolerance + kRounding;
}

std::string segment_text(const std::optional<InputSegment>& segment) {
  if (!segment) return "the whole file";
  // What the sum of two doubles adds is no part of it.
  const double end = std::round((segment->offset_seconds + segment->duration_seconds) * 1e6) / 1e6;
  return number_text(segment->offset_seconds) + " s to " +
         (segment->duration_seconds > 0 ? number_text(end) + " s" : "the end");
}

InputList::InputList(std::string working_directory, OutputNames names)
    : working_directory_(std::move(working_directory)), names_needed_(names) {}

void InputList::add(std::string_view path) { paths_.add(path); }

void InputList::add(std::string_view path, InputSegment segment) {
  segments_.resize(size(), kWholeFile);
  segments_.push_back(segment);
  paths_.add(path);
}

void InputList::add_named(std::string_view name, std::string_view path,
                          const std::optional<InputSegment>& segment, std::optional<int> channel) {
  if (segment) {
    segments_.resize(size(), kWholeFile);
    segments_.push_back(*segment);
  }
  if (channel) {
    channels_.resize(size(), 0);
    channels_.push_back(static_cast<std::uint8_t>(*channel));
  }
  names_.ends.resize(size(), names_.bytes.size());
  names_.add(name);
  paths_.add(path);
}

void InputList::set_member(Member member) {
  const auto is_of = [&](const Member& container) {
    return container.container == member.container && container.kind == member.kind &&
           container.listed == member.listed;
  };
  if (containers_.empty() || !is_of(containers_.back())) containers_.push_back(member);
  members_.resize(size() - 1);
  members_.push_back({containers_.size(), member.begin, member.bytes});
}

InputList::StoredMember InputList::member(std::size_t index) const {
  return index < members_.size() ? members_[index] : StoredMember{};
}

InputPlace InputList::place(std::size_t index) const {
  InputPlace place{path(index)};
  if (const StoredMember stored = member(index); stored.container > 0) {
    place.member = containers_[stored.container - 1];
    place.member->begin = stored.begin;
    place.member->bytes = stored.bytes;
  }
  return place;
}

bool InputList::are_packed_together(std::size_t index, std::size_t other) const {
  const std::uint64_t container = member(index).container;
  return container > 0 && container == member(other).container &&
         containers_[container - 1].kind == Member::Kind::packed;
}

void InputList::set_text(std::string_view text) {
  if (!keeps_texts_) return;
  while (texts_.ends.size() + 1 < size()) texts_.add("");
  texts_.add(text);
  has_text_.resize(size());
  has_text_.back() = true;
}

std::optional<std::string> InputList::text(std::size_t index) const {
  if (index >= has_text_.size() || !has_text_[index]) return std::nullopt;
  return std::string(texts_[index]);
}

void InputList::add_bad_row(BadRow row) {
  if (!row.is_folder) inputs_before_.push_back(size());
  bad_rows_.push_back(std::move(row));
}

std::size_t InputList::slot(std::size_t index) const {
  const auto behind = std::upper_bound(inputs_before_.begin(), inputs_before_.end(), index);
  return index + static_cast<std::size_t>(behind - inputs_before_.begin());
}

std::size_t InputList::inputs_before(std::size_t wanted) const {
  std::size_t begin = 0;
  std::size_t end = size();
  while (begin < end) {
    const std::size_t middle = begin + (end - begin) / 2;
    slot(middle) < wanted ? begin = middle + 1 : end = middle;
  }
  return begin;
}

std::string InputList::path(std::size_t index) const { return std::string(paths_[index]); }

std::optional<InputSegment> InputList::segment(std::size_t index) const {
  if (index >= segments_.size() || segments_[index].offset_seconds < 0) return std::nullopt;
  return segments_[index];
}

void InputList::split_channels(const std::function<int(std::size_t index)>& channels_of) {
  InputList split(working_directory_, names_needed_);
  split.keeps_texts_ = keeps_texts_;
  int channels = 0;
  auto row = inputs_before_.begin();
  for (std::size_t i = 0; i <= size(); ++i) {
    for (; row != inputs_before_.end() && *row == i; ++row) {
      split.inputs_before_.push_back(split.size());
    }
    if (i == size()) break;
    const std::optional<int> own_channel = channel(i);
    if (!repeats_path(i)) channels = channels_of(i);
    const std::string_view own_name = i < names_.ends.size() ? names_[i] : std::string_view();
    const int first = own_channel.value_or(1), last = own_channel.value_or(channels);
    for (int channel = first; channel <= last; ++channel) {
      if (const auto bad = problem_of(paths_[i], own_name, segment(i), channel)) {
        split.inputs_before_.push_back(split.size());
        bad_rows_.push_back({path(i), "", bad->problem + ", expected " + bad->expected});
        continue;
      }
      split.paths_.add(paths_[i]);
      if (i < names_.ends.size()) split.names_.add(names_[i]);
      if (i < segments_.size()) split.segments_.push_back(segments_[i]);
      if (i < members_.size()) split.members_.push_back(members_[i]);
      split.channels_.push_back(static_cast<std::uint8_t>(channel));
      if (const auto said = text(i)) split.set_text(*said);
    }
  }
  paths_ = std::move(split.paths_);
  names_ = std::move(split.names_);
  segments_ = std::move(split.segments_);
  members_ = std::move(split.members_);
  channels_ = std::move(split.channels_);
  texts_ = std::move(split.texts_);
  has_text_ = std::move(split.has_text_);
  inputs_before_ = std::move(split.inputs_before_);
}

std::optional<int> InputList::channel(std::size_t index) const {
  if (index >= channels_.size() || channels_[index] == 0) return std::nullopt;
  return channels_[index];
}

std::string InputList::normalised(std::string_view path) const {
  if (path.starts_with('/')) return normalised_path(path);
  return normalised_path(working_directory_ + "/" + std::string(path));
}

bool InputList::has_own_name(std::size_t index) const {
  return naming_.value_or(Naming::id) == Naming::id && index < names_.ends.size() &&
         !names_[index].empty();
}

std::string InputList::name(std::size_t index) const {
  std::string name = name_of_file(index);
  if (const auto one = channel(index)) name += channel_suffix(*one);
  return name;
}

std::string InputList::name_of_file(std::size_t index) const {
  if (has_own_name(index)) return std::string(names_[index]);
  const std::string path = normalised(paths_[index]);
  const std::size_t folders = naming_ == Naming::stem ? directory_prefix(path).size() : root_size_;
  std::string name(without_extension(path).substr(folders));
  if (const auto cut = segment(index); cut && cut->has_offset) name += borders(*cut);
  return name;
}

std::optional<InputProblem> InputList::problem_of_name(std::string_view name,
                                                       std::string_view expected) const {
  if (name.find('\n') != std::string_view::npos || name.find('\0') != std::string_view::npos) {
    return InputProblem{"holds a line break or a NUL byte", "a path without them"};
  }
  if (name.size() > kMaxNameBytes) {
    return InputProblem{"gives an output a name of " + std::to_string(name.size()) + " bytes",
                        "at most " + std::to_string(kMaxNameBytes)};
  }
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view component = name.substr(begin, end - begin);
    if (component.empty() || component == "." || component == "..") {
      return InputProblem{name.empty() || end == name.size()
                              ? "gives an output no name"
                              : "gives an output the name " + in_quotes(name),
                          std::string(expected)};
    }
    const std::size_t bytes = component.size() + (end == name.size() ? ending_.size() : 0);
    if (!ending_.empty() && bytes > kMaxComponentBytes) {
      return InputProblem{"gives an output a name of " + std::to_string(bytes) + " bytes",
                          "at most " + std::to_string(kMaxComponentBytes)};
    }
    begin = end + 1;
  }
  const std::size_t folder = ending_.empty() ? std::string_view::npos : name.find('/');
  if (folder != std::string_view::npos && is_reserved_(name.substr(0, folder))) {
    return InputProblem{"gives the output name " + in_quotes(name) +
                            ", whose folder has the name of a file that a run keeps",
                        "another name"};
  }
  return std::nullopt;
}

std::optional<InputProblem> InputList::problem_of(std::string_view path, std::string_view name,
                                                  const std::optional<InputSegment>& segment,
                                                  std::optional<int> channel) const {
  if (names_needed_ == OutputNames::kUnneeded) return std::nullopt;
  const std::string suffix = channel ? channel_suffix(*channel) : "";
  if (!name.empty() && naming_.value_or(Naming::id) == Naming::id) {
    return problem_of_name(std::string(name) + suffix, kNameExpected);
  }
  // The common root is not known yet, but is no part of the last component.
  const std::string whole = normalised(path);
  if (whole.size() > kMaxNameBytes) {
    return InputProblem{"has " + std::to_string(whole.size()) + " bytes",
                        "at most " + std::to_string(kMaxNameBytes)};
  }
  std::string last(file_name(without_extension(whole)));
  if (segment && segment->has_offset) last += borders(*segment);
  return problem_of_name(last + suffix, kPathExpected);
}

void InputList::finish() {
  if (size() == 0 && bad_rows_.empty()) {
    throw UsageError("", "", "no inputs", "at least one audio file");
  }
  for (std::size_t i = 0; i < size(); ++i) {
    if (paths_[i].empty()) throw UsageError("", "", "an empty path", "the path of an audio file");
  }
  std::size_t named = 0;
  for (std::size_t i = 0; i < size(); ++i) named += has_own_name(i) ? 1 : 0;
  if (naming_ == Naming::id && named != size()) {
    throw UsageError("", "name", "the list has no names of its own",
                     "path or stem, or a list of names and paths (wav.scp), or tars", "name");
  }
  if (naming_ != Naming::stem && named < size()) root_size_ = common_root();
  if (names_needed_ == OutputNames::kUnneeded) return;
  for (std::size_t i = 0; i < size(); ++i) {
    const std::string one = name(i);
    if (const auto bad = problem_of_name(one, kPathExpected)) {
      throw UsageError(paths_[i], "", bad->problem, bad->expected);
    }
  }
  check_names_differ();
}

std::size_t InputList::common_root() const {
  std::string root = normalised(paths_[0]);
  root.resize(directory_prefix(root).size());
  const auto include = [&root](const std::string& path) {
    const auto parts = std::mismatch(root.begin(), root.end(), path.begin(), path.end());
    root.erase(parts.first, root.end());
    root.resize(directory_prefix(root).size());
  };
  for (std::size_t i = 1; i < size() && root.size() > 1; ++i) include(normalised(paths_[i]));
  // What is in a folder that could not be listed has its names when that can be, and a file of
  // another name would be beside the others.
  for (const BadRow& row : bad_rows_) {
    if (row.place.empty()) include(normalised(row.path) + (row.is_folder ? "/" : ""));
  }
  return root.size();
}

std::string InputList::described(std::size_t index) const {
  const auto cut = segment(index);
  return quote_bytes(paths_[index]) + (cut ? " (" + segment_text(cut) + ")" : "");
}

void InputList::check_names_differ() const {
  // By hash, so that the names need not be made again for each comparison, and by name where the
  // hashes are the same, as names can be chosen that have them.
  struct Key {
    std::uint64_t hash;
    std::size_t index;
  };
  const std::string folder_ending = ending_ + "/";
  std::vector<std::size_t> below_a_file;  // if there is an input of that name
  std::vector<Key> keys(size());
  for (std::size_t i = 0; i < size(); ++i) {
    const std::string one = name(i);
    keys[i] = {stable_hash(one), i};
    if (!ending_.empty() && one.find(folder_ending) != std::string::npos) below_a_file.push_back(i);
  }
  std::sort(keys.begin(), keys.end(), [this](const Key& a, const Key& b) {
    if (a.hash != b.hash) return a.hash < b.hash;
    if (const int order = name(a.index).compare(name(b.index)); order != 0) return order < 0;
    return a.index < b.index;
  });
  for (std::size_t i = 1; i < keys.size(); ++i) {
    const std::size_t first = keys[i - 1].index;
    const std::size_t second = keys[i].index;
    if (keys[i - 1].hash != keys[i].hash || name(first) != name(second)) continue;
    const auto cut = segment(second);
    throw UsageError(paths_[second], "",
                     (cut ? segment_text(cut) + ": " : "") + "gives the output name " +
                         in_quotes(name(second)) + " as " + described(first) + " does",
                     has_own_name(second) ? "names that differ"
                     : cut ? "segments whose borders differ by milliseconds, each once"
                           : "names that differ without their extensions",
                     "name");
  }
  for (const std::size_t i : below_a_file) {
    const std::string one = name(i);
    for (std::size_t at = one.find(folder_ending); at != std::string::npos;
         at = one.find(folder_ending, at + 1)) {
      const std::string file = one.substr(0, at);
      const std::uint64_t hash = stable_hash(file);
      const auto key = std::partition_point(keys.begin(), keys.end(), [&](const Key& other) {
        return other.hash < hash || (other.hash == hash && name(other.index) < file);
      });
      if (key == keys.end() || key->hash != hash || name(key->index) != file) continue;
      throw UsageError(paths_[i], "",
                       "gives the output name " + in_quotes(one) + ", whose folder " +
                           in_quotes(file + ending_) + " is the output file of " +
                           quote_bytes(paths_[key->index]),
                       "names whose outputs can all be there");
    }
  }
}

}  // namespace w2vbert::tool
