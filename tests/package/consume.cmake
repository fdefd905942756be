# Builds and runs tests/package/consumer, another project, with the library without audio and program,
# and no CUDA toolkit to be found. FROM says how it gets the library:
#   package       configured by itself, installed with a folder of headers of another name, and the
#                 installation moved; what only its sources need cannot be found
#   subdirectory  add_subdirectory
#   fetch         FetchContent
# Rooms are compiled as one file each, which takes a third of the time, and nothing is precompiled, so
# that with a compiler cache the three compile the library once.
function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    list(JOIN ARGV " " command)
    message(FATAL_ERROR "${command}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

# No toolkit in sight: neither on PATH nor in the variables that point to one.
string(REPLACE ":" ";" path "$ENV{PATH}")
list(FILTER path EXCLUDE REGEX "cuda")
list(JOIN path ":" path)
set(ENV{PATH} "${path}")
unset(ENV{CUDA_HOME})
unset(ENV{CUDA_PATH})
unset(ENV{CUDACXX})
set(ENV{CCACHE_BASEDIR} "${SOURCE}")
set(ENV{CCACHE_NOHASHDIR} "1")

# Without optimisation: what is tested is that it builds, and that takes a third less time so.
set(settings -G "${GENERATOR}" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0
    -DW2VBERT_BUILD_AUDIO=OFF -DW2VBERT_PRECOMPILE_HEADERS=OFF -DW2VBERT_UNITY_BUILD=ON)
if(CCACHE)
  list(APPEND settings "-DCMAKE_CXX_COMPILER_LAUNCHER=${CCACHE}")
endif()
file(REMOVE_RECURSE "${WORK}/consumer" "${WORK}/prefix" "${WORK}/moved")
if(FROM STREQUAL "package")
  run("${CMAKE_COMMAND}" -S "${SOURCE}" -B "${WORK}/library" ${settings} -DW2VBERT_BUILD_TESTS=OFF
      -DW2VBERT_BUILD_EXAMPLES=OFF "-DTorch_DIR=${LIBTORCH}/share/cmake/Torch"
      "-DCMAKE_INSTALL_PREFIX=${WORK}/prefix" -DCMAKE_INSTALL_INCLUDEDIR=headers)
  run("${CMAKE_COMMAND}" --build "${WORK}/library" --parallel 2)
  run("${CMAKE_COMMAND}" --install "${WORK}/library")
  foreach(file IN ITEMS headers/w2vbert/w2vbert.h share/doc/w2vbert/LICENSE share/doc/w2vbert/NOTICE)
    if(NOT EXISTS "${WORK}/prefix/${file}")
      message(FATAL_ERROR "${file} is not installed")
    endif()
  endforeach()
  file(RENAME "${WORK}/prefix" "${WORK}/moved")
  foreach(package IN ITEMS nlohmann_json OpenSSL fmt CLI11 GTest)
    list(APPEND not_found "-DCMAKE_DISABLE_FIND_PACKAGE_${package}=ON")
  endforeach()
endif()
run("${CMAKE_COMMAND}" -S "${SOURCE}/tests/package/consumer" -B "${WORK}/consumer" ${settings}
    "-DW2VBERT_FROM=${FROM}" "-DW2VBERT_SOURCE=${SOURCE}"
    "-DCMAKE_PREFIX_PATH=${WORK}/moved\;${LIBTORCH}" ${not_found})
run("${CMAKE_COMMAND}" --build "${WORK}/consumer" --target consumer --parallel 2)
run("${WORK}/consumer/consumer")
if(NOT output MATCHES "backward .* differences .*after one step of SGD .*\nlargest difference .*\n0 wrong")
  message(FATAL_ERROR "the consumer printed: ${output}")
endif()
message(STATUS "${output}")
