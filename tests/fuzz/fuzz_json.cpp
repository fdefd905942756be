// The strict reader against nlohmann/json, which is laxer.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "message.h"

namespace {

using w2vbert::JsonNegative;
using w2vbert::JsonScalar;
using w2vbert::JsonUnfitNumber;

// One word an event.
class Ours : public w2vbert::JsonHandler {
 public:
  void scalar(const JsonScalar& value) override {
    if (const auto* text = std::get_if<std::string_view>(&value)) {
      events.push_back("s" + std::string(*text));
    } else if (const auto* number = std::get_if<double>(&value)) {
      events.push_back("d" + std::to_string(*number));
    } else if (const auto* negative = std::get_if<JsonNegative>(&value)) {
      events.push_back("i" + std::to_string(negative->value));
    } else if (std::holds_alternative<JsonUnfitNumber>(value)) {
      has_unfit_number = true;
      events.push_back("?");
    } else {
      events.push_back(w2vbert::describe(value));
    }
  }
  void begin_object() override { events.push_back("{"); }
  void key(std::string_view name) override { events.push_back("k" + std::string(name)); }
  void end_object() override { events.push_back("}"); }
  void begin_array() override { events.push_back("["); }
  void end_array() override { events.push_back("]"); }
  std::vector<std::string> events;
  bool has_unfit_number = false;
};

class Theirs {
 public:
  bool null() { return add("null"); }
  bool boolean(bool value) { return add(value ? "true" : "false"); }
  bool number_integer(std::int64_t value) { return add("i" + std::to_string(value)); }
  bool number_unsigned(std::uint64_t value) { return add(std::to_string(value)); }
  bool number_float(double value, const std::string& text) {
    const bool is_integer = text.find_first_of(".eE") == std::string::npos;
    const bool underflows =
        value == 0 && text.find_first_of("123456789") < text.find_first_of("eE");
    return add(is_integer || underflows ? "?" : "d" + std::to_string(value));
  }
  bool string(std::string& value) { return add("s" + value); }
  bool binary(nlohmann::json::binary_t&) { std::abort(); }
  bool start_object(std::size_t) {
    enter();
    return add("{");
  }
  bool key(std::string& name) {
    is_strict = is_strict && keys.back().insert(name).second;
    return add("k" + name);
  }
  bool end_object() {
    keys.pop_back();
    return add("}");
  }
  bool start_array(std::size_t) {
    enter();
    return add("[");
  }
  bool end_array() {
    keys.pop_back();
    return add("]");
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& error) {
    overflowed = error.id == 406;
    return false;
  }
  std::vector<std::string> events;
  bool is_strict = true;    // no equal keys, not too deep
  bool overflowed = false;  // ended at a number too large for a double

 private:
  bool add(std::string event) {
    events.push_back(std::move(event));
    return true;
  }
  void enter() {
    keys.emplace_back();
    if (keys.size() > w2vbert::kMaxJsonDepth) is_strict = false;
  }
  std::vector<std::set<std::string>> keys;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Ours ours;
  bool accepted = true;
  try {
    w2vbert::read_json(text, ours);
    w2vbert::JsonValue::parse(text).describe();
  } catch (const w2vbert::JsonError& error) {
    accepted = false;
    w2vbert::check_message(error.what());
  }
  // nlohmann/json skips a byte-order mark, and takes a NUL for the end.
  if (text.starts_with("\xEF\xBB\xBF") || text.find('\0') != std::string_view::npos) {
    if (accepted) std::abort();
    return 0;
  }
  Theirs theirs;
  const bool also = nlohmann::json::sax_parse(text.begin(), text.end(), &theirs);
  if (theirs.overflowed) return 0;  // ours reads on
  if (accepted != (also && theirs.is_strict)) std::abort();
  if (accepted && ours.events != theirs.events) std::abort();
  return 0;
}
