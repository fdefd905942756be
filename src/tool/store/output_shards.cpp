#include "tool/store/output_shards.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <set>
#include <string_view>
#include <utility>

#include "checkpoint/safetensors_header.h"
#include "core/durable_file.h"
#include "core/escaped_name.h"
#include "core/file.h"
#include "core/text.h"
#include "tool/store/clip_index.h"
#include "tool/store/header_seal.h"
#include "tool/store/input_check.h"
#include "tool/store/stored_shard.h"
#include "w2vbert/core/error.h"
#include "w2vbert/version.h"

namespace w2vbert::tool {
namespace {

constexpr std::string_view kVerify = "verify";
constexpr std::string_view kRunThatVerifies = "a run that verifies what is there and redoes it";
constexpr std::string_view kLongestDigest = "0123456789abcdef0123456789abcdef";
constexpr std::uint64_t kTensorAlignment = 8;  // of int64, the largest elements there are

std::string file_of_shard(std::size_t shard) {
  return name_of_shard(shard) + std::string(kOutputEnding);
}

std::string tensor_of(const std::string& clip, const std::string& tensor) {
  return escaped_name(clip) + "/" + tensor;
}

IndexEntry entry_of(const ClipReport& report, std::size_t shard) {
  IndexEntry entry;
  entry.name = report.name;
  entry.shard = file_of_shard(shard);
  entry.frames = report.frames;
  entry.samples = report.samples;
  entry.sample_rate_hz = report.sample_rate_hz;
  entry.source_sample_rate_hz = report.source_sample_rate_hz;
  entry.source_channels = report.source_channels;
  entry.input_digest = report.input.digest;
  entry.part = report.input.part;
  return entry;
}

}  // namespace

// A shard whose clips are coming.
struct OutputShards::OpenShard {
  std::size_t number = 0;
  std::size_t next = 0;                                  // input whose turn it is
  std::size_t end = 0;                                   // behind the last
  std::size_t missing = 0;                               // of which nothing is known yet
  std::unique_ptr<StoredShard> stored;                   // by an earlier run
  std::vector<std::string> strange;                      // clips in it of rows that are bad by now
  std::map<std::size_t, std::optional<Output>> arrived;  // without: skipped
  // From the first new clip on:
  std::optional<SafetensorsStream> stream;
  Sha256 sha;
  std::string index;
  std::vector<JournalEntry> added;
};

OutputShards::OutputShards(const InputList& inputs, const OutputContent& content,
                           RunDirectory& directory)
    : inputs_(inputs), content_(content), directory_(directory), size_(directory.shard_size()) {}

OutputShards::~OutputShards() = default;

std::size_t OutputShards::shard_of(std::size_t index) const { return inputs_.slot(index) / size_; }

std::size_t OutputShards::begin_of(std::size_t shard) const {
  return inputs_.inputs_before(shard * size_);
}

std::size_t OutputShards::end_of(std::size_t shard) const { return begin_of(shard + 1); }

std::string OutputShards::path_of_shard(std::size_t shard) const {
  return directory_.output_path(name_of_shard(shard));
}

std::string OutputShards::path_of(std::size_t index) const {
  return path_of_shard(shard_of(index));
}

std::string OutputShards::index_path(std::size_t shard) const {
  return join_path(directory_.path(), name_of_shard(shard)).append(kIndexEnding);
}

void OutputShards::check_alignment() const {
  for (std::size_t i = 0; i < content_.row_bytes.size(); ++i) {
    if (content_.row_bytes[i] % static_cast<std::int64_t>(kTensorAlignment) == 0) continue;
    throw UsageError("", "shard_size",
                     "a row of " + content_.tensor_names[i] + " has " +
                         std::to_string(content_.row_bytes[i]) + " bytes",
                     "a multiple of 8: another --output-dtype, or files of their own",
                     "shard_size");
  }
}

void OutputShards::check_folders() const {
  for (const BadRow& row : inputs_.bad_rows()) {
    if (!row.is_folder) continue;
    throw UsageError(
        row.path, "",
        "in which shards the other clips are depends on what is in it, and it " + row.problem);
  }
}

FileLock OutputShards::lock() const { return FileLock(directory_.record_path()); }

Outputs::ScanResult OutputShards::scan(const Partition& partition, bool verify) {
  check_alignment();
  check_folders();
  ScanResult found;
  if (exists(directory_.record_path())) found.is_unlocked = !lock().is_held();
  InputCheck check(inputs_, directory_, found);
  bool header_checked = false;
  for (std::size_t shard = 0; begin_of(shard) < inputs_.size(); ++shard) {
    const std::string shard_name = name_of_shard(shard);
    if (!partition.holds(shard_name)) continue;
    std::set<std::string> names;
    const std::size_t begin = begin_of(shard);
    const std::size_t end = end_of(shard);
    if (begin == end) continue;  // bad rows alone
    for (std::size_t i = begin; i < end; ++i) names.insert(inputs_.name(i));
    directory_.check_index(index_path(shard));
    std::unique_ptr<StoredShard> stored;
    const FoundOutput output = directory_.scan(shard_name, verify, names);
    if (output.state == OutputState::kFinished) {
      stored = std::make_unique<StoredShard>(directory_.output_path(shard_name));
      // A bad row may be one that had been good.
      std::size_t strange = 0;
      for (const auto& [name, clip] : stored->clips) {
        if (names.contains(name)) continue;
        if (++strange <= bad_rows_in(shard)) continue;
        throw UsageError(stored->file.path(), name, "is no input of this shard's",
                         "the list that the run was begun with (more may follow at its end)");
      }
      if (!exists(index_path(shard)) ||
          read_small_file<StorageError>(index_path(shard), kMaxSafetensorsHeaderBytes) !=
              stored->index) {
        stale_.push_back(shard);
      }
    }
    const std::size_t pending = found.pending.size();
    for (std::size_t i = begin; i < end; ++i) {
      const std::string name = inputs_.name(i);
      const auto clip = stored ? stored->clips.find(name) : decltype(stored->clips)::iterator();
      const bool is_stored = stored && clip != stored->clips.end();
      const auto record = is_stored || output.state == OutputState::kDamaged
                              ? directory_.record_of(name)
                              : std::nullopt;
      if (!is_stored) {
        // What is damaged is not redone for another input either.
        const bool is_of_input =
            !record || check.is_of_input(i, path_of(i), *record, "", {}, true, /*is_whole=*/false);
        if (output.state == OutputState::kDamaged && is_of_input) ++found.damaged;
        found.pending.push_back(i);
        continue;
      }
      JournalEntry entry =
          record.value_or(JournalEntry{name, clip->second.frames, clip->second.audio_seconds, ""});
      if (check.is_of_input(i, stored->file.path(), std::move(entry), clip->second.input_digest,
                            clip->second.part, record.has_value(), /*is_whole=*/true)) {
        ++found.finished;
      } else {
        replaced_.insert(i);
        found.pending.push_back(i);
      }
    }
    if (found.pending.size() == pending) continue;
    if (output.state == OutputState::kDamaged) damaged_.emplace(shard, output.scan.identity);
    if (output.state != OutputState::kAbsent) {
      directory_.check_may_be_replaced(shard_name, inputs_.path(begin));
    }
    if (stored) incomplete_.push_back(shard);
    if (!std::exchange(header_checked, true)) (void)longest_header(shard, stored.get());
  }
  return found;
}

std::size_t OutputShards::clean() {
  const std::size_t temporaries = directory_.remove_stale_temporaries("");
  if (!stale_.empty()) directory_.keep_record();  // which is what is locked
  for (const std::size_t shard : stale_) {
    const FileLock held = lock();  // what is read is what stays there until its index is written
    const StoredShard stored(path_of_shard(shard));
    directory_.write_index(index_path(shard), stored.index);
  }
  return temporaries;
}

std::size_t OutputShards::bad_rows_in(std::size_t shard) const {
  const std::size_t slots = std::min(size_, inputs_.slots() - shard * size_);
  return slots - (end_of(shard) - begin_of(shard));
}

std::vector<std::string> OutputShards::strange_clips(std::size_t shard,
                                                     const StoredShard& stored) const {
  std::set<std::string> names;
  for (std::size_t i = begin_of(shard); i < end_of(shard); ++i) names.insert(inputs_.name(i));
  std::vector<std::string> strange;
  for (const auto& [name, clip] : stored.clips) {
    if (!names.contains(name)) strange.push_back(name);
  }
  return strange;
}

std::uint64_t OutputShards::longest_header(std::size_t shard, const StoredShard* stored) const {
  constexpr std::int64_t kLongest = std::numeric_limits<std::int64_t>::max();
  std::vector<std::string> names;
  if (stored) names = strange_clips(shard, *stored);
  for (std::size_t i = begin_of(shard); i < end_of(shard); ++i) names.push_back(inputs_.name(i));
  std::vector<TensorInfo> tensors;
  std::string index;
  for (const std::string& name : names) {
    for (const std::string& tensor : content_.tensor_names) {
      TensorInfo& info = tensors.emplace_back();
      info.name = tensor_of(name, tensor);
      info.dtype_name = "BF16";
      info.shape = {kLongest, kLongest};
      info.begin = info.end = std::numeric_limits<std::uint64_t>::max();
    }
    IndexEntry entry;
    entry.name = name;
    entry.shard = file_of_shard(shard);
    entry.frames = entry.samples = entry.sample_rate_hz = entry.source_sample_rate_hz =
        entry.source_channels = kLongest;
    entry.input_digest = kLongestDigest;
    entry.part = FilePart{kLongest, kLongest, kLongest, 0};
    index += index_line(entry);
  }
  const std::string path = path_of_shard(shard);
  const std::uint64_t bytes =
      serialize_safetensors_header(tensors, metadata_of(index, Sha256().hex()), path).size();
  if (bytes > kMaxSafetensorsHeaderBytes) {
    throw UsageError(
        path, "shard_size", "needs a header of " + std::to_string(bytes) + " bytes",
        "at most " + std::to_string(kMaxSafetensorsHeaderBytes) + ": fewer clips in a shard",
        "shard_size");
  }
  return bytes;
}

OutputShards::OpenShard& OutputShards::open(std::size_t number) {
  if (const auto known = open_.find(number); known != open_.end()) return *known->second;
  auto shard = std::make_unique<OpenShard>();
  shard->number = number;
  shard->next = begin_of(number);
  shard->end = end_of(number);
  shard->missing = shard->end - shard->next;
  if (std::binary_search(incomplete_.begin(), incomplete_.end(), number)) {
    shard->stored = std::make_unique<StoredShard>(path_of_shard(number));
    shard->strange = strange_clips(number, *shard->stored);
    shard->missing -= shard->stored->clips.size() - shard->strange.size();
    for (std::size_t i = shard->next; i < shard->end; ++i) shard->missing += replaced_.count(i);
  }
  return *open_.emplace(number, std::move(shard)).first->second;
}

void OutputShards::write(Output& output) {
  OpenShard& shard = open(shard_of(output.index));
  if (!shard.stream) begin_writing(shard);
  const std::size_t index = output.index;
  shard.arrived.emplace(index, std::move(output));
  --shard.missing;
  try {
    advance(shard, /*to_the_end=*/false);
  } catch (...) {
    end_writing();
  }
}

void OutputShards::skip(std::size_t index) {
  OpenShard& shard = open(shard_of(index));
  shard.arrived.emplace(index, std::nullopt);
  --shard.missing;
  advance(shard, /*to_the_end=*/false);
}

void OutputShards::finish() {
  while (!open_.empty()) advance(*open_.begin()->second, /*to_the_end=*/true);
}

void OutputShards::begin_writing(OpenShard& shard) {
  const std::string path = path_of_shard(shard.number);
  if (shard.stored) {
    // Its data are about to be copied: they must not get a new digest unseen.
    const std::string problem = scan_output(path, /*verify=*/true).problem;
    if (!problem.empty()) {
      throw StorageError(path, "", "holds other data than were written", kRunThatVerifies, kVerify);
    }
  }
  shard.stream.emplace(path, longest_header(shard.number, shard.stored.get()));
}

void OutputShards::advance(OpenShard& shard, bool to_the_end) {
  if (!shard.stream) {
    if (shard.missing == 0 || to_the_end) open_.erase(shard.number);  // nothing new
    return;
  }
  for (; shard.next < shard.end; ++shard.next) {
    const std::string name = inputs_.name(shard.next);
    const IndexedClip* stored = stored_clip(shard, name);
    const auto arrived = shard.arrived.find(shard.next);
    const bool has_arrived = arrived != shard.arrived.end();
    const bool is_awaited = !stored || replaced_.contains(shard.next);
    if (is_awaited && !has_arrived && !to_the_end) return;
    if (has_arrived && arrived->second) {
      add(shard, *arrived->second);
    } else if (stored) {  // perhaps of an earlier input, whose successor cannot be computed
      copy(shard, name, stored->line);
    }
    if (has_arrived) shard.arrived.erase(arrived);
  }
  for (const std::string& name : shard.strange) {
    copy(shard, name, shard.stored->clips.at(name).line);
  }
  commit(shard);
  open_.erase(shard.number);
}

void OutputShards::add(OpenShard& shard, const Output& output) {
  const ClipReport& report = output.report;
  for (const std::string& wanted : content_.tensor_names) {
    const auto found = std::find_if(output.tensors.begin(), output.tensors.end(),
                                    [&](const auto& tensor) { return tensor.first == wanted; });
    TORCH_INTERNAL_ASSERT(found != output.tensors.end(), "no tensor ", wanted);
    const at::Tensor& tensor = found->second;
    if (tensor.nbytes() % kTensorAlignment != 0) {
      throw UsageError(
          report.path, "shard_size", wanted + " has " + std::to_string(tensor.nbytes()) + " bytes",
          "a multiple of 8: another --output-dtype, or files of their own", "shard_size");
    }
    shard.stream->add(tensor_of(report.name, wanted), tensor);
    shard.sha.add({static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
  }
  shard.index += index_line(entry_of(report, shard.number));
  shard.added.push_back({report.name, report.frames, report.audio_seconds, "", report.input});
}

const IndexedClip* OutputShards::stored_clip(const OpenShard& shard, const std::string& name) {
  if (!shard.stored) return nullptr;
  const auto clip = shard.stored->clips.find(name);
  return clip == shard.stored->clips.end() ? nullptr : &clip->second;
}

void OutputShards::copy(OpenShard& shard, const std::string& name, const std::string& line) {
  std::vector<std::byte> data;
  for (const std::string& tensor : content_.tensor_names) {
    const StoredShard& stored = *shard.stored;
    const auto found = stored.tensors.find(tensor_of(name, tensor));
    if (found == stored.tensors.end()) {
      throw StorageError(stored.file.path(), name, "has no " + tensor, kRunThatVerifies, kVerify);
    }
    const HeaderTensor& info = *found->second;
    data.resize(static_cast<std::size_t>(info.end - info.begin));
    stored.file.read_at(stored.header.data_offset + info.begin, data.data(), data.size());
    shard.stream->add(info.copy(), data);
    shard.sha.add(data);
  }
  shard.index += line;
}

SafetensorsMetadata OutputShards::metadata_of(const std::string& index,
                                              const std::string& digest) const {
  return {{"fingerprint", directory_.digest()},
          {"frame_rate_hz", number_text(content_.frame_rate_hz)},
          {std::string(kIndexKey), index},
          {"sha256", digest},
          {"w2vbert", version()},
          {kHeaderSealKey, empty_header_seal()}};
}

void OutputShards::commit(OpenShard& shard) {
  const std::string path = path_of_shard(shard.number);
  std::optional<FileLock>
      held;  // over the last look at what is there, and until its index is written
  const auto last_look = [&] {
    held.emplace(lock());
    if (shard.stored && !shard.stored->file.is_in_place()) {
      throw StorageError(path, "", "has been replaced meanwhile",
                         "one process for each partition (the same command again does the rest)");
    }
  };
  std::optional<FileIdentity> earlier;
  if (shard.stored) earlier = shard.stored->file.identity();
  if (const auto damaged = damaged_.find(shard.number); damaged != damaged_.end()) {
    earlier = damaged->second;
  }
  shard.stream->commit(metadata_of(shard.index, shard.sha.hex()), earlier, last_look, seal_header);
  directory_.write_index(index_path(shard.number), shard.index);
  for (const JournalEntry& entry : shard.added) directory_.record(entry);
}

}  // namespace w2vbert::tool
