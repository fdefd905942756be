#include "config/python_to_pcre2.h"

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "core/text.h"

namespace w2vbert {
namespace {

using CodePoint = char32_t;
constexpr CodePoint kEnd = 0xFFFFFFFF;  // behind the last character
constexpr std::size_t kMaxOpenGroups = 500;

bool is_one_of(CodePoint c, std::string_view characters) {
  return c < 0x80 && characters.find(static_cast<char>(c)) != std::string_view::npos;
}
bool is_digit(CodePoint c) { return c >= '0' && c <= '9'; }
bool is_octal(CodePoint c) { return c >= '0' && c <= '7'; }
bool is_letter(CodePoint c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_word(CodePoint c) { return is_letter(c) || is_digit(c) || c == '_'; }

std::u32string decoded(std::string_view text) {
  std::u32string points;
  while (!text.empty()) {
    const std::size_t length = utf8_character_length(text);
    if (length == 0) throw PatternError("is not UTF-8");
    points.push_back(static_cast<char32_t>(code_point(text.substr(0, length))));
    text.remove_prefix(length);
  }
  return points;
}

// One character, as PCRE2 reads it inside and outside of brackets.
std::string literal(CodePoint c) {
  if (is_word(c)) return {static_cast<char>(c)};
  if (c > ' ' && c < 0x7F) return {'\\', static_cast<char>(c)};
  constexpr int kHighestShift = 20;
  std::string digits;
  for (int shift = kHighestShift; shift >= 0; shift -= 4) digits += kHexDigits[c >> shift & 0xF];
  return "\\x{" + digits + "}";
}

// A backslash and what belongs to it.
struct Escape {
  enum class Kind { kLiteral, kCategory, kPosition, kGroup };
  Kind kind;
  CodePoint value;  // of the literal, the category's or position's letter, the group's number
};

class Translator {
 public:
  explicit Translator(std::string_view python) : input_(decoded(python)) {}

  Pcre2Pattern translate() {
    read_flags_of_all();
    while (peek() != kEnd) read_item();
    if (!open_.empty()) fail("has a ( without its )");
    for (const int group : conditions_) {
      if (group > groups_) fail("asks for group " + std::to_string(group) + ", which is not there");
    }
    // Python folds some letters of other alphabets onto ASCII's, which PCRE2 does not.
    if (ignores_case_ && beyond_ascii_) fail("ignores the case of letters that are not ASCII");
    return {std::move(output_), std::move(names_)};
  }

 private:
  // What a quantifier would find before it.
  enum class Before { kNothing, kItem, kQuantified };
  struct Group {
    int number;    // 0: captures nothing
    bool verbose;  // outside of it
  };
  struct Flags {
    std::string letters;  // those that PCRE2 is told
    bool verbose = false;
  };

  [[noreturn]] static void fail(const std::string& problem) { throw PatternError(problem); }

  CodePoint peek(std::size_t ahead = 0) const {
    return at_ + ahead < input_.size() ? input_[at_ + ahead] : kEnd;
  }
  CodePoint next() {
    const CodePoint c = peek();
    if (c == kEnd) fail("ends too early");
    ++at_;
    return c;
  }
  bool accept(std::string_view text) {
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (peek(i) != static_cast<CodePoint>(text[i])) return false;
    }
    at_ += text.size();
    return true;
  }

  void write_literal(CodePoint c) {
    beyond_ascii_ = beyond_ascii_ || c > 0x7F;
    output_ += literal(c);
  }
  void write_item(std::string_view text) {
    output_ += text;
    before_ = Before::kItem;
  }
  void write_position(std::string_view text) {
    output_ += text;
    before_ = Before::kNothing;
  }

  void read_item() {
    const CodePoint c = next();
    if (verbose_ && is_one_of(c, " \t\n\r\v\f")) return;
    if (verbose_ && c == '#') {
      while (peek() != kEnd && next() != '\n') {
      }
      return;
    }
    switch (c) {
      case '\\':
        return write_escape(read_escape(/*in_set=*/false));
      case '[':
        return read_set();
      case '(':
        return read_group();
      case ')':
        return close_group();
      case '|':
      case '^':
      case '$':
        return write_position(std::string_view("|^$").substr(c == '|' ? 0 : c == '^' ? 1 : 2, 1));
      case '.':
        return write_item(".");
      case '*':
      case '+':
      case '?':
        return write_quantifier({static_cast<char>(c)});
      case '{':
        if (const auto repeat = read_repeat()) return write_quantifier(*repeat);
        [[fallthrough]];
      default:
        write_literal(c);
        before_ = Before::kItem;
    }
  }

  // ?, + or nothing may follow: reluctant, possessive, greedy.
  void write_quantifier(const std::string& quantifier) {
    if (before_ == Before::kNothing) fail("repeats nothing");
    if (before_ == Before::kQuantified) fail("repeats a repetition");
    output_ += quantifier;
    for (const char* const kind : {"?", "+"}) {
      if (!accept(kind)) continue;
      output_ += kind;
      break;
    }
    before_ = Before::kQuantified;
  }

  // What follows a brace that opens; nothing where the brace is one like any other character.
  std::optional<std::string> read_repeat() {
    if (peek() == '}') return std::nullopt;
    const std::size_t start = at_;
    const auto digits = [&] {
      std::string number;
      while (is_digit(peek())) number += static_cast<char>(next());
      return number;
    };
    const std::string least = digits();
    const bool has_comma = accept(",");
    const std::string most = has_comma ? digits() : least;
    if (!accept("}")) {
      at_ = start;
      return std::nullopt;
    }
    if (!has_comma) return "{" + least + "}";
    return "{" + (least.empty() ? "0" : least) + "," + most + "}";
  }

  CodePoint read_number(int base, std::size_t min_digits, std::size_t max_digits) {
    std::uint32_t number = 0;
    std::size_t count = 0;
    for (;
         count < max_digits && is_one_of(peek(), base == 8 ? "01234567" : "0123456789abcdefABCDEF");
         ++count) {
      const CodePoint c = next();
      number = number * static_cast<std::uint32_t>(base) +
               (is_digit(c) ? c - '0' : (c | 0x20U) - 'a' + 10);
    }
    if (count < min_digits) fail("has a number of too few digits behind a backslash");
    return number;
  }
  CodePoint read_code_point(std::size_t digits) {
    const CodePoint c = read_number(16, digits, digits);
    if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) fail("names a character that there is not");
    return c;
  }

  Escape read_escape(bool in_set) {
    using Kind = Escape::Kind;
    const CodePoint c = next();
    if (is_one_of(c, "dDsSwW")) return {Kind::kCategory, c};
    if (!in_set && is_one_of(c, "AbBZ")) return {Kind::kPosition, c};
    constexpr std::string_view kControls = "abfnrtv", kControlCodes = "\a\b\f\n\r\t\v";
    if (is_one_of(c, kControls)) {
      return {Kind::kLiteral,
              static_cast<CodePoint>(kControlCodes[kControls.find(static_cast<char>(c))])};
    }
    if (c == 'x') return {Kind::kLiteral, read_code_point(2)};
    if (c == 'u') return {Kind::kLiteral, read_code_point(4)};
    if (c == 'U') return {Kind::kLiteral, read_code_point(8)};
    if (is_letter(c)) fail("has an escape that Python does not know, or by a character's name");
    if (!is_digit(c)) return {Kind::kLiteral, c};
    const bool is_octal_number = c == '0' || (in_set && is_octal(c)) ||
                                 (is_octal(c) && is_octal(peek()) && is_octal(peek(1)));
    if (is_octal_number) {
      --at_;
      const CodePoint value = read_number(8, 1, 3);
      if (value > 0377) fail("has an octal number above 377");
      return {Kind::kLiteral, value};
    }
    if (in_set) fail("has an escape that Python does not know");
    CodePoint group = c - '0';
    if (is_digit(peek())) group = group * 10 + (next() - '0');
    return {Kind::kGroup, group};
  }

  void write_escape(const Escape& escape) {
    switch (escape.kind) {
      case Escape::Kind::kLiteral:
        write_literal(escape.value);
        break;
      case Escape::Kind::kCategory:
        write_item({"\\" + std::string(1, static_cast<char>(escape.value))});
        break;
      case Escape::Kind::kPosition:
        // Python's \Z is the very end.
        write_position("\\" +
                       std::string(1, escape.value == 'Z' ? 'z' : static_cast<char>(escape.value)));
        return;
      case Escape::Kind::kGroup:
        write_reference(static_cast<int>(escape.value));
        break;
    }
    before_ = Before::kItem;
  }

  void write_reference(int group) {
    if (group < 1 || group > groups_) {
      fail("refers to group " + std::to_string(group) + ", which is not there");
    }
    for (const Group& open : open_) {
      if (open.number == group) fail("refers to a group inside of itself");
    }
    write_item("\\g{" + std::to_string(group) + "}");
  }

  void read_set() {
    output_ += accept("^") ? "[^" : "[";
    // A bracket that closes is a character of the set where it is its first.
    for (bool first = true; first || peek() != ']'; first = false) {
      const Escape from = read_member();
      if (peek() != '-' || peek(1) == ']') {
        write_member(from);
        continue;
      }
      ++at_;
      const Escape to = read_member();
      if (from.kind != Escape::Kind::kLiteral || to.kind != Escape::Kind::kLiteral ||
          to.value < from.value) {
        fail("has something in brackets that is not a range");
      }
      write_member(from);
      output_ += '-';
      write_member(to);
    }
    ++at_;
    write_item("]");
  }
  Escape read_member() {
    const CodePoint c = next();
    return c == '\\' ? read_escape(/*in_set=*/true) : Escape{Escape::Kind::kLiteral, c};
  }
  void write_member(const Escape& member) {
    if (member.kind == Escape::Kind::kLiteral) return write_literal(member.value);
    output_ += {'\\', static_cast<char>(member.value)};
  }

  void open_group(std::string_view beginning, bool captures = false) {
    if (open_.size() == kMaxOpenGroups) fail("has groups in groups too deep");
    open_.push_back({captures ? ++groups_ : 0, verbose_});
    write_position(beginning);
  }
  void close_group() {
    if (open_.empty()) fail("has a ) without its (");
    verbose_ = open_.back().verbose;
    open_.pop_back();
    write_item(")");
  }

  void read_group() {
    if (!accept("?")) return open_group("(", /*captures=*/true);
    for (const char* const plain : {":", "=", "!", "<=", "<!", ">"}) {
      if (accept(plain)) return open_group("(?" + std::string(plain));
    }
    if (accept("#")) {
      while (next() != ')') {
      }
      return;
    }
    if (accept("P<")) {
      const std::string name = read_name('>');
      open_group("(", /*captures=*/true);
      if (!names_.emplace(name, groups_).second) fail("has two groups of one name");
      return;
    }
    if (accept("P=")) return write_reference(group_of(read_name(')')));
    if (accept("(")) {
      const int group = read_condition();
      conditions_.push_back(group);
      return open_group("(?(" + std::to_string(group) + ")");
    }
    const Flags added = read_flags();
    Flags removed;
    if (accept("-")) removed = read_flags();
    if (!accept(":"))
      fail("has flags that are not at its start, or (? before what Python does not know");
    open_group("(?" + added.letters + (removed.letters.empty() ? "" : "-" + removed.letters) + ":");
    verbose_ = (verbose_ || added.verbose) && !removed.verbose;
  }

  std::string read_name(char end) {
    std::string name;
    while (peek() != static_cast<CodePoint>(end)) {
      const CodePoint c = next();
      if (!is_word(c) || (name.empty() && is_digit(c)))
        fail("has a group with a name that Python does not take");
      name += static_cast<char>(c);
    }
    ++at_;
    if (name.empty()) fail("has a group without a name");
    return name;
  }
  int group_of(const std::string& name) const {
    const auto found = names_.find(name);
    if (found == names_.end()) fail("refers to a group of a name that is not there");
    return found->second;
  }
  int read_condition() {
    if (!is_digit(peek())) return group_of(read_name(')'));
    constexpr int kMaxGroup = 1'000'000;
    int group = 0;
    while (is_digit(peek()) && group < kMaxGroup) {
      group = group * 10 + static_cast<int>(next() - '0');
    }
    if (!accept(")") || group == 0) fail("asks for a group that is not there");
    return group;
  }

  // ASCII or Unicode: the same for names of ASCII characters, which is what is matched.
  Flags read_flags() {
    Flags flags;
    while (is_one_of(peek(), "aimsux")) {
      const CodePoint c = next();
      if (c == 'x') flags.verbose = true;
      if (is_one_of(c, "ims")) flags.letters += static_cast<char>(c);
      ignores_case_ = ignores_case_ || c == 'i';
    }
    return flags;
  }
  // (?i) and the like, which stand before everything else and hold for all of it.
  void read_flags_of_all() {
    while (peek() == '(' && peek(1) == '?' && is_one_of(peek(2), "aimsux")) {
      const std::size_t start = at_;
      at_ += 2;
      const Flags flags = read_flags();
      if (!accept(")")) {
        at_ = start;  // those of a group
        return;
      }
      if (!flags.letters.empty()) output_ += "(?" + flags.letters + ")";
      verbose_ = verbose_ || flags.verbose;
    }
  }

  const std::u32string input_;
  std::size_t at_ = 0;
  std::string output_;
  Before before_ = Before::kNothing;
  bool verbose_ = false;  // blanks and comments count for nothing
  bool ignores_case_ = false;
  bool beyond_ascii_ = false;
  int groups_ = 0;
  std::vector<Group> open_;
  std::map<std::string, int> names_;
  std::vector<int> conditions_;
};

}  // namespace

Pcre2Pattern python_to_pcre2(std::string_view python) { return Translator(python).translate(); }

}  // namespace w2vbert
