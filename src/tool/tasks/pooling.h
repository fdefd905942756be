// Rows of states -> fewer rows, or one vector of a clip.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert::tool {

// How states become one vector: over the frames that the mask counts.
enum class Pooling {
  mean,      // (T, C) -> (C)
  mean_std,  // -> (2C): and the deviation behind it, torch.std's
};
std::string name_of(Pooling pooling);  // "mean", "mean+std"

// What becomes of a clip's rows: the mean of each `frames` of them, or one row of all.
struct RowPooling {
  static constexpr std::int64_t kMaxFrames = 1000;

  std::int64_t frames = 1;
  std::optional<Pooling> of_clip = {};

  bool on() const noexcept { return frames > 1 || of_clip; }
  std::string text() const { return of_clip ? name_of(*of_clip) : std::to_string(frames); }
  // Values of a row that is made of those with `channels`.
  std::int64_t width(std::int64_t channels) const noexcept {
    return of_clip == Pooling::mean_std ? 2 * channels : channels;
  }
};
// "4", "mean" or "mean+std". Throws UsageError.
RowPooling parse_pool(const std::string& text);

// Which of `rows` rows of states count, bool (rows), for a clip with `mask` (T): of the encoder's
// states as it says, of an adapter's as HF's heads take them (_get_feature_vector_attention_mask).
// Undefined without a mask: all.
at::Tensor counted_rows(const Wav2Vec2BertConfig& config, const at::Tensor& mask, std::int64_t rows,
                        bool of_encoder);

// (T, C) -> (C) or (2C), over the rows that `counted` (T, bool; undefined: all) says. Throws
// c10::ValueError for the deviation of one row.
at::Tensor pooled_vector(const at::Tensor& rows, const at::Tensor& counted, Pooling pooling);

// (T, C) -> (T', C): what is left over at the end is cut; or (1, C), (1, 2C) of a clip. Throws
// UsageError where there are fewer rows than make one.
at::Tensor pooled_rows(const at::Tensor& rows, const at::Tensor& counted,
                       const RowPooling& pooling);
// (T) -> (T'): 1 for the rows all of whose frames are valid, and for a clip's.
at::Tensor pooled_mask(const at::Tensor& mask, const RowPooling& pooling);

}  // namespace w2vbert::tool
