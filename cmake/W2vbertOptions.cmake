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
else()
  # Hardening of the release build; FORTIFY needs optimisation and does not go with ASan.
  target_compile_options(w2vbert_options INTERFACE
    -fstack-protector-strong -fstack-clash-protection -fcf-protection
    $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=2>)
  target_link_options(w2vbert_options INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
endif()

# w2vbert_library(NAME): a static library of this project; each room under src/ adds its own
# sources to one of the libraries with target_sources().
function(w2vbert_library name)
  add_library(${name} STATIC)
  target_include_directories(${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:include>)
  # Private headers: "<room>/<file>.h".
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/src")
  target_compile_features(${name} PUBLIC cxx_std_20)
  target_link_libraries(${name} PRIVATE $<BUILD_INTERFACE:w2vbert_options>)
endfunction()

# w2vbert_precompile(TARGET): compile TARGET against the shared src/precompiled.h.
function(w2vbert_precompile name)
  if(NOT W2VBERT_PRECOMPILE_HEADERS)
    return()
  endif()
  target_compile_options(${name} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
  if(name STREQUAL "w2vbert_modules")
    target_precompile_headers(${name} PRIVATE "${PROJECT_SOURCE_DIR}/src/precompiled.h")
  else()
    get_target_property(type ${name} TYPE)
    if(type STREQUAL "EXECUTABLE")
      # The header was compiled with -fPIC, as libraries are; -fPIE would make it useless.
      set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
      target_compile_options(${name} PRIVATE -fPIC)
    endif()
    target_precompile_headers(${name} REUSE_FROM w2vbert_modules)
  endif()
endfunction()
