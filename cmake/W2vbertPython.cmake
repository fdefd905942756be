# Which PyTorch the Python package is built against, when pip builds it (pyproject.toml): the one of the environment
# that it is installed into. Sets Torch_DIR where nothing else names a LibTorch.
if(NOT SKBUILD OR Torch_DIR OR DEFINED ENV{Torch_DIR})
  return()
endif()
find_package(Python COMPONENTS Interpreter REQUIRED)
# pip's build isolation hides torch by PYTHONPATH, which -E ignores: the interpreter is still that of the environment,
# with what lies in it, in the system's packages or in the user's.
foreach(_isolation IN ITEMS "" -E)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" ${_isolation} -c [[
import importlib.util, pathlib
found = importlib.util.find_spec("torch")
place = pathlib.Path(found.origin).resolve().parent if found and found.origin else None
print(place.as_posix() if place and (place / "lib" / "libtorch_python.so").exists() else "")
]]
    OUTPUT_VARIABLE _torch OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  if(_torch)
    break()
  endif()
endforeach()
if(NOT _torch)
  message(FATAL_ERROR "The environment of ${Python_EXECUTABLE} has no torch to build against: install torch first, then "
    "w2vbert with pip install --no-build-isolation.")
endif()
set(Torch_DIR "${_torch}/share/cmake/Torch" CACHE PATH "LibTorch's CMake package" FORCE)
