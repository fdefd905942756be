# Finds LibTorch without its own CMake package. That package, in a CUDA build of PyTorch, stops the
# configuration where no CUDA toolkit is installed, although nothing of the toolkit is needed to
# compile and link against the finished libraries. This file is installed beside the CMake package
# of w2vbert and serves projects that use it as well.
#
# Looks in: Torch_DIR (<root>/share/cmake/Torch), the entries of CMAKE_PREFIX_PATH, the variable or the
# environment's (the root itself, or a folder that holds torch/), and the PyTorch of the active Python
# virtual environment.
# Defines:
#   w2vbert::libtorch_cpu  headers, libtorch_cpu and libc10: enough to compile and to run on the CPU
#   w2vbert::libtorch      the same, and the CUDA backend when this LibTorch has one
#   W2VBERT_LIBTORCH_ROOT, W2VBERT_LIBTORCH_VERSION, W2VBERT_LIBTORCH_CUDA (TRUE or FALSE)
if(TARGET w2vbert::libtorch)
  return()
endif()

set(_roots "")
if(Torch_DIR)
  get_filename_component(_root "${Torch_DIR}/../../.." ABSOLUTE)
  list(APPEND _roots "${_root}")
endif()
set(_prefixes ${CMAKE_PREFIX_PATH})
string(REPLACE ":" ";" _environment_prefixes "$ENV{CMAKE_PREFIX_PATH}")
list(APPEND _prefixes ${_environment_prefixes})
foreach(_prefix IN LISTS _prefixes)
  list(APPEND _roots "${_prefix}" "${_prefix}/torch")
  get_filename_component(_root "${_prefix}/../.." ABSOLUTE)  # .../torch/share/cmake
  list(APPEND _roots "${_root}")
endforeach()
if(DEFINED ENV{VIRTUAL_ENV})
  file(GLOB _venv_torch "$ENV{VIRTUAL_ENV}/lib/python3*/site-packages/torch")
  list(APPEND _roots ${_venv_torch})
endif()
list(APPEND _roots /usr/local/libtorch /opt/libtorch)

set(W2VBERT_LIBTORCH_ROOT "W2VBERT_LIBTORCH_ROOT-NOTFOUND")
foreach(_root IN LISTS _roots)
  if(EXISTS "${_root}/include/torch/csrc/api/include/torch/torch.h"
     AND EXISTS "${_root}/lib/libtorch_cpu.so")
    set(W2VBERT_LIBTORCH_ROOT "${_root}")
    break()
  endif()
endforeach()
if(NOT W2VBERT_LIBTORCH_ROOT)
  list(JOIN _roots "\n  " _tried)
  message(FATAL_ERROR
    "LibTorch was not found. Set Torch_DIR to <libtorch>/share/cmake/Torch or put <libtorch> into "
    "CMAKE_PREFIX_PATH, where <libtorch> is an unpacked LibTorch (shared libraries) or what\n"
    "  python3 -c 'import torch; print(torch.__path__[0])'\nprints. Tried:\n  ${_tried}")
endif()

# LibTorch brings strings and locales of the shared libstdc++; a second, static copy of it in a program
# does not link, or frees what the other one allocated.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  execute_process(COMMAND "${CMAKE_CXX_COMPILER}" -print-file-name=libstdc++.so
    OUTPUT_VARIABLE _libstdcxx OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(_libstdcxx STREQUAL "libstdc++.so")  # what GCC prints when it finds no such file
    message(FATAL_ERROR
      "${CMAKE_CXX_COMPILER} has no shared libstdc++, which LibTorch needs. Name another compiler in "
      "CXX, such as CXX=/usr/bin/g++.")
  endif()
endif()

# TORCH_VERSION is put together from three macros there.
set(_version_header "${W2VBERT_LIBTORCH_ROOT}/include/torch/headeronly/version.h")
if(NOT EXISTS "${_version_header}")
  set(_version_header "${W2VBERT_LIBTORCH_ROOT}/include/torch/csrc/api/include/torch/version.h")
endif()
set(W2VBERT_LIBTORCH_VERSION "")
foreach(_part IN ITEMS MAJOR MINOR PATCH)
  file(STRINGS "${_version_header}" _line REGEX "#define TORCH_VERSION_${_part} ")
  string(REGEX MATCH "[0-9]+$" _number "${_line}")
  list(APPEND W2VBERT_LIBTORCH_VERSION "${_number}")
endforeach()
list(JOIN W2VBERT_LIBTORCH_VERSION "." W2VBERT_LIBTORCH_VERSION)

# Whether std::string has the C++11 layout is a property of the build; its CMake package records it.
set(_abi 1)
file(STRINGS "${W2VBERT_LIBTORCH_ROOT}/share/cmake/Torch/TorchConfig.cmake" _abi_line
     REGEX "_GLIBCXX_USE_CXX11_ABI=[01]")
if(_abi_line MATCHES "_GLIBCXX_USE_CXX11_ABI=([01])")
  set(_abi "${CMAKE_MATCH_1}")
endif()

foreach(_library IN ITEMS c10 c10_cuda torch_cpu torch_cuda)
  if(EXISTS "${W2VBERT_LIBTORCH_ROOT}/lib/lib${_library}.so")
    add_library(w2vbert::${_library} SHARED IMPORTED)
    set_target_properties(w2vbert::${_library} PROPERTIES
      IMPORTED_LOCATION "${W2VBERT_LIBTORCH_ROOT}/lib/lib${_library}.so")
  endif()
endforeach()

add_library(w2vbert::libtorch_cpu INTERFACE IMPORTED)
target_include_directories(w2vbert::libtorch_cpu SYSTEM INTERFACE
  "${W2VBERT_LIBTORCH_ROOT}/include"
  "${W2VBERT_LIBTORCH_ROOT}/include/torch/csrc/api/include")
target_compile_definitions(w2vbert::libtorch_cpu INTERFACE _GLIBCXX_USE_CXX11_ABI=${_abi})
target_link_libraries(w2vbert::libtorch_cpu INTERFACE w2vbert::torch_cpu w2vbert::c10)
# The CUDA libraries that libtorch_cpu itself needs lie in other folders of the wheel; it knows
# where, the linker need not look.
target_link_options(w2vbert::libtorch_cpu INTERFACE -Wl,--allow-shlib-undefined)

add_library(w2vbert::libtorch INTERFACE IMPORTED)
target_link_libraries(w2vbert::libtorch INTERFACE w2vbert::libtorch_cpu)
set(W2VBERT_LIBTORCH_CUDA FALSE)
if(TARGET w2vbert::torch_cuda)
  set(W2VBERT_LIBTORCH_CUDA TRUE)
  # The backend registers itself when it is loaded; no symbol of it is named here, so keep it.
  target_link_libraries(w2vbert::libtorch INTERFACE
    "-Wl,--push-state,--no-as-needed,${W2VBERT_LIBTORCH_ROOT}/lib/libtorch_cuda.so,--pop-state")
endif()
