// Giving a file a name that nothing has yet, with what the file system offers. Torch-free.
#pragma once

#include <string>

namespace w2vbert {

// How a finished file is put in its place.
enum class Placement {
  kExclusive,  // never in the place of another: by a hard link, or a rename that refuses to replace
  kUnderLock,  // by a look and a rename, with the directory locked: processes of this program do
               // not overwrite each other's files; one of another program's could be, between the
               // two
};

struct Named {
  int error = 0;  // errno; EEXIST: something is at `to`
  Placement placement = Placement::kExclusive;
};

// Gives the file `from` the name `to` without overwriting another file. `from` may stay, as a
// second name.
Named give_name(const std::string& from, const std::string& to);

// The directory of `path` with its slash, "./" where it names none.
std::string directory_of(const std::string& path);

}  // namespace w2vbert
