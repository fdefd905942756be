// An audio file's headers, before a decoder sees it.
#include <cstdint>
#include <cstdlib>

#include "audio/container.h"
#include "memory_file.h"
#include "message.h"
#include "w2vbert/core/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const w2vbert::MemoryFile memory(data, size);
  try {
    const auto file = w2vbert::InputFile::open<w2vbert::AudioError>(memory.path());
    const w2vbert::ContainerView view = w2vbert::examine_container(file, [] {});
    if (view.name[0] == '\0' || view.begin > view.end || view.end > size) std::abort();
    if (view.frames && *view.frames < 0) std::abort();
    std::uint64_t end = 0;  // of the patch before
    for (const auto& [at, text] : view.patches) {
      if (at < end) std::abort();
      end = at + text.size();
    }
  } catch (const w2vbert::AudioError& error) {
    w2vbert::check_message(error.what());
  }
  return 0;
}
