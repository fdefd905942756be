#include "tool/tasks/pooling.h"

#include <ATen/ATen.h>

#include "core/parse_number.h"
#include "core/text.h"
#include "w2vbert/core/error.h"
#include "w2vbert/models/output_lengths.h"

namespace w2vbert::tool {

std::string name_of(Pooling pooling) { return pooling == Pooling::mean ? "mean" : "mean+std"; }

RowPooling parse_pool(const std::string& text) {
  for (const auto pooling : {Pooling::mean, Pooling::mean_std}) {
    if (text == name_of(pooling)) return {.of_clip = pooling};
  }
  const auto frames = parse_number<std::int64_t>(text);
  if (!frames || *frames < 1 || *frames > RowPooling::kMaxFrames ||
      std::to_string(*frames) != text) {
    throw UsageError(
        "", "pool", in_quotes(text) + " is unknown",
        "frames from 1 to " + std::to_string(RowPooling::kMaxFrames) + ", mean or mean+std",
        "pool");
  }
  return {.frames = *frames};
}

at::Tensor counted_rows(const Wav2Vec2BertConfig& config, const at::Tensor& mask, std::int64_t rows,
                        bool of_encoder) {
  if (!mask.defined()) return {};
  if (of_encoder) return mask.to(at::kBool);
  return get_feature_vector_attention_mask(config, rows, mask.unsqueeze(0))[0];  // (1, T) -> (T')
}

at::Tensor pooled_vector(const at::Tensor& rows, const at::Tensor& counted, Pooling pooling) {
  const at::Tensor kept = counted.defined() ? rows.index({counted.to(rows.device())}) : rows;
  at::Tensor mean = kept.mean(0);
  if (pooling == Pooling::mean) return mean;
  TORCH_CHECK_VALUE(kept.size(0) > 1, "has ", kept.size(0),
                    " frames, expected 2 at least for a deviation");
  return at::cat({mean, kept.std(0)});
}

at::Tensor pooled_rows(const at::Tensor& rows, const at::Tensor& counted,
                       const RowPooling& pooling) {
  if (pooling.of_clip) return pooled_vector(rows, counted, *pooling.of_clip).unsqueeze(0);
  const std::int64_t frames = pooling.frames;
  if (frames == 1) return rows;
  if (rows.size(0) < frames) {
    throw UsageError("", "pool", std::to_string(frames) + " frames make one row",
                     "at most the clip's " + std::to_string(rows.size(0)), "pool");
  }
  return at::avg_pool1d(rows.t().unsqueeze(0), {frames}, {frames})[0].t();
}

at::Tensor pooled_mask(const at::Tensor& mask, const RowPooling& pooling) {
  if (pooling.of_clip) return at::ones({1}, mask.options());
  if (pooling.frames == 1) return mask;
  const std::int64_t rows = mask.size(0) / pooling.frames;
  return mask.slice(0, 0, rows * pooling.frames).reshape({rows, pooling.frames}).amin(1);
}

}  // namespace w2vbert::tool
