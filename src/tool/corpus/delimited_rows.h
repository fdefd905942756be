// Tables with a header: CSV, and TSV as Common Voice writes it.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tool/corpus/line_file.h"

namespace w2vbert::tool {

// The fields of a line of a TSV. Quotes are bytes like others, as in csv.QUOTE_NONE.
std::vector<std::string> tsv_fields(std::string_view line);

// Lines of a CSV -> rows (RFC 4180, as Python's csv reads it): commas, fields in double quotes with
// commas, line breaks and doubled quotes in them. Where the first line has no comma, its semicolons
// or tabs stand for them. A row whose quotes do not match costs its first
// line: the next one begins a row again.
class CsvRows {
 public:
  static constexpr std::string_view kDelimiters = ",;\t";

  struct Row {
    std::size_t line = 0;  // in which it begins, from 1
    std::vector<std::string> fields;
    std::string_view problem;  // where that is not empty, there are no fields
  };

  explicit CsvRows(std::function<void(const Row& row)> row);
  void add(const Line& line);
  void finish();

 private:
  enum class End { kRow, kInQuotes, kMalformed };

  void take(std::string text, std::size_t number);
  End parse(std::string_view line);
  void give_up_first();

  struct HeldLine {
    std::size_t number;
    std::string text;
  };

  std::function<void(const Row& row)> row_;
  // The row at hand, which goes on while a quoted field does.
  std::vector<HeldLine> held_;
  std::size_t held_bytes_ = 0;
  std::vector<std::string> fields_;
  std::string field_;
  bool in_quotes_ = false;
  char delimiter_ = '\0';  // not known yet
};

}  // namespace w2vbert::tool
