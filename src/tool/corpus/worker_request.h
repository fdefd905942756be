// What `w2vbert worker` is asked for: a JSON object a line (docs/worker.md). Torch-free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "tool/corpus/input_list.h"
#include "w2vbert/audio/waveform.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {

// What a caller names a request by; nothing where it does not.
using RequestId = std::variant<std::monostate, std::string, std::uint64_t, std::int64_t>;

struct WorkerRequest {
  enum class Want { states, features, text };

  RequestId id = {};
  std::string path = {};  // of the audio file; "" for samples
  std::optional<InputSegment> segment = {};
  std::optional<int> channel = {};       // of the file, from 1
  std::optional<Waveform> samples = {};  // in the place of a file
  Want want = Want::states;
  std::string states =
      {};  // "17,24", "all" or "mean:12-18", as extract's --states; "": last_hidden_state
  std::string output = {};  // the file to write, or "": into the answer
};

// A request that cannot be understood. `kind` is "json" for what is not one JSON object, else
// "request".
class RequestError : public Error {
 public:
  RequestError(RequestId id, std::string kind, std::string_view key, std::string_view problem,
               std::string_view expected)
      : Error("", key, problem, expected), id_(std::move(id)), kind_(std::move(kind)) {}

  const RequestId& id() const noexcept { return id_; }
  const std::string& kind() const noexcept { return kind_; }

 private:
  RequestId id_;
  std::string kind_;
};

inline constexpr std::size_t kMaxRequestIdBytes = 256;

// Reads one line. Strict: an unknown key, one that is there twice, another type and keys that do
// not go together are errors. A path may be as records write names (core/escaped_name.h) and as
// Python does (kPythonNames). Samples are finite, at most 2^15 in magnitude, and of a sample rate
// that a file may have. Throws RequestError.
WorkerRequest parse_worker_request(std::string_view line);

}  // namespace w2vbert::tool
