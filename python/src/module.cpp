// The extension module of the Python package: w2vbert/_w2vbert. Only python/w2vbert/ uses it.
#include <torch/csrc/utils/pybind.h>

#include "errors.h"
#include "extraction.h"
#include "fused_parts.h"
#include "w2vbert/version.h"

PYBIND11_MODULE(_w2vbert, module) {
  module.doc() = "What the package w2vbert takes from the C++ library.";
  module.attr("version") = w2vbert::version();
  w2vbert::python::bind_errors(module);
  w2vbert::python::bind_fused_parts(module);
  w2vbert::python::bind_extraction(module);
}
