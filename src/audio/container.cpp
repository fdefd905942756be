#include "audio/container.h"

#include <sndfile.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr const char* kExpectedAudio = "WAV, RF64, W64, AIFF, AU, CAF, FLAC, Ogg or MP3";
constexpr const char* kExpectedWhole = "a whole file";
constexpr int kMaxChunks = 10000;

[[noreturn]] void refuse(const InputFile& file, std::string_view problem,
                         std::string_view expected = kExpectedWhole) {
  throw AudioError(file.path(), "", problem, expected);
}

// Small reads at any place, served from one block. Bytes past the end read as zeros.
class Bytes {
 public:
  explicit Bytes(const InputFile& file) : file_(file) {}

  std::uint64_t size() const { return file_.size(); }
  bool has(std::uint64_t at, std::uint64_t count) const {
    return count <= size() && at <= size() - count;
  }
  // At most kBlock bytes.
  std::string_view view(std::uint64_t at, std::size_t count) {
    if (at < begin_ || at + count > begin_ + block_.size()) {
      block_.assign(std::max(count, kBlock), '\0');
      begin_ = at;
      if (at < size()) {
        file_.read_at(at, block_.data(), std::min<std::uint64_t>(block_.size(), size() - at));
      }
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
  const InputFile& file() const { return file_; }

 private:
  static constexpr std::size_t kBlock = 128 * 1024;
  const InputFile& file_;
  std::string block_;
  std::uint64_t begin_ = 0;
};

// The audio of a chunked file: `claimed` bytes from `at` on, as its header says.
void check_audio_bytes(Bytes& bytes, const char* chunk, std::uint64_t at, std::uint64_t claimed) {
  const std::uint64_t there = bytes.size() - std::min(at, bytes.size());
  if (claimed > there && claimed < kPlaceholderBytes) {
    refuse(bytes.file(), "is truncated: its " + std::string(chunk) + " chunk says " +
                             std::to_string(claimed) + " bytes, " + std::to_string(there) +
                             " are there");
  }
  if (claimed == 0 && there > 0) {
    refuse(
        bytes.file(),
        "its " + std::string(chunk) + " chunk says 0 bytes, " + std::to_string(there) + " follow",
        "a length that its writer filled in");
  }
}

[[noreturn]] void too_many_chunks(const Bytes& bytes) {
  refuse(bytes.file(), "has more than " + std::to_string(kMaxChunks) + " chunks before its audio",
         "an audio file");
}

// RIFF (little-endian), RIFX (big-endian), RF64 (64-bit sizes in a ds64 chunk).
void check_wav(Bytes& bytes) {
  const bool big_endian = bytes.starts_with(0, "RIFX");
  const bool wide = bytes.starts_with(0, "RF64");
  std::optional<std::uint64_t> wide_size;
  std::uint64_t at = 12;
  for (int chunks = 0; bytes.has(at, 8); ++chunks) {
    if (chunks == kMaxChunks) too_many_chunks(bytes);
    const std::uint64_t size = big_endian ? bytes.big(at + 4, 4) : bytes.little(at + 4, 4);
    if (wide && bytes.starts_with(at, "ds64")) wide_size = bytes.little(at + 16, 8);
    if (bytes.starts_with(at, "data")) {
      if (wide && size == 0xffffffff && wide_size) {
        // 64 bits hold any length: there is no placeholder, and the comparison below knows one.
        const std::uint64_t there = bytes.size() - at - 8;
        if (*wide_size > there) {
          refuse(bytes.file(), "is truncated: its ds64 chunk says " + std::to_string(*wide_size) +
                                   " bytes of audio, " + std::to_string(there) + " are there");
        }
        check_audio_bytes(bytes, "ds64", at + 8, *wide_size);
      } else {
        check_audio_bytes(bytes, "data", at + 8, size);
      }
      return;
    }
    at += 8 + size + size % 2;
  }
}

constexpr std::string_view kW64Riff("riff\x2E\x91\xCF\x11\xA5\xD6\x28\xDB\x04\xC1\x00\x00", 16);
constexpr std::string_view kW64Data("data\xF3\xAC\xD3\x11\x8C\xD1\x00\xC0\x4F\x8E\xDB\x8A", 16);

// Returns where the audio ends: libsndfile takes what follows for audio as well.
std::uint64_t check_w64(Bytes& bytes) {
  std::uint64_t at = 40;  // riff, size, wave
  for (int chunks = 0; bytes.has(at, 24); ++chunks) {
    if (chunks == kMaxChunks) too_many_chunks(bytes);
    const std::uint64_t size = bytes.little(at + 16, 8);  // with these 24 bytes
    const bool is_data = bytes.starts_with(at, kW64Data);
    if (size < 24) {
      refuse(bytes.file(),
             "has a chunk of " + std::to_string(size) + " bytes at byte " + std::to_string(at),
             "a chunk of at least its header's 24");
    }
    if (is_data) {
      if (size - 24 > bytes.size() - at - 24) {
        refuse(bytes.file(), "is truncated: its data chunk says " + std::to_string(size - 24) +
                                 " bytes, " + std::to_string(bytes.size() - at - 24) +
                                 " are there");
      }
      check_audio_bytes(bytes, "data", at + 24, size - 24);
      return at + size;
    }
    if (size > bytes.size() - at) break;
    at += (size + 7) / 8 * 8;
  }
  return bytes.size();
}

// FORM with AIFF or AIFC, big-endian.
void check_aiff(Bytes& bytes) {
  std::uint64_t at = 12;
  for (int chunks = 0; bytes.has(at, 8); ++chunks) {
    if (chunks == kMaxChunks) too_many_chunks(bytes);
    const std::uint64_t size = bytes.big(at + 4, 4);
    if (bytes.starts_with(at, "SSND")) {
      // libsndfile mends a length of 0 by the file's size.
      if (size != 0) check_audio_bytes(bytes, "SSND", at + 8, size);
      return;
    }
    at += 8 + size + size % 2;
  }
}

void check_au(Bytes& bytes) {
  const bool little_endian = bytes.starts_with(0, "dns.");
  const std::uint64_t at = little_endian ? bytes.little(4, 4) : bytes.big(4, 4);
  const std::uint64_t size = little_endian ? bytes.little(8, 4) : bytes.big(8, 4);
  check_audio_bytes(bytes, "audio", at, size);
}

void check_caf(Bytes& bytes) {
  std::uint64_t at = 8;
  for (int chunks = 0; bytes.has(at, 12); ++chunks) {
    if (chunks == kMaxChunks) too_many_chunks(bytes);
    const std::uint64_t size = bytes.big(at + 4, 8);
    const std::uint64_t there = bytes.size() - at - 12;
    const bool is_data = bytes.starts_with(at, "data");
    if (is_data && size == ~std::uint64_t{0}) return;  // "to the end", as the format allows
    // Compressed audio has its packet table behind the data.
    if ((is_data || bytes.starts_with(at, "pakt")) && size > there) {
      refuse(bytes.file(), "is truncated: its " + std::string(bytes.view(at, 4)) + " chunk says " +
                               std::to_string(size) + " bytes, " + std::to_string(there) +
                               " are there");
    }
    // The data chunk begins with 4 bytes of its own.
    if (is_data && size <= 4 && there > 4) check_audio_bytes(bytes, "data", at + 16, 0);
    if (size > there) return;
    at += 12 + size;
  }
}

// --- Ogg (RFC 3533) ---

// The page checksum: polynomial 0x04c11db7, not reflected, from 0.
constexpr std::array<std::uint32_t, 256> kOggCrc = [] {
  std::array<std::uint32_t, 256> table = {};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i << 24;
    for (int bit = 0; bit < 8; ++bit) value = value << 1 ^ ((value >> 31) * 0x04c11db7U);
    table[i] = value;
  }
  return table;
}();

std::uint32_t ogg_checksum(std::string_view page) {
  std::uint32_t crc = 0;
  for (std::size_t i = 0; i < page.size(); ++i) {
    // The checksum's own four bytes count as zeros.
    const auto value = i >= 22 && i < 26 ? std::uint8_t{0} : static_cast<std::uint8_t>(page[i]);
    crc = crc << 8 ^ kOggCrc[(crc >> 24) ^ value];
  }
  return crc;
}

// Walks all pages: libsndfile returns what comes before a damaged or missing page and says nothing.
// Returns where the stream ends.
std::uint64_t check_ogg(Bytes& bytes) {
  constexpr std::size_t kHeaderBytes = 27;
  const std::uint64_t serial = bytes.little(14, 4);
  std::uint64_t at = 0;
  for (std::uint64_t page = 0;; ++page) {
    const std::string where = "page " + std::to_string(page) + " at byte " + std::to_string(at);
    if (at == bytes.size()) refuse(bytes.file(), "is truncated: its stream has no last page");
    if (!bytes.starts_with(at, "OggS")) refuse(bytes.file(), "is damaged: no " + where);
    if (!bytes.has(at, kHeaderBytes)) refuse(bytes.file(), "is truncated in " + where);
    const std::uint8_t segments = bytes.byte(at + 26);
    std::size_t length = kHeaderBytes + segments;
    for (std::uint64_t i = 0; i < segments; ++i) length += bytes.byte(at + kHeaderBytes + i);
    if (!bytes.has(at, length)) refuse(bytes.file(), "is truncated in " + where);
    if (ogg_checksum(bytes.view(at, length)) != bytes.little(at + 22, 4)) {
      refuse(bytes.file(), "is damaged: wrong checksum of " + where);
    }
    if (bytes.little(at + 14, 4) != serial) {
      refuse(bytes.file(), "holds several streams", "one stream of Vorbis or Opus");
    }
    if (bytes.little(at + 18, 4) != page) {
      refuse(bytes.file(), "is damaged: pages are missing before " + where);
    }
    const bool is_last = (bytes.byte(at + 5) & 0x04) != 0;
    at += length;
    if (is_last) break;
  }
  if (bytes.starts_with(at, "OggS")) {
    refuse(bytes.file(), "holds several streams, one after another",
           "one stream of Vorbis or Opus");
  }
  return at;
}

// --- MP3 ---

struct Mp3Frame {
  std::uint64_t bytes = 0;
  std::uint32_t fixed = 0;  // the header's bits that all frames of a stream share
  bool mpeg1 = false;
  bool mono = false;
};

// ISO/IEC 11172-3 and 13818-3: one layer III frame header, or nothing.
std::optional<Mp3Frame> parse_mp3_header(std::uint32_t header) {
  constexpr std::array<int, 15> kKilobits1 = {0,   32,  40,  48,  56,  64,  80, 96,
                                              112, 128, 160, 192, 224, 256, 320};
  constexpr std::array<int, 15> kKilobits2 = {0,  8,  16, 24,  32,  40,  48, 56,
                                              64, 80, 96, 112, 128, 144, 160};
  constexpr std::array<int, 3> kRates = {44100, 48000, 32000};
  const std::uint32_t version = header >> 19 & 3;  // 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
  const std::uint32_t layer = header >> 17 & 3;    // 1: layer III
  const std::uint32_t bitrate = header >> 12 & 15;
  const std::uint32_t rate = header >> 10 & 3;
  if (header >> 21 != 0x7ff || version == 1 || layer != 1 || bitrate == 0 || bitrate == 15 ||
      rate == 3) {
    return std::nullopt;
  }
  Mp3Frame frame;
  frame.mpeg1 = version == 3;
  frame.mono = (header >> 6 & 3) == 3;
  frame.fixed = (header & 0xfffe0c00U) | (frame.mono ? 1U : 0U);
  const int kilobits = (frame.mpeg1 ? kKilobits1 : kKilobits2)[bitrate];
  const int hertz = kRates[rate] >> (version == 3 ? 0 : version == 2 ? 1 : 2);
  frame.bytes = static_cast<std::uint64_t>((frame.mpeg1 ? 144000 : 72000) * kilobits / hertz) +
                (header >> 9 & 1);
  return frame;
}

std::optional<Mp3Frame> mp3_frame(Bytes& bytes, std::uint64_t at) {
  if (!bytes.has(at, 4)) return std::nullopt;
  return parse_mp3_header(static_cast<std::uint32_t>(bytes.big(at, 4)));
}

// Where the Xing or Info tag stands in a frame, from its header on.
std::uint64_t xing_offset(const Mp3Frame& frame) {
  return 4 + (frame.mpeg1 ? (frame.mono ? 17U : 32U) : (frame.mono ? 9U : 17U));
}

// Whether what stands behind the last frame is tags or zeros, up to the very end.
bool is_mp3_trailer(Bytes& bytes, std::uint64_t at) {
  if (bytes.starts_with(at, "APETAGEX") && bytes.has(at, 32)) at += 32 + bytes.little(at + 12, 4);
  if (bytes.starts_with(at, "LYRICSBEGIN")) {
    for (const std::uint64_t behind : {std::uint64_t{128}, std::uint64_t{0}}) {
      if (bytes.size() - at >= behind + 20 &&
          bytes.starts_with(bytes.size() - behind - 9, "LYRICS200")) {
        at = bytes.size() - behind;
        break;
      }
    }
  }
  if (bytes.starts_with(at, "TAG") && bytes.has(at, 128)) at += 128;  // ID3v1
  for (; at < bytes.size(); ++at) {
    if (bytes.byte(at) != 0) return false;
  }
  return true;
}

// Two frames to put before the first one of a file: a Xing tag that counts the others, and silence.
std::string mp3_length_prefix(Bytes& bytes, std::uint64_t at, const Mp3Frame& first,
                              std::uint64_t frames) {
  std::string header(bytes.view(at, 4));
  header[1] = static_cast<char>(header[1] | 0x01);           // no checksum
  header[2] = static_cast<char>((header[2] & 0x0c) | 0xe0);  // the largest bitrate, no padding
  const auto bits = static_cast<std::uint32_t>(static_cast<std::uint8_t>(header[0])) << 24 |
                    static_cast<std::uint32_t>(static_cast<std::uint8_t>(header[1])) << 16 |
                    static_cast<std::uint32_t>(static_cast<std::uint8_t>(header[2])) << 8 |
                    static_cast<std::uint8_t>(header[3]);
  const auto length = static_cast<std::size_t>(parse_mp3_header(bits)->bytes);
  std::string silence = header;
  silence.resize(length, '\0');  // side information of zeros: no data
  std::string tag = header;
  tag.resize(static_cast<std::size_t>(xing_offset(first)), '\0');
  tag.append("Xing\0\0\0\1", 8);  // flags: a frame count follows
  for (int shift = 24; shift >= 0; shift -= 8) {
    tag += static_cast<char>((frames + 1) >> shift & 0xff);
  }
  tag.resize(length, '\0');
  return tag + silence;
}

// Walks all frames from `begin` on: what a Xing tag says must be what is there.
ContainerView check_mp3(Bytes& bytes, std::uint64_t begin) {
  const auto first = mp3_frame(bytes, begin);
  if (!first) refuse(bytes.file(), "is no audio file", kExpectedAudio);
  std::uint64_t at = begin;
  std::uint64_t frames = 0;
  while (at < bytes.size()) {
    const auto frame = mp3_frame(bytes, at);
    if (!frame || frame->fixed != first->fixed) {
      if (frames > 0 && is_mp3_trailer(bytes, at)) break;
      if (frames < 2) refuse(bytes.file(), "is no audio file", kExpectedAudio);
      refuse(bytes.file(), "is damaged: no frame of the same kind at byte " + std::to_string(at) +
                               ", after " + std::to_string(frames));
    }
    if (!bytes.has(at, frame->bytes)) {
      refuse(bytes.file(),
             "is truncated in frame " + std::to_string(frames) + " at byte " + std::to_string(at));
    }
    at += frame->bytes;
    ++frames;
  }
  ContainerView view;
  view.name = "MP3";
  view.sndfile_format = SF_FORMAT_MPEG;
  view.begin = begin;
  view.end = at;
  const std::uint64_t tag = begin + xing_offset(*first);
  const bool has_tag = first->bytes >= xing_offset(*first) + 12 &&
                       (bytes.starts_with(tag, "Xing") || bytes.starts_with(tag, "Info"));
  if (has_tag && (bytes.byte(tag + 7) & 1) != 0) {
    const std::uint64_t claimed = bytes.big(tag + 8, 4);
    if (claimed != frames - 1) {
      refuse(bytes.file(), std::string(claimed < frames - 1 ? "holds more than its header says: "
                                                            : "is truncated: ") +
                               std::to_string(frames - 1) +
                               " MP3 frames are there, the header says " + std::to_string(claimed));
    }
  } else {
    // libmpg123 cuts the decoder's own delay off where it sees a tag, and only there.
    constexpr std::int64_t kDecoderDelay = 529;
    const std::int64_t samples = first->mpeg1 ? 1152 : 576;  // of each channel in a frame
    view.frames = static_cast<std::int64_t>(frames) * samples;
    view.length_prefix = mp3_length_prefix(bytes, begin, *first, frames);
    view.prefix_frames = samples - kDecoderDelay;
  }
  return view;
}

// The bytes of the ID3v2 tags at the start (id3.org, ID3v2.4, section 3.1).
std::uint64_t id3_bytes(Bytes& bytes) {
  std::uint64_t at = 0;
  while (bytes.starts_with(at, "ID3") && bytes.has(at, 10)) {
    std::uint64_t size = 0;
    for (std::uint64_t i = 6; i < 10; ++i) size = size << 7 | (bytes.byte(at + i) & 0x7f);
    const bool has_footer = (bytes.byte(at + 5) & 0x10) != 0;
    at += 10 + size + (has_footer ? 10 : 0);
  }
  return at;
}

}  // namespace

ContainerView examine_container(const InputFile& file) {
  Bytes bytes(file);
  if (file.size() == 0) refuse(file, "is empty", kExpectedAudio);
  ContainerView view;
  view.end = file.size();
  if ((bytes.starts_with(0, "RIFF") || bytes.starts_with(0, "RIFX")) &&
      bytes.starts_with(8, "WAVE")) {
    check_wav(bytes);
    view.name = "WAV";
    view.sndfile_format = SF_FORMAT_WAV;
  } else if (bytes.starts_with(0, "RF64") && bytes.starts_with(8, "WAVE")) {
    check_wav(bytes);
    view.name = "RF64";
    view.sndfile_format = SF_FORMAT_RF64;
  } else if (bytes.starts_with(0, kW64Riff)) {
    view.end = check_w64(bytes);
    view.name = "W64";
    view.sndfile_format = SF_FORMAT_W64;
  } else if (bytes.starts_with(0, "FORM") &&
             (bytes.starts_with(8, "AIFF") || bytes.starts_with(8, "AIFC"))) {
    check_aiff(bytes);
    view.name = "AIFF";
    view.sndfile_format = SF_FORMAT_AIFF;
  } else if (bytes.starts_with(0, ".snd") || bytes.starts_with(0, "dns.")) {
    check_au(bytes);
    view.name = "AU";
    view.sndfile_format = SF_FORMAT_AU;
  } else if (bytes.starts_with(0, "caff")) {
    check_caf(bytes);
    view.name = "CAF";
    view.sndfile_format = SF_FORMAT_CAF;
  } else if (bytes.starts_with(0, "OggS")) {
    view.end = check_ogg(bytes);
    view.name = "Ogg";
    view.sndfile_format = SF_FORMAT_OGG;
  } else {
    view.begin = id3_bytes(bytes);
    if (!bytes.starts_with(view.begin, "fLaC")) return check_mp3(bytes, view.begin);
    view.name = "FLAC";
    view.sndfile_format = SF_FORMAT_FLAC;
  }
  return view;
}

}  // namespace w2vbert
