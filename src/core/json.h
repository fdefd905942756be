// A strict reader of JSON text from files of unknown origin. Torch-free.
//
// Beyond RFC 8259: equal keys of one object are refused (compared after unescaping), nesting is at
// most kMaxJsonDepth, the whole text is one value, NUL bytes and a byte-order mark are errors, and
// integers stay integers: they keep their sign and never wrap or turn into floating point. Time is
// n log n at worst (n keys of one object) and memory linear in the text, whatever it holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace w2vbert {

constexpr std::size_t kMaxJsonDepth = 64;

// What is wrong with a JSON text; the caller knows the file and says so in an error of its own
// kind.
class JsonError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// An integer below zero, or the literal -0.
struct JsonNegative {
  std::int64_t value;
};
// An integer outside [-2^63, 2^64), or a number too large or too small for a double. An error where
// it is wanted, and none under a key that nobody reads.
struct JsonUnfitNumber {};

using JsonScalar = std::variant<std::nullptr_t, bool, std::uint64_t, JsonNegative, double,
                                JsonUnfitNumber, std::string_view>;

// Receives the events of one text in order. Views are valid during the call only. Throwing from a
// handler ends the reading. That a key stands twice is known at the end of its object only.
class JsonHandler {
 public:
  virtual ~JsonHandler() = default;
  virtual void scalar(const JsonScalar& value) = 0;
  virtual void begin_object() = 0;
  virtual void key(std::string_view name) = 0;
  virtual void end_object() = 0;
  virtual void begin_array() = 0;
  virtual void end_array() = 0;
};

enum class JsonDialect {
  kStandard,
  // What Python's json.load takes besides. NaN, Infinity and -Infinity are numbers: its json.dump
  // writes them. Half of a surrogate pair is U+FFFD: Python keeps it, and no file can hold it.
  kPython,
  // The same; but a half from U+DC80 to U+DCFF is the byte 80 to FF: so Python reads file names
  // that are not UTF-8 (surrogateescape), and json.dump writes them. Such strings are bytes.
  kPythonNames,
};

// Throws JsonError with the place (line and column) in its message. Strings without escape
// sequences are handed out as views of `text` itself.
void read_json(std::string_view text, JsonHandler& handler);
void read_json(std::string_view text, JsonHandler& handler, JsonDialect dialect);

// A whole JSON text in memory, for small files such as config.json. Not copyable: a deep copy of
// hostile input is never needed.
class JsonValue {
 public:
  using Array = std::vector<JsonValue>;
  using Object = std::vector<std::pair<std::string, JsonValue>>;

  static JsonValue parse(std::string_view text);
  static JsonValue parse(std::string_view text, JsonDialect dialect);

  JsonValue() = default;
  JsonValue(JsonValue&&) = default;
  JsonValue& operator=(JsonValue&&) = default;
  JsonValue(const JsonValue&) = delete;
  JsonValue& operator=(const JsonValue&) = delete;

  // nullptr_t, bool, uint64_t, JsonNegative, double, JsonUnfitNumber, std::string, Array or Object.
  template <typename T>
  const T* get_if() const {
    return std::get_if<T>(&value_);
  }
  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }

  // The member `name` of an object, or null when it is absent or this is not an object.
  const JsonValue* find(std::string_view name) const;

  // The same where that has the type T, one of those of get_if(); else null.
  template <typename T>
  const T* find_as(std::string_view name) const {
    const JsonValue* member = find(name);
    return member ? member->get_if<T>() : nullptr;
  }

  // "an object", "\"abc\"", "-3": for error messages.
  std::string describe() const;

 private:
  friend class JsonTreeBuilder;
  std::variant<std::nullptr_t, bool, std::uint64_t, JsonNegative, double, JsonUnfitNumber,
               std::string, Array, Object>
      value_;
};

// The same for an event of read_json.
std::string describe(const JsonScalar& value);

}  // namespace w2vbert
