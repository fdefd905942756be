# Configures the project without audio and program, with no CUDA toolkit to be found, installs it,
# moves the installation, and builds and runs tests/package/consumer against it.
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

file(REMOVE_RECURSE "${WORK}/consumer" "${WORK}/prefix" "${WORK}/moved")
# Without optimisation: what is tested is that it builds, and that takes a third less time so.
run("${CMAKE_COMMAND}" -S "${SOURCE}" -B "${WORK}/core" -G "${GENERATOR}" -DCMAKE_BUILD_TYPE=Debug
    -DCMAKE_CXX_FLAGS_DEBUG=-O0
    -DW2VBERT_BUILD_AUDIO=OFF -DW2VBERT_BUILD_TESTS=OFF -DW2VBERT_BUILD_EXAMPLES=OFF
    "-DTorch_DIR=${LIBTORCH}/share/cmake/Torch" "-DCMAKE_INSTALL_PREFIX=${WORK}/prefix")
run("${CMAKE_COMMAND}" --build "${WORK}/core" --parallel 2)
run("${CMAKE_COMMAND}" --install "${WORK}/core")
file(RENAME "${WORK}/prefix" "${WORK}/moved")

run("${CMAKE_COMMAND}" -S "${SOURCE}/tests/package/consumer" -B "${WORK}/consumer" -G "${GENERATOR}"
    -DCMAKE_BUILD_TYPE=Release "-DCMAKE_PREFIX_PATH=${WORK}/moved\;${LIBTORCH}")
run("${CMAKE_COMMAND}" --build "${WORK}/consumer")
run("${WORK}/consumer/consumer")
if(NOT output MATCHES "last_hidden_state \\[1, 10, 32\\]")
  message(FATAL_ERROR "the consumer printed: ${output}")
endif()
message(STATUS "${output}")
