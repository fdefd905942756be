#pragma once

#include <torch/nn/module.h>

#include <string>
#include <vector>

#include "tool/parity/reference.h"

namespace w2vbert::tool {

// What `module`, called `name` in its model, gives for the input that PyTorch's had. Empty for a
// class that is not compared (Dropout, lists) and for a module that PyTorch did not call. Throws as
// the module does.
std::vector<torch::Tensor> replay(torch::nn::Module& module, const Reference& reference,
                                  const std::string& name);

// The outputs of the whole model for PyTorch's inputs, under AnyModel's names, with every hidden
// state and attention, in the reference's mode: gradients on or off, training with its seeds.
ModelOutputs replay(AnyModel& model, const Reference& reference);

}  // namespace w2vbert::tool
