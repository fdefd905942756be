#include "audio/foreign_containers.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/parse_number.h"

namespace w2vbert {
namespace {

// --- MP4 and QuickTime (ISO/IEC 14496-12) ---

constexpr std::uint64_t kBoxHeaderBytes = 8;

// Calls use(type, begin, end) for the boxes from `at` to `end`, with what is in them; false where
// they do not end there.
template <class Use>
bool for_each_box(ContainerBytes& bytes, std::uint64_t at, std::uint64_t end, const Use& use) {
  while (at + kBoxHeaderBytes <= end) {
    const std::uint64_t size = bytes.big(at, 4);
    if (size < kBoxHeaderBytes || size > end - at) return false;
    use(std::string(bytes.view(at + 4, 4)), at + kBoxHeaderBytes, at + size);
    at += size;
  }
  return at == end;
}

// A run of samples says how many it has, and then something of each.
bool is_whole_run(ContainerBytes& bytes, std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t flags = bytes.big(begin, 4) & 0xffffff;
  std::uint64_t at = begin + 8, sample_bytes = 0;
  for (const std::uint64_t flag : {0x1U, 0x4U}) at += (flags & flag) != 0 ? 4 : 0;
  for (const std::uint64_t flag : {0x100U, 0x200U, 0x400U, 0x800U}) {
    sample_bytes += (flags & flag) != 0 ? 4 : 0;
  }
  return at + bytes.big(begin + 4, 4) * sample_bytes == end;
}

// Whether the fragment from `begin` to `end` holds what fragments do: a run of samples under any
// other name would be none.
bool is_whole_fragment(ContainerBytes& bytes, std::uint64_t begin, std::uint64_t end) {
  bool is_whole = true;
  const bool ends = for_each_box(bytes, begin, end, [&](const auto& type, auto from, auto to) {
    is_whole =
        is_whole && is_one_of(type, {"mfhd", "traf", "pssh", "uuid", "meta", "free", "skip"});
    if (type != "traf") return;
    const bool track_ends =
        for_each_box(bytes, from, to, [&](const auto& inner, auto at, auto past) {
          is_whole = is_whole &&
                     is_one_of(inner, {"tfhd", "tfdt", "trun", "sbgp", "sgpd", "subs", "saiz",
                                       "saio", "senc", "sdtp", "uuid", "meta", "free", "skip"});
          if (inner == "trun") is_whole = is_whole && is_whole_run(bytes, at, past);
        });
    is_whole = is_whole && track_ends;
  });
  return ends && is_whole;
}

// What stands among fragments.
bool is_known_box(std::string_view type) {
  return is_one_of(type, {"ftyp", "moov", "moof", "mdat", "free", "skip", "wide", "styp", "sidx",
                          "ssix", "emsg", "prft", "mfra", "uuid", "meta", "udta", "pdin", "pssh"});
}

// The boxes of the file itself. Of those that hold no audio, the sizes count for nothing.
void check_mp4(ContainerBytes& bytes, ContainerView& view) {
  std::uint64_t at = 0;
  bool has_movie = false;
  bool has_fragments = false;
  std::uint64_t fragment = 0;  // where one stands whose audio has not come yet
  while (bytes.has(at, 8)) {
    // The size of a box begins with zeros, too.
    if (const std::uint64_t next = has_movie ? behind_tags(bytes, at) : at;
        next > at && bytes.view(next, 8).find("ftyp") != std::string_view::npos) {
      refuse_second_stream(bytes.file());
    }
    const std::string type(bytes.view(at + 4, 4));
    if (has_fragments && !is_known_box(type) && tag_bytes_at(bytes, at) == 0 &&
        bytes.big(at, 8) != 0) {
      return note_loss(bytes, view, "box", at);
    }
    const bool is_audio = type == "mdat";
    const bool is_movie = type == "moov";
    const bool is_fragment = type == "moof";
    if (is_movie && has_movie) refuse_second_stream(bytes.file());
    has_movie = has_movie || is_movie;
    if (is_audio) fragment = 0;
    if (is_fragment) fragment = at;
    has_fragments = has_fragments || is_fragment;
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
    if (is_fragment && !is_whole_fragment(bytes, at + kBoxHeaderBytes, at + size)) {
      return note_loss(bytes, view, "whole moof box", at);
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
constexpr std::uint32_t kMatroskaTracks = 0x1654ae6b;

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
  const std::uint64_t header = size_at - at + static_cast<std::uint64_t>(size_bytes);
  if (size_bytes > 8 || !bytes.has(at, header)) return std::nullopt;
  const std::uint64_t all_ones = (std::uint64_t{1} << (7 * size_bytes)) - 1;
  const std::uint64_t size = bytes.big(size_at, size_bytes) & all_ones;
  EbmlElement element{static_cast<std::uint32_t>(bytes.big(at, id_bytes)), size, header};
  if (size == all_ones) element.size.reset();
  return element;
}

// The numbers of the tracks that stand in the Tracks element from `at` to `end`.
std::vector<std::uint64_t> matroska_tracks(ContainerBytes& bytes, std::uint64_t at,
                                           std::uint64_t end) {
  constexpr std::uint32_t kEntry = 0xae, kNumber = 0xd7;
  std::vector<std::uint64_t> tracks;
  while (at < end) {
    const auto element = ebml_element(bytes, at);
    if (!element || !element->size) return {};
    at += element->header_bytes;
    if (element->id == kEntry) continue;  // what is in it comes next
    if (element->id == kNumber && *element->size <= 8) {
      tracks.push_back(bytes.big(at, static_cast<int>(*element->size)));
    }
    at += *element->size;
  }
  return tracks;
}

constexpr std::uint32_t kMatroskaSimpleBlock = 0xa3, kMatroskaBlockGroup = 0xa0,
                        kMatroskaBlock = 0xa1;

// Whether the frames of a laced block, whose payload stands from `at` to `end`, have sizes that it
// holds. `lacing`: 1 sizes as sums of bytes, 2 all of one size, 3 a size and then differences.
bool has_lace_sizes(ContainerBytes& bytes, std::uint64_t lacing, std::uint64_t at,
                    std::uint64_t end) {
  if (at >= end) return false;
  const std::uint64_t frames = bytes.byte(at++) + std::uint64_t{1};
  if (lacing == 2) return (end - at) % frames == 0;
  std::uint64_t all = 0, size = 0;
  for (std::uint64_t frame = 1; frame < frames; ++frame) {
    if (at >= end) return false;
    if (lacing == 1) {
      size = 0;
      while (at < end && bytes.byte(at) == 0xff) size += bytes.byte(at++);
      size += bytes.byte(at++);
    } else {
      const int number_bytes = std::countl_zero(bytes.byte(at)) + 1;
      if (number_bytes > 8) return false;
      const std::uint64_t all_ones = (std::uint64_t{1} << (7 * number_bytes)) - 1;
      const std::uint64_t number = bytes.big(at, number_bytes) & all_ones;
      size = frame == 1 ? number : size + number - all_ones / 2;
      at += static_cast<std::uint64_t>(number_bytes);
    }
    if (size > end - std::min(at, end)) return false;
    all += size;
  }
  return all <= end - std::min(at, end);
}

// Whether a block of one of `tracks` stands in the element from `at` to `end`, by itself or in a
// group; a decoder passes over others, or ends there.
bool is_whole_block(ContainerBytes& bytes, std::uint32_t id, std::uint64_t at, std::uint64_t end,
                    const std::vector<std::uint64_t>& tracks) {
  if (id == kMatroskaBlockGroup) {
    constexpr std::array<std::uint32_t, 10> kBesideBlocks = {0x9b, 0xfb,   0xfa, 0xa4, 0x75a1,
                                                             0x8e, 0x75a2, 0xa2, 0xec, 0xbf};
    const auto first = ebml_element(bytes, at);
    if (!first) return false;
    if (first->id != kMatroskaBlock) {  // in an order of its own
      return std::find(kBesideBlocks.begin(), kBesideBlocks.end(), first->id) !=
             kBesideBlocks.end();
    }
    at += first->header_bytes;
    if (!first->size || *first->size > end - std::min(at, end)) return false;
    end = at + *first->size;
  } else if (id != kMatroskaSimpleBlock) {
    return true;
  }
  const int number_bytes = std::countl_zero(bytes.byte(at)) + 1;
  if (number_bytes > 8) return false;
  const std::uint64_t all_ones = (std::uint64_t{1} << (7 * number_bytes)) - 1;
  const std::uint64_t number = bytes.big(at, number_bytes) & all_ones;
  if (!tracks.empty() && std::find(tracks.begin(), tracks.end(), number) == tracks.end()) {
    return false;
  }
  constexpr std::uint64_t kTimeBytes = 2;
  at += static_cast<std::uint64_t>(number_bytes) + kTimeBytes;
  const std::uint64_t lacing = bytes.byte(at) >> 1 & 3;
  return lacing == 0 || has_lace_sizes(bytes, lacing, at + 1, end);
}

// Whether an element of a cluster is larger than the number that it is: a block under its name.
bool is_oversized(const EbmlElement& element) {
  constexpr std::array<std::uint32_t, 3> kNumbers = {0xe7, 0xa7, 0xab};
  return element.size && *element.size > 8 &&
         std::find(kNumbers.begin(), kNumbers.end(), element.id) != kNumbers.end();
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
  std::vector<std::uint64_t> tracks;
  while (at < end) {
    const auto element = ebml_element(bytes, at);
    if (element && element->id == kEbml && has_segment) refuse_second_stream(bytes.file());
    const bool is_segment = element && element->id == kMatroskaSegment && !has_segment;
    if (has_segment && (!element || !is_known_element(element->id) || is_oversized(*element) ||
                        at > cluster_end)) {
      constexpr std::uint64_t kMaxHeaderBytes = 12;
      if (const std::uint64_t next = behind_tags(bytes, at); next > at) {
        if (bytes.has(next, 4) && bytes.big(next, 4) == kEbml) refuse_second_stream(bytes.file());
        if (is_end_of_stream(bytes, at)) return;
      }
      if (end - at < kMaxHeaderBytes) return note_cut(bytes, view, "an element", at);
      return note_loss(bytes, view, "element", at);
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
      if (element->id == kMatroskaTracks && element->size) {
        tracks = matroska_tracks(bytes, at, at + *element->size);
      } else if (element->size &&
                 !is_whole_block(bytes, element->id, at, at + *element->size, tracks)) {
        return note_loss(bytes, view, "block of a track", at);
      }
      at += element->size.value_or(0);
    }
    if (at == cluster_end) cluster_end = bytes.size();
  }
  const std::uint64_t next = behind_tags(bytes, end);
  if (bytes.has(next, 4) && bytes.big(next, 4) == kEbml) refuse_second_stream(bytes.file());
}

// --- AVI ---

// Whether a chunk of the list of media begins at `at`: the number of one of `streams` and what it
// holds, an index, or filling.
bool is_avi_chunk(ContainerBytes& bytes, std::uint64_t at, std::uint64_t streams) {
  const std::string name(bytes.view(at, 4));
  for (const std::string_view other : {"LIST", "JUNK", "junk", "idx1"}) {
    if (name == other) return true;
  }
  const auto number = [&](std::size_t digits) {
    return parse_number<std::uint64_t>(name.substr(digits, 2));
  };
  if (name.starts_with("ix")) return number(2).has_value();
  const auto stream = number(0);
  constexpr std::array<std::string_view, 8> kKinds = {"wb", "dc", "db", "pc",
                                                      "tx", "sb", "dd", "iv"};
  return stream && *stream < streams &&
         std::find(kKinds.begin(), kKinds.end(), name.substr(2)) != kKinds.end();
}

// The chunks of the list of media from `at` to `end`; those of a list in it follow as its own.
void check_avi_chunks(ContainerBytes& bytes, std::uint64_t at, std::uint64_t end,
                      std::uint64_t streams, ContainerView& view) {
  while (at + 8 <= end) {
    if (bytes.byte(at) == 0 && behind_tags(bytes, at) >= end) return;  // zeros fill it up
    if (!is_avi_chunk(bytes, at, streams)) return note_loss(bytes, view, "chunk", at);
    const std::uint64_t size = bytes.little(at + 4, 4);
    if (bytes.starts_with(at, "LIST")) {
      at += 12;
      continue;
    }
    if (size > end - at - 8) return note_loss(bytes, view, "whole chunk", at);
    at += 8 + size + size % 2;
  }
}

void check_avi(ContainerBytes& bytes, ContainerView& view) {
  std::uint64_t at = 12;  // RIFF, size, AVI
  bool is_streamed = false;
  constexpr std::uint64_t kStreamsAt = 56;  // in the header, which stands first
  constexpr std::uint64_t kMaxStreams = 100;
  const std::uint64_t streams =
      bytes.starts_with(24, "avih") ? bytes.little(kStreamsAt, 4) : kMaxStreams;
  while (bytes.has(at, 12)) {
    const std::uint64_t size = bytes.little(at + 4, 4);
    const std::uint64_t there = bytes.size() - at - 8;
    const bool is_audio = bytes.starts_with(at, "LIST") && bytes.starts_with(at + 8, "movi");
    if (const std::uint64_t next = behind_tags(bytes, at);
        bytes.starts_with(next, "RIFF") && bytes.starts_with(next + 8, "AVI ")) {
      refuse_second_stream(bytes.file());
    }
    if (bytes.starts_with(at, "RIFF")) {
      if (!bytes.starts_with(at + 8, "AVIX")) return;  // the second part of a long one
      at += 12;
    } else if (is_streamed && bytes.big(at, 8) != 0 && !is_avi_chunk(bytes, at, streams)) {
      return note_loss(bytes, view, "chunk", at);
    } else if (is_audio && (size >= kPlaceholderBytes || size == 0)) {
      is_streamed = true;
      view.trusts_duration = false;  // none of its lengths was filled in
      at += 12;
    } else if (size > there) {
      if (is_audio) note_truncation(view, "movi list", size, there);
      if (is_streamed) note_cut(bytes, view, "a chunk", at);
      return;
    } else {
      if (is_audio) check_avi_chunks(bytes, at + 12, at + 8 + size, streams, view);
      if (!view.damage.empty()) return;
      at += 8 + size + size % 2;
    }
  }
}

// --- Flash video ---

constexpr int kFlvAudio = 8, kFlvVideo = 9, kFlvData = 18, kFlvOtherData = 15;

// Whether what a tag holds may be of its type. Video begins with the kind of its frame and its
// codec, or with the kind of its packet behind a bit.
bool is_flv_media(int type, int first) {
  if (type != kFlvVideo) return true;
  const int high = first >> 4, low = first & 0xf;
  return (high & 8) != 0 ? low <= 7 : high >= 1 && high <= 6 && low >= 1 && low <= 13;
}

void check_flv(ContainerBytes& bytes, ContainerView& view) {
  constexpr std::uint64_t kHeaderBytes = 11;
  std::uint64_t at = bytes.big(5, 4) + 4;  // the size of the header, and that of no tag before it
  std::uint64_t all_bytes = 0;
  std::optional<int> sound;  // the codec, rate and channels of the audio
  while (at < bytes.size()) {
    refuse_stream_behind(bytes, at, "FLV\x01");
    const int type = bytes.byte(at) & 0x1f;
    if (is_end_of_stream(bytes, at)) return;
    const std::uint64_t media_bytes = bytes.big(at + 1, 3);
    bool is_whole =
        type == kFlvAudio || type == kFlvVideo || type == kFlvData || type == kFlvOtherData;
    if (media_bytes > 0) {
      const int first = bytes.byte(at + kHeaderBytes);
      if (type == kFlvAudio && !sound) sound = first;
      is_whole = is_whole && is_flv_media(type, first) && (type != kFlvAudio || first == *sound);
    }
    if (!is_whole) {
      return note_loss(bytes, view, "tag", at);
    }
    const std::uint64_t tag_bytes = bytes.has(at, 4) ? kHeaderBytes + media_bytes : 4;
    if (!bytes.has(at, tag_bytes + 4)) return note_cut(bytes, view, "a tag", at);
    // Its size stands behind it once more. FFmpeg (flvdec.c) takes what some writers make of it,
    // and drops the tag for any other.
    all_bytes += tag_bytes;
    const std::uint64_t again = bytes.big(at + tag_bytes, 4);
    const bool is_same = again == tag_bytes || again == tag_bytes - 1 || again == all_bytes ||
                         (again == media_bytes && again > 0);
    if (!is_same) {
      return note_loss(bytes, view, "size of its own behind the tag", at);
    }
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
    if (has_data) refuse_stream_behind(bytes, at, kAsfHeader);
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
  std::vector<std::uint64_t> streams;
  while (bytes.has(at, kDataHeaderBytes) && !bytes.starts_with(at, "DATA")) {
    const std::uint64_t size = bytes.big(at + 4, 4);
    if (size < 10) return;
    if (bytes.starts_with(at, "MDPR")) streams.push_back(bytes.big(at + 10, 2));
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
    // Its version, and its stream: a decoder passes over any other.
    if (bytes.big(at, 2) != 0 ||
        std::find(streams.begin(), streams.end(), bytes.big(at + 4, 2)) == streams.end()) {
      return note_loss(bytes, view, "packet", at);
    }
    at += packet_bytes;
  }
  if (packets < claimed) note_truncation(view, "DATA chunk", claimed, packets, "packets");
  refuse_stream_behind(bytes, at, ".RMF");
}

// --- AAC in frames of its own (ISO/IEC 13818-7, ADTS) ---

// Frame after frame, up to the tags behind them.
void check_adts(ContainerBytes& bytes, ContainerView& view) {
  const std::uint64_t end = view.end - bytes.origin();
  for (std::uint64_t at = 0; at < end;) {
    const std::uint64_t left = end - at;
    const std::uint64_t frame_bytes = bytes.big(at + 3, 3) >> 5 & 0x1fff;
    constexpr std::uint64_t kHeaderBytes = 7;
    if (const std::uint64_t tag_bytes = tag_bytes_at(bytes, at); tag_bytes > 0) {
      at += tag_bytes;  // between streams that were joined
      continue;
    }
    if (bytes.byte(at) == 0) {
      if (behind_tags(bytes, at) < end) refuse_second_stream(bytes.file());
      return;
    }
    if (left < kHeaderBytes) return note_cut(bytes, view, "a frame", at);
    if ((bytes.big(at, 2) & 0xfff6) != 0xfff0 || frame_bytes < kHeaderBytes) {
      return note_loss(bytes, view, "frame", at);
    }
    if (frame_bytes > left) return note_cut(bytes, view, "a frame", at);
    at += frame_bytes;
  }
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
  refuse_stream_behind(bytes, at, "TTA1");
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
    {0, "\xff\xf1", "an AAC file (ADTS)", "AAC", &check_adts, true},
    {0, "\xff\xf9", "an AAC file (ADTS)", "AAC", &check_adts, true},
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
