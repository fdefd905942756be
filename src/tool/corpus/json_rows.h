// The elements of a JSON array that is too long for memory, as texts of their own.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace w2vbert::tool {

// Splits blocks of the text of one array at its commas. It looks at brackets, quotes and line
// breaks alone: whether an element is JSON is the caller's to see. Where one is torn (a string or a
// bracket that does not end), what follows is read again from the next line that begins with a
// brace.
class JsonArraySplitter {
 public:
  struct Element {
    std::size_t line = 0;    // in which it begins, from 1
    std::size_t number = 0;  // from 1
    std::string_view text;
    std::string_view problem;  // where that is not empty, `text` is not whole
  };

  JsonArraySplitter(std::size_t max_element_bytes,
                    std::function<void(const Element& element)> element);
  // The first bracket may have white space before it, but nothing else.
  void add(std::string_view block);
  void finish();

 private:
  enum class State { kBefore, kBetween, kElement, kTorn, kAfter };

  void add(char c);
  void add_between(char c);
  void add_to_element(char c);
  void begin_element(char c);
  void end_element(std::string_view problem = {});
  void end_array();
  void tear(std::string_view problem);

  std::size_t max_element_bytes_;
  std::function<void(const Element& element)> element_;
  State state_ = State::kBefore;
  std::string text_;
  bool is_cut_ = false;
  bool has_end_ = false;  // the array
  std::string open_;      // brackets of the element that are open
  bool in_string_ = false;
  bool is_escaped_ = false;
  bool at_line_start_ = true;
  char last_ = '\0';  // but for white space
  std::size_t line_ = 1;
  std::size_t first_line_ = 1;  // of the element
  std::size_t number_ = 0;
};

}  // namespace w2vbert::tool
