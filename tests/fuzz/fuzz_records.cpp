// What a run leaves in its directory and reads again: its first byte says whether it is a run
// record, a journal, a shard's index or the header of a .npy file.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/json.h"
#include "memory_file.h"
#include "message.h"
#include "tool/store/clip_index.h"
#include "tool/store/fingerprint.h"
#include "tool/store/journal.h"
#include "tool/store/npy_header.h"
#include "w2vbert/core/error.h"

namespace {

using namespace w2vbert::tool;

void read_run_record(std::string_view text) try {
  const Fingerprint fingerprint = parse_run_record(text, "run.json");
  const std::string record = run_record(fingerprint);
  if (run_record(parse_run_record(record, "run.json")) != record) std::abort();
  check_same_run(fingerprint, fingerprint, "run.json");
} catch (const w2vbert::UsageError& error) {
  w2vbert::check_message(error.what());
}

void read_index(std::string_view text) try {
  for (const IndexedClip& clip : parse_index(text)) {
    if (!std::isfinite(clip.audio_seconds) || clip.audio_seconds < 0) std::abort();
    if (text.find(clip.line) == std::string_view::npos) std::abort();
  }
} catch (const w2vbert::JsonError& error) {
  w2vbert::check_message(error.what());
}

void read_journal_of(const std::uint8_t* data, std::size_t size) try {
  const w2vbert::MemoryFile file(data, size);
  std::size_t read = 0;
  read_journal(
      file.path(), [&](const JournalBegin&) { ++read; },
      [&](const JournalEntry& entry) {
        ++read;
        if (!std::isfinite(entry.audio_seconds)) std::abort();
      });
  if (read > static_cast<std::size_t>(std::count(data, data + size, '\n'))) std::abort();
} catch (const w2vbert::UsageError& error) {
  w2vbert::check_message(error.what());
}

void read_npy(std::string_view head) {
  const auto array = read_npy_head(head);
  if (array && array->data_offset > head.size()) std::abort();
  const auto scan = scan_npy(head);
  if (!scan) return;
  if (scan->data_offset > head.size() || scan->file_bytes < scan->data_offset) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      read_run_record(text);
      break;
    case 1:
      read_index(text);
      break;
    case 2:
      read_journal_of(data + 1, size - 1);
      break;
    default:
      read_npy(text);
  }
  return 0;
}
