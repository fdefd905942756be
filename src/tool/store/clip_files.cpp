#include "tool/store/clip_files.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <span>

#include "core/durable_file.h"
#include "core/escaped_name.h"
#include "core/file.h"
#include "core/text.h"
#include "tool/store/header_seal.h"
#include "tool/store/input_check.h"
#include "tool/store/npy_header.h"
#include "tool/store/sha256.h"
#include "w2vbert/version.h"

namespace w2vbert::tool {
namespace {

// Removes what was put there a moment ago, where that can be done.
void take_back(const std::string& path) {
  try {
    if (const auto seen = identity_at(path)) (void)remove_what_was_seen(path, *seen);
  } catch (const StorageError&) {
    // The place is as it is; the run ends with what went wrong before.
  }
}

constexpr int kWritingThreads = 2;  // they wait for the disk, most of the time

std::string folder_of(const std::string& name) {
  const std::size_t slash = name.rfind('/');
  return slash == std::string::npos ? "" : name.substr(0, slash);
}

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

// Digests the data section as write_safetensors lays it out: the largest elements first, then by
// name.
std::string data_digest(const NamedTensors& tensors) {
  std::vector<const NamedTensors::value_type*> order;
  order.reserve(tensors.size());
  for (const auto& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    const auto size_a = a->second.element_size();
    const auto size_b = b->second.element_size();
    return size_a != size_b ? size_a > size_b : a->first < b->first;
  });
  Sha256 sha;
  for (const auto* tensor : order) sha.add(bytes_of(tensor->second));
  return sha.hex();
}

StagedFile stage_npy(const std::string& path, const at::Tensor& values) {
  const std::string header =
      npy_header(static_cast<int>(values.element_size()), values.sizes().vec(),
                 values.is_floating_point() ? 'f' : 'i');
  const std::array<std::span<const std::byte>, 2> pieces = {std::as_bytes(std::span(header)),
                                                            bytes_of(values)};
  return {path, pieces};
}

}  // namespace

ClipFiles::ClipFiles(const InputList& inputs, const OutputContent& content, RunDirectory& directory)
    : inputs_(inputs), directory_(directory), frame_rate_hz_(number_text(content.frame_rate_hz)) {}

Outputs::ScanResult ClipFiles::scan(const Partition& partition, bool verify) {
  ScanResult found;
  InputCheck check(inputs_, directory_, found);
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const std::string name = inputs_.name(i);
    if (!partition.holds(name)) continue;
    if (const std::string folder = folder_of(name); folders_.insert(folder).second) {
      directory_.check_folder(folder);
    }
    const FoundOutput output = directory_.scan(name, verify);
    if (output.state == OutputState::kAbsent) {
      found.pending.push_back(i);
      continue;
    }
    const OutputScan& scan = output.scan;
    JournalEntry entry =
        output.record.value_or(JournalEntry{name, scan.frames, scan.audio_seconds, scan.sha256});
    // Without a digest of its own, as .npy files are, there is nothing to tell them apart by.
    const bool is_record = output.record && (scan.sha256.empty() || scan.sha256 == entry.sha256);
    if (!scan.sha256.empty()) entry.sha256 = scan.sha256;
    const bool is_whole = output.state == OutputState::kFinished;
    const bool is_of_input = check.is_of_input(i, path_of(i), std::move(entry), scan.input_digest,
                                               scan.part, is_record, is_whole);
    if (is_of_input && is_whole) {
      ++found.finished;
      continue;
    }
    if (is_of_input) ++found.damaged;
    directory_.check_may_be_replaced(name, inputs_.path(i));
    to_be_replaced_.emplace(i, scan.identity);
    found.pending.push_back(i);
  }
  return found;
}

std::size_t ClipFiles::clean() {
  std::size_t temporaries = 0;
  for (const std::string& folder : folders_) {
    temporaries += directory_.remove_stale_temporaries(folder);
  }
  return temporaries;
}

std::string ClipFiles::path_of(std::size_t index) const {
  return directory_.output_path(inputs_.name(index));
}

int ClipFiles::max_threads() const { return kWritingThreads; }

void ClipFiles::write(Output& output) {
  try {
    put_in_place(output);
  } catch (...) {
    // Memory may have run out behind that: a clip that has its output has not failed.
    const auto there = identity_at(output.report.output);
    if (there && there != to_be_replaced(output.index)) end_writing();
    throw;
  }
}

std::optional<FileIdentity> ClipFiles::to_be_replaced(std::size_t index) const {
  const auto found = to_be_replaced_.find(index);
  return found == to_be_replaced_.end() ? std::nullopt : std::optional(found->second);
}

void ClipFiles::put_in_place(Output& output) {
  const ClipReport& report = output.report;
  const bool npy = directory_.format() == OutputFormat::npy;
  if (npy) output.tensors.resize(1);  // the states; the mask is left out
  const std::string digest = data_digest(output.tensors);
  directory_.prepare(report.name);
  Committed committed = Committed::kWasThere;
  if (npy) {
    committed = stage_npy(report.output, output.tensors.front().second)
                    .put_in_place_of(to_be_replaced(output.index));
  } else {
    SafetensorsMetadata metadata = {{"fingerprint", directory_.digest()},
                                    {"input", escaped_name(report.name)}};
    add_clip_metadata(metadata, report, frame_rate_hz_);
    metadata.emplace_back("w2vbert", version());
    metadata.emplace_back("sha256", digest);
    metadata.emplace_back(kHeaderSealKey, empty_header_seal());
    add_input_metadata(metadata, report.input);
    stage_safetensors(report.output, output.tensors, metadata, seal_header)
        .put_in_place_of(to_be_replaced(output.index));
  }
  try {
    directory_.record(
        JournalEntry{report.name, report.frames, report.audio_seconds, digest, report.input});
  } catch (...) {
    // Such a file does not say itself which input it is of: it would count by its name for ever.
    if (npy && committed == Committed::kWritten) take_back(report.output);
    throw;
  }
}

}  // namespace w2vbert::tool
