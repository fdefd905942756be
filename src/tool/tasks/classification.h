// The logits of a classifying head -> labels and scores.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert::tool {

// How logits become scores. HF: function_to_apply.
enum class ScoreFunction { softmax, sigmoid, none };

// HF: AudioClassificationPipeline.postprocess: by problem_type.
ScoreFunction score_function_of(const Wav2Vec2BertConfig& config);

// (..., N) -> (..., N), in the logits' type.
at::Tensor scores_of(const at::Tensor& logits, ScoreFunction function);

// HF: id2label.
std::string label_of(const Wav2Vec2BertConfig& config, std::int64_t id);

struct ScoredLabel {
  std::string label;
  double score = 0;
};

// The labels of one clip's `scores` (N), the highest first; `top` of them, or all. HF: the order of
// equal scores is that of torch.topk for so many.
std::vector<ScoredLabel> highest_labels(const at::Tensor& scores, const Wav2Vec2BertConfig& config,
                                        std::optional<std::int64_t> top);

}  // namespace w2vbert::tool
