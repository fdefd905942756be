// What a gzip file (RFC 1952) holds. Torch-free.
#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

struct z_stream_s;

namespace w2vbert {

inline constexpr std::string_view kGzipMark = "\x1F\x8B";

// Reads a gzip file, member after member, in blocks.
class GzipReader {
 public:
  // `bytes`: the file's first ones, valid until the first call of `more`, which gives the following
  // ones, none at the end.
  GzipReader(std::string_view bytes, std::function<std::string_view()> more);
  ~GzipReader();
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;

  // Valid until the next call; empty at the end, and where the data are damaged: see problem().
  std::string_view next();
  // What is wrong with the file, or null.
  const char* problem() const { return problem_; }

 private:
  void take(std::string_view bytes);

  std::function<std::string_view()> more_;
  std::unique_ptr<z_stream_s> stream_;
  std::vector<char> block_;
  bool is_between_members_ = false;
  bool holds_more_ = false;  // zlib, than there was room for
  bool is_at_end_ = false;
  const char* problem_ = nullptr;
};

}  // namespace w2vbert
