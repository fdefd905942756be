// Rows of Lhotse's manifests: cuts, and recordings. Torch-free.
#pragma once

#include <optional>
#include <string>
#include <variant>

#include "core/json.h"
#include "tool/corpus/input_list.h"

namespace w2vbert::tool {

// What a cut or a recording names.
struct LhotseRow {
  std::string id;
  std::string path;
  std::optional<InputSegment> segment = {};  // nothing for all of the recording
  std::optional<int> channel = {};       // of the file, from 1; nothing where it is to be chosen
  std::optional<std::string> text = {};  // of those supervisions that have one, spaces between them
};

// Whether a row is one of Lhotse's rather than of another manifest of JSON lines.
bool is_lhotse_row(const JsonValue& row);

// Lhotse: MonoCut, MultiCut and Recording, as CutSet and RecordingSet write them. The part of the
// file is that of Cut.load_audio, which rounds start and duration to samples. Why a row cannot be
// taken: a mixed or padding cut, features without a recording, a source that is no file, more files
// than one, some of several channels, transforms.
std::variant<LhotseRow, InputProblem> read_lhotse_row(const JsonValue& row);

}  // namespace w2vbert::tool
