// What turns a file's bytes into samples. Torch-free.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "audio/container.h"
#include "core/file.h"

namespace w2vbert {

struct SoundFormat {
  std::string container;
  int sample_rate_hz = 0;
  int channels = 0;
  std::optional<std::int64_t> frames;  // that the file claims to hold
};

class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual const SoundFormat& format() const = 0;
  // Fills `interleaved` with up to `frames` frames and says with how many; 0: there are no more.
  // Throws AudioError where the file cannot be read.
  virtual std::int64_t read(float* interleaved, std::int64_t frames) = 0;
  // What the last reads found to be broken, as the words of an error; "" for nothing.
  virtual std::string damage() = 0;
};

// `file` and `view` outlive the decoder; `progress` is called whenever bytes have been read, and
// may throw. Both throw AudioError for what they cannot decode.
std::unique_ptr<Decoder> open_sndfile(const InputFile& file, const ContainerView& view,
                                      std::function<void()> progress);
bool is_built_with_libav();
// For views of a foreign kind. Also throws AudioError where the build has no libav or its libraries
// cannot be loaded.
std::unique_ptr<Decoder> open_libav(const InputFile& file, const ContainerView& view,
                                    std::function<void()> progress);
inline std::unique_ptr<Decoder> open_decoder(const InputFile& file, const ContainerView& view,
                                             std::function<void()> progress) {
  return (view.is_foreign ? open_libav : open_sndfile)(file, view, std::move(progress));
}

}  // namespace w2vbert
