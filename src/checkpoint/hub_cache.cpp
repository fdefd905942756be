#include "checkpoint/hub_cache.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "core/directory_entries.h"
#include "core/environment.h"
#include "core/file.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr std::uint64_t kMaxReferenceBytes = 4096;
constexpr std::size_t kMinShortCommit = 4;  // as git has it
constexpr std::string_view kFolderPrefix = "models--";
constexpr std::string_view kMain = "main";

bool is_name_character(unsigned char c) {
  return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
}

// "name" or "organisation/name" as the Hub allows it.
bool is_hub_id(std::string_view text) {
  const auto slashes = std::count(text.begin(), text.end(), '/');
  if (text.empty() || text.size() > 200 || slashes > 1 || text.front() == '/' ||
      text.back() == '/' || text.front() == '.' || text.front() == '-' ||
      text.find("..") != std::string_view::npos) {
    return false;
  }
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return is_name_character(c) || c == '/'; });
}

// A commit, as it names a folder of snapshots/; what else a reference file holds is not followed.
bool is_commit(std::string_view text) {
  return !text.empty() && text.size() <= 255 &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; });
}

std::string trimmed(std::string text) {
  text.erase(text.find_last_not_of(" \t\r\n") + 1);
  return text;
}

std::string repository_of(const std::string& cache, const std::string& id) {
  std::string folder = std::string(kFolderPrefix) + id;
  if (const auto slash = folder.find('/'); slash != std::string::npos) {
    folder.replace(slash, 1, "--");
  }
  return join_path(cache, folder);
}

// What refs/<revision> says, or "".
std::string referenced_commit(const std::string& repository, std::string_view revision) {
  const std::string reference = join_path(repository, "refs/" + std::string(revision));
  if (!exists<CheckpointError>(reference) || is_directory<CheckpointError>(reference)) return "";
  return trimmed(read_small_file<CheckpointError>(reference, kMaxReferenceBytes));
}

std::string home_of(const std::string& user) {
  if (const std::string home = environment_text("HOME"); user.empty() && !home.empty()) return home;
  std::array<char, 16384> buffer{};
  struct passwd entry {};
  struct passwd* found = nullptr;
  const int error = user.empty()
                        ? ::getpwuid_r(::getuid(), &entry, buffer.data(), buffer.size(), &found)
                        : ::getpwnam_r(user.c_str(), &entry, buffer.data(), buffer.size(), &found);
  return error == 0 && found ? found->pw_dir : "";
}

std::string expand_home(const std::string& path) {
  if (!path.starts_with('~')) return path;
  const std::size_t slash = std::min(path.find('/'), path.size());
  const std::string home = home_of(path.substr(1, slash - 1));
  if (home.empty()) return path;
  const std::string expanded = home.substr(0, home.find_last_not_of('/') + 1) + path.substr(slash);
  return expanded.empty() ? "/" : expanded;
}

// $name and ${name}; what is not set stays as it is.
std::string expand_variables(const std::string& path) {
  const auto is_word = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; };
  std::string expanded;
  for (std::size_t at = 0; at < path.size();) {
    std::size_t end = at + 1;
    std::string name;
    if (path[at] == '$' && end < path.size() && path[end] == '{') {
      const std::size_t brace = path.find('}', end);
      if (brace != std::string::npos) {
        name = path.substr(end + 1, brace - end - 1);
        end = brace + 1;
      }
    } else if (path[at] == '$') {
      while (end < path.size() && is_word(static_cast<unsigned char>(path[end]))) ++end;
      name = path.substr(at + 1, end - at - 1);
    }
    const auto value = name.empty() ? std::nullopt : environment_variable(name.c_str());
    expanded += value ? *value : path.substr(at, end - at);
    at = end;
  }
  return expanded;
}

}  // namespace

std::string expand_path(const std::string& path) { return expand_variables(expand_home(path)); }

bool is_revision(std::string_view text) {
  return !text.empty() && text.size() <= 200 && text.front() != '/' && text.front() != '-' &&
         text.front() != '.' && text.back() != '/' && text.find("..") == std::string_view::npos &&
         text.find("/.") == std::string_view::npos && text.find("//") == std::string_view::npos &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return is_name_character(c) || c == '/' || c == '+'; });
}

std::optional<HubName> parse_hub_name(std::string_view text) {
  const std::size_t at = std::min(text.find('@'), text.size());
  HubName name{std::string(text.substr(0, at)), ""};
  if (at < text.size()) {
    if (!is_revision(text.substr(at + 1))) return std::nullopt;
    name.revision = text.substr(at + 1);
  }
  if (!is_hub_id(name.id)) return std::nullopt;
  return name;
}

// huggingface_hub: file_download.py, try_to_load_from_cache. A commit may be shortened, which the
// Hub itself resolves there.
std::optional<std::string> find_snapshot(const std::string& cache, const HubName& name) {
  const std::string repository = repository_of(cache, name.id);
  const std::string snapshots = join_path(repository, "snapshots");
  const std::string revision = name.revision.empty() ? std::string(kMain) : name.revision;
  std::string commit = referenced_commit(repository, revision);
  if (commit.empty()) commit = revision;
  if (!is_commit(commit)) return std::nullopt;
  if (std::string snapshot = join_path(snapshots, commit);
      is_directory<CheckpointError>(snapshot)) {
    return snapshot;
  }
  const bool is_short = commit.size() >= kMinShortCommit &&
                        commit.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!is_short) return std::nullopt;
  std::vector<std::string> fitting = names_in(snapshots);
  std::erase_if(fitting, [&](const std::string& one) { return !one.starts_with(commit); });
  if (fitting.size() != 1) return std::nullopt;
  return join_path(snapshots, fitting.front());
}

std::vector<std::string> cached_revisions(const std::string& cache, const std::string& id) {
  const std::string repository = repository_of(cache, id);
  const std::string snapshots = join_path(repository, "snapshots");
  std::vector<std::string> revisions = names_in(join_path(repository, "refs"));
  std::erase_if(revisions, [&](const std::string& revision) {
    const std::string commit = referenced_commit(repository, revision);
    return !is_commit(commit) || !is_directory<CheckpointError>(join_path(snapshots, commit));
  });
  return revisions.empty() ? names_in(snapshots) : revisions;  // a commit has no reference
}

std::string download_command(const HubName& name) {
  if (name.revision.empty()) return "hf download " + name.id;
  std::string command = "hf download ID --revision ";
  command.replace(command.find("ID"), 2, name.id);
  return command + name.revision;
}

std::string download_command_of(const std::string& directory) {
  const std::string snapshot = without_trailing_slashes(directory);
  const std::string snapshots = parent_path(snapshot), repository = parent_path(snapshots);
  const std::string folder(file_name(repository));
  if (file_name(snapshots) != "snapshots" || !folder.starts_with(kFolderPrefix)) return "";
  HubName name{folder.substr(kFolderPrefix.size()), std::string(file_name(snapshot))};
  if (const auto dashes = name.id.find("--"); dashes != std::string::npos) {
    name.id.replace(dashes, 2, "/");
  }
  if (!is_hub_id(name.id) || !is_revision(name.revision)) return "";
  if (referenced_commit(repository, kMain) == name.revision) name.revision.clear();
  return download_command(name);
}

bool has_unfinished_download(const std::string& directory) {
  if (download_command_of(directory).empty()) return false;
  const std::string repository = parent_path(parent_path(without_trailing_slashes(directory)));
  const std::vector<std::string> blobs = names_in(join_path(repository, "blobs"));
  return std::any_of(blobs.begin(), blobs.end(),
                     [](const std::string& blob) { return blob.ends_with(".incomplete"); });
}

}  // namespace w2vbert
