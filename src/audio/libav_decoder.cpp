// What libsndfile does not read, through FFmpeg's libraries.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "audio/decoder.h"
#include "audio/libav.h"
#include "audio/viewed_file.h"
#include "w2vbert/audio/audio_file.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr int kIoBytes = 64 * 1024;
// How much less than its header says a file may hold: durations are rounded, and count the padding
// that a decoder cuts off.
constexpr double kDurationTolerance = 0.1;  // seconds
// None of them follows references to other files.
constexpr const char* kFormats =
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,asf,aac,ac3,eac3,amr,amrnb,amrwb,avi,flv,wv,ape,mpc,"
    "mpc8,tta,tak,dsf,iff,shn,rm,ogg,wav,w64,aiff,au,caf";
constexpr const char* kCodecs =
    "aac,aac_latm,aac_fixed,alac,opus,vorbis,libopus,libvorbis,mp1,mp1float,mp2,mp2float,mp3,"
    "mp3float,flac,ac3,eac3,wmav1,wmav2,wmapro,wmalossless,wmavoice,amrnb,amrwb,libopencore_amrnb,"
    "libopencore_amrwb,wavpack,ape,mpc7,mpc8,tta,tak,shorten,cook,real_144,real_288,sipr,ralf,"
    "atrac3,speex,libspeex,gsm,gsm_ms,g722,g723_1,g726,g726le,g729,ilbc,truespeech,dca,mace3,mace6,"
    "qdm2,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,adpcm_swf,adpcm_yamaha,nellymoser,dsd_lsbf,"
    "dsd_msbf,dsd_lsbf_planar,dsd_msbf_planar,pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,"
    "pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,pcm_mulaw,pcm_alaw";

template <auto Free>
struct Freed {
  template <class Object>
  void operator()(Object* object) const {
    (libav().*Free)(&object);
  }
};
using FormatContext = std::unique_ptr<AVFormatContext, Freed<&Libav::avformat_close_input>>;
using CodecContext = std::unique_ptr<AVCodecContext, Freed<&Libav::avcodec_free_context>>;
using Packet = std::unique_ptr<AVPacket, Freed<&Libav::av_packet_free>>;
using Frame = std::unique_ptr<AVFrame, Freed<&Libav::av_frame_free>>;
using Resampler = std::unique_ptr<SwrContext, Freed<&Libav::swr_free>>;
struct FreeIo {
  void operator()(AVIOContext* io) const {
    libav().av_freep(static_cast<void*>(&io->buffer));
    libav().avio_context_free(&io);
  }
};

std::string text_of(int error) {
  std::array<char, AV_ERROR_MAX_STRING_SIZE> text{};
  // Some are of a parser alone, and have no words.
  if (libav().av_strerror(error, text.data(), text.size()) < 0) {
    libav().av_strerror(AVERROR_INVALIDDATA, text.data(), text.size());
  }
  return text.data();
}

int read_bytes(void* user, std::uint8_t* to, int count) {
  const auto got = static_cast<ViewedFile*>(user)->read(to, count);
  return got > 0 ? static_cast<int>(got) : AVERROR_EOF;
}

std::int64_t seek_to(void* user, std::int64_t offset, int whence) {
  auto& bytes = *static_cast<ViewedFile*>(user);
  if ((whence & AVSEEK_SIZE) != 0) return bytes.size();
  return bytes.seek(offset, whence & ~AVSEEK_FORCE);
}

// For formats that name other files: there are none.
int open_nothing(AVFormatContext*, AVIOContext**, const char*, int, AVDictionary**) {
  return AVERROR(EPERM);
}

template <class Object>
Object* made(Object* object) {
  if (!object) throw std::bad_alloc();
  return object;
}

class LibavDecoder : public Decoder {
 public:
  LibavDecoder(const InputFile& file, const ContainerView& view, std::function<void()> progress)
      : path_(file.path()), view_(view), bytes_(file, view, std::move(progress)) {
    libav_.av_log_set_level(AV_LOG_QUIET);
    open_container();
    open_codec();
    // The first frame has the true rate and channels: headers of some kinds of AAC tell half.
    if (!next_frame()) {
      refuse(damage_.empty() ? "holds no audio" : damage_);
    }
    format_.container = view.container;
    format_.sample_rate_hz = frame_->sample_rate;
    format_.channels = frame_->ch_layout.nb_channels;
    if (view_.has_gaps) format_.frames = claimed_frames();
  }

  const SoundFormat& format() const override { return format_; }

  std::int64_t read(float* interleaved, std::int64_t frames) override {
    const auto channels = static_cast<std::size_t>(format_.channels);
    while (at_ == values_.size()) {
      if (ended_) return 0;
      if (!is_first_ && !next_frame()) {
        ended_ = true;
        check_duration();
        return 0;
      }
      is_first_ = false;
      convert();
    }
    const std::size_t count =
        std::min(static_cast<std::size_t>(frames) * channels, values_.size() - at_);
    std::copy_n(values_.begin() + static_cast<std::ptrdiff_t>(at_), count, interleaved);
    at_ += count;
    const auto got = static_cast<std::int64_t>(count / channels);
    done_ += got;
    return got;
  }

  std::string damage() override { return damage_; }

 private:
  [[noreturn]] void refuse(const std::string& problem) const {
    bytes_.check();
    throw AudioError(path_, "", "is " + view_.name + " that cannot be decoded: " + problem,
                     "a whole file, or what `ffmpeg -i IN OUT.wav` makes of it");
  }

  void open_container() {
    io_.reset(made(
        libav_.avio_alloc_context(static_cast<unsigned char*>(made(libav_.av_malloc(kIoBytes))),
                                  kIoBytes, 0, &bytes_, &read_bytes, nullptr, &seek_to)));
    AVFormatContext* container = made(libav_.avformat_alloc_context());
    container->pb = io_.get();
    container->flags |= AVFMT_FLAG_CUSTOM_IO;
    container->io_open = &open_nothing;
    container->format_whitelist = libav_.av_strdup(kFormats);
    container->codec_whitelist = libav_.av_strdup(kCodecs);
    container->protocol_whitelist = libav_.av_strdup("");
    container->error_recognition = AV_EF_CRCCHECK;
    // Frees the context where it fails.
    if (const int error = libav_.avformat_open_input(&container, nullptr, nullptr, nullptr);
        error < 0) {
      refuse(text_of(error));
    }
    container_.reset(container);
    for (unsigned i = 0; i < container_->nb_streams; ++i) {
      AVStream* stream = container_->streams[i];
      if (stream->codecpar->codec_type != AVMEDIA_TYPE_AUDIO) stream->discard = AVDISCARD_ALL;
    }
    if (const int error = libav_.avformat_find_stream_info(container_.get(), nullptr); error < 0) {
      refuse(text_of(error));
    }
    const int index =
        libav_.av_find_best_stream(container_.get(), AVMEDIA_TYPE_AUDIO, -1, -1, nullptr, 0);
    if (index < 0) refuse("it holds no audio");
    stream_ = container_->streams[index];
    for (unsigned i = 0; i < container_->nb_streams; ++i) {
      if (static_cast<int>(i) != index) container_->streams[i]->discard = AVDISCARD_ALL;
    }
  }

  void open_codec() {
    if (stream_->codecpar->codec_id == AV_CODEC_ID_NONE) refuse("its codec is not known to libav");
    const AVCodec* codec = libav_.avcodec_find_decoder(stream_->codecpar->codec_id);
    if (!codec) {
      refuse(std::string("this libav has no decoder of ") +
             libav_.avcodec_get_name(stream_->codecpar->codec_id));
    }
    codec_.reset(made(libav_.avcodec_alloc_context3(codec)));
    codec_->codec_whitelist = libav_.av_strdup(kCodecs);
    codec_->thread_count = 1;
    codec_->err_recognition = AV_EF_CRCCHECK | AV_EF_EXPLODE;
    codec_->pkt_timebase = stream_->time_base;
    int error = libav_.avcodec_parameters_to_context(codec_.get(), stream_->codecpar);
    if (error >= 0) error = libav_.avcodec_open2(codec_.get(), codec, nullptr);
    if (error < 0) refuse(text_of(error));
    packet_.reset(made(libav_.av_packet_alloc()));
    frame_.reset(made(libav_.av_frame_alloc()));
  }

  // Decodes into frame_; false at the end, and where damage_ says why.
  bool next_frame() {
    for (;;) {
      int error = libav_.avcodec_receive_frame(codec_.get(), frame_.get());
      if (error >= 0 && frame_->decode_error_flags != 0) return is_damaged("a frame is broken");
      if (error >= 0) return true;
      if (error == AVERROR_EOF) return false;
      if (error != AVERROR(EAGAIN)) return is_damaged(text_of(error));
      error = libav_.av_read_frame(container_.get(), packet_.get());
      bytes_.check();
      if (error == AVERROR_EOF) {
        libav_.avcodec_send_packet(codec_.get(), nullptr);
        continue;
      }
      if (error < 0) return is_damaged(text_of(error));
      const bool is_corrupt = (packet_->flags & AV_PKT_FLAG_CORRUPT) != 0;
      if (packet_->stream_index == stream_->index) {
        error = is_corrupt ? AVERROR_INVALIDDATA
                           : libav_.avcodec_send_packet(codec_.get(), packet_.get());
      }
      libav_.av_packet_unref(packet_.get());
      if (error < 0) return is_damaged(text_of(error));
    }
  }

  bool is_damaged(const std::string& reason) {
    damage_ = "is damaged behind frame " + std::to_string(done_) + ": " + reason;
    if (duration() > 0) format_.frames = claimed_frames();
    return false;
  }

  // In seconds, as the header says; 0 where it does not. Some kinds count from 0 on, and not from
  // the first sample.
  double duration() const {
    if (!view_.trusts_duration) return 0;
    if (container_->duration_estimation_method == AVFMT_DURATION_FROM_BITRATE) return 0;
    const bool is_alone = container_->nb_streams == 1;
    // ASF tells one length, of the longest stream, which libav states of each.
    if (!is_alone && std::string_view(container_->iformat->name) == "asf") return 0;
    if (stream_->duration != AV_NOPTS_VALUE) {
      return static_cast<double>(stream_->duration) * av_q2d(stream_->time_base);
    }
    if (!is_alone || container_->duration == AV_NOPTS_VALUE) return 0;
    const double begin = stream_->start_time != AV_NOPTS_VALUE
                             ? static_cast<double>(stream_->start_time) * av_q2d(stream_->time_base)
                             : 0;
    return static_cast<double>(container_->duration) / AV_TIME_BASE - std::max(begin, 0.0);
  }

  std::int64_t claimed_frames() const { return std::llround(duration() * format_.sample_rate_hz); }

  void check_duration() {
    // Where pages are missing, the number of frames tells, to one.
    if (!damage_.empty() || view_.has_gaps) return;
    const double seconds = duration();
    const double there = static_cast<double>(done_) / format_.sample_rate_hz;
    if (there >= seconds - kDurationTolerance) return;
    std::array<char, 100> text{};
    std::snprintf(text.data(), text.size(),
                  "is truncated: its header says %.2f seconds, %.2f are there", seconds, there);
    damage_ = text.data();
    format_.frames = claimed_frames();
  }

  // frame_ -> values_, interleaved float.
  void convert() {
    if (frame_->sample_rate != format_.sample_rate_hz ||
        frame_->ch_layout.nb_channels != format_.channels) {
      is_damaged("its rate or channels change");
      values_.clear();
      at_ = 0;
      ended_ = true;
      return;
    }
    if (!converter_) {
      SwrContext* made_one = nullptr;
      const int error = libav_.swr_alloc_set_opts2(
          &made_one, &frame_->ch_layout, AV_SAMPLE_FMT_FLT, frame_->sample_rate, &frame_->ch_layout,
          static_cast<AVSampleFormat>(frame_->format), frame_->sample_rate, 0, nullptr);
      converter_.reset(made_one);
      if (error < 0 || libav_.swr_init(converter_.get()) < 0)
        refuse("its samples cannot be converted");
    }
    values_.resize(static_cast<std::size_t>(frame_->nb_samples) *
                   static_cast<std::size_t>(format_.channels));
    auto* out = reinterpret_cast<std::uint8_t*>(values_.data());
    const int got = libav_.swr_convert(converter_.get(), &out, frame_->nb_samples,
                                       const_cast<const std::uint8_t**>(frame_->extended_data),
                                       frame_->nb_samples);
    if (got != frame_->nb_samples) refuse("its samples cannot be converted");
    at_ = 0;
  }

  const Libav& libav_ = libav();
  std::string path_;
  const ContainerView& view_;
  ViewedFile bytes_;
  std::unique_ptr<AVIOContext, FreeIo> io_;
  FormatContext container_;
  AVStream* stream_ = nullptr;
  CodecContext codec_;
  Packet packet_;
  Frame frame_;
  Resampler converter_;
  SoundFormat format_;
  std::vector<float> values_;
  std::size_t at_ = 0;
  std::int64_t done_ = 0;
  bool is_first_ = true;
  bool ended_ = false;
  std::string damage_;
};

}  // namespace

std::unique_ptr<Decoder> open_libav(const InputFile& file, const ContainerView& view,
                                    std::function<void()> progress) {
  try {
    libav();
  } catch (const AudioError& error) {
    throw AudioError(file.path(), "",
                     "is " + view.name + ", which FFmpeg's libraries decode: " + error.what(),
                     convert_advice(false));
  }
  return std::make_unique<LibavDecoder>(file, view, std::move(progress));
}

}  // namespace w2vbert
