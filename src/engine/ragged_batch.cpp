#include "engine/ragged_batch.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "engine/row_blocks.h"

namespace w2vbert {

void RaggedBatch::add(std::int64_t frames, const at::Tensor& attention_mask) {
  RaggedClip clip;
  clip.begin = rows_;
  clip.frames = frames;
  clip.first_panel = key_panels_;
  if (attention_mask.defined()) {
    const at::Tensor valid = attention_mask.to(at::kCPU, at::kBool).contiguous();
    const bool* values = valid.const_data_ptr<bool>();
    if (!std::all_of(values, values + frames, [](bool value) { return value; })) {
      clip.has_valid_frames = std::find(values, values + frames, true) != values + frames;
      clip.key_bias.resize(static_cast<std::size_t>(frames));
      std::transform(values, values + frames, clip.key_bias.begin(), [](bool value) {
        return value ? 0.0f : std::numeric_limits<float>::lowest();
      });
    }
  }
  rows_ += frames;
  key_panels_ += round_up(frames, kKeyPanel) / kKeyPanel;
  clips_.push_back(std::move(clip));
}

std::vector<RaggedBlock> RaggedBatch::blocks(std::int64_t size) const {
  std::vector<RaggedBlock> blocks;
  for (const RaggedClip& clip : clips_) {
    for (std::int64_t first = 0; first < clip.frames; first += size) {
      blocks.push_back({&clip, first, std::min(size, clip.frames - first)});
    }
  }
  return blocks;
}

void RaggedBatch::for_each_padded_row(const std::function<void(std::int64_t)>& visit) const {
  for (const RaggedClip& clip : clips_) {
    for (std::size_t frame = 0; frame < clip.key_bias.size(); ++frame) {
      if (clip.key_bias[frame] != 0.0f) visit(clip.begin + static_cast<std::int64_t>(frame));
    }
  }
}

}  // namespace w2vbert
