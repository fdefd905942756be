# Decides whether the CUDA kernels are built (src/engine/device/cuda/), and gets the language ready for them. It is
# included by the project's own CMakeLists.txt: a language has to be known to all that link what is written in it.
# Without nvcc nothing here has an effect, and the library is the same but for the kernels.
find_program(W2VBERT_NVCC nvcc HINTS ENV CUDACXX ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin
  DOC "CUDA's compiler, for W2VBERT_BUILD_CUDA and the test of the kernels' registers")

# OFF, for no GPU has run the kernels yet. The test cuda.KernelsFitTheirRegisters compiles them wherever nvcc is found.
option(W2VBERT_BUILD_CUDA "Build libw2vbert_cuda, the device engine's own kernels (needs nvcc 12 or newer)" OFF)
set(_architectures 90)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  set(_architectures 80 90 100 103 120)
endif()
set(W2VBERT_CUDA_ARCHITECTURES "${_architectures}" CACHE STRING
  "Architectures that the CUDA kernels are compiled for: 80 is an A100, 90 an H100 or H200, 100 a B200")

if(W2VBERT_BUILD_CUDA)
  if(NOT W2VBERT_NVCC)
    message(FATAL_ERROR "W2VBERT_BUILD_CUDA is ON, and nvcc was not found. Set W2VBERT_NVCC to it, such as "
      "-DW2VBERT_NVCC=/usr/local/cuda/bin/nvcc.")
  endif()
  # CMake 3.25 tries the compiler with architectures that CUDA 13 does not have, unless it is told others.
  set(CMAKE_CUDA_COMPILER "${W2VBERT_NVCC}")
  set(CMAKE_CUDA_ARCHITECTURES "${W2VBERT_CUDA_ARCHITECTURES}")
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
  enable_language(CUDA)
endif()
