#include "errors.h"

#include <c10/util/Exception.h>

#include <new>
#include <string>

#include "tool/run/failure.h"
#include "w2vbert/core/error.h"

namespace py = pybind11;

namespace w2vbert::python {
namespace {

// Owned by the module, which is never unloaded.
struct Classes {
  PyObject* error = nullptr;
  PyObject* config = nullptr;
  PyObject* checkpoint = nullptr;
  PyObject* audio = nullptr;
  PyObject* storage = nullptr;
  PyObject* usage = nullptr;
} classes;

PyObject* define(py::module_& module, const char* name, const char* docstring,
                 const py::object& bases) {
  const std::string full = "w2vbert." + std::string(name);
  PyObject* made = PyErr_NewExceptionWithDoc(full.c_str(), docstring, bases.ptr(), nullptr);
  if (made == nullptr) throw py::error_already_set();
  module.add_object(name, py::reinterpret_borrow<py::object>(made));
  return made;
}

void set(PyObject* type, const char* message) { PyErr_SetString(type, message); }

// Throws what is no std::exception.
void set_error(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const py::error_already_set&) {
    throw;
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const ConfigError& error) {
    set(classes.config, error.what());
  } catch (const CheckpointError& error) {
    set(classes.checkpoint, error.what());
  } catch (const AudioError& error) {
    set(classes.audio, error.what());
  } catch (const StorageError& error) {
    set(classes.storage, error.what());
  } catch (const UsageError& error) {
    set(classes.usage, error.what());
  } catch (const Error& error) {
    set(classes.error, error.what());
  } catch (const c10::ValueError& error) {
    set(PyExc_ValueError, tool::one_line(error).c_str());
  } catch (const c10::Error& error) {
    const bool memory = tool::is_out_of_memory(error);
    set(memory ? PyExc_MemoryError : PyExc_RuntimeError, tool::one_line(error).c_str());
  } catch (const std::bad_alloc&) {
    set(PyExc_MemoryError, "not enough memory");
  } catch (const std::exception& error) {
    set(PyExc_RuntimeError, error.what());
  }
}

}  // namespace

void bind_errors(py::module_& module) {
  const auto bases = [](PyObject* own, PyObject* other) -> py::object {
    if (other == nullptr) return py::make_tuple(py::handle(own));
    return py::make_tuple(py::handle(own), py::handle(other));
  };
  classes.error = define(module, "Error", "What is wrong with one file, key or setting.",
                         bases(PyExc_Exception, nullptr));
  classes.config = define(module, "ConfigError", "A config that is malformed or not supported.",
                          bases(classes.error, PyExc_ValueError));
  classes.checkpoint = define(module, "CheckpointError",
                              "A model that is not found, or whose files are not what they should "
                              "be.",
                              bases(classes.error, nullptr));
  classes.audio = define(module, "AudioError", "Audio that cannot be read whole and trusted.",
                         bases(classes.error, nullptr));
  classes.storage =
      define(module, "StorageError", "A file or place that cannot be read or written.",
             bases(classes.error, nullptr));
  classes.usage =
      define(module, "UsageError", "A request that does not fit the model, the machine or itself.",
             bases(classes.error, PyExc_ValueError));
  py::register_local_exception_translator([](std::exception_ptr exception) {
    if (exception) set_error(exception);
  });
}

py::object exception_of(const std::exception_ptr& exception) {
  set_error(exception);
  const py::error_already_set raised;
  return raised.value();
}

}  // namespace w2vbert::python
