# Use ccache when it is there. The sloppiness settings are the ones ccache asks for with
# precompiled headers; the base directory lets one clone use what another has compiled.
find_program(W2VBERT_CCACHE ccache DOC "ccache, or empty to compile without a cache")
if(W2VBERT_CCACHE AND PROJECT_IS_TOP_LEVEL AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER
      "${CMAKE_COMMAND}" -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" CCACHE_NOHASHDIR=1
      "${W2VBERT_CCACHE}")
endif()
