// A file as its decoder sees it. Torch-free.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <string_view>

#include "audio/container.h"
#include "core/file.h"

namespace w2vbert {

// The bytes of a file that a ContainerView shows, with its patches: for decoders that read through
// functions of their user. They are C code, so that nothing throws here but check().
class ViewedFile {
 public:
  // All outlive it. `progress` is called behind each read; what it throws, check() throws again.
  ViewedFile(const InputFile& file, const ContainerView& view, std::function<void()> progress);
  // Shows `prefix` before the view's bytes.
  void begin_with(std::string_view prefix) { prefix_ = prefix; }

  std::int64_t size() const noexcept;
  std::int64_t tell() const noexcept { return static_cast<std::int64_t>(at_); }
  // As lseek; -1 for a place outside.
  std::int64_t seek(std::int64_t offset, int whence) noexcept;
  // How many bytes were read; fewer than `count` at the end, and where reading failed.
  std::int64_t read(void* to, std::int64_t count) noexcept;
  // Throws AudioError when a read has failed.
  void check() const;

 private:
  void apply_patches(std::uint64_t at, std::uint64_t count, char* bytes) const;

  const InputFile& file_;
  const ContainerView& view_;
  std::function<void()> progress_;
  std::string_view prefix_;
  std::uint64_t at_ = 0;
  int error_ = 0;  // errno of a read that failed
  std::exception_ptr interruption_;
};

}  // namespace w2vbert
