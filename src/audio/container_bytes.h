// The bytes of a file whose container is examined. Torch-free.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

#include "audio/container.h"
#include "core/file.h"
#include "w2vbert/core/error.h"

namespace w2vbert {

// Small reads at any place of the audio, served from one block. Places count from `origin`, where
// the audio begins in the file; bytes past the end read as zeros.
class ContainerBytes {
 public:
  ContainerBytes(const InputFile& file, const std::function<void()>& progress)
      : file_(file), progress_(progress), end_(file.size()) {}

  const InputFile& file() const { return file_; }
  std::uint64_t origin() const { return origin_; }
  // The audio is what stands from `origin` to `end` in the file.
  void show(std::uint64_t origin, std::uint64_t end) {
    origin_ = origin;
    end_ = end;
    block_.clear();
    passed = {};
  }
  // Leaves out what stands before `at`.
  void begin_at(std::uint64_t at) { show(origin_ + at, end_); }
  std::uint64_t size() const { return end_ - origin_; }
  bool has(std::uint64_t at, std::uint64_t count) const {
    return count <= size() && at <= size() - count;
  }
  std::uint64_t left(std::uint64_t at) const { return size() - std::min(at, size()); }
  // At most kBlock bytes.
  std::string_view view(std::uint64_t at, std::size_t count) {
    if (at < begin_ || at + count > begin_ + block_.size()) {
      const std::size_t length = std::max(count, kBlock);
      // Who reads backwards goes on so.
      const bool is_backwards = !block_.empty() && at < begin_;
      begin_ = !is_backwards ? at : at + count > length ? at + count - length : 0;
      block_.assign(length, '\0');
      if (begin_ < size()) {
        file_.read_at(origin_ + begin_, block_.data(),
                      std::min<std::uint64_t>(length, size() - begin_));
      }
      progress_();
    }
    return std::string_view(block_).substr(static_cast<std::size_t>(at - begin_), count);
  }
  bool starts_with(std::uint64_t at, std::string_view text) {
    return has(at, text.size()) && view(at, text.size()) == text;
  }
  std::uint8_t byte(std::uint64_t at) { return static_cast<std::uint8_t>(view(at, 1)[0]); }
  std::uint64_t little(std::uint64_t at, int bytes) {
    std::uint64_t value = 0;
    for (int i = bytes; i-- > 0;) value = value << 8 | byte(at + static_cast<std::uint64_t>(i));
    return value;
  }
  std::uint64_t big(std::uint64_t at, int bytes) {
    std::uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) value = value << 8 | byte(at + static_cast<std::uint64_t>(i));
    return value;
  }

  // The tags and zeros that behind_tags() has passed over last: who walks through them asks again.
  struct {
    std::uint64_t begin = 0, end = 0;
  } passed;

 private:
  static constexpr std::size_t kBlock = 128 * 1024;
  const InputFile& file_;
  const std::function<void()>& progress_;
  std::string block_;
  std::uint64_t origin_ = 0;
  std::uint64_t end_;
  std::uint64_t begin_ = 0;
};

inline bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// A size of ID3v2, whose bytes have seven bits each (id3.org, ID3v2.4, section 6.2).
inline std::uint64_t sync_safe(ContainerBytes& bytes, std::uint64_t at) {
  std::uint64_t size = 0;
  for (std::uint64_t i = 0; i < 4; ++i) size = size << 7 | (bytes.byte(at + i) & 0x7f);
  return size;
}

// The bytes of the tag at `at`, or 0.
std::uint64_t tag_bytes_at(ContainerBytes& bytes, std::uint64_t at);
// Where the tags begin that stand behind a stream, not before `least`.
std::uint64_t tags_behind(ContainerBytes& bytes, std::uint64_t least);

[[noreturn]] inline void refuse_container(const InputFile& file, std::string_view problem,
                                          std::string_view expected = "a whole file") {
  throw AudioError(file.path(), "", problem, expected);
}

[[noreturn]] inline void refuse_second_stream(const InputFile& file) {
  refuse_container(file, "holds several streams, one after another", "one stream");
}

// Where what stands behind tags and zeros at `at` begins.
inline std::uint64_t behind_tags(ContainerBytes& bytes, std::uint64_t at) {
  if (at >= bytes.passed.begin && at < bytes.passed.end) return bytes.passed.end;
  const std::uint64_t begin = at;
  while (bytes.has(at, 1)) {
    if (const std::uint64_t tag_bytes = tag_bytes_at(bytes, at); tag_bytes > 0) {
      at += tag_bytes;
    } else if (bytes.byte(at) == 0) {
      ++at;
    } else {
      break;
    }
  }
  if (at > begin) bytes.passed = {begin, at};
  return at;
}

// Whether nothing but tags and zeros stands from `at` on, and something does.
inline bool is_end_of_stream(ContainerBytes& bytes, std::uint64_t at) {
  const std::uint64_t next = behind_tags(bytes, at);
  return next > at && !bytes.has(next, 1);
}

// A file of one more stream, which begins with `magic`, behind tags and zeros at `at`.
inline void refuse_stream_behind(ContainerBytes& bytes, std::uint64_t at, std::string_view magic) {
  if (bytes.starts_with(behind_tags(bytes, at), magic)) refuse_second_stream(bytes.file());
}

// What a header says of the audio behind it, and how much of that is there.
inline void note_truncation(ContainerView& view, const std::string& what, std::uint64_t claimed,
                            std::uint64_t there, const char* unit = "bytes") {
  view.damage = "is truncated: its " + what + " says " + std::to_string(claimed) + " " + unit +
                ", " + std::to_string(there) + " are there";
  if (there > 0) view.claimed_ratio = static_cast<double>(claimed) / static_cast<double>(there);
}

// The same where the header does not say how much.
inline void note_cut(const ContainerBytes& bytes, ContainerView& view, const char* what,
                     std::uint64_t at) {
  view.damage =
      std::string("is truncated in ") + what + " at byte " + std::to_string(bytes.origin() + at);
}

// A byte of the container that has changed: decoders pass over what stands there, as if it had
// never been.
inline void note_loss(const ContainerBytes& bytes, ContainerView& view, const char* what,
                      std::uint64_t at) {
  view.end = bytes.origin() + at;
  view.damage = std::string("is damaged: no ") + what + " at byte " + std::to_string(view.end);
}

}  // namespace w2vbert
