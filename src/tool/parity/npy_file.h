// Reads NumPy's .npy files of other programs.
#pragma once

#include <torch/types.h>

#include <string>

namespace w2vbert::tool {

// The array: float16, float32, float64, whole numbers or booleans, in either byte order of axes
// (fortran_order), little-endian. Throws CheckpointError with the path and what is wrong: a format
// version that is unknown, another dtype (objects are never unpickled), a size that the file does
// not have.
torch::Tensor read_npy(const std::string& path);

}  // namespace w2vbert::tool
