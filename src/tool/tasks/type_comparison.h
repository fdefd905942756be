// How fast and how exact each type of computation is on this machine.
#pragma once

#include <string>
#include <vector>

#include "w2vbert/engine/precision.h"

namespace w2vbert::tool {

struct TypeOfThisMachine {
  Precision precision = Precision::float32;
  std::string unsupported;  // why the fused engine does not run it here: then nothing was measured
  double seconds = 0;       // the fastest run
  double speed = 1;         // how many times as fast as float32
  double error = 0;         // relative_error() of the output against float32's
};

// Each type on one encoder layer of the published model's size, with weights as a new model has
// them, over 5 s of random features: by turns, in about a second on a processor with AVX2. Throws
// c10::OutOfMemoryError.
std::vector<TypeOfThisMachine> compare_types();

}  // namespace w2vbert::tool
