#include "tool/corpus/delimited_rows.h"

#include <algorithm>
#include <utility>

#include "core/text.h"

namespace w2vbert::tool {
namespace {

// A quote that nobody closes reaches no further.
constexpr std::size_t kMaxRowLines = 1000;
constexpr std::size_t kMaxRowBytes = 65536;

}  // namespace

std::vector<std::string> tsv_fields(std::string_view line) { return split(line, '\t'); }

CsvRows::CsvRows(std::function<void(const Row& row)> row) : row_(std::move(row)) {}

void CsvRows::add(const Line& line) {
  if (line.is_cut) {
    while (!held_.empty()) give_up_first();
    row_({line.number, {}, "is too long"});
  } else {
    take(std::string(line.bytes), line.number);
  }
}

void CsvRows::finish() {
  while (!held_.empty()) give_up_first();
}

void CsvRows::take(std::string text, std::size_t number) {
  if (held_.empty() && text.find_first_not_of(" \t") == std::string::npos) return;
  if (delimiter_ == '\0') {
    delimiter_ = kDelimiters.front();
    for (const char one : kDelimiters) {
      if (text.find(one) == std::string::npos) continue;
      delimiter_ = one;
      break;
    }
  }
  held_bytes_ += text.size() + 1;
  held_.push_back({number, std::move(text)});
  switch (parse(held_.back().text)) {
    case End::kRow: {
      Row row{held_.front().number, std::move(fields_), {}};
      held_.clear();
      held_bytes_ = 0;
      fields_.clear();
      row_(row);
      return;
    }
    case End::kInQuotes:
      if (held_.size() <= kMaxRowLines && held_bytes_ <= kMaxRowBytes) return;
      [[fallthrough]];
    case End::kMalformed:
      give_up_first();
  }
}

// One more line of the row at hand.
CsvRows::End CsvRows::parse(std::string_view line) {
  std::size_t at = 0;
  if (in_quotes_) field_ += '\n';
  for (;;) {
    if (!in_quotes_ && at < line.size() && line[at] == '"') {
      in_quotes_ = true;
      ++at;
    }
    if (in_quotes_) {
      const std::size_t quote = line.find('"', at);
      field_ += line.substr(at, quote == std::string_view::npos ? quote : quote - at);
      if (quote == std::string_view::npos) return End::kInQuotes;
      at = quote + 1;
      if (at < line.size() && line[at] == '"') {
        field_ += '"';
        ++at;
        continue;
      }
      in_quotes_ = false;
      if (at < line.size() && line[at] != delimiter_) return End::kMalformed;
    } else {
      const std::size_t end = std::min(line.find(delimiter_, at), line.size());
      field_ += line.substr(at, end - at);
      at = end;
    }
    fields_.push_back(std::exchange(field_, {}));
    if (at == line.size()) return End::kRow;
    ++at;  // the delimiter
  }
}

void CsvRows::give_up_first() {
  std::vector<HeldLine> held = std::exchange(held_, {});
  held_bytes_ = 0;
  fields_.clear();
  field_.clear();
  in_quotes_ = false;
  row_({held.front().number, {}, "has quotes that do not match"});
  for (std::size_t i = 1; i < held.size(); ++i) take(std::move(held[i].text), held[i].number);
}

}  // namespace w2vbert::tool
