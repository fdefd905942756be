// Lists of inputs that come from a file or a directory.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "tool/corpus/input_list.h"

namespace w2vbert::tool {

enum class ManifestFormat {
  list,   // one audio path a line
  tsv,    // fairseq: a line with the root, then path below it <TAB> number of samples
  jsonl,  // NeMo: {"audio_filepath": path, "duration": s, "offset": s} and further keys a line
  scp,    // Kaldi's wav.scp: name, blanks, path; no commands (pipes)
};

// By the ending: .tsv, .jsonl or .json, .scp; everything else, and "-", is a plain list.
ManifestFormat manifest_format_of(std::string_view path);

// Appends what a manifest lists to `inputs`; `path` "-" is the standard input. Blank lines are
// skipped; CRLF, a byte-order mark and a missing last line break are accepted; all other bytes
// belong to the paths. Relative paths count from the manifest's folder, or from the working
// directory for "-"; behind a relative root of a tsv from the working directory, as in fairseq.
// With an "offset" a row of jsonl is the segment from there, "duration" seconds long;
// without one it is the whole file. A row that makes no sense (a wrong number of fields, a negative
// time) becomes a bad row of `inputs`. Read in blocks. Throws UsageError, before anything else is
// done: missing, no regular file, unreadable, empty, NUL bytes, a line over kMaxManifestLineBytes,
// a line that is no JSON object with an audio_filepath, a command in place of a path.
void read_manifest(const std::string& path, ManifestFormat format, InputList& inputs);

// Appends the audio files in a directory and below it, in the order of their paths: those whose
// names end in .wav, .flac, .ogg, .oga, .opus, .mp3, .aif, .aiff, .aifc, .au, .caf, .w64 or .rf64,
// in small or capital letters. Hidden files and directories are passed over, and links to
// directories are not followed. Throws UsageError: a directory that cannot be read, no such file.
void read_audio_directory(const std::string& path, InputList& inputs);

inline constexpr std::size_t kMaxManifestLineBytes = 65536;

}  // namespace w2vbert::tool
