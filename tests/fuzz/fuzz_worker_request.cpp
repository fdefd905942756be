// A request of `w2vbert worker`; where the first byte is '=', what stands behind it is base64.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "audio/audio_limits.h"
#include "message.h"
#include "tool/corpus/base64.h"
#include "tool/corpus/worker_request.h"

namespace {

using namespace w2vbert::tool;

void read_base64(std::string_view text) {
  const auto bytes = base64_bytes(text);
  if (!bytes) return;
  const std::string again = base64_text(std::as_bytes(std::span(*bytes)));
  // The bits that padding leaves over may be any.
  if (again.size() != text.size() || base64_bytes(again) != bytes) std::abort();
}

bool is_time(double seconds) { return std::isfinite(seconds) && seconds >= 0; }

void read_request(std::string_view line) try {
  const WorkerRequest request = parse_worker_request(line);
  if (request.path.empty() == !request.samples) std::abort();
  for (const std::string& name : {request.path, request.output}) {
    if (name.find('\0') != std::string::npos) std::abort();
  }
  if (request.segment &&
      !(is_time(request.segment->offset_seconds) && is_time(request.segment->duration_seconds))) {
    std::abort();
  }
  if (!request.samples) return;
  if (request.samples->samples.empty() || request.segment || request.channel) std::abort();
  if (w2vbert::find_bad_sample(request.samples->samples)) std::abort();
} catch (const RequestError& error) {
  w2vbert::check_message(error.what());
  if (error.kind().empty()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.starts_with('=')) {
    read_base64(text.substr(1));
  } else {
    read_request(text);
  }
  return 0;
}
