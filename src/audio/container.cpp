#include "audio/container.h"

#include <sndfile.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <utility>

#include "audio/container_bytes.h"
#include "audio/foreign_containers.h"
#include "core/parse_number.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
// ID3v2 (id3.org, ID3v2.4, section 3.1), APEv2, ID3v1.
std::uint64_t tag_bytes_at(ContainerBytes& bytes, std::uint64_t at) {
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

namespace {

constexpr const char* kExpectedAudio =
    "WAV, RF64, W64, AIFF, AU, CAF, FLAC, Ogg, MP3, MP2, MP1 or NIST SPHERE";
constexpr int kMaxChunks = 10000;

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

// The audio of a chunked file: `claimed` bytes from `at` on, as its header says. Returns how many
// of them are there.
std::uint64_t check_audio_bytes(ContainerBytes& bytes, const std::string& chunk, std::uint64_t at,
                                std::uint64_t claimed, ContainerView& view,
                                std::uint64_t placeholder = kPlaceholderBytes) {
  const std::uint64_t there = bytes.left(at);
  if (claimed > there && claimed < placeholder) {
    note_truncation(view, chunk + " chunk", claimed, there);
  }
  if (claimed == 0 && there > 0) {
    refuse_container(bytes.file(),
                     "its " + chunk + " chunk says 0 bytes, " + std::to_string(there) + " follow",
                     "a length that its writer filled in");
  }
  return std::min(claimed, there);
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
void give_to_libav(ContainerView& view) {
  view.name += " audio in a rare encoding";
  view.is_foreign = true;
  view.trusts_duration = false;
}

// What WAV and W64 say of their audio.
struct WavAudio {
  std::uint64_t encoding = 0;  // the tag of the format
  std::uint64_t begin = 0;
  std::uint64_t bytes = 0;  // that are there
};

// The tag of the format at `at`.
std::uint64_t wav_encoding(ContainerBytes& bytes, std::uint64_t at, bool big_endian = false) {
  constexpr std::uint64_t kExtensible = 0xfffe;
  const auto tag = [&](std::uint64_t place) {
    return big_endian ? bytes.big(place, 2) : bytes.little(place, 2);
  };
  return tag(at) == kExtensible ? tag(at + 24) : tag(at);
}

// RIFF (little-endian), RIFX (big-endian), RF64 (64-bit sizes in a ds64 chunk). Their own sizes
// count for nothing: many writers leave them wrong.
std::optional<WavAudio> check_wav(ContainerBytes& bytes, ContainerView& view) {
  const bool big_endian = bytes.starts_with(0, "RIFX");
  const bool wide = bytes.starts_with(0, "RF64");
  const std::string magic(bytes.view(0, 4));
  std::uint64_t ds64 = 0;
  std::uint64_t encoding = 0;
  std::optional<WavAudio> audio;
  std::uint64_t at = 12;
  for (int chunks = 0; bytes.has(at, 8); ++chunks) {
    if (has_walked_enough(bytes, chunks, audio.has_value())) break;
    std::uint64_t size = big_endian ? bytes.big(at + 4, 4) : bytes.little(at + 4, 4);
    if (audio && bytes.starts_with(at, magic) && bytes.starts_with(at + 8, "WAVE")) {
      refuse_second_stream(bytes.file());
    }
    if (wide && bytes.starts_with(at, "ds64")) ds64 = at + 8;
    if (bytes.starts_with(at, "fmt ")) encoding = wav_encoding(bytes, at + 8, big_endian);
    if (!audio && bytes.starts_with(at, "data")) {
      if (ds64 > 0 && size == 0xffffffff) {
        size = bytes.little(ds64 + 8, 8);
        const std::uint64_t there = bytes.size() - at - 8;
        const bool is_blank = size == 0 && bytes.little(ds64, 8) == 0;  // and so the file's
        if (is_blank || size >= kPlaceholderBytes64) {
          view.patches.emplace_back(ds64 + 8, little_text(there, 8));
          size = there;
        }
        check_audio_bytes(bytes, "ds64", at + 8, size, view, kPlaceholderBytes64);
      } else {
        const std::uint64_t there = check_audio_bytes(bytes, "data", at + 8, size, view);
        if (size > there && there <= 0xffffffff) {  // libav takes the length for true
          view.patches.emplace_back(at + 4,
                                    big_endian ? big_text(there, 4) : little_text(there, 4));
        }
      }
      audio = {encoding, at + 8, std::min(size, bytes.left(at + 8))};
    }
    at += 8 + size + size % 2;
  }
  return audio;
}

constexpr std::string_view kW64Riff("riff\x2E\x91\xCF\x11\xA5\xD6\x28\xDB\x04\xC1\x00\x00", 16);
constexpr std::string_view kW64Format("fmt \xF3\xAC\xD3\x11\x8C\xD1\x00\xC0\x4F\x8E\xDB\x8A", 16);
constexpr std::string_view kW64Data("data\xF3\xAC\xD3\x11\x8C\xD1\x00\xC0\x4F\x8E\xDB\x8A", 16);

// Sets where the audio ends: libsndfile takes what follows for audio as well.
std::optional<WavAudio> check_w64(ContainerBytes& bytes, ContainerView& view) {
  constexpr std::uint64_t kHeaderBytes = 24;
  std::uint64_t encoding = 0;
  std::optional<WavAudio> audio;
  std::uint64_t at = 40;  // riff, size, wave
  for (int chunks = 0; bytes.has(at, kHeaderBytes); ++chunks) {
    if (has_walked_enough(bytes, chunks, audio.has_value())) break;
    if (audio && bytes.starts_with(at, kW64Riff)) refuse_second_stream(bytes.file());
    const std::uint64_t size = bytes.little(at + 16, 8);  // with those of the header
    const std::uint64_t there = bytes.size() - at - kHeaderBytes;
    if (size < kHeaderBytes) {
      if (audio) break;
      refuse_container(
          bytes.file(),
          "has a chunk of " + std::to_string(size) + " bytes at byte " + std::to_string(at),
          "a chunk of at least its header's 24");
    }
    if (bytes.starts_with(at, kW64Format)) encoding = wav_encoding(bytes, at + kHeaderBytes);
    if (!audio && bytes.starts_with(at, kW64Data)) {
      const std::uint64_t begin = at + kHeaderBytes;
      const std::uint64_t audio_bytes =
          check_audio_bytes(bytes, "data", begin, size - kHeaderBytes, view, kPlaceholderBytes64);
      audio = {encoding, begin, audio_bytes};
      view.end = bytes.origin() + begin + audio_bytes;
      if (size - kHeaderBytes > there) {
        view.patches.emplace_back(at + 16, little_text(there + kHeaderBytes, 8));
      }
    }
    if (size - kHeaderBytes > there) break;
    at += (size + 7) / 8 * 8;
  }
  return audio;
}

struct AiffFormat {
  std::uint64_t channels = 0;
  std::uint64_t frames = 0;
  std::uint64_t bits = 0;  // of a sample
  std::string encoding = "NONE";
};

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

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

// FORM with AIFF or AIFC, big-endian. COMM and SSND both say how much audio there is.
void check_aiff(ContainerBytes& bytes, ContainerView& view) {
  const bool has_encoding = bytes.starts_with(8, "AIFC");
  std::optional<AiffFormat> format;
  std::optional<std::uint64_t> audio_bytes;
  std::uint64_t at = 12;
  for (int chunks = 0; bytes.has(at, 8); ++chunks) {
    if (has_walked_enough(bytes, chunks, audio_bytes.has_value())) break;
    std::uint64_t size = bytes.big(at + 4, 4);
    if (audio_bytes && bytes.starts_with(at, "FORM")) refuse_second_stream(bytes.file());
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
    }
    at += 8 + size + size % 2;
  }
  if (!format) return;
  const std::uint64_t frame_bytes = format->channels * aiff_sample_bytes(*format);
  if (frame_bytes == 0) {
    if (!is_one_of(format->encoding, {"ima4", "GSM ", "DWVW"}) && format->channels > 0) {
      give_to_libav(view);
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
  check_audio_bytes(bytes, "audio", at, size, view);
  if (bytes.starts_with(at + size, ".snd") || bytes.starts_with(at + size, "dns.")) {
    refuse_second_stream(bytes.file());
  }
  constexpr std::uint64_t kG722 = 24;
  if (encoding == kG722) give_to_libav(view);
}

void check_caf(ContainerBytes& bytes, ContainerView& view) {
  constexpr std::uint64_t kFormatAt = 28;  // in the first chunk
  bool has_audio = false;
  std::uint64_t at = 8;
  for (int chunks = 0; bytes.has(at, 12); ++chunks) {
    if (has_walked_enough(bytes, chunks, has_audio)) break;
    if (has_audio && bytes.starts_with(at, "caff")) refuse_second_stream(bytes.file());
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
    }
    // The data chunk begins with 4 bytes of its own.
    if (is_audio && size <= 4 && there > 4) check_audio_bytes(bytes, "data", at + 16, 0, view);
    if (size > there) break;
    at += 12 + size;
  }
  const std::string encoding(bytes.view(kFormatAt, 4));
  const std::uint64_t flags = bytes.big(kFormatAt + 4, 4);
  // libsndfile tells the samples of ALAC by the flags, which some writers leave out.
  const bool is_alac = encoding == "alac" && flags >= 1 && flags <= 4;
  if (!is_alac && !is_one_of(encoding, {"lpcm", "alaw", "ulaw"})) give_to_libav(view);
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
    const std::string text = field(name);
    const auto value = parse_number<std::int64_t>(text);
    if (!value || *value < 1 || *value > most) {
      refuse_container(file(),
                       "has " + std::string(name) + " " + in_quotes(text) + " in its SPHERE header",
                       "a number from 1 to " + std::to_string(most));
    }
    return *value;
  };
  std::string coding = field("sample_coding");
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
    const std::string order = field("sample_byte_format");
    constexpr std::array<std::string_view, 4> kAscending = {"1", "01", "012", "0123"};
    constexpr std::array<std::string_view, 4> kDescending = {"1", "10", "210", "3210"};
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
  if (field("channels_interleaved") == "FALSE") {
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
  if (bytes.starts_with(*header_bytes + frames * frame_bytes, "NIST_1A\n")) {
    refuse_second_stream(bytes.file());
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

// Walks all pages: what comes before a damaged or missing page is all that a decoder returns, and
// it says nothing. Pages may be numbered from any number and jump, as those of a broadcast that was
// joined late do, and the last one may not be marked as such, where a recorder was stopped:
// libsndfile, which needs it, is shown them numbered from 0, and the mark. Whether audio is missing
// between them is told by the places that they state, which decoders make their number of frames
// of.
void check_ogg(ContainerBytes& bytes, ContainerView& view) {
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
      if (has_ended && last->is_open)
        view.damage = "is truncated behind page " + std::to_string(count - 1);
      break;
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
  }
  view.end = bytes.origin() + at;
  if (!last) return;
  if ((last->flags & kOggLastPage) != 0) {
    if (bytes.starts_with(at, "OggS")) refuse_second_stream(bytes.file());
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

// A Xing or Info tag in the first frame, where `frames` follow: libmpg123 believes its count, and
// guesses where it does not have one.
void check_xing_tag(ContainerBytes& bytes, const MpegFrame& first, std::uint64_t frames,
                    ContainerView& view) {
  constexpr std::uint64_t kFlagsAt = 4;
  constexpr std::uint64_t kCountAt = 8;
  constexpr std::uint32_t kHasCount = 1;
  const std::uint64_t tag = xing_offset(first);
  const std::uint64_t flags = bytes.big(tag + kFlagsAt, 4);
  const std::uint64_t claimed = bytes.big(tag + kCountAt, 4);
  if ((flags & kHasCount) == 0) {
    // The count stands before the other fields, which move into the padding of the frame.
    const auto room = static_cast<std::size_t>(first.bytes - tag - kFlagsAt);
    std::string fields(bytes.view(tag + kFlagsAt, room));
    fields.replace(0, 4, big_text(flags | kHasCount, 4) + big_text(frames, 4));
    fields.resize(room);
    view.patches.emplace_back(tag + kFlagsAt, fields);
  } else if (claimed != frames) {
    view.patches.emplace_back(tag + kCountAt, big_text(frames, 4));
    view.note = "its Xing tag counts " + std::to_string(claimed) + " frames, " +
                std::to_string(frames) + " are there and read";
  }
}

// Walks all frames: they are what there is, whatever a Xing tag counts.
void check_mpeg(ContainerBytes& bytes, ContainerView& view) {
  const auto first = mpeg_frame(bytes, 0);
  if (!first) refuse_container(bytes.file(), "is no audio file", kExpectedAudio);
  std::uint64_t at = 0;
  std::uint64_t frames = 0;
  while (at < bytes.size()) {
    const auto frame = mpeg_frame(bytes, at);
    const std::string place = std::to_string(bytes.origin() + at);
    if (!frame || frame->fixed != first->fixed) {
      if (frames > 0 && is_trailer(bytes, at)) break;
      if (frames < 2) refuse_container(bytes.file(), "is no audio file", kExpectedAudio);
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
  constexpr std::array<const char*, 3> kNames = {"MP1", "MP2", "MP3"};
  view.name = view.container = kNames[static_cast<std::size_t>(first->layer - 1)];
  view.sndfile_format = SF_FORMAT_MPEG;
  view.end = bytes.origin() + at;
  const std::uint64_t tag = xing_offset(*first);
  const bool has_tag = first->layer == 3 && first->bytes >= tag + 12 &&
                       (bytes.starts_with(tag, "Xing") || bytes.starts_with(tag, "Info"));
  if (has_tag) {
    check_xing_tag(bytes, *first, frames - 1, view);
    return;
  }
  constexpr std::uint64_t kVbriAt = 36;
  if (first->layer == 3 && frames > 1 && bytes.starts_with(kVbriAt, "VBRI")) {
    // Another kind of tag, which libmpg123 takes for a frame of audio.
    view.begin += first->bytes;
    --frames;
  }
  view.frames = static_cast<std::int64_t>(frames) * first->samples;
  if (first->layer != 3) return;
  // libmpg123 cuts the decoder's own delay off where it sees a tag, and only there.
  constexpr std::int64_t kDecoderDelay = 529;
  view.length_prefix = mp3_length_prefix(bytes, *first, frames);
  view.prefix_frames = first->samples - kDecoderDelay;
}

// MPEG audio in a WAV or W64 file. libsndfile guesses its length: it is shown without its
// container.
void check_wav_encoding(ContainerBytes& bytes, const WavAudio& audio, ContainerView& view) {
  constexpr std::uint64_t kMpeg = 0x50;
  constexpr std::uint64_t kMp3 = 0x55;
  if ((audio.encoding == kMpeg || audio.encoding == kMp3) && mpeg_frame(bytes, audio.begin)) {
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
  if (audio.encoding == 0) return;  // it does not say
  // PCM, float, A-law, u-law, and several kinds of ADPCM and GSM.
  constexpr std::array<std::uint64_t, 9> kOfSndfile = {0x01, 0x02, 0x03, 0x06, 0x07,
                                                       0x11, 0x31, 0x38, 0x40};
  if (std::find(kOfSndfile.begin(), kOfSndfile.end(), audio.encoding) == kOfSndfile.end()) {
    give_to_libav(view);
  }
}

}  // namespace

std::string convert_advice() {
  return std::string(kExpectedAudio) + "; `ffmpeg -i IN OUT.wav` converts others";
}

ContainerView examine_container(const InputFile& file, const std::function<void()>& progress) {
  ContainerBytes bytes(file, progress);
  if (file.size() == 0) refuse_container(file, "is empty", kExpectedAudio);
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
  } else if (bytes.starts_with(0, "RF64") && bytes.starts_with(8, "WAVE")) {
    is("RF64", SF_FORMAT_RF64);
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
    const std::uint64_t first = 27U + bytes.byte(26);  // the packet on the first page
    if (bytes.starts_with(first, std::string_view("\x7f"
                                                  "FLAC")))
      view.name = "an Ogg FLAC file";
    if (bytes.starts_with(first, "Speex   ")) view.name = "an Ogg Speex file";
    view.is_foreign = view.name != view.container;
    check_ogg(bytes, view);
    if (view.is_foreign) view.patches.clear();
  } else if (bytes.starts_with(0, "NIST_1A\n") && bytes.has(0, 16)) {
    view.name = view.container = "SPHERE";
    check_sphere(bytes, view);
  } else if (bytes.starts_with(0, "fLaC")) {
    is("FLAC", SF_FORMAT_FLAC);
    const Trailer trailer = trailer_of(bytes, 4);
    view.end = bytes.origin() + flac_end(bytes, trailer.begin, trailer.tags_begin);
  } else {
    check_mpeg(bytes, view);
  }
  if (wav) check_wav_encoding(bytes, *wav, view);
  return view;
}

}  // namespace w2vbert
