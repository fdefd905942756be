// Tensors -> one safetensors file, durably.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "checkpoint/safetensors_header_writer.h"
#include "core/durable_file.h"

namespace w2vbert {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// Writes `tensors` (any shape and strides, any device, any dtype safetensors knows) by
// write_durably(). Equal names, values and metadata give equal bytes, in whatever order they come:
// the header is sorted by name; the data by element size, largest first, then name, so that every
// tensor lies aligned. A contiguous CPU tensor is written from where it is. Throws c10::ValueError
// for a tensor that cannot be written (undefined, sparse, quantized, meta, complex double, a name
// that is not UTF-8 or comes twice), StorageError when the place cannot.
Committed write_safetensors(const std::string& path, const NamedTensors& tensors,
                            const SafetensorsMetadata& metadata = {},
                            IfPresent if_present = IfPresent::kCompare);

// The same file beside its place, to be put there later.
StagedFile stage_safetensors(const std::string& path, const NamedTensors& tensors,
                             const SafetensorsMetadata& metadata = {},
                             const FinishHeader& finish_header = {});

}  // namespace w2vbert
