#include "audio/viewed_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include "w2vbert/core/error.h"

namespace w2vbert {

ViewedFile::ViewedFile(const InputFile& file, const ContainerView& view,
                       std::function<void()> progress)
    : file_(file), view_(view), progress_(std::move(progress)) {}

std::int64_t ViewedFile::size() const noexcept {
  return static_cast<std::int64_t>(prefix_.size() + (view_.end - view_.begin));
}

std::int64_t ViewedFile::seek(std::int64_t offset, int whence) noexcept {
  const std::int64_t base = whence == SEEK_SET ? 0 : whence == SEEK_END ? size() : tell();
  if (offset < -base || offset > size() - base) return -1;
  at_ = static_cast<std::uint64_t>(base + offset);
  return base + offset;
}

// Lays the view's patches over `count` bytes that stand `at` bytes behind its begin.
void ViewedFile::apply_patches(std::uint64_t at, std::uint64_t count, char* bytes) const {
  auto patch =
      std::partition_point(view_.patches.begin(), view_.patches.end(),
                           [&](const auto& one) { return one.first + one.second.size() <= at; });
  for (; patch != view_.patches.end() && patch->first < at + count; ++patch) {
    const auto& [place, text] = *patch;
    const std::uint64_t first = std::max(place, at);
    const std::uint64_t end = std::min<std::uint64_t>(place + text.size(), at + count);
    std::memcpy(bytes + (first - at), text.data() + (first - place), end - first);
  }
}

std::int64_t ViewedFile::read(void* to, std::int64_t count) noexcept {
  if (interruption_) return 0;
  auto* out = static_cast<char*>(to);
  const auto left = static_cast<std::uint64_t>(size()) - at_;
  const auto wanted = std::min(static_cast<std::uint64_t>(std::max<std::int64_t>(count, 0)), left);
  std::uint64_t done = 0;
  if (at_ < prefix_.size()) {
    done = std::min<std::uint64_t>(wanted, prefix_.size() - at_);
    std::memcpy(out, prefix_.data() + at_, done);
  }
  while (done < wanted) {
    const std::uint64_t place = at_ + done - prefix_.size();
    const ssize_t got = file_.read_some(place + view_.begin, out + done,
                                        std::min<std::uint64_t>(wanted - done, 1 << 24));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) error_ = errno;
    if (got <= 0) break;
    apply_patches(place, static_cast<std::uint64_t>(got), out + done);
    done += static_cast<std::uint64_t>(got);
    try {
      progress_();
    } catch (...) {
      interruption_ = std::current_exception();
      break;
    }
  }
  at_ += done;
  return static_cast<std::int64_t>(done);
}

void ViewedFile::check() const {
  if (interruption_) std::rethrow_exception(interruption_);
  if (error_ == 0) return;
  throw AudioError(file_.path(), "", std::string("cannot be read: ") + std::strerror(error_));
}

}  // namespace w2vbert
