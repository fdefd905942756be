#include "core/gzip.h"

#include <zlib.h>

#include <cstddef>
#include <new>
#include <utility>

namespace w2vbert {

GzipReader::GzipReader(std::string_view bytes, std::function<std::string_view()> more)
    : more_(std::move(more)), stream_(std::make_unique<z_stream_s>()), block_(1 << 16) {
  constexpr int kGzipAlone = 16 + MAX_WBITS;
  if (::inflateInit2(stream_.get(), kGzipAlone) != Z_OK) throw std::bad_alloc();
  take(bytes);
}

GzipReader::~GzipReader() { ::inflateEnd(stream_.get()); }

void GzipReader::take(std::string_view bytes) {
  stream_->next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream_->avail_in = static_cast<uInt>(bytes.size());
}

std::string_view GzipReader::next() {
  stream_->next_out = reinterpret_cast<Bytef*>(block_.data());
  stream_->avail_out = static_cast<uInt>(block_.size());
  while (!is_at_end_ && stream_->avail_out > 0) {
    // Zeros pad the end, as on tapes.
    while (is_between_members_ && stream_->avail_in > 0 && *stream_->next_in == 0) {
      ++stream_->next_in;
      --stream_->avail_in;
    }
    if (stream_->avail_in == 0 && !holds_more_) {
      const std::string_view bytes = more_();
      is_at_end_ = bytes.empty();
      if (is_at_end_ && !is_between_members_) problem_ = "is truncated: its gzip data do not end";
      take(bytes);
      continue;
    }
    const int state = ::inflate(stream_.get(), Z_NO_FLUSH);
    holds_more_ = stream_->avail_out == 0;
    is_between_members_ = state == Z_STREAM_END;
    if (is_between_members_) {
      ::inflateReset(stream_.get());
      holds_more_ = false;
    } else if (state == Z_MEM_ERROR) {
      throw std::bad_alloc();
    } else if (state != Z_OK && state != Z_BUF_ERROR) {
      problem_ = "is damaged: its gzip data end in an error";
      is_at_end_ = true;
      return {};  // the checksum of what is in the block is wrong, perhaps
    }
  }
  return {block_.data(), block_.size() - stream_->avail_out};
}

}  // namespace w2vbert
