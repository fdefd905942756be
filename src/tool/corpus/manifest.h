// Lists of inputs that come from a file.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "tool/corpus/input_list.h"

namespace w2vbert::tool {

enum class ManifestFormat {
  list,      // one audio path a line
  tsv,       // fairseq: a line with the root, then path below it <TAB> number of samples; or Common
             // Voice: a header with client_id and path, the clips below clips/; or another header
  csv,       // a header, then rows: datasets' metadata.csv and others
  jsonl,     // a JSON object a line, or an array of them: NeMo's {"audio_filepath": path,
             // "duration": s, "offset": s}, datasets' {"file_name": path}, with further keys
             // Lhotse's cuts and recordings (lhotse_row.h), by their ids
  scp,       // Kaldi's wav.scp: name, blanks, path or archive:offset; no commands (pipes)
  segments,  // Kaldi's segments: name, name in the wav.scp beside it, start, end, perhaps channel
};

// By the ending, before .gz: .tsv, .csv, .jsonl or .json, .scp; a file of the name segments;
// everything else, and "-", is a plain list.
ManifestFormat manifest_format_of(std::string_view path);

// Appends what a manifest lists to `inputs`; `path` "-" is the standard input. Blank lines are
// skipped; CRLF, a byte-order mark and a missing last line break are accepted; all other bytes
// belong to the paths. The path of a table or of a JSON object is its "audio_filepath",
// "audio_filename", "file_name", "audio_file_name" or "path", the first that is there. Relative
// paths count from the manifest's folder, or from the working directory for "-"; behind a relative
// root of a tsv from the working directory, as in fairseq. What begins with ~/ is below the home
// directory. With an "offset" a row of jsonl is the segment from there, "duration" seconds long;
// with a duration alone it is the beginning of the file, as NeMo reads it. What is said there is a
// row's "text", "transcription", "sentence" or "transcript", the first that is there, or that of a
// cut's supervisions; it is kept where the inputs keep texts. A row that makes no
// sense becomes a bad row of `inputs`: no JSON, a cut that cannot be taken, no path or one that
// cannot name an output, a wrong number of fields, a negative time, a command, NUL bytes, more than
// kMaxManifestLineBytes. Read in blocks; what is compressed by gzip is taken as it comes out.
// `format`: nothing for that of manifest_format_of. Throws UsageError, before anything else is
// done: missing, no regular file, no text, unreadable, empty, no good row, a header without a path.
void read_manifest(const std::string& path, std::optional<ManifestFormat> format,
                   InputList& inputs);

inline constexpr std::size_t kMaxManifestLineBytes = 65536;

}  // namespace w2vbert::tool
