// The local cache of the HuggingFace Hub, as huggingface_hub lays it out. Torch-free.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace w2vbert {

// os.path.expandvars(os.path.expanduser(path)) of Python, which huggingface_hub applies to its
// variables.
std::string expand_path(const std::string& path);

// A repository and what may be asked of it: "org/name", or "org/name@revision".
struct HubName {
  std::string id;
  std::string revision;  // a branch, a tag, a commit or the beginning of one; empty: main
};

// Nothing for what is no id as the Hub allows it, or no revision.
std::optional<HubName> parse_hub_name(std::string_view text);
bool is_revision(std::string_view text);

// The snapshot's folder; nothing where the cache does not have it.
std::optional<std::string> find_snapshot(const std::string& cache, const HubName& name);

// The branches and tags of a repository that the cache has, else its commits.
std::vector<std::string> cached_revisions(const std::string& cache, const std::string& id);

// The line to type: hf download org/name --revision v2.
std::string download_command(const HubName& name);

// The same for what is in the snapshot `directory`; empty where it is not one.
std::string download_command_of(const std::string& directory);

// Whether a download into that snapshot's repository was begun and not ended.
bool has_unfinished_download(const std::string& directory);

}  // namespace w2vbert
