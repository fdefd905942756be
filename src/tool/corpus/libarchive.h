// libarchive's functions that are used. The library is loaded when the first tar needs it: it
// brings a dozen others along.
#pragma once

#include <archive.h>
#include <archive_entry.h>

#include "audio/shared_library.h"

namespace w2vbert::tool {

struct Libarchive {
  SharedLibrary library{
      W2VBERT_LIBARCHIVE_LIBRARY,
      "libarchive's shared library of the version that w2vbert was compiled with"};

// NOLINTBEGIN(bugprone-macro-parentheses): a member and its name
#define W2VBERT_FUNCTION(name) decltype(&::name) name = library.find<decltype(&::name)>(#name)
  // NOLINTEND(bugprone-macro-parentheses)
  W2VBERT_FUNCTION(archive_entry_filetype);
  W2VBERT_FUNCTION(archive_entry_hardlink);
  W2VBERT_FUNCTION(archive_entry_pathname);
  W2VBERT_FUNCTION(archive_entry_size);
  W2VBERT_FUNCTION(archive_entry_size_is_set);
  W2VBERT_FUNCTION(archive_entry_sparse_count);
  W2VBERT_FUNCTION(archive_error_string);
  W2VBERT_FUNCTION(archive_filter_bytes);
  W2VBERT_FUNCTION(archive_filter_code);
  W2VBERT_FUNCTION(archive_read_data);
  W2VBERT_FUNCTION(archive_read_data_skip);
  W2VBERT_FUNCTION(archive_read_free);
  W2VBERT_FUNCTION(archive_read_new);
  W2VBERT_FUNCTION(archive_read_next_header);
  W2VBERT_FUNCTION(archive_read_open1);
  W2VBERT_FUNCTION(archive_read_set_callback_data);
  W2VBERT_FUNCTION(archive_read_set_options);
  W2VBERT_FUNCTION(archive_read_set_read_callback);
  W2VBERT_FUNCTION(archive_read_set_skip_callback);
  W2VBERT_FUNCTION(archive_read_support_filter_bzip2);
  W2VBERT_FUNCTION(archive_read_support_filter_xz);
  W2VBERT_FUNCTION(archive_read_support_filter_zstd);
  W2VBERT_FUNCTION(archive_read_support_format_tar);
  W2VBERT_FUNCTION(archive_set_error);
  W2VBERT_FUNCTION(archive_version_details);
#undef W2VBERT_FUNCTION
};

// Loads it at the first call, and tries again where it failed. Throws AudioError.
const Libarchive& libarchive();

}  // namespace w2vbert::tool
