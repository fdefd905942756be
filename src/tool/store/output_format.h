// What a run's outputs are stored as.
#pragma once

#include <cstddef>
#include <string_view>

#include "tool/store/fingerprint.h"

namespace w2vbert::tool {

enum class OutputFormat {
  safetensors,  // all tensors of a clip, and what is known of it
  npy,          // one array a clip, for numpy.load; no mask, no metadata
};

// ".safetensors", ".npy"
std::string_view ending_of(OutputFormat format);

// The format that a run's fields name; those that name none are of safetensors.
OutputFormat output_format_of(const Fingerprint& run);
// Adds it to the fields, unless it is safetensors.
void add_output_format(Fingerprint& run, OutputFormat format);

// How many clips a shard holds; 0: each has a file of its own.
std::size_t shard_size_of(const Fingerprint& run);
void add_shard_size(Fingerprint& run, std::size_t shard_size);

}  // namespace w2vbert::tool
