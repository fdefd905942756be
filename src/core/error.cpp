#include "w2vbert/core/error.h"

#include "core/text.h"

namespace w2vbert {
namespace {

// With two quotes of 200 bytes, the marks of what was cut, and the words between: under 2 KB.
constexpr std::size_t kMaxProblemBytes = 1200;
constexpr std::size_t kMaxExpectedBytes = 400;

std::string format_error(std::string_view path, std::string_view key, std::string_view problem,
                         std::string_view expected) {
  std::string line;
  if (!path.empty()) line += quote_bytes(path) + ": ";
  if (!key.empty()) line += quote_bytes(key) + ": ";
  line += quote_bytes(problem, kMaxProblemBytes);
  if (!expected.empty()) line += ", expected " + quote_bytes(expected, kMaxExpectedBytes);
  return line;
}

}  // namespace

Error::Error(std::string_view path, std::string_view key, std::string_view problem,
             std::string_view expected, std::string_view setting)
    : std::runtime_error(format_error(path, key, problem, expected)),
      path_(path),
      key_(key),
      setting_(setting) {}

}  // namespace w2vbert
