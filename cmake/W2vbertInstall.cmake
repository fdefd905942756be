# Installs the libraries, the public headers, the program and a relocatable CMake package: another
# project writes find_package(w2vbert) and links w2vbert::w2vbert.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/w2vbert")
set(_libraries w2vbert w2vbert_modules w2vbert_parsers)
if(W2VBERT_BUILD_AUDIO)
  list(APPEND _libraries w2vbert_audio)
endif()
if(W2VBERT_BUILD_CLI)
  # The program looks for LibTorch where it was built against it.
  set_target_properties(w2vbert_cli PROPERTIES INSTALL_RPATH "${W2VBERT_LIBTORCH_ROOT}/lib")
  install(TARGETS w2vbert_cli RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()
foreach(_library IN LISTS _libraries)
  string(REGEX REPLACE "^w2vbert_" "" _export_name ${_library})
  set_target_properties(${_library} PROPERTIES EXPORT_NAME ${_export_name})
endforeach()

install(TARGETS ${_libraries} EXPORT w2vbertTargets ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(EXPORT w2vbertTargets NAMESPACE w2vbert:: DESTINATION "${_package_dir}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/w2vbert" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/w2vbertConfig.cmake.in" "${PROJECT_BINARY_DIR}/w2vbertConfig.cmake"
  INSTALL_DESTINATION "${_package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/w2vbertConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES
  "${PROJECT_BINARY_DIR}/w2vbertConfig.cmake"
  "${PROJECT_BINARY_DIR}/w2vbertConfigVersion.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/W2vbertLibTorch.cmake"
  DESTINATION "${_package_dir}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" "${PROJECT_SOURCE_DIR}/NOTICE"
  DESTINATION "${CMAKE_INSTALL_DOCDIR}")
