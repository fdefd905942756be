// Python's syntax of regular expressions -> PCRE2's. Torch-free.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <string_view>

namespace w2vbert {

// What is wrong with a regular expression: a sentence without its subject.
class PatternError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Pcre2Pattern {
  std::string text;                   // for PCRE2_UTF and PCRE2_UCP, where \n ends a line
  std::map<std::string, int> groups;  // numbers of the named groups, which have no names in `text`
};

// The expression that PCRE2 understands as Python's re (3.11, parser.py) understands `python`, for
// names of ASCII characters: every character that could mean something else there is escaped, what
// is spelled otherwise is translated, and what only one of the two knows is refused. Throws
// PatternError.
Pcre2Pattern python_to_pcre2(std::string_view python);

}  // namespace w2vbert
