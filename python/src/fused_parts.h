// The fused engine over the weights of a transformers model.
#pragma once

#include <torch/csrc/utils/pybind.h>

namespace w2vbert::python {

void bind_fused_parts(pybind11::module_& module);

}  // namespace w2vbert::python
