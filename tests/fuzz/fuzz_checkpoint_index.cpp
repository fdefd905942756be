#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "checkpoint/checkpoint_index.h"
#include "message.h"
#include "w2vbert/core/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto index = w2vbert::parse_checkpoint_index(text, "dir/model.safetensors.index.json");
    if (index.weight_map.empty()) std::abort();
    for (const auto& [tensor, file] : index.weight_map) {
      if (file.empty() || file == "." || file == ".." || file == "model.safetensors.index.json") {
        std::abort();
      }
      for (const char c : file) {
        if (c == '/' || c == '\\' || c == '\0' || c == '\n') std::abort();
      }
    }
  } catch (const w2vbert::CheckpointError& error) {
    w2vbert::check_message(error.what());
  }
  return 0;
}
