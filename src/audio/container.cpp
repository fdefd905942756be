#include "audio/container.h"

#include <sndfile.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "audio/decoder.h"
#include "core/git_lfs.h"
#include "core/parse_number.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert {

std::string convert_advice(bool has_libav) {
  return std::string("WAV, RF64, W64, AIFF, AU, CAF, FLAC, Ogg, MP3, MP2, MP1") +
         (has_libav ? ", NIST SPHERE, M4A, AAC, WebM, WMA, AMR or another kind that w2vbert takes "
                      "to FFmpeg's libraries"
                    : " or NIST SPHERE") +
         "; `ffmpeg -i IN OUT.wav` converts others";
}

namespace {

constexpr const char* kExpectedWhole = "a whole file";
constexpr int kMaxChunks = 10000;

[[noreturn]] void refuse(const InputFile& file, std::string_view problem,
                         std::string_view expected = kExpectedWhole) {
  throw AudioError(file.path(), "", problem, expected);
}

[[noreturn]] void refuse_as_no_audio(const InputFile& file, std::string_view problem) {
  refuse(file, problem, convert_advice(is_built_with_libav()));
}

// Small reads at any place of the audio, served from one block. Places count from `origin`, where
// the audio begins in the file; bytes past the end read as zeros.
class Bytes {
 public:
  Bytes(const InputFile& file, const std::function<void()>& progress)
      : file_(file), progress_(progress) {}

  std::uint64_t origin() const { return origin_; }
  void begin_at(std::uint64_t origin) {
    origin_ = origin;
    block_.clear();
  }
  // What stands from here on, counted from `origin`, is not the audio's.
  void end_at(std::uint64_t size) {
    end_ = origin_ + size;
    block_.clear();
  }
  std::uint64_t size() const { return std::min(end_, file_.size()) - origin_; }
  bool has(std::uint64_t at, std::uint64_t count) const {
    return count <= size() && at <= size() - count;
  }
  // At most kBlock bytes.
  std::string_view view(std::uint64_t at, std::size_t count) {
    if (at < begin_ || at + count > begin_ + block_.size()) {
      block_.assign(std::max(count, kBlock), '\0');
      begin_ = at;
      if (at < size()) {
        file_.read_at(origin_ + at, block_.data(),
                      std::min<std::uint64_t>(block_.size(), size() - at));
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
  const InputFile& file() const { return file_; }

 private:
  static constexpr std::size_t kBlock = 128 * 1024;
  const InputFile& file_;
  const std::function<void()>& progress_;
  std::string block_;
  std::uint64_t origin_ = 0;
  std::uint64_t end_ = ~std::uint64_t{0};
  std::uint64_t begin_ = 0;
};

std::string little_text(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i) & 0xff);
  return text;
}

std::string big_text(std::uint64_t value, int bytes) {
  std::string text = little_text(value, bytes);
  return {text.rbegin(), text.rend()};
}

// --- Tags and padding around a stream ---

// The bytes of the tag at `at`, or 0: ID3v2 (id3.org, ID3v2.4, section 3.1), APEv2, ID3v1.
std::uint64_t tag_at(Bytes& bytes, std::uint64_t at) {
  if (bytes.starts_with(at, "ID3") && bytes.has(at, 10)) {
    std::uint64_t size = 0;
    for (std::uint64_t i = 6; i < 10; ++i) size = size << 7 | (bytes.byte(at + i) & 0x7f);
    const bool has_footer = (bytes.byte(at + 5) & 0x10) != 0;
    return 10 + size + (has_footer ? 10 : 0);
  }
  if (bytes.starts_with(at, "APETAGEX") && bytes.has(at, 32)) return 32 + bytes.little(at + 12, 4);
  if (bytes.starts_with(at, "TAG") && bytes.has(at, 128)) return 128;
  return 0;
}

// The bytes of the tag that ends at `end`, or 0.
std::uint64_t tag_before(Bytes& bytes, std::uint64_t end) {
  const auto ends_with = [&](std::uint64_t back, std::string_view text) {
    return end >= back && bytes.starts_with(end - back, text);
  };
  if (ends_with(128, "TAG")) return ends_with(128 + 227, "TAG+") ? 128 + 227 : 128;  // ID3v1
  if (ends_with(32, "APETAGEX")) {  // the footer; a header stands before it in version 2 alone
    const bool has_header = (bytes.little(end - 12, 4) & 0x80000000U) != 0;
    return bytes.little(end - 20, 4) + (has_header ? 32 : 0);
  }
  if (ends_with(10, "3DI")) {  // ID3v2.4 behind the audio
    std::uint64_t size = 0;
    for (std::uint64_t i = 4; i > 0; --i) size = size << 7 | (bytes.byte(end - i) & 0x7f);
    return 10 + size + 10;
  }
  if (ends_with(9, "LYRICS200") && end >= 15) {  // six digits before it: the bytes before those
    const auto size = parse_number<std::uint64_t>(bytes.view(end - 15, 6));
    return size ? *size + 15 : 0;
  }
  if (ends_with(9, "LYRICSEND")) {  // Lyrics3 version 1 tells its start by a word alone
    constexpr std::uint64_t kMaxBytes = 5100 + 20;
    for (std::uint64_t size = 20; size <= std::min(end, kMaxBytes); ++size) {
      if (bytes.starts_with(end - size, "LYRICSBEGIN")) return size;
    }
  }
  return 0;
}

// Where the zeros begin that stand before `end`; not before `least`.
std::uint64_t zeros_before(Bytes& bytes, std::uint64_t end, std::uint64_t least) {
  constexpr std::uint64_t kStep = 64 * 1024;
  while (end > least) {
    const std::uint64_t count = std::min(kStep, end - least);
    const std::string_view part = bytes.view(end - count, static_cast<std::size_t>(count));
    const std::size_t last = part.find_last_not_of('\0');
    if (last != std::string_view::npos) return end - count + last + 1;
    end -= count;
  }
  return least;
}

// What follows the audio of a file: tags, with zeros between and behind them.
struct Trailer {
  std::uint64_t begin = 0;       // with the zeros before the first tag
  std::uint64_t tags_begin = 0;  // behind those zeros, which may be the audio's own
};

// Nothing before `least` belongs to it.
Trailer trailer_of(Bytes& bytes, std::uint64_t least) {
  constexpr std::uint64_t kMaxOwnZeros = 128;  // that a tag may end in
  std::uint64_t end = bytes.size();
  for (;;) {
    const std::uint64_t zeros = zeros_before(bytes, end, least);
    std::uint64_t tag_end = end;
    std::uint64_t size = tag_before(bytes, end);
    for (tag_end = size > 0 ? end : zeros; size == 0; ++tag_end) {
      if (tag_end > std::min(end, zeros + kMaxOwnZeros)) return {zeros, end};
      size = tag_before(bytes, tag_end);
      if (size > 0) break;
    }
    if (size > tag_end - least) return {zeros, end};
    end = tag_end - size;
  }
}

// Whether nothing but tags and zeros stands from `at` on.
bool is_trailer(Bytes& bytes, std::uint64_t at) { return trailer_of(bytes, at).begin <= at; }

// Where the audio begins: behind tags and zeros.
std::uint64_t leader_bytes(Bytes& bytes) {
  constexpr std::uint64_t kMaxZeros = 1 << 20;
  std::uint64_t at = 0;
  for (std::uint64_t zeros = 0; zeros < kMaxZeros && bytes.has(at, 1);) {
    if (const std::uint64_t size = tag_at(bytes, at); size > 0) {
      at += size;
    } else if (bytes.byte(at) == 0 && !bytes.starts_with(at + 4, "ftyp")) {
      ++at;
      ++zeros;
    } else {
      return at;
    }
  }
  return 0;
}

// --- Chunked files ---

void note_truncation(ContainerView& view, const std::string& what, std::uint64_t claimed,
                     std::uint64_t there, const char* unit = "bytes") {
  view.damage = "is truncated: its " + what + " says " + std::to_string(claimed) + " " + unit +
                ", " + std::to_string(there) + " are there";
  if (there > 0) view.claimed_ratio = static_cast<double>(claimed) / static_cast<double>(there);
}

// The chunks of `id_bytes` of name and `size_bytes` of length behind an empty one: whether they
// reach from `at` to the end, so that nothing there is audio.
bool are_chunks(Bytes& bytes, std::uint64_t at, int size_bytes, bool big_endian) {
  const std::uint64_t header = 4 + static_cast<std::uint64_t>(size_bytes);
  for (int chunks = 0; chunks < kMaxChunks && bytes.has(at, header); ++chunks) {
    for (std::uint64_t i = 0; i < 4; ++i) {
      if (bytes.byte(at + i) < ' ' || bytes.byte(at + i) > '~') return false;
    }
    const std::uint64_t size =
        big_endian ? bytes.big(at + 4, size_bytes) : bytes.little(at + 4, size_bytes);
    if (size > bytes.size() - at - header) return false;
    at += header + size + (size_bytes == 4 ? size % 2 : 0);
  }
  return at >= bytes.size();
}

// A length that a header states: where, and the bytes that say "to the end of the file".
struct LengthField {
  std::uint64_t at = 0;
  std::string to_the_end;
};

// The audio of a chunked file: `claimed` bytes from `at` on, as `field` of its header says. The
// length is 0 where a recorder was stopped before it had filled it in.
void check_audio_bytes(Bytes& bytes, const char* chunk, std::uint64_t at, std::uint64_t claimed,
                       const LengthField& field, ContainerView& view) {
  const std::uint64_t there = bytes.size() - std::min(at, bytes.size());
  if (claimed > there && claimed < kPlaceholderBytes) {
    note_truncation(view, std::string(chunk) + " chunk", claimed, there);
  }
  if (claimed == 0 && there > 0) {
    view.damage = "has no length: its " + std::string(chunk) + " chunk says 0 bytes, " +
                  std::to_string(there) + " follow";
    view.patches.emplace_back(field.at, field.to_the_end);
  }
}

// Ends the view behind the last whole block: of a part of one a decoder makes up the rest.
void end_at_whole_block(const Bytes& bytes, std::uint64_t audio_at, std::uint64_t block,
                        ContainerView& view) {
  if (block < 2 || audio_at > bytes.size()) return;
  view.end = bytes.origin() + audio_at + (bytes.size() - audio_at) / block * block;
}

// --- What a fmt chunk says (WAV, RF64, W64) ---

constexpr std::uint64_t kPcmTag = 1, kMsAdpcmTag = 2, kFloatTag = 3, kAlawTag = 6, kMulawTag = 7,
                        kImaAdpcmTag = 0x11, kGsmTag = 0x31, kVoxwareTag = 0x38, kG721Tag = 0x40,
                        kMpegTag = 0x50, kMp3Tag = 0x55, kExtensibleTag = 0xfffe;

struct WaveFormat {
  std::uint64_t at = 0;        // of its bytes; 0: there was no such chunk
  std::uint64_t tag = 0;       // as it stands there
  std::uint64_t encoding = 0;  // the same, of an extensible one what its GUID begins with
  std::uint64_t channels = 0, block = 0, bits = 0;

  bool is_mpeg() const { return encoding == kMpegTag || encoding == kMp3Tag; }
  // The bytes that are only decoded together; 1 where each frame stands alone.
  std::uint64_t block_bytes() const {
    return encoding == kMsAdpcmTag || encoding == kImaAdpcmTag || encoding == kGsmTag ? block : 1;
  }
};

WaveFormat wave_format(Bytes& bytes, std::uint64_t at, std::uint64_t size, bool big_endian) {
  // All GUIDs but for their first two bytes; that of ambisonic audio differs.
  constexpr std::string_view kGuids[] = {
      std::string_view("\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71", 14),
      std::string_view("\0\0\x21\x07\xd3\x11\x86\x44\xc8\xc1\xca\0\0\0", 14)};
  const auto number = [&](std::uint64_t place) {
    return big_endian ? bytes.big(at + place, 2) : bytes.little(at + place, 2);
  };
  WaveFormat format;
  if (size < 16 || !bytes.has(at, 16)) return format;
  format.at = at;
  format.tag = format.encoding = number(0);
  format.channels = number(2);
  format.block = number(12);
  format.bits = number(14);
  if (format.tag == kExtensibleTag && size >= 40 && bytes.has(at, 40)) {
    for (const std::string_view guid : kGuids) {
      if (bytes.starts_with(at + 26, guid)) format.encoding = number(24);
    }
  }
  return format;
}

// Leaves what libsndfile does not decode to libav.
void make_foreign(const WaveFormat& format, ContainerView& view) {
  struct Name {
    std::uint64_t encoding;
    const char* name;
  };
  constexpr Name kNames[] = {
      {kMpegTag, "a WAVE file of MPEG audio"}, {kMp3Tag, "a WAVE file of MP3 audio"},
      {0xff, "a WAVE file of AAC audio"},      {0x1600, "a WAVE file of AAC audio"},
      {0x65, "a WAVE file of G.722 audio"},    {0x28f, "a WAVE file of G.722 audio"},
      {0x45, "a WAVE file of G.726 audio"},    {0x64, "a WAVE file of G.726 audio"},
      {0x20, "a WAVE file of Yamaha ADPCM"},   {0xf1ac, "a WAVE file of FLAC audio"},
      {0x160, "a WAVE file of WMA audio"},     {0x161, "a WAVE file of WMA audio"},
      {0x162, "a WAVE file of WMA audio"},     {0x163, "a WAVE file of WMA audio"},
      {0x2000, "a WAVE file of AC-3 audio"}};
  view.container = view.name;
  view.name = "a WAVE file of compressed audio";
  for (const Name& one : kNames) {
    if (one.encoding == format.encoding) view.name = one.name;
  }
  view.is_foreign = true;
}

[[noreturn]] void too_many_chunks(const Bytes& bytes) {
  refuse(bytes.file(), "has more than " + std::to_string(kMaxChunks) + " chunks before its audio",
         "an audio file");
}

void check_mpeg(Bytes& bytes, ContainerView& view);

// The bytes of MPEG audio in a WAV or W64, `size` of them from `at` on: they are walked, because
// neither the fact chunk nor libsndfile knows how many frames there are.
void check_wav_of_mpeg(Bytes& bytes, std::uint64_t at, std::uint64_t size, ContainerView& view) {
  const char* name = view.name;
  const std::string damage = view.damage;
  bytes.begin_at(bytes.origin() + at);
  bytes.end_at(std::min(size, bytes.size()));
  view.begin = bytes.origin();
  view.patches.clear();
  check_mpeg(bytes, view);
  view.name = name;
  if (!damage.empty()) view.damage = damage;
}

// RIFF (little-endian), RIFX (big-endian), RF64 and BW64 (64-bit sizes in a ds64 chunk). Their own
// sizes count for nothing: many writers leave them wrong.
void check_wav(Bytes& bytes, ContainerView& view) {
  constexpr std::array kEncodings = {// that libsndfile decodes
                                     kPcmTag,   kMsAdpcmTag,   kFloatTag, kAlawTag,
                                     kMulawTag, kImaAdpcmTag,  kGsmTag,   kVoxwareTag,
                                     kG721Tag,  kExtensibleTag};
  const bool big_endian = bytes.starts_with(0, "RIFX");
  const bool wide = bytes.starts_with(0, "RF64") || bytes.starts_with(0, "BW64");
  // The same chunks under a newer name (ITU-R BS.2088), which libsndfile does not know.
  if (bytes.starts_with(0, "BW64")) view.patches.emplace_back(0, "RF64");
  std::optional<std::uint64_t> wide_size;
  std::uint64_t wide_size_at = 0;
  std::uint64_t fact_at = 0;
  WaveFormat format;
  std::uint64_t at = 12;
  for (int chunks = 0; bytes.has(at, 8); ++chunks) {
    if (chunks == kMaxChunks) too_many_chunks(bytes);
    const std::uint64_t size = big_endian ? bytes.big(at + 4, 4) : bytes.little(at + 4, 4);
    if (wide && bytes.starts_with(at, "ds64")) {
      wide_size = bytes.little(at + 16, 8);
      wide_size_at = at + 16;
    }
    if (bytes.starts_with(at, "fmt ")) format = wave_format(bytes, at + 8, size, big_endian);
    if (bytes.starts_with(at, "fact")) fact_at = at;
    if (bytes.starts_with(at, "data")) {
      const std::uint64_t there = bytes.size() - at - 8;
      if (size == 0 && are_chunks(bytes, at + 8, 4, big_endian)) return;  // no audio at all
      std::uint64_t claimed = size;
      if (wide && size == 0xffffffff && wide_size) {
        claimed = *wide_size;
        // 64 bits hold any length: there is no placeholder, and the comparison below knows one.
        if (claimed > there) {
          note_truncation(view, "ds64 chunk", claimed, there, "bytes of audio");
        }
        check_audio_bytes(bytes, "ds64", at + 8, std::min(claimed, there),
                          {wide_size_at, little_text(there, 8)}, view);
      } else {
        check_audio_bytes(bytes, "data", at + 8, size, {at + 4, "\xff\xff\xff\xff"}, view);
      }
      if (claimed == 0) claimed = there;
      if (claimed >= there) end_at_whole_block(bytes, at + 8, format.block_bytes(), view);
      if (format.is_mpeg()) {
        check_wav_of_mpeg(bytes, at + 8, claimed, view);
      } else if (format.at > 0 && std::find(kEncodings.begin(), kEncodings.end(),
                                            format.encoding) == kEncodings.end()) {
        make_foreign(format, view);
        // Its count is a hint, which libav would take for the length.
        if (fact_at > 0) view.patches.emplace_back(fact_at, "junk");
        std::sort(view.patches.begin(), view.patches.end());
      }
      return;
    }
    at += 8 + size + size % 2;
  }
}

constexpr std::string_view kW64Riff("riff\x2E\x91\xCF\x11\xA5\xD6\x28\xDB\x04\xC1\x00\x00", 16);
constexpr std::string_view kW64Format("fmt \xF3\xAC\xD3\x11\x8C\xD1\x00\xC0\x4F\x8E\xDB\x8A", 16);
constexpr std::string_view kW64Data("data\xF3\xAC\xD3\x11\x8C\xD1\x00\xC0\x4F\x8E\xDB\x8A", 16);

// What libsndfile makes of the format of a W64: it takes all that is extensible for PCM, and the
// samples of plain PCM for as narrow as their bits.
void check_w64_format(Bytes& bytes, const WaveFormat& format, ContainerView& view) {
  constexpr std::array kEncodings = {kPcmTag,   kMsAdpcmTag,  kFloatTag, kAlawTag,
                                     kMulawTag, kImaAdpcmTag, kGsmTag};
  if (format.at == 0 || format.is_mpeg()) return;
  if (std::find(kEncodings.begin(), kEncodings.end(), format.encoding) == kEncodings.end()) {
    if (format.tag == kExtensibleTag) {
      refuse(bytes.file(), "has samples of a kind that its fmt chunk has an unknown GUID for",
             "PCM, float, A-law or mu-law");
    }
    make_foreign(format, view);
    return;
  }
  if (format.encoding != kPcmTag) {
    if (format.tag == kExtensibleTag) {
      view.patches.emplace_back(format.at, little_text(format.encoding, 2));
    }
    return;
  }
  const std::uint64_t sample_bytes = (format.bits + 7) / 8;
  if (format.block != format.channels * sample_bytes) {
    // Samples with room to spare have their bits at the upper end.
    const std::uint64_t container_bytes =
        format.block / std::max<std::uint64_t>(1, format.channels);
    if (container_bytes < sample_bytes || container_bytes > 4 ||
        format.block != format.channels * container_bytes) {
      refuse(bytes.file(),
             "has blocks of " + std::to_string(format.block) + " bytes for " +
                 std::to_string(format.channels) + " channels of " + std::to_string(format.bits) +
                 " bits in its fmt chunk",
             std::to_string(format.channels * sample_bytes));
    }
    view.patches.emplace_back(format.at + 14, little_text(8 * container_bytes, 2));
  }
}

// Sets where the audio ends: libsndfile takes what follows for audio as well.
void check_w64(Bytes& bytes, ContainerView& view) {
  WaveFormat format;
  std::uint64_t at = 40;  // riff, size, wave
  for (int chunks = 0; bytes.has(at, 24); ++chunks) {
    if (chunks == kMaxChunks) too_many_chunks(bytes);
    const std::uint64_t size = bytes.little(at + 16, 8);  // with these 24 bytes
    const bool is_data = bytes.starts_with(at, kW64Data);
    if (size >= 24 && bytes.starts_with(at, kW64Format)) {
      format = wave_format(bytes, at + 24, size - 24, false);
      check_w64_format(bytes, format, view);
    }
    if (size < 24) {
      refuse(bytes.file(),
             "has a chunk of " + std::to_string(size) + " bytes at byte " + std::to_string(at),
             "a chunk of at least its header's 24");
    }
    const std::uint64_t there = bytes.size() - at - 24;
    if (is_data) {
      if (size - 24 > there) {
        note_truncation(view, "data chunk", size - 24, there);
        end_at_whole_block(bytes, at + 24, format.block_bytes(), view);
        if (format.is_mpeg()) check_wav_of_mpeg(bytes, at + 24, there, view);
        return;
      }
      check_audio_bytes(bytes, "data", at + 24, size - 24, {at + 16, little_text(24 + there, 8)},
                        view);
      if (size == 24) return;  // to the end, if anything
      view.end = bytes.origin() + at + size;
      if (format.is_mpeg()) check_wav_of_mpeg(bytes, at + 24, size - 24, view);
      return;
    }
    if (size - 24 > there) break;
    at += (size + 7) / 8 * 8;
  }
}

// FORM with AIFF or AIFC, big-endian.
void check_aiff(Bytes& bytes, ContainerView& view) {
  std::uint64_t block = 1;
  std::uint64_t at = 12;
  for (int chunks = 0; bytes.has(at, 8); ++chunks) {
    if (chunks == kMaxChunks) too_many_chunks(bytes);
    const std::uint64_t size = bytes.big(at + 4, 4);
    if (bytes.starts_with(at, "COMM") && size >= 22) {
      if (bytes.starts_with(at + 26, "ima4")) block = 34 * bytes.big(at + 8, 2);
      if (bytes.starts_with(at + 26, "GSM ")) block = 33;
    }
    if (bytes.starts_with(at, "SSND")) {
      // libsndfile mends a length of 0 by the file's size.
      if (size != 0) check_audio_bytes(bytes, "SSND", at + 8, size, {}, view);
      if (size >= bytes.size() - at - 8) end_at_whole_block(bytes, at + 16, block, view);
      return;
    }
    at += 8 + size + size % 2;
  }
}

void check_au(Bytes& bytes, ContainerView& view) {
  const bool little_endian = bytes.starts_with(0, "dns.");
  const std::uint64_t at = little_endian ? bytes.little(4, 4) : bytes.big(4, 4);
  const std::uint64_t size = little_endian ? bytes.little(8, 4) : bytes.big(8, 4);
  check_audio_bytes(bytes, "audio", at, size, {8, "\xff\xff\xff\xff"}, view);
}

void check_caf(Bytes& bytes, ContainerView& view) {
  std::uint64_t at = 8;
  for (int chunks = 0; bytes.has(at, 12); ++chunks) {
    if (chunks == kMaxChunks) too_many_chunks(bytes);
    const std::uint64_t size = bytes.big(at + 4, 8);
    const std::uint64_t there = bytes.size() - at - 12;
    const bool is_data = bytes.starts_with(at, "data");
    const LengthField field = {at + 4, big_text(there, 8)};
    if (is_data && size == ~std::uint64_t{0}) {  // "to the end", as the format allows
      view.patches.emplace_back(field.at, field.to_the_end);
      return;
    }
    // Compressed audio has its packet table behind the data.
    if ((is_data || bytes.starts_with(at, "pakt")) && size > there) {
      note_truncation(view, std::string(bytes.view(at, 4)) + " chunk", size, there);
      // libsndfile opens no CAF that is shorter than it says.
      if (is_data) view.patches.emplace_back(field.at, field.to_the_end);
    }
    // The data chunk begins with 4 bytes of its own.
    if (is_data && size <= 4 && there > 4 && !are_chunks(bytes, at + 12 + size, 8, true)) {
      check_audio_bytes(bytes, "data", at + 16, 0, field, view);
      return;
    }
    if (size > there) return;
    at += 12 + size;
  }
}

// --- NIST SPHERE (TIMIT, LDC) ---

// A header of text: "NIST_1A", its own size, then a line for each field, "name -type value", up to
// "end_head". What follows is bare samples, which libsndfile reads as such: its own reader of the
// header takes one of 1,024 bytes only, and no sample count.
void check_sphere(Bytes& bytes, ContainerView& view) {
  constexpr std::uint64_t kMaxHeaderBytes = 64 * 1024;
  const auto file = [&]() -> const InputFile& { return bytes.file(); };
  const std::string_view second = bytes.view(8, 8);
  const auto blanks = second.find_first_not_of(' ');
  const auto header_bytes = parse_number<std::uint64_t>(second.substr(
      std::min<std::size_t>(blanks, 7), second.find('\n') - std::min<std::size_t>(blanks, 7)));
  if (!header_bytes || *header_bytes < 16 || *header_bytes > kMaxHeaderBytes) {
    refuse(file(), "has a SPHERE header without a size",
           "16 to " + std::to_string(kMaxHeaderBytes) + " bytes in its second line");
  }
  if (!bytes.has(0, *header_bytes)) refuse(file(), "is truncated in its SPHERE header");
  const std::string header(bytes.view(0, static_cast<std::size_t>(*header_bytes)));
  // The value of a field; "" where it is not there.
  const auto field = [&](std::string_view name) -> std::string {
    for (std::size_t at = 0; at < header.size();) {
      const std::size_t end = std::min(header.find('\n', at), header.size());
      const std::string_view line = std::string_view(header).substr(at, end - at);
      if (line.starts_with("end_head")) break;
      at = end + 1;
      if (!line.starts_with(name) || line.substr(name.size(), 2) != " -") continue;
      const std::size_t value = line.find(' ', name.size() + 2);
      if (value == std::string_view::npos) return "";
      std::string_view text = line.substr(value + 1);
      while (!text.empty() && (text.back() == ' ' || text.back() == '\r' || text.back() == '\0')) {
        text.remove_suffix(1);
      }
      return std::string(text);
    }
    return "";
  };
  const auto number = [&](std::string_view name, std::int64_t most) {
    std::string text = field(name);
    // "-r 16000.0": a real number that is a whole one.
    if (const std::size_t point = text.find('.');
        point != std::string::npos && point > 0 &&
        text.find_first_not_of('0', point + 1) == std::string::npos) {
      text.resize(point);
    }
    const auto value = parse_number<std::int64_t>(text);
    if (!value || *value < 1 || *value > most) {
      refuse(file(), "has " + std::string(name) + " " + in_quotes(text) + " in its SPHERE header",
             "a number from 1 to " + std::to_string(most));
    }
    return *value;
  };
  std::string coding = lower_case(field("sample_coding"));
  if (coding.empty()) coding = "pcm";
  if (const std::size_t comma = coding.find(','); comma != std::string::npos) {
    const bool is_shorten = coding.find("shorten") != std::string::npos;
    refuse(file(), "is a NIST SPHERE file that is compressed (" + quote_bytes(coding) + ")",
           is_shorten ? "plain samples: `sph2pipe -f wav IN OUT.wav` or `sox IN OUT.wav` unpacks "
                        "shorten"
                      : "plain samples: `sox IN OUT.wav` or NIST's w_decode may unpack them");
  }
  const std::int64_t channels = field("channel_count").empty() ? 1 : number("channel_count", 1024);
  view.raw_channels = static_cast<int>(channels);
  view.raw_sample_rate_hz = static_cast<int>(number("sample_rate", 1 << 30));
  const bool is_ulaw = coding == "ulaw" || coding == "mu-law" || coding == "mulaw";
  const bool is_alaw = coding == "alaw" || coding == "a-law";
  const std::int64_t sample_bytes =
      (is_ulaw || is_alaw) && field("sample_n_bytes").empty() ? 1 : number("sample_n_bytes", 8);
  view.sndfile_format = SF_FORMAT_RAW;
  if ((is_ulaw || is_alaw) && sample_bytes == 1) {
    view.sndfile_format |= is_ulaw ? SF_FORMAT_ULAW : SF_FORMAT_ALAW;
  } else if (coding == "pcm" && sample_bytes <= 4) {
    constexpr std::array<int, 4> kFormats = {SF_FORMAT_PCM_S8, SF_FORMAT_PCM_16, SF_FORMAT_PCM_24,
                                             SF_FORMAT_PCM_32};
    view.sndfile_format |= kFormats[static_cast<std::size_t>(sample_bytes - 1)];
    const std::string order = field("sample_byte_format");
    constexpr std::array<std::string_view, 4> kAscending = {"1", "01", "012", "0123"};
    constexpr std::array<std::string_view, 4> kDescending = {"1", "10", "210", "3210"};
    const auto place = static_cast<std::size_t>(sample_bytes - 1);
    if (order == kDescending[place] && sample_bytes > 1) {
      view.sndfile_format |= SF_ENDIAN_BIG;
    } else if (order == kAscending[place] || sample_bytes == 1) {
      view.sndfile_format |= SF_ENDIAN_LITTLE;
    } else {
      refuse(file(), "has sample_byte_format " + in_quotes(order) + " in its SPHERE header",
             std::string(kAscending[place]) + " or " + std::string(kDescending[place]));
    }
  } else {
    refuse(file(),
           "has samples of " + std::to_string(sample_bytes) + " bytes in the coding " +
               in_quotes(coding) + " in its SPHERE header",
           "pcm of 1 to 4 bytes, ulaw or alaw of 1; `sox IN OUT.wav` may convert it");
  }
  if (lower_case(field("channels_interleaved")) == "false") {
    refuse(file(), "has its channels one after the other", "interleaved channels");
  }
  const auto frame_bytes = static_cast<std::uint64_t>(sample_bytes * channels);
  const std::uint64_t there = (bytes.size() - *header_bytes) / frame_bytes;
  std::uint64_t frames = there;
  if (!field("sample_count").empty()) {
    const auto claimed = static_cast<std::uint64_t>(number("sample_count", std::int64_t{1} << 48));
    if (claimed > there) {
      note_truncation(view, "header", claimed, there, "samples");
    }
    view.frames = static_cast<std::int64_t>(claimed);
    frames = std::min(claimed, there);
  }
  view.begin = bytes.origin() + *header_bytes;
  view.end = view.begin + frames * frame_bytes;
}

// --- FLAC ---

constexpr std::array<std::uint16_t, 256> kFlacCrc = [] {  // polynomial 0x8005, from 0
  std::array<std::uint16_t, 256> table = {};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i << 8;
    for (int bit = 0; bit < 8; ++bit) value = value << 1 ^ ((value >> 15 & 1) * 0x8005U);
    table[i] = static_cast<std::uint16_t>(value);
  }
  return table;
}();

// Where the last frame of a FLAC stream ends, which zeros follow from `zeros` to `end`: a frame's
// checksum makes that of the whole frame 0, and may itself end in zeros.
std::uint64_t flac_end(Bytes& bytes, std::uint64_t zeros, std::uint64_t end) {
  constexpr std::uint64_t kMaxOwnZeros = 64;
  constexpr std::uint64_t kMaxSearch = 1 << 20;
  if (end - zeros < 8) return end;  // no padding, but for a chance of 2^-48
  const std::uint64_t least = zeros > kMaxSearch ? zeros - kMaxSearch : 0;
  for (std::uint64_t start = zeros; start-- > least;) {
    if (bytes.byte(start) != 0xff || (bytes.byte(start + 1) & 0xfe) != 0xf8) continue;
    std::uint16_t crc = 0;
    for (std::uint64_t at = start; at < std::min(end, zeros + kMaxOwnZeros); ++at) {
      crc = static_cast<std::uint16_t>(crc << 8 ^ kFlacCrc[(crc >> 8) ^ bytes.byte(at)]);
      if (at + 1 >= zeros && crc == 0) return at + 1;
    }
  }
  return end;
}

// Shows libsndfile that the number of samples is not known: it would stop there, in silence, where
// more of them are there. What STREAMINFO says is compared with all that is decoded.
void check_flac_count(Bytes& bytes, ContainerView& view) {
  constexpr std::uint64_t kCountAt = 21;  // four bits of this byte, and four bytes
  if (!bytes.has(kCountAt, 5) || (bytes.byte(4) & 0x7f) != 0) return;
  const std::uint64_t count = bytes.big(kCountAt, 5) & 0xfffffffff;
  if (count == 0) return;
  view.frames = static_cast<std::int64_t>(count);
  std::string unknown(bytes.view(kCountAt, 1));
  unknown[0] = static_cast<char>(unknown[0] & 0xf0);
  view.patches.emplace_back(kCountAt, unknown + std::string(4, '\0'));
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

struct OggPage {
  std::uint64_t at = 0;
  std::size_t bytes = 0;
  std::uint8_t flags = 0;  // 1: begins inside a packet, 4: the last page
  std::uint32_t serial = 0;
  std::uint32_t number = 0;
  bool is_open = false;  // its last packet goes on in the next page
};

constexpr std::uint64_t kOggFlagsAt = 5;
constexpr std::uint64_t kOggNumberAt = 18;
constexpr std::uint64_t kOggChecksumAt = 22;
constexpr std::uint8_t kOggLastPage = 4;

// The page at `at`, or nothing, and `problem` says why.
std::optional<OggPage> ogg_page(Bytes& bytes, std::uint64_t at, std::string& problem) {
  constexpr std::size_t kHeaderBytes = 27;
  if (!bytes.starts_with(at, "OggS")) {
    problem = "is damaged: no ";
    return std::nullopt;
  }
  problem = "is truncated in ";
  if (!bytes.has(at, kHeaderBytes)) return std::nullopt;
  OggPage page;
  page.at = at;
  const std::uint8_t segments = bytes.byte(at + 26);
  page.bytes = kHeaderBytes + segments;
  for (std::uint64_t i = 0; i < segments; ++i) page.bytes += bytes.byte(at + kHeaderBytes + i);
  if (!bytes.has(at, page.bytes)) return std::nullopt;
  if (ogg_checksum(bytes.view(at, page.bytes)) != bytes.little(at + kOggChecksumAt, 4)) {
    problem = "is damaged: wrong checksum of ";
    return std::nullopt;
  }
  page.flags = bytes.byte(at + kOggFlagsAt);
  page.serial = static_cast<std::uint32_t>(bytes.little(at + 14, 4));
  page.number = static_cast<std::uint32_t>(bytes.little(at + kOggNumberAt, 4));
  page.is_open = segments > 0 && bytes.byte(at + kHeaderBytes + segments - 1U) == 255;
  problem.clear();
  return page;
}

// A page's header, from its flags to its checksum, with another number and other flags.
std::pair<std::uint64_t, std::string> ogg_patch(Bytes& bytes, const OggPage& page,
                                                std::uint32_t number, std::uint8_t flags) {
  std::string changed(bytes.view(page.at, page.bytes));
  changed[kOggFlagsAt] = static_cast<char>(flags);
  changed.replace(kOggNumberAt, 4, little_text(number, 4));
  changed.replace(kOggChecksumAt, 4, little_text(ogg_checksum(changed), 4));
  return {page.at + kOggFlagsAt, changed.substr(kOggFlagsAt, kOggChecksumAt + 4 - kOggFlagsAt)};
}

// Of what codec a stream of Ogg is, by the packet on its first page.
enum class OggCodec { vorbis, opus, flac, speex, none };

OggCodec ogg_codec(Bytes& bytes, std::uint64_t page) {
  const std::uint64_t packet = page + 27U + bytes.byte(page + 26);
  if (bytes.starts_with(packet, "\x01vorbis")) return OggCodec::vorbis;
  if (bytes.starts_with(packet, "OpusHead")) return OggCodec::opus;
  if (bytes.starts_with(packet,
                        "\x7f"
                        "FLAC")) {
    return OggCodec::flac;
  }
  return bytes.starts_with(packet, "Speex   ") ? OggCodec::speex : OggCodec::none;
}

// Whether one of several streams is audio, as beside a picture: libsndfile reads a lone one. The
// first pages of all stand before everything else.
bool is_one_audio_of_several(Bytes& bytes) {
  constexpr std::uint8_t kFirstPage = 2;
  constexpr int kMaxStreams = 100;
  int streams = 0, audio = 0;
  std::string problem;
  std::uint64_t at = 0;
  for (auto page = ogg_page(bytes, at, problem);
       page && (page->flags & kFirstPage) != 0 && streams < kMaxStreams;
       page = ogg_page(bytes, at, problem)) {
    ++streams;
    if (ogg_codec(bytes, at) != OggCodec::none) ++audio;
    at += page->bytes;
  }
  return streams > 1 && audio == 1;
}

// Walks all pages: libsndfile returns what comes before a damaged or missing page and says nothing.
// Pages may be numbered from any number and jump, as those of a broadcast that was joined late do,
// and the last one may not be marked as such, where a recorder was stopped: libsndfile is shown
// them numbered from 0, and the mark. Whether audio is missing between them is told by the places
// that they state, which libsndfile makes its number of frames of.
void check_ogg(Bytes& bytes, ContainerView& view) {
  std::uint64_t at = 0;
  std::uint32_t count = 0;
  std::optional<OggPage> last;
  bool is_renumbered = false;
  for (; !last || (last->flags & kOggLastPage) == 0; ++count) {
    const std::string where =
        "page " + std::to_string(count) + " at byte " + std::to_string(bytes.origin() + at);
    std::string problem;
    const auto page = ogg_page(bytes, at, problem);
    if (!page) {
      const bool has_ended = last && !bytes.starts_with(at, "OggS") && is_trailer(bytes, at);
      if (!has_ended) view.damage = problem + where;
      break;
    }
    if (last && page->serial != last->serial) {
      refuse(bytes.file(), "holds several streams", "one stream of Vorbis or Opus");
    }
    if (((page->flags & 1) != 0) != (last && last->is_open)) {
      view.damage = "is damaged: pages are missing before " + where;
      break;
    }
    if (last && page->number != last->number + 1) view.has_gaps = true;
    if (page->number != count) {
      is_renumbered = true;
      view.patches.push_back(ogg_patch(bytes, *page, count, page->flags));
    }
    at += page->bytes;
    last = page;
  }
  view.end = bytes.origin() + at;
  if (!last) return;
  if ((last->flags & kOggLastPage) != 0) {
    if (bytes.starts_with(at, "OggS")) {
      refuse(bytes.file(), "holds several streams, one after another",
             "one stream of Vorbis or Opus");
    }
  } else {
    if (last->number != count - 1) view.patches.pop_back();  // of the same page
    view.patches.push_back(ogg_patch(bytes, *last, count - 1, last->flags | kOggLastPage));
    view.note = "its stream has no last page: whole as far as it goes";
  }
  if (is_renumbered && view.note.empty()) {
    view.note = "its pages are not numbered from 0 on: the stream was cut or joined late";
  }
}

// --- MPEG audio: MP3, MP2, MP1 ---

struct MpegFrame {
  std::uint64_t bytes = 0;
  std::int64_t samples = 0;  // of each channel
  std::uint32_t fixed = 0;   // the header's bits that all frames of a stream share
  int layer = 3;
  bool mpeg1 = false;
  bool mono = false;
};

// ISO/IEC 11172-3 and 13818-3: one frame header, or nothing.
std::optional<MpegFrame> parse_mpeg_header(std::uint32_t header) {
  using Kilobits = std::array<int, 15>;
  constexpr Kilobits kLayer1 = {0,   32,  64,  96,  128, 160, 192, 224,
                                256, 288, 320, 352, 384, 416, 448};
  constexpr Kilobits kLayer2 = {0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384};
  constexpr Kilobits kLayer3 = {0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320};
  constexpr Kilobits kLowLayer1 = {0,   32,  48,  56,  64,  80,  96, 112,
                                   128, 144, 160, 176, 192, 224, 256};
  constexpr Kilobits kLowLayers = {0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160};
  constexpr std::array<int, 3> kRates = {44100, 48000, 32000};
  const std::uint32_t version = header >> 19 & 3;  // 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
  const auto layer = 4 - static_cast<int>(header >> 17 & 3);
  const std::uint32_t bitrate = header >> 12 & 15;
  const std::uint32_t rate = header >> 10 & 3;
  if (header >> 21 != 0x7ff || version == 1 || layer == 4 || bitrate == 0 || bitrate == 15 ||
      rate == 3 || (version == 0 && layer != 3)) {
    return std::nullopt;
  }
  MpegFrame frame;
  frame.layer = layer;
  frame.mpeg1 = version == 3;
  frame.mono = (header >> 6 & 3) == 3;
  frame.fixed = (header & 0xfffe0c00U) | (frame.mono ? 1U : 0U);
  const Kilobits& kilobits = frame.mpeg1 ? (layer == 1   ? kLayer1
                                            : layer == 2 ? kLayer2
                                                         : kLayer3)
                                         : (layer == 1 ? kLowLayer1 : kLowLayers);
  const int hertz = kRates[rate] >> (version == 3 ? 0 : version == 2 ? 1 : 2);
  frame.samples = layer == 1 ? 384 : layer == 2 || frame.mpeg1 ? 1152 : 576;
  const int slot = layer == 1 ? 4 : 1;  // bytes
  const auto slots = static_cast<int>(frame.samples) / 8 / slot * 1000 * kilobits[bitrate] / hertz;
  frame.bytes =
      static_cast<std::uint64_t>(slot) * (static_cast<std::uint64_t>(slots) + (header >> 9 & 1));
  return frame;
}

std::optional<MpegFrame> mpeg_frame(Bytes& bytes, std::uint64_t at) {
  if (!bytes.has(at, 4)) return std::nullopt;
  return parse_mpeg_header(static_cast<std::uint32_t>(bytes.big(at, 4)));
}

// Where the Xing or Info tag stands in a frame, from its header on.
std::uint64_t xing_offset(const MpegFrame& frame) {
  return 4 + (frame.mpeg1 ? (frame.mono ? 17U : 32U) : (frame.mono ? 9U : 17U));
}

// Two frames to put before the first one of a file: a Xing tag that counts the others, and silence.
std::string mp3_length_prefix(Bytes& bytes, const MpegFrame& first, std::uint64_t frames) {
  std::string header(bytes.view(0, 4));
  header[1] = static_cast<char>(header[1] | 0x01);           // no checksum
  header[2] = static_cast<char>((header[2] & 0x0c) | 0xe0);  // the largest bitrate, no padding
  const auto bits = static_cast<std::uint32_t>(static_cast<std::uint8_t>(header[0])) << 24 |
                    static_cast<std::uint32_t>(static_cast<std::uint8_t>(header[1])) << 16 |
                    static_cast<std::uint32_t>(static_cast<std::uint8_t>(header[2])) << 8 |
                    static_cast<std::uint8_t>(header[3]);
  const auto length = static_cast<std::size_t>(parse_mpeg_header(bits)->bytes);
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

// The bytes of tags, and of zeros beside them, at `at` in the middle of a stream, where its frames
// go on behind them; else 0. Files that were joined have them.
std::uint64_t tags_between(Bytes& bytes, std::uint64_t at, std::uint32_t fixed) {
  constexpr std::uint64_t kMaxBytes = (1 << 28) - 1;  // what tag_shown_for() can state
  std::uint64_t end = at;
  bool has_tag = false;
  while (bytes.has(end, 1) && end - at <= kMaxBytes) {
    if (const std::uint64_t size = tag_at(bytes, end); size > 0) {
      end += size;
      has_tag = true;
    } else if (bytes.byte(end) == 0) {
      ++end;
    } else {
      const auto frame = mpeg_frame(bytes, end);
      return has_tag && frame && frame->fixed == fixed && end - at <= kMaxBytes ? end - at : 0;
    }
  }
  return 0;
}

// The beginning of an ID3v2 tag of `size` bytes that holds nothing: libmpg123 passes over it
// without a word, and over other kinds of tags with warnings, or not at all.
std::string tag_shown_for(std::uint64_t size) {
  constexpr std::uint64_t kHeaderBytes = 10, kLeastBytes = 20;
  if (size < kLeastBytes) return "";
  std::string tag("ID3\4\0\0", 6);
  for (int shift = 21; shift >= 0; shift -= 7) {
    tag += static_cast<char>((size - kHeaderBytes) >> shift & 0x7f);
  }
  return tag + std::string(kLeastBytes - kHeaderBytes, '\0');
}

// Passes over the end of a frame whose beginning was cut off, where frames of one kind follow.
void begin_at_first_frame(Bytes& bytes, ContainerView& view) {
  constexpr std::uint64_t kMaxFrameBytes = 2881;  // layer II, 384 kbit/s at 32 kHz, rounded up
  constexpr int kFrames = 4;
  if (mpeg_frame(bytes, 0)) return;
  for (std::uint64_t begin = 1; begin < kMaxFrameBytes && bytes.has(begin, 4); ++begin) {
    const auto first = mpeg_frame(bytes, begin);
    std::uint64_t at = begin;
    int frames = 0;
    for (auto frame = first; frame && frame->fixed == first->fixed && bytes.has(at, frame->bytes);
         frame = mpeg_frame(bytes, at)) {
      at += frame->bytes;
      if (++frames == kFrames) break;
    }
    if (frames < kFrames) continue;
    bytes.begin_at(bytes.origin() + begin);
    view.begin = bytes.origin();
    view.note = "its stream begins in the middle of a frame: the first " + std::to_string(begin) +
                " bytes are passed over";
    return;
  }
}

// Shows the first frames as silent whose data began before the stream, as those of one that was
// cut: a decoder would make noise of what it has. Their own data stays, for the frames behind them.
void mute_headless_frames(Bytes& bytes, std::uint64_t end, ContainerView& view) {
  std::uint64_t there = 0;  // data of frames before this one
  for (std::uint64_t at = 0; at < end;) {
    const auto frame = mpeg_frame(bytes, at);
    if (!frame || frame->layer != 3) return;
    const std::uint64_t checksum = (bytes.byte(at + 1) & 1) == 0 ? 2 : 0;
    const std::uint64_t side_at = at + 4 + checksum;
    const std::uint64_t side_bytes = xing_offset(*frame) - 4;
    const std::uint64_t begins_before =
        frame->mpeg1 ? bytes.big(side_at, 2) >> 7 : bytes.byte(side_at);
    if (begins_before <= there) return;
    view.patches.emplace_back(side_at, std::string(static_cast<std::size_t>(side_bytes), '\0'));
    there += frame->bytes - std::min(frame->bytes, side_at - at + side_bytes);
    at += frame->bytes;
  }
}

// Walks all frames: they are what there is, whatever a Xing tag counts.
void check_mpeg(Bytes& bytes, ContainerView& view) {
  begin_at_first_frame(bytes, view);
  const auto first = mpeg_frame(bytes, 0);
  if (!first) refuse_as_no_audio(bytes.file(), "is no audio file");
  std::uint64_t at = 0;
  std::uint64_t frames = 0;
  while (at < bytes.size()) {
    const auto frame = mpeg_frame(bytes, at);
    const std::string place = std::to_string(bytes.origin() + at);
    if (!frame || frame->fixed != first->fixed) {
      if (const auto size = tags_between(bytes, at, first->fixed); frames > 0 && size > 0) {
        if (const std::string tag = tag_shown_for(size); !tag.empty()) {
          view.patches.emplace_back(at, tag);
        }
        at += size;
        continue;
      }
      if (frames > 0 && is_trailer(bytes, at)) break;
      if (frames < 2) refuse_as_no_audio(bytes.file(), "is no audio file");
      view.damage = "is damaged: no frame of the same kind at byte " + place + ", after " +
                    std::to_string(frames);
      break;
    }
    if (!bytes.has(at, frame->bytes)) {
      if (frames == 0) refuse(bytes.file(), "is truncated in its first frame");
      view.damage = "is truncated in frame " + std::to_string(frames) + " at byte " + place;
      break;
    }
    at += frame->bytes;
    ++frames;
  }
  // libmpg123 opens none of it, and prints a warning.
  if (frames < 2) refuse(bytes.file(), "holds a single frame of MPEG audio", "two or more");
  constexpr std::array<const char*, 3> kNames = {"MP1", "MP2", "MP3"};
  view.name = kNames[static_cast<std::size_t>(first->layer - 1)];
  view.sndfile_format = SF_FORMAT_MPEG;
  view.end = bytes.origin() + at;
  const std::uint64_t tag = xing_offset(*first);
  const bool has_tag = first->layer == 3 && first->bytes >= tag + 12 &&
                       (bytes.starts_with(tag, "Xing") || bytes.starts_with(tag, "Info"));
  if (has_tag && (bytes.byte(tag + 7) & 1) != 0) {
    std::vector<std::pair<std::uint64_t, std::string>> patches;
    const std::uint64_t claimed = bytes.big(tag + 8, 4);
    if (claimed != frames - 1) {
      patches.emplace_back(tag + 8, big_text(frames - 1, 4));
      view.note = "its Xing tag counts " + std::to_string(claimed) + " frames, " +
                  std::to_string(frames - 1) + " are there and read";
    }
    // libmpg123 prints a warning about another number of bytes.
    if ((bytes.byte(tag + 7) & 2) != 0 && first->bytes >= tag + 16 &&
        bytes.big(tag + 12, 4) != at) {
      patches.emplace_back(tag + 12, big_text(at, 4));
    }
    view.patches.insert(view.patches.begin(), patches.begin(), patches.end());
    return;
  }
  view.frames = static_cast<std::int64_t>(frames) * first->samples;
  if (first->layer != 3) return;
  if (!has_tag) {
    mute_headless_frames(bytes, at, view);
    std::sort(view.patches.begin(), view.patches.end());
  }
  // libmpg123 cuts the decoder's own delay off where it sees a tag, and only there.
  constexpr std::int64_t kDecoderDelay = 529;
  view.length_prefix = mp3_length_prefix(bytes, *first, frames);
  view.prefix_frames = first->samples - kDecoderDelay;
}

// --- What is audio, but not of those kinds ---

struct ForeignKind {
  std::uint64_t at;
  std::string_view magic;
  const char* name;
  const char* container;
  bool is_tagged = false;  // a stream that tags stand behind
};

constexpr ForeignKind kForeignKinds[] = {
    {4, "ftyp", "an MP4 file (M4A, AAC, ALAC, 3GP)", "MP4"},
    {4, "moov", "a QuickTime file (MOV, MP4, AAC)", "QuickTime"},
    {4, "mdat", "a QuickTime file (MOV, MP4, AAC)", "QuickTime"},
    {0, "\x1a\x45\xdf\xa3", "a Matroska or WebM file (Opus, Vorbis)", "Matroska"},
    {0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file (WMA, ASF)", "ASF"},
    {0, "#!AMR", "an AMR file", "AMR", true},
    {0, "\x0b\x77", "an AC-3 file", "AC-3", true},
    {0, "\xff\xf1", "an AAC file (ADTS)", "AAC", true},
    {0, "\xff\xf9", "an AAC file (ADTS)", "AAC", true},
    {0, "ADIF", "an AAC file (ADIF)", "AAC", true},
    {8, "AVI ", "an AVI file", "AVI"},
    {0, "FLV\x01", "a Flash video file", "FLV"},
    {0, "wvpk", "a WavPack file", "WavPack", true},
    {0, "MAC ", "a Monkey's Audio file (APE)", "APE", true},
    {0, "MPCK", "a Musepack file", "Musepack", true},
    {0, "MP+", "a Musepack file", "Musepack", true},
    {0, "TTA1", "a True Audio file (TTA)", "TTA", true},
    {0, "tBaK", "a TAK file", "TAK", true},
    {0, "DSD ", "a DSD file (DSF)", "DSF"},
    {0, "FRM8", "a DSD file (DSDIFF)", "DSDIFF"},
    {0, "ajkg", "a Shorten file (SHN)", "SHN", true},
    {0, ".RMF", "a RealMedia file", "RealMedia"},
};

}  // namespace

ContainerView examine_container(const InputFile& file, const std::function<void()>& progress) {
  Bytes bytes(file, progress);
  if (file.size() == 0) refuse_as_no_audio(file, "is empty");
  if (bytes.starts_with(0, kGitLfsPointer)) {
    refuse(file, kGitLfsProblem, "an audio file");
  }
  ContainerView view;
  view.end = file.size();
  for (const std::uint64_t begin : {std::uint64_t{0}, leader_bytes(bytes)}) {
    bytes.begin_at(begin);
    for (const auto& [at, magic, name, container, is_tagged] : kForeignKinds) {
      if (!bytes.starts_with(at, magic)) continue;
      view.begin = bytes.origin();
      if (is_tagged) view.end = bytes.origin() + trailer_of(bytes, 4).tags_begin;
      view.name = name;
      view.container = container;
      view.is_foreign = true;
      return view;
    }
  }
  view.begin = bytes.origin();
  const auto is = [&](const char* name, int sndfile_format) {
    view.name = name;
    view.sndfile_format = sndfile_format;
  };
  if ((bytes.starts_with(0, "RIFF") || bytes.starts_with(0, "RIFX")) &&
      bytes.starts_with(8, "WAVE")) {
    is("WAV", SF_FORMAT_WAV);
    check_wav(bytes, view);
  } else if ((bytes.starts_with(0, "RF64") || bytes.starts_with(0, "BW64")) &&
             bytes.starts_with(8, "WAVE")) {
    is(bytes.starts_with(0, "RF64") ? "RF64" : "BW64", SF_FORMAT_RF64);
    check_wav(bytes, view);
  } else if (bytes.starts_with(0, kW64Riff)) {
    is("W64", SF_FORMAT_W64);
    check_w64(bytes, view);
  } else if (bytes.starts_with(0, "FORM") &&
             (bytes.starts_with(8, "AIFF") || bytes.starts_with(8, "AIFC"))) {
    is("AIFF", SF_FORMAT_AIFF);
    check_aiff(bytes, view);
  } else if (bytes.starts_with(0, ".snd") || bytes.starts_with(0, "dns.")) {
    is("AU", SF_FORMAT_AU);
    check_au(bytes, view);
  } else if (bytes.starts_with(0, "caff")) {
    is("CAF", SF_FORMAT_CAF);
    check_caf(bytes, view);
  } else if (bytes.starts_with(0, "OggS")) {
    is("Ogg", SF_FORMAT_OGG);
    const OggCodec codec = ogg_codec(bytes, 0);
    if (codec == OggCodec::flac) view.name = "an Ogg FLAC file";
    if (codec == OggCodec::speex) view.name = "an Ogg Speex file";
    if (is_one_audio_of_several(bytes)) view.name = "an Ogg file of audio and other streams";
    view.is_foreign = std::string_view(view.name) != "Ogg";
    // RFC 7845, section 5.1.1: of the mapping families of Opus the first alone has that order.
    constexpr std::uint64_t kOpusFamilyAt = 18;
    view.has_vorbis_order =
        codec == OggCodec::vorbis ||
        (codec == OggCodec::opus && bytes.byte(27U + bytes.byte(26) + kOpusFamilyAt) == 1);
    view.container = "Ogg";
    if (!view.is_foreign) check_ogg(bytes, view);
  } else if (bytes.starts_with(0, "NIST_1A\n") && bytes.has(0, 16)) {
    view.name = "SPHERE";
    check_sphere(bytes, view);
  } else if (bytes.starts_with(0, "fLaC")) {
    is("FLAC", SF_FORMAT_FLAC);
    check_flac_count(bytes, view);
    const Trailer trailer = trailer_of(bytes, 4);
    view.end = bytes.origin() + flac_end(bytes, trailer.begin, trailer.tags_begin);
  } else {
    check_mpeg(bytes, view);
  }
  return view;
}

}  // namespace w2vbert
