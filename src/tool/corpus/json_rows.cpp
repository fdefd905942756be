#include "tool/corpus/json_rows.h"

#include <utility>

#include "core/json.h"

namespace w2vbert::tool {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

}  // namespace

JsonArraySplitter::JsonArraySplitter(std::size_t max_element_bytes,
                                     std::function<void(const Element& element)> element)
    : max_element_bytes_(max_element_bytes), element_(std::move(element)) {}

void JsonArraySplitter::add(std::string_view block) {
  for (const char c : block) {
    add(c);
    if (c == '\n') {
      ++line_;
      at_line_start_ = true;
    } else if (!is_blank(c)) {
      at_line_start_ = false;
    }
  }
}

void JsonArraySplitter::add(char c) {
  switch (state_) {
    case State::kBefore:
      if (c == '[') state_ = State::kBetween;
      return;
    case State::kBetween:
      return add_between(c);
    case State::kElement:
      return add_to_element(c);
    case State::kTorn:
      if (!at_line_start_ || is_blank(c)) return;
      if (c == '{') begin_element(c);
      if (c == ']') end_array();
      return;
    case State::kAfter:
      if (is_blank(c)) return;
      begin_element(c);  // rows behind the array are rows
      if (c != '{') tear("stands behind the end of the array");
  }
}

void JsonArraySplitter::add_between(char c) {
  if (is_blank(c) || c == ',') return;
  if (c == ']') {
    end_array();
  } else {
    begin_element(c);
  }
}

void JsonArraySplitter::end_array() {
  state_ = State::kAfter;
  has_end_ = true;
}

void JsonArraySplitter::begin_element(char c) {
  state_ = State::kElement;
  text_.clear();
  is_cut_ = in_string_ = is_escaped_ = false;
  open_.clear();
  last_ = '\0';
  first_line_ = line_;
  ++number_;
  add_to_element(c);
}

void JsonArraySplitter::add_to_element(char c) {
  if (in_string_) {
    if (c == '\n') return tear("holds a string that does not end");
    if (!is_escaped_ && c == '"') in_string_ = false;
    is_escaped_ = !is_escaped_ && c == '\\';
  } else if (c == '"') {
    in_string_ = true;
  } else if (c == '{' || c == '[') {
    // In an object a comma comes before a key: this is the next row.
    if (c == '{' && last_ == ',' && open_.ends_with('{')) {
      tear("does not end");
      return begin_element(c);
    }
    if (open_.size() == kMaxJsonDepth) return tear("is nested too deeply");
    open_ += c;
  } else if (c == '}' || c == ']') {
    if (open_.empty() && c == ']') {
      end_element();
      return end_array();
    }
    if (open_.empty() || open_.back() != (c == '}' ? '{' : '[')) {
      return tear("has brackets that do not match");
    }
    open_.pop_back();
  } else if (c == ',' && open_.empty()) {
    return end_element();
  }
  if (text_.size() < max_element_bytes_) {
    text_ += c;
  } else {
    is_cut_ = true;
  }
  if (!is_blank(c)) last_ = c;
  if (open_.empty() && (c == '}' || c == ']')) end_element();
}

void JsonArraySplitter::end_element(std::string_view problem) {
  state_ = State::kBetween;
  const std::string too_long = "is longer than " + std::to_string(max_element_bytes_) + " bytes";
  if (problem.empty() && is_cut_) problem = too_long;
  element_({first_line_, number_, text_, problem});
}

void JsonArraySplitter::tear(std::string_view problem) {
  end_element(problem);
  state_ = State::kTorn;
}

void JsonArraySplitter::finish() {
  if (state_ == State::kElement) end_element("does not end");
  if (has_end_) return;
  first_line_ = line_;
  ++number_;
  text_.clear();
  end_element("is missing, as the array has no end");
}

}  // namespace w2vbert::tool
