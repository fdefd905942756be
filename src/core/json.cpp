#include "core/json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <deque>
#include <functional>
#include <limits>

#include "core/text.h"

namespace w2vbert {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The code point of four hexadecimal digits, or -1.
int hex4(std::string_view digits) {
  if (digits.size() < 4) return -1;
  int value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + 4, value, 16);
  // from_chars takes a sign.
  return error == std::errc() && end == digits.data() + 4 && digits[0] != '-' ? value : -1;
}

// One pass without recursion over one text.
class Reader {
 public:
  Reader(std::string_view text, JsonHandler& handler, JsonDialect dialect)
      : text_(text), handler_(handler), dialect_(dialect) {}

  void read() {
    if (text_.size() > std::numeric_limits<std::uint32_t>::max()) {
      throw JsonError("is longer than 4 GiB");  // Key::offset
    }
    if (text_.substr(0, 3) == "\xEF\xBB\xBF") throw JsonError("starts with a byte-order mark");
    skip_space();
    if (at_ == text_.size()) throw JsonError("is empty");
    read_value();
    while (depth_ > 0) read_next();
    skip_space();
    if (at_ != text_.size()) fail("text after the end");
  }

 private:
  struct Container {
    bool is_object;
    bool is_empty;
    std::size_t first_key;  // in keys_
  };
  // A key of an open object: half of its hash, for a million keys weigh as little as they can. Its
  // text is read again only to compare it with one of equal hash.
  struct Key {
    std::uint32_t hash;
    std::uint32_t offset;  // of the opening quote
  };

  [[noreturn]] void fail(const std::string& problem) const { fail_at(at_, problem); }

  [[noreturn]] void fail_at(std::size_t offset, const std::string& problem) const {
    const std::string_view before = text_.substr(0, offset);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 == 0: the first line
    throw JsonError("malformed JSON at line " + std::to_string(line) + ", column " +
                    std::to_string(offset - line_start + 1) + ": " + problem);
  }

  // What stands here, for messages.
  std::string found() const {
    if (at_ == text_.size()) return "the text ends";
    const std::string_view rest = text_.substr(at_);
    return "found " +
           quote_bytes(rest.substr(0, std::max<std::size_t>(1, utf8_character_length(rest))));
  }

  bool at(char c) const { return at_ < text_.size() && text_[at_] == c; }

  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t')) {
      ++at_;
    }
  }

  // The next element or member of the innermost open container, or its end.
  void read_next() {
    Container& container = open_[depth_ - 1];
    const char close = container.is_object ? '}' : ']';
    skip_space();
    if (at(close)) {
      ++at_;
      return end_container();
    }
    if (!container.is_empty) {
      if (!at(',')) fail(found() + " where a comma or " + close + " should be");
      ++at_;
      skip_space();
      if (at(close)) fail("a comma before the closing " + std::string(1, close));
    }
    container.is_empty = false;
    if (container.is_object) read_key();
    read_value();
  }

  void read_key() {
    if (!at('"')) fail(found() + " where a key in double quotes should be");
    const auto offset = static_cast<std::uint32_t>(at_);
    const std::string_view name = read_string();
    keys_.push_back({static_cast<std::uint32_t>(std::hash<std::string_view>{}(name)), offset});
    handler_.key(name);
    skip_space();
    if (!at(':')) fail(found() + " where a colon should be");
    ++at_;
    skip_space();
  }

  void read_value() {
    if (at_ == text_.size()) fail("the text ends where a value should be");
    switch (text_[at_]) {
      case '{':
        begin_container(true);
        return handler_.begin_object();
      case '[':
        begin_container(false);
        return handler_.begin_array();
      case '"':
        return handler_.scalar(read_string());
      case 't':
        return read_word("true", true);
      case 'f':
        return read_word("false", false);
      case 'n':
        return read_word("null", nullptr);
      case 'N':
        return read_constant("NaN", std::numeric_limits<double>::quiet_NaN());
      case 'I':
        return read_constant("Infinity", std::numeric_limits<double>::infinity());
      default:
        if (text_.substr(at_).starts_with("-I")) {
          return read_constant("-Infinity", -std::numeric_limits<double>::infinity());
        }
        read_number();
    }
  }

  void begin_container(bool is_object) {
    if (depth_ == kMaxJsonDepth) {
      fail("nested deeper than " + std::to_string(kMaxJsonDepth) + " levels");
    }
    open_[depth_++] = {is_object, true, keys_.size()};
    ++at_;
  }

  void end_container() {
    const Container container = open_[--depth_];
    if (!container.is_object) return handler_.end_array();
    refuse_equal_keys(container.first_key);
    keys_.resize(container.first_key);
    handler_.end_object();
  }

  // By sorting, for a hash table would take a file's word for it that hashes differ: a million keys
  // made to collide would take hours.
  void refuse_equal_keys(std::size_t first_key) {
    const auto first = keys_.begin() + static_cast<std::ptrdiff_t>(first_key);
    std::sort(first, keys_.end(), [](const Key& a, const Key& b) { return a.hash < b.hash; });
    for (auto from = first; from != keys_.end();) {
      auto to = from + 1;
      while (to != keys_.end() && to->hash == from->hash) ++to;
      if (to - from > 1) refuse_equal_names(from, to);
      from = to;
    }
  }

  void refuse_equal_names(std::vector<Key>::iterator from, std::vector<Key>::iterator to) {
    const std::size_t here = at_;
    std::deque<std::string> unescaped;  // of which the text itself has no view
    std::vector<std::string_view> names;
    for (; from != to; ++from) {
      at_ = from->offset;
      const std::string_view name = read_string();
      names.push_back(name.data() == scratch_.data() ? unescaped.emplace_back(name) : name);
    }
    at_ = here;
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) {
      throw JsonError("the key " + in_quotes(*twice) + " stands twice in one object");
    }
  }

  void read_word(std::string_view word, const JsonScalar& value) {
    if (text_.substr(at_, word.size()) != word) fail_value();
    at_ += word.size();
    handler_.scalar(value);
  }

  void read_constant(std::string_view word, double value) {
    if (dialect_ == JsonDialect::kStandard) fail_value();
    read_word(word, value);
  }

  [[noreturn]] void fail_value() const {
    const std::string_view rest = text_.substr(at_);
    for (const std::string_view word : {"NaN", "Infinity", "-Infinity"}) {
      if (rest.starts_with(word)) fail(std::string(word) + ", JSON has no NaN or Infinity");
    }
    if (rest.starts_with('/')) fail("JSON has no comments");
    fail(found() + " where a value should be");
  }

  void skip_digits() {
    if (at_ == text_.size() || !is_digit(text_[at_])) fail(found() + " where a digit should be");
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
  }

  void read_number() {
    const std::size_t start = at_;
    const bool negative = at('-');
    if (negative) ++at_;
    if (at_ == text_.size() || !is_digit(text_[at_])) {
      at_ = start;
      fail_value();
    }
    if (at('0')) {
      ++at_;
      if (at_ < text_.size() && is_digit(text_[at_])) fail("a number that begins with 0");
    } else {
      skip_digits();
    }
    bool is_integer = true;
    if (at('.')) {
      is_integer = false;
      ++at_;
      skip_digits();
    }
    if (at('e') || at('E')) {
      is_integer = false;
      ++at_;
      if (at('+') || at('-')) ++at_;
      skip_digits();
    }
    const std::string_view number = text_.substr(start, at_ - start);
    if (!is_integer) return hand_out<double>(number);
    if (negative) return hand_out<JsonNegative>(number);
    hand_out<std::uint64_t>(number);
  }

  template <typename Number>
  void hand_out(std::string_view text) {
    const auto parse = [&](auto& to) {
      return std::from_chars(text.data(), text.data() + text.size(), to).ec == std::errc();
    };
    Number number{};
    bool fits = false;
    if constexpr (std::is_same_v<Number, JsonNegative>) {
      fits = parse(number.value);
    } else {
      fits = parse(number);
    }
    handler_.scalar(fits ? JsonScalar(number) : JsonScalar(JsonUnfitNumber{}));
  }

  // The string whose opening quote stands here, unescaped: a view of the text itself where nothing
  // is escaped, else of scratch_.
  std::string_view read_string() {
    const std::size_t start = ++at_;
    std::size_t copied = start;  // what stands before is in scratch_
    scratch_.clear();
    for (;;) {
      if (at_ == text_.size()) fail_at(start - 1, "a string without end");
      const auto c = static_cast<unsigned char>(text_[at_]);
      if (c == '"') break;
      if (c == '\\') {
        scratch_.append(text_, copied, at_ - copied);
        read_escape();
        copied = at_;
      } else if (c < 0x20) {
        fail("a control character in a string, " + found());
      } else if (c < 0x80) {
        skip_plain();
      } else {
        const std::size_t length = utf8_character_length(text_.substr(at_));
        if (length == 0) fail("invalid UTF-8, " + found());
        at_ += length;
      }
    }
    const std::size_t end = at_++;
    if (copied == start) return text_.substr(start, end - start);
    scratch_.append(text_, copied, end - copied);
    return scratch_;
  }

  // Past the characters of a string that mean themselves: most of a header of 100 MB.
  void skip_plain() {
    while (at_ < text_.size()) {
      const auto c = static_cast<unsigned char>(text_[at_]);
      if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\') return;
      ++at_;
    }
  }

  // Appends what the escape sequence here means to scratch_.
  void read_escape() {
    constexpr std::string_view kLetters = "\"\\/bfnrt";
    constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
    const char letter = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    if (const std::size_t which = kLetters.find(letter); which != std::string_view::npos) {
      scratch_ += kMeanings[which];
      at_ += 2;
      return;
    }
    if (letter != 'u') fail("an unknown escape sequence");
    const auto code_at = [&](std::size_t offset) {
      return text_.substr(offset).starts_with("\\u") ? hex4(text_.substr(offset + 2)) : -1;
    };
    int code = code_at(at_);
    if (code < 0) fail("\\u without four hexadecimal digits");
    std::size_t length = 6;
    if (code >= 0xD800 && code < 0xE000) {
      const int low = code_at(at_ + 6);
      if (code < 0xDC00 && low >= 0xDC00 && low < 0xE000) {
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        length = 12;
      } else if (dialect_ == JsonDialect::kStandard) {
        fail("half of a surrogate pair");
      } else if (dialect_ == JsonDialect::kPythonNames && code >= 0xDC80 && code < 0xDD00) {
        scratch_ += static_cast<char>(code - 0xDC00);
        at_ += length;
        return;
      } else {
        code = 0xFFFD;
      }
    }
    append_utf8(scratch_, static_cast<std::uint32_t>(code));
    at_ += length;
  }

  std::string_view text_;
  JsonHandler& handler_;
  JsonDialect dialect_;
  std::size_t at_ = 0;
  std::array<Container, kMaxJsonDepth> open_{};
  std::size_t depth_ = 0;
  std::vector<Key> keys_;  // of all open objects, outer ones first
  std::string scratch_;
};

struct Describe {
  std::string operator()(std::nullptr_t) const { return "null"; }
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(std::uint64_t value) const { return std::to_string(value); }
  std::string operator()(JsonNegative number) const {
    return number.value == 0 ? "-0" : std::to_string(number.value);
  }
  std::string operator()(double value) const {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
    const std::string text = number_text(value);
    // As it may stand there: 32.0 is no integer.
    return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
  }
  std::string operator()(JsonUnfitNumber) const {
    return "a number beyond 64-bit integers and floating point";
  }
  std::string operator()(std::string_view value) const { return in_quotes(value, 60); }
  std::string operator()(const JsonValue::Array&) const { return "a list"; }
  std::string operator()(const JsonValue::Object&) const { return "an object"; }
};

}  // namespace

void read_json(std::string_view text, JsonHandler& handler) {
  read_json(text, handler, JsonDialect::kStandard);
}

void read_json(std::string_view text, JsonHandler& handler, JsonDialect dialect) {
  Reader(text, handler, dialect).read();
}

std::string describe(const JsonScalar& value) { return std::visit(Describe{}, value); }

class JsonTreeBuilder : public JsonHandler {
 public:
  JsonValue take() { return std::move(root_); }

  void scalar(const JsonScalar& value) override {
    JsonValue& slot = next();
    std::visit(
        [&](const auto& held) {
          if constexpr (std::is_same_v<decltype(held), const std::string_view&>) {
            slot.value_ = std::string(held);
          } else {
            slot.value_ = held;
          }
        },
        value);
  }
  void begin_object() override { open(JsonValue::Object{}); }
  void key(std::string_view name) override {
    std::get<JsonValue::Object>(open_.back()->value_).emplace_back(name, JsonValue());
  }
  void end_object() override { open_.pop_back(); }
  void begin_array() override { open(JsonValue::Array{}); }
  void end_array() override { open_.pop_back(); }

 private:
  // The slot that the next value fills. Containers grow only while they are the innermost open one,
  // so pointers to their open parents stay valid.
  JsonValue& next() {
    if (open_.empty()) return root_;
    if (auto* object = std::get_if<JsonValue::Object>(&open_.back()->value_)) {
      return object->back().second;
    }
    return std::get<JsonValue::Array>(open_.back()->value_).emplace_back();
  }
  template <typename Container>
  void open(Container container) {
    JsonValue& slot = next();
    slot.value_ = std::move(container);
    open_.push_back(&slot);
  }

  JsonValue root_;
  std::vector<JsonValue*> open_;
};

JsonValue JsonValue::parse(std::string_view text) { return parse(text, JsonDialect::kStandard); }

JsonValue JsonValue::parse(std::string_view text, JsonDialect dialect) {
  JsonTreeBuilder builder;
  read_json(text, builder, dialect);
  return builder.take();
}

const JsonValue* JsonValue::find(std::string_view name) const {
  const auto* object = get_if<Object>();
  if (!object) return nullptr;
  for (const auto& [key, value] : *object) {
    if (key == name) return &value;
  }
  return nullptr;
}

std::string JsonValue::describe() const { return std::visit(Describe{}, value_); }

}  // namespace w2vbert
