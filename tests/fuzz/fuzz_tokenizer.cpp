// The files of a tokenizer, one after the other with a NUL byte between them, and what it decodes.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "message.h"
#include "w2vbert/config/wav2vec2_ctc_tokenizer.h"
#include "w2vbert/core/error.h"

namespace {

constexpr std::array kFiles = {"vocab.json", "tokenizer_config.json", "special_tokens_map.json",
                               "added_tokens.json", "config.json"};

// A directory of this process, in memory where there is such a place, until it ends.
class Directory {
 public:
  Directory() {
    path_ = ::access("/dev/shm", W_OK) == 0 ? "/dev/shm/" : "/tmp/";
    path_ += "fuzz_tokenizer." + std::to_string(::getpid());
    if (::mkdir(path_.c_str(), 0700) != 0) std::abort();
  }
  ~Directory() {
    for (const char* file : kFiles) ::unlink((path_ + "/" + file).c_str());
    ::rmdir(path_.c_str());
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

const std::string& directory() {
  static const Directory directory;
  return directory.path();
}

void write_files(std::string_view bytes) {
  bool is_there = true;
  for (const char* file : kFiles) {
    const std::string path = directory() + "/" + file;
    const std::size_t end = bytes.find('\0');
    if (is_there) {
      std::ofstream(path, std::ios::binary) << bytes.substr(0, end);
    } else {
      ::unlink(path.c_str());
    }
    is_there = is_there && end != std::string_view::npos;
    bytes.remove_prefix(is_there ? end + 1 : bytes.size());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  write_files({reinterpret_cast<const char*>(data), size});
  try {
    const auto tokenizer = w2vbert::Wav2Vec2CTCTokenizer::from_pretrained(directory());
    const std::int64_t blank = tokenizer.pad_token_id();
    std::vector<std::int64_t> ids;
    for (std::size_t i = 0; i < size && i < 400; ++i) {
      ids.push_back(data[i] % 3 == 0 ? blank : data[i] % 32);
    }
    const auto output = tokenizer.decode(ids);
    std::int64_t end = 0;
    std::size_t bytes = 0;
    for (const auto& span : output.char_offsets) {
      if (span.start_offset < end || span.end_offset <= span.start_offset) std::abort();
      end = span.end_offset;
      bytes += span.text.size();
    }
    if (end > static_cast<std::int64_t>(ids.size())) std::abort();
    // Lower case may be up to three times as long.
    if (output.text.size() > 3 * bytes) std::abort();
    for (const std::string& warning : tokenizer.warnings) w2vbert::check_message(warning);
    tokenizer.check_vocab_size(32);
    // A text of its own files: ascending pieces of it, in order.
    const std::string text(reinterpret_cast<const char*>(data), std::min<std::size_t>(size, 400));
    std::size_t begin = 0;
    for (const auto& token : tokenizer.encode(text)) {
      if (token.begin < begin || token.end <= token.begin || token.end > text.size()) std::abort();
      begin = token.begin;
    }
  } catch (const w2vbert::UsageError& error) {  // no UTF-8
    w2vbert::check_message(error.what());
  } catch (const w2vbert::ConfigError& error) {
    w2vbert::check_message(error.what());
  }
  return 0;
}
