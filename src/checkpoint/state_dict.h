// What a module keeps in a checkpoint.
#pragma once

#include <torch/nn/module.h>

#include "checkpoint/safetensors_writer.h"

namespace w2vbert {

// Parameters and persistent buffers (nn/module.h) under their dotted names, in the
// order of Python's state_dict(): of each module the parameters, the buffers, then the children.
// What is undefined (a Linear's bias without one) is left out.
NamedTensors state_dict_of(const torch::nn::Module& module);

}  // namespace w2vbert
