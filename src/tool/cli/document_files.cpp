#include "tool/cli/document_files.h"

#include <sys/stat.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "core/descriptor.h"
#include "core/directory_entries.h"
#include "core/durable_file.h"
#include "core/file.h"
#include "core/json.h"
#include "core/temporary_file.h"
#include "tool/store/json_text.h"
#include "tool/store/sha256.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

// In the line of an answer.
constexpr const char* kDigest = "sha256";
constexpr const char* kDigestBefore = "sha256_before";
constexpr const char* kAsked = "asked";  // the digest of a text
constexpr const char* kJournal = ".journal.jsonl";
constexpr std::string_view kElsewhere = "another folder, or that file elsewhere";

std::string made(std::string folder) {
  make_directories(folder);
  (void)try_directory(folder);
  return folder;
}

// The journals of all shares but that of `own`.
std::vector<std::string> other_journals(const std::string& folder, const std::string& ending,
                                        const std::string& own) {
  std::vector<std::string> journals;
  for (const std::string& name : names_in(folder)) {
    if (!name.starts_with(ending + ".") || !name.ends_with(kJournal)) continue;
    const std::string path = join_path(folder, name);
    if (path != own + kJournal) journals.push_back(path);
  }
  return journals;
}

std::string records_path(const std::string& folder, const std::string& ending,
                         const Partition& partition) {
  const std::string label = partition.label();
  return join_path(folder, label.empty() ? ending : ending + "." + label);
}

bool has(const JsonValue& line, const char* name, const std::string& text) {
  const auto* value = line.find_as<std::string>(name);
  return value && *value == text;
}

}  // namespace

DocumentFiles::DocumentFiles(std::string folder, std::string ending, const KeepRequest& request,
                             const Fingerprint& run, Document document)
    : folder_(made(std::move(folder))),
      ending_(std::move(ending)),
      inputs_(request.inputs),
      document_(std::move(document)),
      asked_(request.asked),
      records_(records_path(folder_, ending_, request.partition),
               other_journals(folder_, ending_, records_path(folder_, ending_, request.partition)),
               request.sources, inputs_, run.digest(),
               // Two names may be of one clip.
               [&inputs = inputs_](std::size_t index) { return inputs.name(index); }),
      answered_(inputs_.size()),
      folders_({folder_}) {}

std::string DocumentFiles::path_of(std::size_t index) const {
  return join_path(folder_, inputs_.name(index) + ending_);
}

std::string DocumentFiles::asked_digest(std::size_t index) const {
  return sha256_of(asked_(index));
}

std::size_t DocumentFiles::take_answered(const Partition& partition) {
  std::size_t taken = 0;
  for (std::size_t index = 0; index < inputs_.size(); ++index) {
    if (!partition.holds(inputs_.name(index))) continue;
    const std::string path = path_of(index);
    folders_.insert(parent_path(path));
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) {
      if (means_absent(errno)) continue;
      fail_storage(path, "cannot be looked at", errno);
    }
    const auto found = records_.find(index);
    const std::string digest = S_ISREG(status.st_mode) ? sha256_of_file(path) : "";
    bool is_own = false, is_current = false;
    for (const AnswerRecords::Found& one : found) {
      const JsonValue line = JsonValue::parse(one.line);
      const bool is_last = has(line, kDigest, digest);
      is_own = is_own || is_last || has(line, kDigestBefore, digest);
      is_current = is_current || (is_last && one.origin == EarlierAnswer::kOfInput &&
                                  (!asked_ || has(line, kAsked, asked_digest(index))));
    }
    if (is_current) {
      answered_[index] = true;
      ++taken;
    } else if (is_own) {
      replaced_[index] = digest;
    } else if (!records_.is_damaged()) {  // else it may be what this run makes again
      throw StorageError(path, "",
                         found.empty() ? "is there already, from another run or program"
                                       : "is not as this command has written it",
                         kElsewhere);
    }
  }
  return taken;
}

void DocumentFiles::begin() {
  records_.begin();
  for (const std::string& folder : folders_) {
    if (exists(folder)) (void)remove_stale_temporaries(folder);
  }
}

void DocumentFiles::add(const AnsweredClip& clip, const Answer& answer) {
  const std::string path = path_of(clip.index);
  const std::string text = document_(inputs_.name(clip.index), clip, answer);
  const std::string digest = sha256_of(text);
  const auto replaced = replaced_.find(clip.index);
  Json line = {{kDigest, digest}};
  if (asked_) line[kAsked] = asked_digest(clip.index);
  if (replaced != replaced_.end()) line[kDigestBefore] = replaced->second;
  make_directories(parent_path(path));
  const auto seen = identity_at(path);
  if (seen) {
    const std::string there = sha256_of_file(path);
    const bool is_replaced = replaced != replaced_.end() && there == replaced->second;
    if (there != digest && !is_replaced) {
      throw StorageError(path, "", "is there already, from another run or program", kElsewhere);
    }
  }
  StagedFile staged(path, text);
  // First: a document without a record would be the user's own.
  std::string record = json_line(line);
  record.pop_back();
  records_.add(clip.index, clip.input, record);
  records_.synchronise();
  staged.put_in_place_of(seen);
}

std::size_t DocumentFiles::finish() {
  records_.synchronise();
  return 0;
}

}  // namespace w2vbert::tool
