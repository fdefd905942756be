// A file that a command writes whole, at the path of an option, with the record of the run beside
// it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tool/store/fingerprint.h"
#include "tool/store/writable.h"

namespace w2vbert::tool {

// The record, at <path>.run.json, says which run has written the file, and its bytes: what another
// run has written, and what was changed since, is never replaced.
class RecordedFile {
 public:
  // Throws as OutputFile for the file and for its record; also StorageError for a file with
  // something in it that is not what its record says, and UsageError for one of another run.
  RecordedFile(const std::string& path, const std::string& setting, const ProtectedFiles& sources,
               Fingerprint run);
  RecordedFile(const RecordedFile&) = delete;
  RecordedFile& operator=(const RecordedFile&) = delete;

  const std::string& path() const noexcept { return file_.path(); }
  // What is there with the same bytes stays as it is. Throws StorageError. A call that ends in
  // between leaves the file that was there as one of this run.
  void put(std::string_view text);

 private:
  struct Record {
    Fingerprint run;
    std::vector<std::string> digests;  // of the file: as it is, or was before a call that has ended
  };
  // Nothing for anything but such a record.
  static std::optional<Record> read_record(const std::string& path);
  // Whether what is at the places was there before, or is what another call with the same result
  // has put there.
  bool is_record(const std::string& path) const;
  bool is_as_recorded(const std::string& path);

  Fingerprint run_;
  std::string digest_;                     // of what is there, or ""
  std::string next_record_, next_digest_;  // of what put() writes
  OutputFile record_;
  OutputFile file_;
};

}  // namespace w2vbert::tool
