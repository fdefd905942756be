// The other direction of safetensors_header.h: tensor descriptions -> the first bytes of a file.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/safetensors_header.h"

namespace w2vbert {

using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;

// Changes a header's bytes and not their number, when all else is in it.
using FinishHeader = std::function<void(std::string& header)>;

// The eight length bytes and the header, padded with spaces to a multiple of 8, so that the data
// begin aligned, and to `min_bytes` in all. `__metadata__` comes first and is left out when
// empty; keys are sorted, so equal content gives equal bytes. Of each tensor, name, dtype_name,
// shape, begin and end are used. Throws CheckpointError(path) for a name or value that is not
// UTF-8, a name given twice, or a tensor called
// __metadata__; nothing else is checked.
std::string serialize_safetensors_header(std::span<const TensorInfo> tensors,
                                         const SafetensorsMetadata& metadata,
                                         const std::string& path, std::uint64_t min_bytes = 0);

}  // namespace w2vbert
