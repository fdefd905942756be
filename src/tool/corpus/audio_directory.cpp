#include "tool/corpus/audio_directory.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "audio/audio_names.h"
#include "core/directory_entries.h"
#include "core/file.h"
#include "core/text.h"
#include "tool/corpus/archive.h"
#include "tool/corpus/passed_over.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

namespace fs = std::filesystem;

constexpr const char* kExpected = "a directory with audio files";

class DirectoryWalk {
 public:
  DirectoryWalk(const std::string& path, InputList& inputs)
      : top_(path), inputs_(inputs), archives_(inputs) {}

  void run() {
    enter(top_);
    // Links last: a directory that is reached both ways keeps its own path.
    while (!linked_.empty()) {
      std::sort(linked_.begin(), linked_.end());
      for (const std::string& directory : std::exchange(linked_, {})) enter(directory);
    }
    const std::string passed_over = passed_over_.text();
    if (files_.empty() && first_problem_) throw *first_problem_;
    if (files_.empty()) {
      throw UsageError(top_, "",
                       "holds no audio files" +
                           (passed_over.empty() ? "" : " (passed over: " + passed_over + ")"),
                       kExpected);
    }
    std::sort(files_.begin(), files_.end());
    for (std::string& file : files_) {
      if (has_archive_name(file)) {
        archives_.add(file);
      } else if (const auto bad = inputs_.problem_of(file, "", std::nullopt)) {
        inputs_.add_bad_row({file, "", bad->problem + ", expected " + bad->expected});
      } else {
        inputs_.add(file);
      }
      std::string().swap(file);  // there may be millions
    }
    archives_.finish();
    if (!passed_over.empty()) {
      inputs_.add_note(quote_bytes(top_) + ": passed over: " + passed_over);
    }
  }

 private:
  // Lists a directory and those below it.
  void enter(const std::string& directory) {
    std::vector<std::string> to_list = {directory};
    while (!to_list.empty()) {
      const std::string path = std::move(to_list.back());
      to_list.pop_back();
      struct stat status {};
      if (::stat(path.c_str(), &status) != 0) {
        cannot_be_listed(path, errno);
      } else if (entered_.insert(inode_of(status)).second) {
        list(path, to_list);
      }
    }
  }

  void list(const std::string& path, std::vector<std::string>& to_list) {
    std::error_code error;
    fs::directory_iterator entry = first_entry(path, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
      add(*entry, to_list);
    }
    if (error) cannot_be_listed(path, error.value());
  }

  void add(const fs::directory_entry& entry, std::vector<std::string>& to_list) {
    const std::string name = entry.path().filename().string();
    std::error_code error;  // what cannot be looked at is taken by its name
    const bool is_link = entry.is_symlink(error);
    if (name.starts_with('.')) {
      passed_over_.add("hidden");
    } else if (entry.is_directory(error)) {
      (is_link ? linked_ : to_list).push_back(entry.path().string());
    } else if (has_audio_name(name) || has_archive_name(name)) {
      files_.push_back(entry.path().string());
    } else if (is_link && !entry.exists(error)) {
      passed_over_.add("dangling");
    } else {
      passed_over_.add_file(name);
    }
  }

  void cannot_be_listed(const std::string& path, int error) {
    const std::string problem = std::string("cannot be listed: ") + std::strerror(error);
    const UsageError whole(path, "", problem, kExpected);
    if (path == top_) throw whole;
    if (!first_problem_) first_problem_ = whole;
    inputs_.add_bad_row({path, "", problem + ", expected " + kExpected, /*is_folder=*/true});
  }

  const std::string& top_;
  InputList& inputs_;
  ArchiveLister archives_;
  std::set<Inode> entered_;
  std::vector<std::string> linked_;  // directories that links lead to
  std::vector<std::string> files_;
  PassedOver passed_over_;
  std::optional<UsageError> first_problem_;
};

}  // namespace

void read_audio_directory(const std::string& path, InputList& inputs) {
  DirectoryWalk(path, inputs).run();
}

}  // namespace w2vbert::tool
