#include "audio/foreign_containers.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <string>
#include <string_view>

namespace w2vbert {
namespace {

// --- MP4 and QuickTime (ISO/IEC 14496-12) ---

// The boxes of the file itself. Of those that hold no audio, the sizes count for nothing.
void check_mp4(ContainerBytes& bytes, ContainerView& view) {
  std::uint64_t at = 0;
  bool has_movie = false;
  std::uint64_t fragment = 0;  // where one stands whose audio has not come yet
  while (bytes.has(at, 8)) {
    const std::string_view type = bytes.view(at + 4, 4);
    const bool is_audio = type == "mdat";
    const bool is_movie = type == "moov";
    const bool is_fragment = type == "moof";
    if (is_movie && has_movie) refuse_second_stream(bytes.file());
    has_movie = has_movie || is_movie;
    if (is_audio) fragment = 0;
    if (is_fragment) fragment = at;
    std::uint64_t size = bytes.big(at, 4);
    if (size == 0) return;  // to the end of the file
    if (size == 1) size = bytes.big(at + 8, 8);
    if (size < 8) return;
    const std::uint64_t there = bytes.size() - at;
    if (size > there) {
      if (const std::uint64_t tag_bytes = tag_bytes_at(bytes, at); tag_bytes > 0) {
        at += tag_bytes;
        continue;
      }
      if (is_audio) note_truncation(view, "mdat box", size, there);
      if (is_movie || is_fragment)
        note_cut(bytes, view, is_movie ? "its moov box" : "a moof box", at);
      break;
    }
    at += size;
  }
  if (view.damage.empty() && fragment > 0)
    note_cut(bytes, view, "the audio of the moof box", fragment);
}

// --- Matroska and WebM (RFC 8794, RFC 9559) ---

constexpr std::uint32_t kEbml = 0x1a45dfa3;
constexpr std::uint32_t kMatroskaSegment = 0x18538067;
constexpr std::uint32_t kMatroskaCluster = 0x1f43b675;

struct EbmlElement {
  std::uint32_t id = 0;
  std::optional<std::uint64_t> size;  // nothing: not known when it was written
  std::uint64_t header_bytes = 0;
};

// The element at `at`; nothing where none begins, or its header is cut.
std::optional<EbmlElement> ebml_element(ContainerBytes& bytes, std::uint64_t at) {
  if (!bytes.has(at, 2)) return std::nullopt;
  const int id_bytes = std::countl_zero(bytes.byte(at)) + 1;
  if (id_bytes > 4) return std::nullopt;
  const std::uint64_t size_at = at + static_cast<std::uint64_t>(id_bytes);
  const int size_bytes = std::countl_zero(bytes.byte(size_at)) + 1;
  const auto header = static_cast<std::uint64_t>(id_bytes + size_bytes);
  if (size_bytes > 8 || !bytes.has(at, header)) return std::nullopt;
  const std::uint64_t all_ones = (std::uint64_t{1} << (7 * size_bytes)) - 1;
  const std::uint64_t size = bytes.big(size_at, size_bytes) & all_ones;
  EbmlElement element{static_cast<std::uint32_t>(bytes.big(at, id_bytes)), size, header};
  if (size == all_ones) element.size.reset();
  return element;
}

// Those of a segment and of a cluster: a new one has not come in many years.
bool is_known_element(std::uint32_t id) {
  constexpr std::array<std::uint32_t, 17> kKnown = {
      0x114d9b74, 0x1549a966, 0x1654ae6b, 0x1c53bb6b, 0x1941a469,
      0x1043a770, 0x1254c367, 0xec,       0xbf,       kMatroskaCluster,
      0xe7,       0xa7,       0xab,       0xa3,       0xa0,
      0xaf,       0x5854};
  return std::find(kKnown.begin(), kKnown.end(), id) != kKnown.end();
}

// The elements of the segment and of its clusters. Where it was streamed, they do not know their
// sizes.
void check_matroska(ContainerBytes& bytes, ContainerView& view) {
  std::uint64_t at = 0;
  std::uint64_t end = bytes.size();  // of the segment
  std::uint64_t cluster_end = end;
  bool has_segment = false;
  while (at < end) {
    const auto element = ebml_element(bytes, at);
    if (element && element->id == kEbml && has_segment) refuse_second_stream(bytes.file());
    const bool is_segment = element && element->id == kMatroskaSegment && !has_segment;
    if (has_segment && (!element || !is_known_element(element->id) || at > cluster_end)) {
      constexpr std::uint64_t kMaxHeaderBytes = 12;
      if (bytes.byte(at) == 0) return;  // zeros behind a stream
      if (end - at < kMaxHeaderBytes) return note_cut(bytes, view, "an element", at);
      view.damage = "is damaged: no element at byte " + std::to_string(bytes.origin() + at);
      return;
    }
    if (!element) return;
    at += element->header_bytes;
    const std::uint64_t there = end - std::min(at, end);
    if (is_segment) {
      has_segment = true;
      if (!element->size) continue;
      if (*element->size > there) return note_truncation(view, "segment", *element->size, there);
      end = at + *element->size;
    } else if (element->size && *element->size > there) {
      if (has_segment) note_cut(bytes, view, "an element", at);
      return;
    } else if (element->id == kMatroskaCluster) {
      cluster_end = element->size ? at + *element->size : bytes.size();
    } else {
      at += element->size.value_or(0);
    }
    if (at == cluster_end) cluster_end = bytes.size();
  }
  if (bytes.has(end, 4) && bytes.big(end, 4) == kEbml) refuse_second_stream(bytes.file());
}

// --- AVI ---

void check_avi(ContainerBytes& bytes, ContainerView& view) {
  std::uint64_t at = 12;  // RIFF, size, AVI
  bool is_streamed = false;
  while (bytes.has(at, 12)) {
    const std::uint64_t size = bytes.little(at + 4, 4);
    const std::uint64_t there = bytes.size() - at - 8;
    const bool is_audio = bytes.starts_with(at, "LIST") && bytes.starts_with(at + 8, "movi");
    if (bytes.starts_with(at, "RIFF")) {
      if (bytes.starts_with(at + 8, "AVI ")) refuse_second_stream(bytes.file());
      if (!bytes.starts_with(at + 8, "AVIX")) return;  // the second part of a long one
      at += 12;
    } else if (is_audio && (size >= kPlaceholderBytes || size == 0)) {
      is_streamed = true;
      view.trusts_duration = false;  // none of its lengths was filled in
      at += 12;
    } else if (size > there) {
      if (is_audio) note_truncation(view, "movi list", size, there);
      if (is_streamed) note_cut(bytes, view, "a chunk", at);
      return;
    } else {
      at += 8 + size + size % 2;
    }
  }
}

// --- Flash video ---

void check_flv(ContainerBytes& bytes, ContainerView& view) {
  constexpr std::uint64_t kHeaderBytes = 11;
  std::uint64_t at = bytes.big(5, 4) + 4;  // the size of the header, and that of no tag before it
  while (at < bytes.size()) {
    if (bytes.starts_with(at, "FLV\x01")) refuse_second_stream(bytes.file());
    const int type = bytes.byte(at) & 0x1f;
    if (type != 8 && type != 9 && type != 18) return;  // audio, video, data
    // Its size, which stands behind it once more.
    const std::uint64_t tag_bytes = bytes.has(at, 4) ? kHeaderBytes + bytes.big(at + 1, 3) : 4;
    if (!bytes.has(at, tag_bytes + 4)) return note_cut(bytes, view, "a tag", at);
    at += tag_bytes + 4;
  }
}

// --- Windows Media (ASF) ---

constexpr std::string_view kAsfHeader(
    "\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c", 16);
constexpr std::string_view kAsfData(
    "\x36\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c", 16);
constexpr std::string_view kAsfFile(
    "\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65", 16);

constexpr std::string_view kAsfIndex(
    "\x90\x08\x00\x33\xb1\xe5\xcf\x11\x89\xf4\x00\xa0\xc9\x03\x49\xcb", 16);

// The bytes of a packet, which are the same for all; 0 where the header does not say.
std::uint64_t asf_packet_bytes(ContainerBytes& bytes, std::uint64_t header_bytes) {
  for (std::uint64_t at = 30; at + 24 <= header_bytes && bytes.has(at, 24);) {
    const std::uint64_t size = bytes.little(at + 16, 8);
    if (bytes.starts_with(at, kAsfFile)) return bytes.little(at + 92, 4);
    if (size < 24 || size > bytes.size()) break;
    at += size;
  }
  return 0;
}

// Packets from `at` on whose number is not known.
void check_asf_packets(ContainerBytes& bytes, std::uint64_t at, std::uint64_t packet_bytes,
                       ContainerView& view) {
  if (packet_bytes == 0) return;
  while (bytes.has(at, packet_bytes) && !bytes.starts_with(at, kAsfIndex)) at += packet_bytes;
  constexpr std::string_view kEndOfStream = "$E";
  if (bytes.left(at) > 0 && !bytes.starts_with(at, kAsfIndex) &&
      !bytes.starts_with(at, kEndOfStream)) {
    note_cut(bytes, view, "a packet", at);
  }
}

void check_asf(ContainerBytes& bytes, ContainerView& view) {
  constexpr std::uint64_t kDataHeaderBytes = 50;
  const std::uint64_t header_bytes = bytes.little(16, 8);
  bool has_data = false;
  for (std::uint64_t at = header_bytes; bytes.has(at, 24);) {
    const std::uint64_t size = bytes.little(at + 16, 8);
    const std::uint64_t there = bytes.size() - at;
    if (has_data && bytes.starts_with(at, kAsfHeader)) refuse_second_stream(bytes.file());
    if (bytes.starts_with(at, kAsfData)) {
      has_data = true;
      if (size <= kDataHeaderBytes || size >= kPlaceholderBytes64) {  // streamed
        const std::uint64_t packet_bytes = asf_packet_bytes(bytes, header_bytes);
        return check_asf_packets(bytes, at + kDataHeaderBytes, packet_bytes, view);
      }
      if (size > there) return note_truncation(view, "data object", size, there);
    }
    if (size < 24 || size > there) return;
    at += size;
  }
}

// --- RealMedia ---

// The chunks, and in the one of the audio the packets: some writers leave its size wrong.
void check_real(ContainerBytes& bytes, ContainerView& view) {
  constexpr std::uint64_t kDataHeaderBytes = 18;
  constexpr std::uint64_t kPacketHeaderBytes = 12;
  std::uint64_t at = 0;
  while (bytes.has(at, kDataHeaderBytes) && !bytes.starts_with(at, "DATA")) {
    const std::uint64_t size = bytes.big(at + 4, 4);
    if (size < 10) return;
    at += size;
  }
  const std::uint64_t claimed = bytes.big(at + 10, 4);
  if (claimed == 0) view.trusts_duration = false;  // streamed: no length was filled in
  at += kDataHeaderBytes;
  std::uint64_t packets = 0;
  for (; (claimed == 0 || packets < claimed) && at < bytes.size(); ++packets) {
    const std::uint64_t packet_bytes = bytes.big(at + 2, 2);
    if (packet_bytes < kPacketHeaderBytes) break;
    if (!bytes.has(at, packet_bytes)) return note_cut(bytes, view, "a packet", at);
    at += packet_bytes;
  }
  if (packets < claimed) note_truncation(view, "DATA chunk", claimed, packets, "packets");
  if (bytes.starts_with(at, ".RMF")) refuse_second_stream(bytes.file());
}

// --- True Audio ---

// A table of the sizes of all frames stands before them.
void check_tta(ContainerBytes& bytes, ContainerView& view) {
  constexpr std::uint64_t kHeaderBytes = 22;
  const std::uint64_t frame_samples = bytes.little(10, 4) * 256 / 245;
  if (frame_samples == 0) return;
  const std::uint64_t frames = (bytes.little(14, 4) + frame_samples - 1) / frame_samples;
  std::uint64_t at = kHeaderBytes + 4 * frames + 4;
  if (!bytes.has(0, at)) return note_cut(bytes, view, "its table of frames", kHeaderBytes);
  for (std::uint64_t i = 0; i < frames; ++i) at += bytes.little(kHeaderBytes + 4 * i, 4);
  if (at > bytes.size()) return note_truncation(view, "table of frames", at, bytes.size());
  while (const std::uint64_t tag_bytes = tag_bytes_at(bytes, at)) at += tag_bytes;
  if (bytes.starts_with(at, "TTA1")) refuse_second_stream(bytes.file());
}

// --- All of them ---

struct ForeignKind {
  std::uint64_t at;
  std::string_view magic;
  const char* name;
  const char* container;
  void (*check)(ContainerBytes&, ContainerView&) = nullptr;
  bool is_tagged = false;  // a stream that tags stand behind
};

constexpr ForeignKind kForeignKinds[] = {
    {4, "ftyp", "an MP4 file (M4A, AAC, ALAC, 3GP)", "MP4", &check_mp4},
    {4, "moov", "a QuickTime file (MOV, MP4, AAC)", "QuickTime", &check_mp4},
    {4, "mdat", "a QuickTime file (MOV, MP4, AAC)", "QuickTime", &check_mp4},
    {0, "\x1a\x45\xdf\xa3", "a Matroska or WebM file (Opus, Vorbis)", "Matroska", &check_matroska},
    {0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file (WMA, ASF)", "ASF", &check_asf},
    {0, "#!AMR", "an AMR file", "AMR", nullptr, true},
    {0, "\x0b\x77", "an AC-3 file", "AC-3", nullptr, true},
    {0, "\xff\xf1", "an AAC file (ADTS)", "AAC", nullptr, true},
    {0, "\xff\xf9", "an AAC file (ADTS)", "AAC", nullptr, true},
    {0, "ADIF", "an AAC file (ADIF)", "AAC", nullptr, true},
    {8, "AVI ", "an AVI file", "AVI", &check_avi},
    {0, "FLV\x01", "a Flash video file", "FLV", &check_flv},
    {0, "wvpk", "a WavPack file", "WavPack", nullptr, true},
    {0, "MAC ", "a Monkey's Audio file (APE)", "APE", nullptr, true},
    {0, "MPCK", "a Musepack file", "Musepack", nullptr, true},
    {0, "MP+", "a Musepack file", "Musepack", nullptr, true},
    {0, "TTA1", "a True Audio file (TTA)", "TTA", &check_tta, true},
    {0, "tBaK", "a TAK file", "TAK", nullptr, true},
    {0, "DSD ", "a DSD file (DSF)", "DSF"},
    {0, "FRM8", "a DSD file (DSDIFF)", "DSDIFF"},
    {0, "ajkg", "a Shorten file (SHN)", "SHN", nullptr, true},
    {0, ".RMF", "a RealMedia file", "RealMedia", &check_real},
};

}  // namespace

bool examine_foreign_container(ContainerBytes& bytes, ContainerView& view) {
  for (const ForeignKind& kind : kForeignKinds) {
    if (!bytes.starts_with(kind.at, kind.magic)) continue;
    view.name = kind.name;
    view.container = kind.container;
    view.is_foreign = true;
    view.begin = bytes.origin();
    if (kind.is_tagged) view.end = bytes.origin() + tags_behind(bytes, 4);
    if (kind.check) kind.check(bytes, view);
    return true;
  }
  return false;
}

}  // namespace w2vbert
