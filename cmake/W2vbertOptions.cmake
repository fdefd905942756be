# w2vbert_options: what every target of this project is compiled with. Nothing here reaches a
# project that links the libraries.
add_library(w2vbert_options INTERFACE)
target_compile_features(w2vbert_options INTERFACE cxx_std_20)
target_compile_options(w2vbert_options INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Wnon-virtual-dtor
  $<$<BOOL:${W2VBERT_WARNINGS_AS_ERRORS}>:-Werror>
  # GCC 12 warns of these inside std::variant and std::string operator+ for no reason.
  "$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized;-Wno-restrict>"
  # What the precompiled header holds may be absent from a file: -Winvalid-pch tells when it is unused.
  $<$<BOOL:${W2VBERT_PRECOMPILE_HEADERS}>:-Winvalid-pch>)
target_compile_definitions(w2vbert_options INTERFACE _GLIBCXX_ASSERTIONS)
if(W2VBERT_SANITIZE)
  target_compile_options(w2vbert_options INTERFACE
    -fsanitize=${W2VBERT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(w2vbert_options INTERFACE -fsanitize=${W2VBERT_SANITIZE})
  if(W2VBERT_SANITIZE MATCHES "thread")  # LibTorch's headers have fences, which ThreadSanitizer does not see
    target_compile_options(w2vbert_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-tsan>)
  endif()
else()
  # Hardening of the release build; FORTIFY needs optimisation and does not go with ASan.
  target_compile_options(w2vbert_options INTERFACE
    -fstack-protector-strong -fstack-clash-protection -fcf-protection
    $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=2>)
  target_link_options(w2vbert_options INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
endif()

# The targets that are made of rooms.
set(W2VBERT_ROOMS
  w2vbert_parsers w2vbert_modules w2vbert_audio w2vbert_parity w2vbert_tool w2vbert_cli)

# CMAKE_INSTALL_INCLUDEDIR. A project that adds this folder gets none of these variables.
if(W2VBERT_INSTALL)
  include(GNUInstallDirs)
endif()

# w2vbert_library(NAME): a static library of this project; each room under src/ adds its own
# sources to one of the libraries with target_sources().
function(w2vbert_library name)
  add_library(${name} STATIC)
  target_include_directories(${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  # Private headers: "<room>/<file>.h".
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/src")
  target_compile_features(${name} PUBLIC cxx_std_20)
  target_link_libraries(${name} PRIVATE $<BUILD_INTERFACE:w2vbert_options>)
endfunction()

# w2vbert_precompile(TARGET): compile TARGET against the shared src/precompiled.h. With W2VBERT_UNITY_BUILD
# that is only what is not compiled by rooms, the tests and examples: a room reads the headers once, and
# need not wait until they are precompiled.
function(w2vbert_precompile name)
  set(owner w2vbert_modules)
  if(W2VBERT_UNITY_BUILD)
    set(owner w2vbert_precompiled)
  endif()
  if(NOT W2VBERT_PRECOMPILE_HEADERS OR (W2VBERT_UNITY_BUILD AND name IN_LIST W2VBERT_ROOMS))
    return()
  endif()
  target_compile_options(${name} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
  if(name STREQUAL owner)
    target_precompile_headers(${name} PRIVATE "${PROJECT_SOURCE_DIR}/src/precompiled.h")
  else()
    get_target_property(type ${name} TYPE)
    if(type STREQUAL "EXECUTABLE")
      # The header was compiled with -fPIC, as libraries are; -fPIE would make it useless.
      set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
      target_compile_options(${name} PRIVATE -fPIC)
    endif()
    target_precompile_headers(${name} REUSE_FROM ${owner})
  endif()
endfunction()

# w2vbert_unity(TARGET): with W2VBERT_UNITY_BUILD, compile each room of TARGET as one file: what its files
# all include is read once a room, not once a file. Torch-free files stay together. Files with compile
# options of their own are compiled alone, and so are the configs, each with a table of the same name.
function(w2vbert_unity name)
  if(NOT W2VBERT_UNITY_BUILD)
    return()
  endif()
  set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  # Made for headers: every source of a room but the first looks like one.
  target_compile_options(${name} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
  get_target_property(sources ${name} SOURCES)
  get_target_property(folder ${name} SOURCE_DIR)
  foreach(source IN LISTS sources)
    if(source MATCHES "TARGET_OBJECTS|/config/")
      continue()
    endif()
    cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY "${folder}" OUTPUT_VARIABLE path)
    cmake_path(GET path PARENT_PATH room)
    cmake_path(GET room FILENAME room)
    get_source_file_property(torch_free "${path}" TARGET_DIRECTORY ${name} SKIP_PRECOMPILE_HEADERS)
    if(torch_free)
      string(APPEND room _torch_free)
    endif()
    set_source_files_properties("${path}" TARGET_DIRECTORY ${name} PROPERTIES UNITY_GROUP ${room})
  endforeach()
endfunction()
