// C++ exceptions as Python's.
#pragma once

#include <torch/csrc/utils/pybind.h>

#include <exception>

namespace w2vbert::python {

// Defines Error and its classes in the module, and translates what its functions throw:
// core/error.h's under their names, c10::ValueError to ValueError, memory that could not be had to
// MemoryError, all others to RuntimeError, without backtraces.
void bind_errors(pybind11::module_& module);

// The Python exception that it becomes.
pybind11::object exception_of(const std::exception_ptr& exception);

}  // namespace w2vbert::python
