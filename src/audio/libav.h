// FFmpeg's functions that are used. Its libraries are loaded when the first file needs them: they
// bring a hundred others along, a tenth of the time in which the program starts.
#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/channel_layout.h>
#include <libavutil/error.h>
#include <libavutil/log.h>
#include <libavutil/macros.h>
#include <libswresample/swresample.h>
}

#include "audio/shared_library.h"

namespace w2vbert {

struct Libav {
  static constexpr const char* kExpected =
      "FFmpeg's shared libraries of the version that w2vbert was compiled with";
  // By the names of the versions whose headers are included.
  SharedLibrary util{"libavutil.so." AV_STRINGIFY(LIBAVUTIL_VERSION_MAJOR), kExpected};
  SharedLibrary resample{"libswresample.so." AV_STRINGIFY(LIBSWRESAMPLE_VERSION_MAJOR), kExpected};
  SharedLibrary codec{"libavcodec.so." AV_STRINGIFY(LIBAVCODEC_VERSION_MAJOR), kExpected};
  SharedLibrary format{"libavformat.so." AV_STRINGIFY(LIBAVFORMAT_VERSION_MAJOR), kExpected};

// NOLINTBEGIN(bugprone-macro-parentheses): a member and its name
#define W2VBERT_FUNCTION(library, name) \
  decltype(&::name) name = library.find<decltype(&::name)>(#name)
  // NOLINTEND(bugprone-macro-parentheses)
  W2VBERT_FUNCTION(util, av_frame_alloc);
  W2VBERT_FUNCTION(util, av_frame_free);
  W2VBERT_FUNCTION(util, av_freep);
  W2VBERT_FUNCTION(util, av_log_set_level);
  W2VBERT_FUNCTION(util, av_malloc);
  W2VBERT_FUNCTION(util, av_strdup);
  W2VBERT_FUNCTION(util, av_strerror);
  W2VBERT_FUNCTION(util, av_version_info);
  W2VBERT_FUNCTION(resample, swr_alloc_set_opts2);
  W2VBERT_FUNCTION(resample, swr_convert);
  W2VBERT_FUNCTION(resample, swr_free);
  W2VBERT_FUNCTION(resample, swr_init);
  W2VBERT_FUNCTION(codec, av_packet_alloc);
  W2VBERT_FUNCTION(codec, av_packet_free);
  W2VBERT_FUNCTION(codec, av_packet_unref);
  W2VBERT_FUNCTION(codec, avcodec_alloc_context3);
  W2VBERT_FUNCTION(codec, avcodec_find_decoder);
  W2VBERT_FUNCTION(codec, avcodec_free_context);
  W2VBERT_FUNCTION(codec, avcodec_get_name);
  W2VBERT_FUNCTION(codec, avcodec_open2);
  W2VBERT_FUNCTION(codec, avcodec_parameters_to_context);
  W2VBERT_FUNCTION(codec, avcodec_receive_frame);
  W2VBERT_FUNCTION(codec, avcodec_send_packet);
  W2VBERT_FUNCTION(format, av_find_best_stream);
  W2VBERT_FUNCTION(format, av_read_frame);
  W2VBERT_FUNCTION(format, avformat_alloc_context);
  W2VBERT_FUNCTION(format, avformat_close_input);
  W2VBERT_FUNCTION(format, avformat_find_stream_info);
  W2VBERT_FUNCTION(format, avformat_open_input);
  W2VBERT_FUNCTION(format, avio_alloc_context);
  W2VBERT_FUNCTION(format, avio_context_free);
#undef W2VBERT_FUNCTION
};

// Loads them at the first call, and tries again where it failed. Throws AudioError.
const Libav& libav();

}  // namespace w2vbert
