# Which PyTorch the Python package is built against, when pip builds it (pyproject.toml): the one of the environment
# that it is installed into. Sets Torch_DIR where nothing else names a LibTorch.
if(NOT SKBUILD OR Torch_DIR OR DEFINED ENV{Torch_DIR})
  return()
endif()
find_package(Python COMPONENTS Interpreter REQUIRED)
# With build isolation torch cannot be imported, but the environment of the interpreter is still the one that has it.
execute_process(
  COMMAND "${Python_EXECUTABLE}" -c [[
import importlib.util, pathlib, sysconfig
found = importlib.util.find_spec("torch")
places = [pathlib.Path(found.origin).parent] if found and found.origin else []
places += [pathlib.Path(sysconfig.get_path(name)) / "torch" for name in ("platlib", "purelib")]
print(next((place.resolve().as_posix() for place in places if (place / "lib" / "libtorch_python.so").exists()), ""))
]]
  OUTPUT_VARIABLE _torch OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
if(NOT _torch)
  message(FATAL_ERROR "The environment of ${Python_EXECUTABLE} has no torch to build against: install torch first, then "
    "w2vbert with pip install --no-build-isolation.")
endif()
set(Torch_DIR "${_torch}/share/cmake/Torch" CACHE PATH "LibTorch's CMake package" FORCE)
