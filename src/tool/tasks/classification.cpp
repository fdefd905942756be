#include "tool/tasks/classification.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <tuple>

namespace w2vbert::tool {

ScoreFunction score_function_of(const Wav2Vec2BertConfig& config) {
  if (config.problem_type == "regression") return ScoreFunction::none;
  if (config.problem_type == "multi_label_classification") return ScoreFunction::sigmoid;
  return ScoreFunction::softmax;
}

at::Tensor scores_of(const at::Tensor& logits, ScoreFunction function) {
  switch (function) {
    case ScoreFunction::softmax:
      return logits.softmax(-1);
    case ScoreFunction::sigmoid:
      return logits.sigmoid();
    case ScoreFunction::none:
      break;
  }
  return logits;
}

std::string label_of(const Wav2Vec2BertConfig& config, std::int64_t id) {
  const auto found = config.id2label.find(id);
  return found == config.id2label.end() ? "LABEL_" + std::to_string(id) : found->second;
}

std::vector<ScoredLabel> highest_labels(const at::Tensor& scores, const Wav2Vec2BertConfig& config,
                                        std::optional<std::int64_t> top) {
  const std::int64_t all = scores.size(0);
  const auto [values, ids] = scores.topk(std::min(top.value_or(all), all));
  std::vector<ScoredLabel> labels;
  for (std::int64_t i = 0; i < values.size(0); ++i) {
    labels.push_back({label_of(config, ids[i].item<std::int64_t>()), values[i].item<double>()});
  }
  return labels;
}

}  // namespace w2vbert::tool
