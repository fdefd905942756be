// The hidden states of a clip -> one vector.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tool/run/clip_run.h"
#include "tool/store/fingerprint.h"
#include "tool/tasks/head_model.h"

namespace w2vbert::tool {

struct EmbeddingOptions {
  // How states become the vector, of any model; absent: by the head of a Wav2Vec2BertForXVector.
  std::optional<PooledStates> pooled;
  bool normalize = false;  // to a length of 1
};

// HF: torch.nn.functional.normalize over the last dimension.
at::Tensor normalized(const at::Tensor& vector);

// HF's documentation of speaker verification: torch.nn.CosineSimilarity.
double cosine_of(const at::Tensor& a, const at::Tensor& b);

class Embedding {
 public:
  // As HeadModel; also UsageError for a state that the model does not have.
  Embedding(const ModelRequest& request, const EmbeddingOptions& options);

  const HeadModel& model() const noexcept { return model_; }
  std::int64_t size() const;  // of a vector
  // Loads the weights, as HeadModel::load. The functions give vectors (E).
  std::vector<AnswerFunction> load(LoadReport* report,
                                   const std::function<bool()>& interrupt_asked) const;
  // The same for a run into a directory: a tensor "embedding" for each clip.
  std::vector<BatchFunction> load_for_files(LoadReport* report,
                                            const std::function<bool()>& interrupt_asked) const;
  // As HeadModel's.
  Fingerprint fingerprint(const AudioOptions& audio) const;

 private:
  EmbeddingOptions options_;
  HeadModel model_;
};

}  // namespace w2vbert::tool
