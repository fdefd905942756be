// Audio -> features -> states: what w2vbert.Extractor and w2vbert.features call.
#pragma once

#include <torch/csrc/utils/pybind.h>

namespace w2vbert::python {

void bind_extraction(pybind11::module_& module);

}  // namespace w2vbert::python
