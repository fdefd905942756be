// Where the bytes of an input lie. Torch-free.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/file.h"

namespace w2vbert::tool {

// A file that lies in another one, its container.
struct Member {
  enum class Kind {
    plain,   // of a tar
    packed,  // of a compressed tar
    wav,     // of a Kaldi archive: a WAV file at an offset
  };

  std::string container;  // its path
  Kind kind = Kind::plain;
  std::uint64_t begin = 0;  // in the container, of a compressed one in what is in it
  std::uint64_t bytes = 0;  // of Kind::wav not known before it is opened
  // The container when its members were listed.
  std::optional<FileIdentity> listed = {};
};

struct InputPlace {
  // A member's is that of its container, a slash and its name in it; for Kind::wav a colon and the
  // offset.
  std::string path;
  std::optional<Member> member = {};

  const std::string& path_on_disk() const { return member ? member->container : path; }
};

}  // namespace w2vbert::tool
