#include "tool/cli/document_files.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/descriptor.h"
#include "core/durable_file.h"
#include "core/escaped_name.h"
#include "core/file.h"
#include "core/json.h"
#include "tool/store/json_text.h"
#include "tool/store/sha256.h"
#include "tool/store/writable.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

// In the line of an answer.
constexpr const char* kDocument = "document";
constexpr const char* kName = "name";
constexpr const char* kDigest = "sha256";
constexpr const char* kDigestBefore = "sha256_before";

std::string made(std::string folder) {
  make_directories(folder);
  (void)try_directory(folder);
  return folder;
}

std::string digest_of_file(const std::string& path) {
  return sha256_of(read_small_file<StorageError>(path, std::numeric_limits<std::uint64_t>::max()));
}

std::string text_in(const JsonValue& line, const char* name) {
  const JsonValue* document = line.find(kDocument);
  const JsonValue* value = document ? document->find(name) : nullptr;
  const auto* text = value ? value->get_if<std::string>() : nullptr;
  return text ? *text : "";
}

}  // namespace

DocumentFiles::DocumentFiles(std::string folder, std::string ending, const InputList& inputs,
                             const Fingerprint& run, Document document, StillAsked still_asked)
    : folder_(made(std::move(folder))),
      ending_(std::move(ending)),
      inputs_(inputs),
      document_(std::move(document)),
      still_asked_(std::move(still_asked)),
      records_(join_path(folder_, ending_), {}, inputs, run.digest()),
      answered_(inputs.size()) {}

std::string DocumentFiles::path_of(std::size_t index) const {
  return join_path(folder_, inputs_.name(index) + ending_);
}

std::size_t DocumentFiles::take_answered(const Partition& partition) {
  std::size_t taken = 0;
  for (std::size_t index = 0; index < inputs_.size(); ++index) {
    if (!partition.holds(inputs_.name(index))) continue;
    const std::string path = path_of(index);
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) {
      if (means_absent(errno)) continue;
      fail_storage(path, "cannot be looked at", errno);
    }
    const auto found = records_.find(index);
    const JsonValue line = found ? JsonValue::parse(found->line) : JsonValue();
    const bool has_name =
        S_ISREG(status.st_mode) && text_in(line, kName) == escaped_name(inputs_.name(index));
    const std::string digest = has_name ? digest_of_file(path) : "";
    const bool is_last = has_name && digest == text_in(line, kDigest);
    if (!is_last && !(has_name && digest == text_in(line, kDigestBefore))) {
      throw StorageError(path, "", "is there already", "another folder, or that file elsewhere");
    }
    const bool is_asked = !still_asked_ || still_asked_(index, line);
    if (is_last && is_asked && found->origin == EarlierAnswer::kOfInput) {
      answered_[index] = true;
      ++taken;
    } else {
      replaced_[index] = digest;
    }
  }
  return taken;
}

void DocumentFiles::add(const AnsweredClip& clip, const Answer& answer) {
  const std::string name = inputs_.name(clip.index);
  const std::string path = path_of(clip.index);
  const std::string text = document_(name, clip, answer);
  const auto replaced = replaced_.find(clip.index);
  Json line = answer.json;
  line[kDocument] = {{kName, escaped_name(name)}, {kDigest, sha256_of(text)}};
  if (replaced != replaced_.end()) line[kDocument][kDigestBefore] = replaced->second;
  make_directories(parent_path(path));
  OutputFile file(path, "output", {}, [&](const std::string& there) {
    return replaced != replaced_.end() && digest_of_file(there) == replaced->second;
  });
  StagedFile staged(path, text);
  // First: a document without a record would be the user's own.
  std::string record = json_line(line);
  record.pop_back();
  records_.add({clip.input, clip.channel, std::move(record)});
  file.put(std::move(staged));
}

std::size_t DocumentFiles::finish() {
  records_.synchronise();
  return 0;
}

}  // namespace w2vbert::tool
