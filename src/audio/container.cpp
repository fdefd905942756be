#include "audio/container.h"

#include <sndfile.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <utility>

#include "audio/container_bytes.h"
#include "audio/decoder.h"
#include "audio/foreign_containers.h"
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

// ID3v2 (id3.org, ID3v2.4, section 3.1), APEv2, ID3v1.
std::uint64_t tag_bytes_at(ContainerBytes& bytes, std::uint64_t at) {
  if (bytes.starts_with(at, "ID3") && bytes.has(at, 10)) {
    const bool has_footer = (bytes.byte(at + 5) & 0x10) != 0;
    return 10 + sync_safe(bytes, at + 6) + (has_footer ? 10 : 0);
  }
  if (bytes.starts_with(at, "APETAGEX") && bytes.has(at, 32)) return 32 + bytes.little(at + 12, 4);
  if (bytes.starts_with(at, "TAG") && bytes.has(at, 128)) return 128;
  return 0;
}

namespace {

constexpr int kMaxChunks = 10000;

[[noreturn]] void refuse_as_no_audio(const InputFile& file, std::string_view problem) {
  refuse_container(file, problem, convert_advice(is_built_with_libav()));
}

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

// The bytes of the tag that ends at `end`, or 0.
std::uint64_t tag_before(ContainerBytes& bytes, std::uint64_t end) {
  const auto ends_with = [&](std::uint64_t back, std::string_view text) {
    return end >= back && bytes.starts_with(end - back, text);
  };
  if (ends_with(128, "TAG")) return ends_with(128 + 227, "TAG+") ? 128 + 227 : 128;  // ID3v1
  if (ends_with(32, "APETAGEX")) {  // the footer; a header stands before it in version 2 alone
    const bool has_header = (bytes.little(end - 12, 4) & 0x80000000U) != 0;
    return bytes.little(end - 20, 4) + (has_header ? 32 : 0);
  }
  if (ends_with(10, "3DI")) {  // ID3v2.4 behind the audio
    return 10 + sync_safe(bytes, end - 4) + 10;
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
std::uint64_t zeros_before(ContainerBytes& bytes, std::uint64_t end, std::uint64_t least) {
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
Trailer trailer_of(ContainerBytes& bytes, std::uint64_t least) {
  constexpr std::uint64_t kMaxOwnZeros = 128;  // that a tag may end in
  constexpr int kMaxTags = 500;
  std::uint64_t end = bytes.size();
  for (int tags = 0;; ++tags) {
    const std::uint64_t zeros = zeros_before(bytes, end, least);
    if (tags == kMaxTags) return {zeros, end};
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
bool is_trailer(ContainerBytes& bytes, std::uint64_t at) {
  return trailer_of(bytes, at).begin <= at;
}

// Where the audio begins: behind tags and zeros.
std::uint64_t leader_bytes(ContainerBytes& bytes) {
  constexpr std::uint64_t kMaxZeros = 1 << 20;
  std::uint64_t at = 0;
  for (std::uint64_t zeros = 0; zeros < kMaxZeros && bytes.has(at, 1);) {
    if (const std::uint64_t size = tag_bytes_at(bytes, at); size > 0) {
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

// Whether chunks with lengths of `size_bytes` reach from `at` to the end, so that nothing there is
// the audio of an empty chunk before them.
bool are_chunks(ContainerBytes& bytes, std::uint64_t at, int size_bytes, bool big_endian) {
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

// The audio of a chunked file: `claimed` bytes from `at` on, as its header says, or all of them
// where a recorder was stopped before it had filled that in. Returns how many of them are there.
std::uint64_t check_audio_bytes(ContainerBytes& bytes, const std::string& chunk, std::uint64_t at,
                                std::uint64_t claimed, ContainerView& view,
                                std::uint64_t placeholder = kPlaceholderBytes) {
  const std::uint64_t there = bytes.left(at);
  if (claimed > there && claimed < placeholder) {
    note_truncation(view, chunk + " chunk", claimed, there);
  }
  if (claimed == 0 && there > 0) {
    view.damage =
        "has no length: its " + chunk + " chunk says 0 bytes, " + std::to_string(there) + " follow";
    return there;
  }
  return std::min(claimed, there);
}

// Where audio reaches from `begin` to the end of the file, ends the view behind its last whole
// block: of a part of one a decoder makes up the rest. Returns how many bytes are left of it.
std::uint64_t end_at_whole_block(const ContainerBytes& bytes, std::uint64_t begin,
                                 std::uint64_t block, ContainerView& view) {
  const std::uint64_t there = bytes.left(begin);
  if (block < 2 || there == 0) return there;
  view.end = bytes.origin() + begin + there / block * block;
  return there / block * block;
}

// Whether `chunks`, which have been walked, are too many to go on. Behind the audio, they may be.
bool has_walked_enough(const ContainerBytes& bytes, int chunks, bool has_audio) {
  if (chunks < kMaxChunks) return false;
  if (has_audio) return true;
  refuse_container(bytes.file(),
                   "has more than " + std::to_string(kMaxChunks) + " chunks before its audio",
                   "an audio file");
}

// Audio in an encoding that libsndfile does not know. Its container says whether it is whole.
void give_to_libav(ContainerView& view, std::string name) {
  view.name = std::move(name);
  view.is_foreign = true;
  view.trusts_duration = false;
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

WaveFormat wave_format(ContainerBytes& bytes, std::uint64_t at, std::uint64_t size,
                       bool big_endian) {
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

// Audio in a WAV or W64.
struct WavAudio {
  WaveFormat format;
  std::uint64_t begin = 0;
  std::uint64_t bytes = 0;  // that are there
};

std::string wave_name(const WaveFormat& format) {
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
  for (const Name& one : kNames) {
    if (one.encoding == format.encoding) return one.name;
  }
  return "a WAVE file of compressed audio";
}

// RIFF (little-endian), RIFX (big-endian), RF64 and BW64 (64-bit sizes in a ds64 chunk). Their own
// sizes count for nothing: many writers leave them wrong.
std::optional<WavAudio> check_wav(ContainerBytes& bytes, ContainerView& view) {
  const bool big_endian = bytes.starts_with(0, "RIFX");
  const bool wide = bytes.starts_with(0, "RF64") || bytes.starts_with(0, "BW64");
  const std::string magic(bytes.view(0, 4));
  // The same chunks under a newer name (ITU-R BS.2088), which libsndfile does not know.
  if (magic == "BW64") view.patches.emplace_back(0, "RF64");
  std::uint64_t ds64 = 0;
  WaveFormat format;
  std::optional<WavAudio> audio;
  std::uint64_t at = 12;
  for (int chunks = 0; bytes.has(at, 8); ++chunks) {
    if (has_walked_enough(bytes, chunks, audio.has_value())) break;
    std::uint64_t size = big_endian ? bytes.big(at + 4, 4) : bytes.little(at + 4, 4);
    const std::uint64_t next = audio ? behind_tags(bytes, at) : at;
    if (audio && bytes.starts_with(next, magic) && bytes.starts_with(next + 8, "WAVE")) {
      refuse_second_stream(bytes.file());
    }
    if (wide && bytes.starts_with(at, "ds64")) ds64 = at + 8;
    if (!audio && bytes.starts_with(at, "fmt ")) {
      format = wave_format(bytes, at + 8, size, big_endian);
    }
    if (!audio && bytes.starts_with(at, "data")) {
      const std::uint64_t begin = at + 8;
      const std::uint64_t there = bytes.left(begin);
      const bool is_in_ds64 = ds64 > 0 && size == 0xffffffff;
      if (is_in_ds64) size = bytes.little(ds64 + 8, 8);
      std::uint64_t held = 0;
      if (is_in_ds64 && size == 0 && bytes.little(ds64, 8) == 0) {
        held = there;  // no length was filled in, and none of the file
      } else if (is_in_ds64) {
        held = check_audio_bytes(bytes, "ds64", begin, size, view, kPlaceholderBytes64);
      } else if (size > 0 || !are_chunks(bytes, begin, 4, big_endian)) {
        held = check_audio_bytes(bytes, "data", begin, size, view);
      }
      if (held == there) held = end_at_whole_block(bytes, begin, format.block_bytes(), view);
      if (held != size && is_in_ds64) {
        view.patches.emplace_back(ds64 + 8, little_text(held, 8));
      } else if (held != size) {  // libav takes the length for true, libsndfile adds the padding
        const auto shown = std::min<std::uint64_t>(held + held % 2, 0xffffffff);
        view.patches.emplace_back(at + 4, big_endian ? big_text(shown, 4) : little_text(shown, 4));
      }
      audio = {format, begin, held};
      size = held;
    }
    at += 8 + size + size % 2;
  }
  return audio;
}

constexpr std::string_view kW64Riff("riff\x2E\x91\xCF\x11\xA5\xD6\x28\xDB\x04\xC1\x00\x00", 16);
constexpr std::string_view kW64Format("fmt \xF3\xAC\xD3\x11\x8C\xD1\x00\xC0\x4F\x8E\xDB\x8A", 16);
constexpr std::string_view kW64Data("data\xF3\xAC\xD3\x11\x8C\xD1\x00\xC0\x4F\x8E\xDB\x8A", 16);

// What libsndfile makes of the format of a W64: it takes all that is extensible for PCM, and the
// samples of plain PCM for as narrow as their bits.
void check_w64_format(ContainerBytes& bytes, const WaveFormat& format, ContainerView& view) {
  if (format.at == 0) return;
  if (format.encoding == kExtensibleTag) {
    refuse_container(bytes.file(),
                     "has samples of a kind that its fmt chunk has an unknown GUID for",
                     "PCM, float, A-law or mu-law");
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
      refuse_container(bytes.file(),
                       "has blocks of " + std::to_string(format.block) + " bytes for " +
                           std::to_string(format.channels) + " channels of " +
                           std::to_string(format.bits) + " bits in its fmt chunk",
                       std::to_string(format.channels * sample_bytes));
    }
    view.patches.emplace_back(format.at + 14, little_text(8 * container_bytes, 2));
  }
}

// Sets where the audio ends: libsndfile takes what follows for audio as well.
std::optional<WavAudio> check_w64(ContainerBytes& bytes, ContainerView& view) {
  constexpr std::uint64_t kHeaderBytes = 24;
  WaveFormat format;
  std::optional<WavAudio> audio;
  std::uint64_t at = 40;  // riff, size, wave
  for (int chunks = 0; bytes.has(at, kHeaderBytes); ++chunks) {
    if (has_walked_enough(bytes, chunks, audio.has_value())) break;
    if (audio) refuse_stream_behind(bytes, at, kW64Riff);
    const std::uint64_t size = bytes.little(at + 16, 8);  // with those of the header
    const std::uint64_t begin = at + kHeaderBytes;
    const std::uint64_t there = bytes.left(begin);
    if (size < kHeaderBytes) {
      if (audio) break;
      refuse_container(
          bytes.file(),
          "has a chunk of " + std::to_string(size) + " bytes at byte " + std::to_string(at),
          "a chunk of at least its header's 24");
    }
    if (!audio && bytes.starts_with(at, kW64Format)) {
      format = wave_format(bytes, begin, size - kHeaderBytes, false);
      check_w64_format(bytes, format, view);
    }
    if (!audio && bytes.starts_with(at, kW64Data)) {
      const std::uint64_t claimed = size - kHeaderBytes;
      std::uint64_t held =
          check_audio_bytes(bytes, "data", begin, claimed, view, kPlaceholderBytes64);
      view.end = bytes.origin() + begin + held;
      if (held == there) held = end_at_whole_block(bytes, begin, format.block_bytes(), view);
      audio = {format, begin, held};
      if (held != claimed) {
        view.patches.emplace_back(at + 16, little_text(held + kHeaderBytes, 8));
        break;
      }
    }
    if (size - kHeaderBytes > there) break;
    at += (size + 7) / 8 * 8;
  }
  return audio;
}

std::string rare_encoding_of(const ContainerView& view) {
  return view.name + " audio in a rare encoding";
}

struct AiffFormat {
  std::uint64_t channels = 0;
  std::uint64_t frames = 0;
  std::uint64_t bits = 0;  // of a sample
  std::string encoding = "NONE";
};

// The bytes of a sample; 0 where it has no bytes of its own.
std::uint64_t aiff_sample_bytes(const AiffFormat& format) {
  if (is_one_of(format.encoding, {"ulaw", "ULAW", "alaw", "ALAW"})) return 1;
  if (is_one_of(format.encoding, {"fl32", "FL32"})) return 4;
  if (is_one_of(format.encoding, {"fl64", "FL64"})) return 8;
  return is_one_of(format.encoding,
                   {"NONE", "twos", "sowt", "raw ", "in24", "in32", "42ni", "23ni"})
             ? (format.bits + 7) / 8
             : 0;
}

// The bytes that are only decoded together; 1 where each frame stands alone.
std::uint64_t aiff_block_bytes(const AiffFormat& format) {
  if (format.encoding == "ima4") return 34 * format.channels;
  return format.encoding == "GSM " ? 33 : 1;
}

// FORM with AIFF or AIFC, big-endian. COMM and SSND both say how much audio there is.
void check_aiff(ContainerBytes& bytes, ContainerView& view) {
  const bool has_encoding = bytes.starts_with(8, "AIFC");
  std::optional<AiffFormat> format;
  std::optional<std::uint64_t> audio_bytes;
  std::uint64_t audio_at = 0;
  std::uint64_t at = 12;
  for (int chunks = 0; bytes.has(at, 8); ++chunks) {
    if (has_walked_enough(bytes, chunks, audio_bytes.has_value())) break;
    std::uint64_t size = bytes.big(at + 4, 4);
    if (audio_bytes) refuse_stream_behind(bytes, at, "FORM");
    if (!format && bytes.starts_with(at, "COMM")) {
      format = AiffFormat{bytes.big(at + 8, 2), bytes.big(at + 10, 4), bytes.big(at + 14, 2)};
      if (has_encoding) format->encoding = bytes.view(at + 26, 4);
    }
    if (!audio_bytes && bytes.starts_with(at, "SSND")) {
      const std::uint64_t own_bytes = 8 + bytes.big(at + 8, 4);  // before the samples
      const std::uint64_t there = bytes.left(at + 8);
      // libsndfile mends a length of 0 by the file's size.
      if (size == 0) size = there;
      check_audio_bytes(bytes, "SSND", at + 8, size, view);
      const std::uint64_t held = std::min(size, there);
      audio_bytes = held - std::min(held, own_bytes);
      audio_at = at + 8 + own_bytes;
    }
    at += 8 + size + size % 2;
  }
  if (!format) return;
  if (audio_bytes && *audio_bytes == bytes.left(audio_at)) {
    end_at_whole_block(bytes, audio_at, aiff_block_bytes(*format), view);
  }
  const std::uint64_t frame_bytes = format->channels * aiff_sample_bytes(*format);
  if (frame_bytes == 0) {
    if (!is_one_of(format->encoding, {"ima4", "GSM ", "DWVW"}) && format->channels > 0) {
      give_to_libav(view, rare_encoding_of(view));
    }
  } else if (audio_bytes && view.damage.empty() && format->frames > *audio_bytes / frame_bytes &&
             format->frames * frame_bytes < kPlaceholderBytes) {
    note_truncation(view, "COMM chunk", format->frames, *audio_bytes / frame_bytes, "frames");
  }
}

void check_au(ContainerBytes& bytes, ContainerView& view) {
  const auto field = [&, little_endian = bytes.starts_with(0, "dns.")](std::uint64_t at) {
    return little_endian ? bytes.little(at, 4) : bytes.big(at, 4);
  };
  const std::uint64_t at = field(4);
  const std::uint64_t size = field(8);
  const std::uint64_t encoding = field(12);
  if (check_audio_bytes(bytes, "audio", at, size, view) > 0 && size == 0) {
    view.patches.emplace_back(8, "\xff\xff\xff\xff");  // "to the end"
  }
  for (const std::string_view magic : {".snd", "dns."}) {
    if (size > 0) refuse_stream_behind(bytes, at + size, magic);
  }
  constexpr std::uint64_t kG722 = 24;
  if (encoding == kG722) give_to_libav(view, rare_encoding_of(view));
}

void check_caf(ContainerBytes& bytes, ContainerView& view) {
  constexpr std::uint64_t kFormatAt = 28;  // in the first chunk
  bool has_audio = false;
  std::uint64_t at = 8;
  for (int chunks = 0; bytes.has(at, 12); ++chunks) {
    if (has_walked_enough(bytes, chunks, has_audio)) break;
    if (has_audio) refuse_stream_behind(bytes, at, "caff");
    const std::uint64_t size = bytes.big(at + 4, 8);
    const std::uint64_t there = bytes.size() - at - 12;
    const bool is_audio = bytes.starts_with(at, "data");
    has_audio = has_audio || is_audio;
    if (is_audio && size >= kPlaceholderBytes64) {  // "to the end", which libsndfile does not know
      view.patches.emplace_back(at + 4, big_text(there, 8));
      break;
    }
    // Compressed audio has its packet table behind the data.
    if ((is_audio || bytes.starts_with(at, "pakt")) && size > there) {
      note_truncation(view, std::string(bytes.view(at, 4)) + " chunk", size, there);
      // libsndfile opens no CAF that is shorter than it says.
      if (is_audio) view.patches.emplace_back(at + 4, big_text(there, 8));
    }
    // The data chunk begins with 4 bytes of its own.
    if (is_audio && size <= 4 && there > 4 && !are_chunks(bytes, at + 12 + size, 8, true)) {
      check_audio_bytes(bytes, "data", at + 16, 0, view);
      view.patches.emplace_back(at + 4, big_text(there, 8));
      break;
    }
    if (size > there) break;
    at += 12 + size;
  }
  const std::string encoding(bytes.view(kFormatAt, 4));
  const std::uint64_t flags = bytes.big(kFormatAt + 4, 4);
  // libsndfile tells the samples of ALAC by the flags, which some writers leave out.
  const bool is_alac = encoding == "alac" && flags >= 1 && flags <= 4;
  if (!is_alac && !is_one_of(encoding, {"lpcm", "alaw", "ulaw"}))
    give_to_libav(view, rare_encoding_of(view));
}

// --- NIST SPHERE (TIMIT, LDC) ---

// A header of text: "NIST_1A", its own size, then a line for each field, "name -type value", up to
// "end_head". What follows is bare samples, which libsndfile reads as such: its own reader of the
// header takes one of 1,024 bytes only, and no sample count.
void check_sphere(ContainerBytes& bytes, ContainerView& view) {
  constexpr std::uint64_t kMaxHeaderBytes = 64 * 1024;
  const auto file = [&]() -> const InputFile& { return bytes.file(); };
  const std::string_view second = bytes.view(8, 8);
  const auto blanks = second.find_first_not_of(' ');
  const auto header_bytes = parse_number<std::uint64_t>(second.substr(
      std::min<std::size_t>(blanks, 7), second.find('\n') - std::min<std::size_t>(blanks, 7)));
  if (!header_bytes || *header_bytes < 16 || *header_bytes > kMaxHeaderBytes) {
    refuse_container(file(), "has a SPHERE header without a size",
                     "16 to " + std::to_string(kMaxHeaderBytes) + " bytes in its second line");
  }
  if (!bytes.has(0, *header_bytes)) refuse_container(file(), "is truncated in its SPHERE header");
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
      refuse_container(file(),
                       "has " + std::string(name) + " " + in_quotes(text) + " in its SPHERE header",
                       "a number from 1 to " + std::to_string(most));
    }
    return *value;
  };
  std::string coding = lower_case(field("sample_coding"));
  if (coding.empty()) coding = "pcm";
  if (const std::size_t comma = coding.find(','); comma != std::string::npos) {
    const bool is_shorten = coding.find("shorten") != std::string::npos;
    refuse_container(
        file(), "is a NIST SPHERE file that is compressed (" + quote_bytes(coding) + ")",
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
    constexpr std::array<std::string_view, 4> kAscending = {"1", "01", "012", "0123"};
    constexpr std::array<std::string_view, 4> kDescending = {"1", "10", "210", "3210"};
    std::string order = field("sample_byte_format");
    // sox names the order of two bytes whatever their number.
    if (sample_bytes > 2 && (order == "01" || order == "10")) {
      order =
          (order == "01" ? kAscending : kDescending)[static_cast<std::size_t>(sample_bytes - 1)];
    }
    const auto place = static_cast<std::size_t>(sample_bytes - 1);
    if (order == kDescending[place] && sample_bytes > 1) {
      view.sndfile_format |= SF_ENDIAN_BIG;
    } else if (order == kAscending[place] || sample_bytes == 1) {
      view.sndfile_format |= SF_ENDIAN_LITTLE;
    } else {
      refuse_container(file(),
                       "has sample_byte_format " + in_quotes(order) + " in its SPHERE header",
                       std::string(kAscending[place]) + " or " + std::string(kDescending[place]));
    }
  } else {
    refuse_container(file(),
                     "has samples of " + std::to_string(sample_bytes) + " bytes in the coding " +
                         in_quotes(coding) + " in its SPHERE header",
                     "pcm of 1 to 4 bytes, ulaw or alaw of 1; `sox IN OUT.wav` may convert it");
  }
  if (lower_case(field("channels_interleaved")) == "false") {
    refuse_container(file(), "has its channels one after the other", "interleaved channels");
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
  refuse_stream_behind(bytes, *header_bytes + frames * frame_bytes, "NIST_1A\n");
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
std::uint64_t flac_end(ContainerBytes& bytes, std::uint64_t zeros, std::uint64_t end) {
  constexpr std::uint64_t kMaxOwnZeros = 64;
  constexpr std::uint64_t kMaxSearch = 1 << 20;
  constexpr int kMaxStarts = 200;   // chance makes one in 2^15 bytes
  if (end - zeros < 8) return end;  // no padding, but for a chance of 2^-48
  const std::uint64_t least = zeros > kMaxSearch ? zeros - kMaxSearch : 0;
  int starts = 0;
  for (std::uint64_t start = zeros; start-- > least && starts < kMaxStarts;) {
    if (bytes.byte(start) != 0xff || (bytes.byte(start + 1) & 0xfe) != 0xf8) continue;
    ++starts;
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
void check_flac_count(ContainerBytes& bytes, ContainerView& view) {
  constexpr std::uint64_t kCountAt = 21;  // four bits of this byte, and four bytes
  if (!bytes.has(kCountAt, 5) || (bytes.byte(4) & 0x7f) != 0) return;
  const std::uint64_t count = bytes.big(kCountAt, 5) & 0xfffffffff;
  if (count == 0) return;
  view.frames = static_cast<std::int64_t>(count);
  // The shortest frame: 65,535 equal samples of one channel, in one byte or less.
  constexpr std::uint64_t kMinFrameBytes = 12;
  constexpr std::uint64_t kMaxFrameSamples = 65535;
  if (count > (bytes.size() / kMinFrameBytes + 1) * kMaxFrameSamples) {
    view.damage = "is truncated or damaged: its header says " + std::to_string(count) +
                  " samples, more than its " + std::to_string(bytes.size()) + " bytes can hold";
  }
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
  std::uint8_t flags = 0;  // 1: begins inside a packet, 2: the first page, 4: the last
  std::uint32_t serial = 0;
  std::uint32_t number = 0;
  bool is_open = false;  // its last packet goes on in the next page
};

constexpr std::uint64_t kOggFlagsAt = 5;
constexpr std::uint64_t kOggNumberAt = 18;
constexpr std::uint64_t kOggChecksumAt = 22;
constexpr std::uint8_t kOggFirstPage = 2;
constexpr std::uint8_t kOggLastPage = 4;

// The page at `at`, or nothing, and `problem` says why.
std::optional<OggPage> ogg_page(ContainerBytes& bytes, std::uint64_t at, std::string& problem) {
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
std::pair<std::uint64_t, std::string> ogg_patch(ContainerBytes& bytes, const OggPage& page,
                                                std::uint32_t number, std::uint8_t flags) {
  std::string changed(bytes.view(page.at, page.bytes));
  changed[kOggFlagsAt] = static_cast<char>(flags);
  changed.replace(kOggNumberAt, 4, little_text(number, 4));
  changed.replace(kOggChecksumAt, 4, little_text(ogg_checksum(changed), 4));
  return {page.at + kOggFlagsAt, changed.substr(kOggFlagsAt, kOggChecksumAt + 4 - kOggFlagsAt)};
}

// The codec of a stream of Ogg, by the packet on its first page.
enum class OggCodec { vorbis, opus, flac, speex, none };

OggCodec ogg_codec(ContainerBytes& bytes, std::uint64_t page) {
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

// The number of the one stream of audio among several, as beside a picture; nothing for a lone one,
// and where several are audio. The first pages of all stand before everything else.
std::optional<std::uint32_t> ogg_audio_among_others(ContainerBytes& bytes) {
  constexpr int kMaxStreams = 100;
  int streams = 0;
  int audio_streams = 0;
  std::uint32_t audio = 0;
  std::string problem;
  std::uint64_t at = 0;
  for (auto page = ogg_page(bytes, at, problem);
       page && (page->flags & kOggFirstPage) != 0 && streams < kMaxStreams;
       page = ogg_page(bytes, at, problem)) {
    ++streams;
    if (ogg_codec(bytes, at) != OggCodec::none) {
      ++audio_streams;
      audio = page->serial;
    }
    at += page->bytes;
  }
  if (streams > 1 && audio_streams == 1) return audio;
  return std::nullopt;
}

// Walks all pages: what comes before a damaged or missing page is all that a decoder returns, and
// it says nothing. Pages may be numbered from any number and jump, as those of a broadcast that was
// joined late do, and the last one may not be marked as such, where a recorder was stopped:
// libsndfile, which needs it, is shown them numbered from 0, and the mark. Whether audio is missing
// between them is told by the places that they state, which decoders make their number of frames
// of. Where `audio` is the number of one of several streams, the pages of the others are passed
// over.
void check_ogg(ContainerBytes& bytes, std::optional<std::uint32_t> audio, ContainerView& view) {
  std::uint64_t at = 0;
  std::uint32_t count = 0;  // of pages of the audio
  std::uint32_t all = 0;
  std::optional<OggPage> last;
  bool is_renumbered = false;
  for (; !last || (last->flags & kOggLastPage) == 0; ++all) {
    const std::string where =
        "page " + std::to_string(all) + " at byte " + std::to_string(bytes.origin() + at);
    std::string problem;
    const auto page = ogg_page(bytes, at, problem);
    if (!page) {
      const bool has_ended = last && !bytes.starts_with(at, "OggS") && is_trailer(bytes, at);
      if (!has_ended) view.damage = problem + where;
      if (has_ended && last->is_open)
        view.damage = "is truncated behind page " + std::to_string(all - 1);
      break;
    }
    if (audio && page->serial != *audio) {
      at += page->bytes;
      continue;
    }
    if (last && page->serial != last->serial) {
      refuse_container(bytes.file(), "holds several streams", "one stream");
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
    ++count;
  }
  view.end = bytes.origin() + at;
  if (!last) return;
  if ((last->flags & kOggLastPage) != 0) {
    std::string problem;
    for (auto page = ogg_page(bytes, at, problem);
         audio && page && (page->flags & kOggFirstPage) == 0; page = ogg_page(bytes, at, problem)) {
      at += page->bytes;  // of the other streams
    }
    refuse_stream_behind(bytes, at, "OggS");
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

std::optional<MpegFrame> mpeg_frame(ContainerBytes& bytes, std::uint64_t at) {
  if (!bytes.has(at, 4)) return std::nullopt;
  return parse_mpeg_header(static_cast<std::uint32_t>(bytes.big(at, 4)));
}

// Where the Xing or Info tag stands in a frame, from its header on.
std::uint64_t xing_offset(const MpegFrame& frame) {
  return 4 + (frame.mpeg1 ? (frame.mono ? 17U : 32U) : (frame.mono ? 9U : 17U));
}

// Two frames to put before the first one of a file: a Xing tag that counts the others, and silence.
std::string mp3_length_prefix(ContainerBytes& bytes, const MpegFrame& first, std::uint64_t frames) {
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
std::uint64_t tags_between(ContainerBytes& bytes, std::uint64_t at, std::uint32_t fixed) {
  constexpr std::uint64_t kMaxBytes = (1 << 28) - 1;  // what tag_shown_for() can state
  std::uint64_t end = at;
  bool has_tag = false;
  while (bytes.has(end, 1) && end - at <= kMaxBytes) {
    if (const std::uint64_t size = tag_bytes_at(bytes, end); size > 0) {
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
  constexpr std::uint64_t kHeaderBytes = 10, kMinBytes = 20;
  if (size < kMinBytes) return "";
  std::string tag("ID3\4\0\0", 6);
  for (int shift = 21; shift >= 0; shift -= 7) {
    tag += static_cast<char>((size - kHeaderBytes) >> shift & 0x7f);
  }
  return tag + std::string(kMinBytes - kHeaderBytes, '\0');
}

// Where the first frame from `from` on begins: there, or behind the end of one whose beginning was
// cut off, if frames of one kind follow. Else nothing.
std::optional<std::uint64_t> first_frame_at(ContainerBytes& bytes, std::uint64_t from) {
  constexpr std::uint64_t kMaxFrameBytes = 2881;  // layer II, 384 kbit/s at 32 kHz, rounded up
  constexpr int kFrames = 4;
  if (mpeg_frame(bytes, from)) return from;
  for (std::uint64_t begin = from + 1; begin < from + kMaxFrameBytes && bytes.has(begin, 4);
       ++begin) {
    const auto first = mpeg_frame(bytes, begin);
    std::uint64_t at = begin;
    int frames = 0;
    for (auto frame = first; frame && frame->fixed == first->fixed && bytes.has(at, frame->bytes);
         frame = mpeg_frame(bytes, at)) {
      at += frame->bytes;
      if (++frames == kFrames) return begin;
    }
  }
  return std::nullopt;
}

// Shows the first frames as silent whose data began before the stream, as those of one that was
// cut: a decoder would make noise of what it has. Their own data stays, for the frames behind them.
void mute_headless_frames(ContainerBytes& bytes, std::uint64_t end, ContainerView& view) {
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

// A Xing or Info tag in the first frame, where `frames` of `bytes_there` with it follow: libmpg123
// believes its count, guesses where it does not have one, and prints a warning about another number
// of bytes.
void check_xing_tag(ContainerBytes& bytes, const MpegFrame& first, std::uint64_t frames,
                    std::uint64_t bytes_there, ContainerView& view) {
  constexpr std::uint64_t kFlagsAt = 4;
  constexpr std::uint64_t kCountAt = 8;
  constexpr std::uint64_t kBytesAt = 12;
  constexpr std::uint32_t kHasCount = 1;
  constexpr std::uint32_t kHasBytes = 2;
  const std::uint64_t tag = xing_offset(first);
  // The flags and what follows them, as far as it stands in the frame.
  const auto room = static_cast<std::size_t>(first.bytes - tag - kFlagsAt);
  const std::string there(bytes.view(tag + kFlagsAt, room));
  std::string fields = there;
  const std::uint64_t flags = bytes.big(tag + kFlagsAt, 4);
  const std::uint64_t claimed = bytes.big(tag + kCountAt, 4);
  if ((flags & kHasCount) == 0) {
    // The count stands before the other fields, which move into the padding of the frame.
    fields.replace(0, 4, big_text(flags | kHasCount, 4) + big_text(frames, 4));
    fields.resize(room);
  } else if (claimed != frames) {
    fields.replace(kCountAt - kFlagsAt, 4, big_text(frames, 4));
    view.note = "its Xing tag counts " + std::to_string(claimed) + " frames, " +
                std::to_string(frames) + " are there and read";
  }
  if ((flags & kHasBytes) != 0 && room >= kBytesAt - kFlagsAt + 4) {
    fields.replace(kBytesAt - kFlagsAt, 4, big_text(bytes_there, 4));
  }
  if (fields != there) view.patches.emplace(view.patches.begin(), tag + kFlagsAt, fields);
}

// Another kind of tag, which libmpg123 takes for a frame of audio.
void pass_over_vbri_tag(ContainerBytes& bytes, ContainerView& view) {
  constexpr std::uint64_t kVbriAt = 36;
  const auto first = mpeg_frame(bytes, 0);
  if (!first || first->layer != 3 || !bytes.starts_with(kVbriAt, "VBRI")) return;
  const auto next = mpeg_frame(bytes, first->bytes);
  if (!next || next->fixed != first->fixed) return;
  bytes.begin_at(first->bytes);
  view.begin = bytes.origin();
}

// Walks all frames: they are what there is, whatever a Xing tag counts.
void check_mpeg(ContainerBytes& bytes, ContainerView& view) {
  const auto begin = first_frame_at(bytes, 0);
  if (!begin) refuse_as_no_audio(bytes.file(), "is no audio file");
  if (*begin > 0) {
    view.note = "its stream begins in the middle of a frame: the first " + std::to_string(*begin) +
                " bytes are passed over";
    bytes.begin_at(*begin);
    view.begin = bytes.origin();
  }
  pass_over_vbri_tag(bytes, view);
  const auto first = mpeg_frame(bytes, 0);
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
      if (frames == 0) refuse_container(bytes.file(), "is truncated in its first frame");
      view.damage = "is truncated in frame " + std::to_string(frames) + " at byte " + place;
      break;
    }
    at += frame->bytes;
    ++frames;
  }
  // libmpg123 opens none of it, and prints a warning.
  if (frames < 2)
    refuse_container(bytes.file(), "holds a single frame of MPEG audio", "two or more");
  constexpr std::array<const char*, 3> kNames = {"MP1", "MP2", "MP3"};
  view.name = view.container = kNames[static_cast<std::size_t>(first->layer - 1)];
  view.sndfile_format = SF_FORMAT_MPEG;
  view.end = bytes.origin() + at;
  const std::uint64_t tag = xing_offset(*first);
  const bool has_tag = first->layer == 3 && first->bytes >= tag + 12 &&
                       (bytes.starts_with(tag, "Xing") || bytes.starts_with(tag, "Info"));
  if (has_tag) {
    check_xing_tag(bytes, *first, frames - 1, at, view);
    return;
  }
  view.frames = static_cast<std::int64_t>(frames) * first->samples;
  if (first->layer != 3) return;
  mute_headless_frames(bytes, at, view);
  std::sort(view.patches.begin(), view.patches.end());
  // libmpg123 cuts the decoder's own delay off where it sees a tag, and only there.
  constexpr std::int64_t kDecoderDelay = 529;
  view.length_prefix = mp3_length_prefix(bytes, *first, frames);
  view.prefix_frames = first->samples - kDecoderDelay;
}

// MPEG audio in a WAV or W64 file, whose length libsndfile guesses: it is shown without its
// container. Other audio that libsndfile does not read is libav's.
void check_wav_encoding(ContainerBytes& bytes, const WavAudio& audio, ContainerView& view) {
  // In W64 it knows fewer.
  constexpr std::array kOfWav = {kPcmTag,      kMsAdpcmTag, kFloatTag,   kAlawTag, kMulawTag,
                                 kImaAdpcmTag, kGsmTag,     kVoxwareTag, kG721Tag, kExtensibleTag};
  constexpr std::size_t kOfW64 = 7;
  if (audio.format.at == 0) return;
  if (audio.format.is_mpeg() && first_frame_at(bytes, audio.begin)) {
    const ContainerView outer = view;
    view.begin = bytes.origin() + audio.begin;
    view.patches.clear();
    bytes.show(view.begin, view.begin + audio.bytes);
    check_mpeg(bytes, view);
    view.name = outer.name;
    view.container = outer.container;
    if (!outer.damage.empty()) view.damage = outer.damage;
    return;
  }
  const auto known_end =
      view.sndfile_format == SF_FORMAT_W64 ? kOfWav.begin() + kOfW64 : kOfWav.end();
  if (std::find(kOfWav.begin(), known_end, audio.format.encoding) == known_end) {
    give_to_libav(view, wave_name(audio.format));
  }
}

}  // namespace

std::uint64_t tags_behind(ContainerBytes& bytes, std::uint64_t least) {
  return trailer_of(bytes, least).tags_begin;
}

ContainerView examine_container(const InputFile& file, const std::function<void()>& progress) {
  ContainerBytes bytes(file, progress);
  if (file.size() == 0) refuse_as_no_audio(file, "is empty");
  if (bytes.starts_with(0, kGitLfsPointer)) {
    refuse_container(file, kGitLfsProblem, "an audio file");
  }
  ContainerView view;
  view.end = file.size();
  for (const std::uint64_t begin : {std::uint64_t{0}, leader_bytes(bytes)}) {
    bytes.show(begin, file.size());
    if (examine_foreign_container(bytes, view)) return view;
  }
  view.begin = bytes.origin();
  const auto is = [&](const char* name, int sndfile_format) {
    view.name = view.container = name;
    view.sndfile_format = sndfile_format;
  };
  std::optional<WavAudio> wav;
  if ((bytes.starts_with(0, "RIFF") || bytes.starts_with(0, "RIFX")) &&
      bytes.starts_with(8, "WAVE")) {
    is("WAV", SF_FORMAT_WAV);
    wav = check_wav(bytes, view);
  } else if ((bytes.starts_with(0, "RF64") || bytes.starts_with(0, "BW64")) &&
             bytes.starts_with(8, "WAVE")) {
    is(bytes.starts_with(0, "RF64") ? "RF64" : "BW64", SF_FORMAT_RF64);
    wav = check_wav(bytes, view);
  } else if (bytes.starts_with(0, kW64Riff)) {
    is("W64", SF_FORMAT_W64);
    wav = check_w64(bytes, view);
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
    const auto audio = ogg_audio_among_others(bytes);
    if (codec == OggCodec::flac) view.name = "an Ogg FLAC file";
    if (codec == OggCodec::speex) view.name = "an Ogg Speex file";
    if (audio) view.name = "an Ogg file of audio and other streams";
    view.is_foreign = view.name != view.container;
    // RFC 7845, section 5.1.1: of the mapping families of Opus the first alone has that order.
    constexpr std::uint64_t kOpusFamilyAt = 18;
    view.has_vorbis_order =
        codec == OggCodec::vorbis ||
        (codec == OggCodec::opus && bytes.byte(27U + bytes.byte(26) + kOpusFamilyAt) == 1);
    check_ogg(bytes, audio, view);
    if (view.is_foreign) view.patches.clear();
  } else if (bytes.starts_with(0, "NIST_1A\n") && bytes.has(0, 16)) {
    view.name = view.container = "SPHERE";
    check_sphere(bytes, view);
  } else if (bytes.starts_with(0, "fLaC")) {
    is("FLAC", SF_FORMAT_FLAC);
    check_flac_count(bytes, view);
    const Trailer trailer = trailer_of(bytes, 4);
    view.end = bytes.origin() + flac_end(bytes, trailer.begin, trailer.tags_begin);
  } else {
    check_mpeg(bytes, view);
  }
  if (wav) check_wav_encoding(bytes, *wav, view);
  return view;
}

}  // namespace w2vbert
