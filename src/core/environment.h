// Variables of the environment. Torch-free.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>

namespace w2vbert {

// Nothing for a variable that is not set.
inline std::optional<std::string> environment_variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? std::optional<std::string>(value) : std::nullopt;
}

// The same where a variable that is not set counts as an empty one.
inline std::string environment_text(const char* name) {
  return environment_variable(name).value_or("");
}

// What this library and its program keep for a user, $XDG_CACHE_HOME/w2vbert or ~/.cache/w2vbert;
// "" where the environment names no absolute path.
inline std::string user_cache_folder() {
  std::string folder = environment_text("XDG_CACHE_HOME");
  if (const std::string home = environment_text("HOME"); folder.empty() && !home.empty()) {
    folder = home + "/.cache";
  }
  return folder.starts_with('/') ? folder + "/w2vbert" : "";
}

}  // namespace w2vbert
