#include "tool/store/outputs.h"

#include "core/text.h"
#include "tool/store/clip_files.h"
#include "tool/store/output_scan.h"
#include "tool/store/output_shards.h"

namespace w2vbert::tool {

constexpr std::size_t kMaxNoteBytes = 1000;

void add_clip_metadata(SafetensorsMetadata& metadata, const ClipReport& report,
                       const std::string& frame_rate_hz) {
  metadata.emplace_back("frames", std::to_string(report.frames));
  metadata.emplace_back("frame_rate_hz", frame_rate_hz);
  metadata.emplace_back("samples", std::to_string(report.samples));
  metadata.emplace_back("sample_rate_hz", std::to_string(report.sample_rate_hz));
  metadata.emplace_back("source_sample_rate_hz", std::to_string(report.source_sample_rate_hz));
  metadata.emplace_back("source_channels", std::to_string(report.source_channels));
  if (!report.note.empty()) metadata.emplace_back("note", quote_bytes(report.note, kMaxNoteBytes));
}

void add_input_metadata(SafetensorsMetadata& metadata, const InputIdentity& input) {
  if (input.is_known()) metadata.emplace_back(kInputDigestKey, input.digest);
  if (const auto& part = input.part) {
    metadata.emplace_back(kPartBeginKey, std::to_string(part->begin));
    metadata.emplace_back(kPartEndKey, std::to_string(part->end));
    metadata.emplace_back(kPartTotalKey, std::to_string(part->total));
  }
}

std::unique_ptr<Outputs> make_outputs(const InputList& inputs, const OutputContent& content,
                                      RunDirectory& directory) {
  if (directory.shard_size() > 0) return std::make_unique<OutputShards>(inputs, content, directory);
  return std::make_unique<ClipFiles>(inputs, content, directory);
}

}  // namespace w2vbert::tool
