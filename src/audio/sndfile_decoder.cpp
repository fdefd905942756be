#include <sndfile.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <span>
#include <utility>

#include "audio/decoder.h"
#include "audio/viewed_file.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr sf_count_t kUnknownFrames = SF_COUNT_MAX;

// --- libsndfile's virtual I/O over one file: it never sees a name, and cannot open anything ---

ViewedFile& file_of(void* user) { return *static_cast<ViewedFile*>(user); }

sf_count_t virtual_length(void* user) { return file_of(user).size(); }
sf_count_t virtual_seek(sf_count_t offset, int whence, void* user) {
  return file_of(user).seek(offset, whence);
}
sf_count_t virtual_read(void* to, sf_count_t count, void* user) {
  return file_of(user).read(to, count);
}
sf_count_t virtual_write(const void*, sf_count_t, void*) { return 0; }
sf_count_t virtual_tell(void* user) { return file_of(user).tell(); }

SF_VIRTUAL_IO kVirtualIo = {virtual_length, virtual_seek, virtual_read, virtual_write,
                            virtual_tell};

using SoundFile = std::unique_ptr<SNDFILE, decltype(&sf_close)>;

// libsndfile's sentence without its full stop.
std::string reason_of(const char* text) {
  std::string reason = text;
  // libsndfile: SFE_BAD_SF_INFO, of a header that it has read
  if (reason.find("SF_INFO") != std::string::npos) {
    return "its header has no sample rate, no channels or no samples";
  }
  reason.erase(reason.find_last_not_of(". \n") + 1);
  return reason;
}

// Where the channels of WAV's order stand in that of Vorbis (Vorbis I, section 4.3.9); empty where
// both are the same.
std::span<const std::size_t> vorbis_order(int channels) {
  static constexpr std::array<std::size_t, 3> k3 = {0, 2, 1};
  static constexpr std::array<std::size_t, 5> k5 = {0, 2, 1, 3, 4};
  static constexpr std::array<std::size_t, 6> k6 = {0, 2, 1, 5, 3, 4};
  static constexpr std::array<std::size_t, 7> k7 = {0, 2, 1, 6, 5, 3, 4};
  static constexpr std::array<std::size_t, 8> k8 = {0, 2, 1, 7, 5, 6, 3, 4};
  switch (channels) {
    case 3:
      return k3;
    case 5:
      return k5;
    case 6:
      return k6;
    case 7:
      return k7;
    case 8:
      return k8;
    default:
      return {};
  }
}

class SndfileDecoder : public Decoder {
 public:
  SndfileDecoder(const InputFile& file, const ContainerView& view, std::function<void()> progress)
      : view_(view), bytes_(file, view, std::move(progress)) {
    open();
    format_.frames = sound_ && info_.frames != kUnknownFrames
                         ? std::optional<std::int64_t>(info_.frames)
                         : std::nullopt;
    if (view.frames) format_.frames = view.frames;
    if (sound_ && !view.length_prefix.empty() && info_.frames < *view.frames) {
      bytes_.begin_with(view.length_prefix);
      skip_ = view.prefix_frames;
      open();
    }
    if (!sound_) {
      throw AudioError(file.path(), "", "cannot be decoded: " + reason_of(sf_strerror(nullptr)),
                       "a valid " + view.name + " file");
    }
    check_kind(file.path());
    format_.container = view.name;
    format_.sample_rate_hz = info_.samplerate;
    format_.channels = info_.channels;
    if (view.has_vorbis_order) order_ = vorbis_order(info_.channels);
  }

  const SoundFormat& format() const override { return format_; }

  std::int64_t read(float* interleaved, std::int64_t frames) override {
    for (;;) {
      const sf_count_t got = sf_readf_float(sound_.get(), interleaved, frames);
      bytes_.check();
      // The next read would reset it.
      if (const int error = sf_error(sound_.get()); error != SF_ERR_NO_ERROR) {
        damage_ = "is damaged behind frame " + std::to_string(done_) + ": " +
                  reason_of(sf_error_number(error));
      }
      if (got <= 0) return 0;
      if (!order_.empty()) put_in_order(interleaved, got);
      const sf_count_t skipped = std::min(skip_, got);
      skip_ -= skipped;
      done_ += got - skipped;
      if (skipped == got) continue;
      if (skipped > 0) {
        std::memmove(interleaved, interleaved + skipped * info_.channels,
                     static_cast<std::size_t>((got - skipped) * info_.channels) * sizeof(float));
      }
      return got - skipped;
    }
  }

  std::string damage() override { return damage_; }

 private:
  void put_in_order(float* interleaved, sf_count_t frames) const {
    std::array<float, 8> frame{};
    for (float* values = interleaved; frames-- > 0; values += order_.size()) {
      std::copy_n(values, order_.size(), frame.begin());
      for (std::size_t i = 0; i < order_.size(); ++i) values[i] = frame[order_[i]];
    }
  }

  void open() {
    sound_.reset();
    bytes_.seek(0, SEEK_SET);
    info_ = {};
    if (view_.raw_channels > 0) {
      info_.format = view_.sndfile_format;
      info_.samplerate = view_.raw_sample_rate_hz;
      info_.channels = view_.raw_channels;
    }
    sound_ = SoundFile(sf_open_virtual(&kVirtualIo, SFM_READ, &info_, &bytes_), &sf_close);
    bytes_.check();
  }

  void check_kind(const std::string& path) const {
    int type = info_.format & SF_FORMAT_TYPEMASK;
    if (type == SF_FORMAT_WAVEX) type = SF_FORMAT_WAV;
    if (type != (view_.sndfile_format & SF_FORMAT_TYPEMASK)) {
      throw AudioError(path, "", "is another kind of file", view_.name);
    }
    const int encoding = info_.format & SF_FORMAT_SUBMASK;
    if (type == SF_FORMAT_OGG && encoding != SF_FORMAT_VORBIS && encoding != SF_FORMAT_OPUS) {
      throw AudioError(path, "", "holds another kind of Ogg stream", "Vorbis or Opus");
    }
  }

  const ContainerView& view_;
  ViewedFile bytes_;
  SF_INFO info_ = {};
  SoundFile sound_{nullptr, &sf_close};
  SoundFormat format_;
  std::span<const std::size_t> order_;  // of the channels; empty: as they come
  sf_count_t skip_ = 0;                 // of the length prefix
  std::int64_t done_ = 0;
  std::string damage_;
};

}  // namespace

std::unique_ptr<Decoder> open_sndfile(const InputFile& file, const ContainerView& view,
                                      std::function<void()> progress) {
  return std::make_unique<SndfileDecoder>(file, view, std::move(progress));
}

}  // namespace w2vbert
