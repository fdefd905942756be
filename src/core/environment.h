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

}  // namespace w2vbert
