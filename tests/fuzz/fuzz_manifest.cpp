// A manifest: its first byte says of which format.
#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "memory_file.h"
#include "message.h"
#include "tool/corpus/manifest.h"
#include "w2vbert/core/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace w2vbert::tool;
  if (size == 0) return 0;
  constexpr ManifestFormat kFormats[] = {ManifestFormat::list, ManifestFormat::tsv,
                                         ManifestFormat::jsonl, ManifestFormat::scp};
  const w2vbert::MemoryFile file(data + 1, size - 1);
  InputList inputs("/data");
  try {
    read_manifest(file.path(), kFormats[data[0] % std::size(kFormats)], inputs);
    for (const BadRow& row : inputs.bad_rows()) {
      if (row.place.empty() || row.problem.empty()) std::abort();
    }
    inputs.finish();
  } catch (const w2vbert::UsageError& error) {
    w2vbert::check_message(error.what());
    return 0;
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::string name = inputs.name(i);
    if (inputs.path(i).find('\0') != std::string::npos) std::abort();
    // No output leaves its directory.
    if (name.empty() || name.starts_with('/') ||
        ("/" + name + "/").find("/../") != std::string::npos) {
      std::abort();
    }
    const auto segment = inputs.segment(i);
    if (!segment) continue;
    if (!(std::isfinite(segment->offset_seconds) && segment->offset_seconds >= 0)) std::abort();
    if (!(std::isfinite(segment->duration_seconds) && segment->duration_seconds >= 0)) std::abort();
  }
  return 0;
}
