// The values of a .npy file.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>

#include "tool/store/npy_header.h"

namespace w2vbert::tool {

// Reads a .npy file (NumPy's format 1.0 or 2.0) of little-endian floats of 2, 4 or 8 bytes, in C or
// Fortran order, whose type and shape `fits` takes; `expected` says which. Throws CheckpointError
// with `setting`: missing, no such file, truncated, another type or shape.
at::Tensor read_npy(const std::string& path, const char* setting, const std::string& expected,
                    const std::function<bool(const NpyArray&)>& fits);

// Whether a file begins as one. Throws CheckpointError for one that cannot be read.
bool is_npy(const std::string& path);

}  // namespace w2vbert::tool
