#include "tool/tasks/embedding.h"

#include <ATen/ATen.h>

#include <utility>

namespace w2vbert::tool {
namespace {

HeadModel model_of(const ModelRequest& request, const EmbeddingOptions& options) {
  if (options.pooled) return {request, Head::pooling, *options.pooled};
  return {request, Head::xvector};
}

}  // namespace

at::Tensor normalized(const at::Tensor& vector) {
  constexpr double kMinLength = 1e-12;  // HF: F.normalize's eps
  return vector / vector.norm().clamp_min(kMinLength);
}

double cosine_of(const at::Tensor& a, const at::Tensor& b) {
  return at::cosine_similarity(a, b, -1).item<double>();
}

Embedding::Embedding(const ModelRequest& request, const EmbeddingOptions& options)
    : options_(options), model_(model_of(request, options)) {}

std::int64_t Embedding::size() const {
  const Wav2Vec2BertConfig& config = model_.config();
  if (!options_.pooled) return config.xvector_output_dim;
  const bool of_adapter = config.add_adapter && !options_.pooled->state;
  const std::int64_t channels = of_adapter ? config.adapter_size() : config.hidden_size;
  return options_.pooled->pooling == Pooling::mean_std ? 2 * channels : channels;
}

std::vector<AnswerFunction> Embedding::load(LoadReport* report,
                                            const std::function<bool()>& interrupt_asked) const {
  const auto vector_of = [normalizes = options_.normalize](const at::Tensor& vector) {
    return normalizes ? normalized(vector) : vector;
  };
  return model_.load({}, vector_of, report, interrupt_asked);
}

std::vector<BatchFunction> Embedding::load_for_files(
    LoadReport* report, const std::function<bool()>& interrupt_asked) const {
  std::vector<BatchFunction> functions;
  for (const AnswerFunction& vectors_of : load(report, interrupt_asked)) {
    functions.push_back([vectors_of](const std::vector<EngineClip>& clips) {
      std::vector<ClipTensors> outputs;
      for (const WindowTensors& vectors : vectors_of(clips)) {
        outputs.push_back({{{"embedding", vectors.front().contiguous()}}, ""});
      }
      return outputs;
    });
  }
  return functions;
}

Fingerprint Embedding::fingerprint(const AudioOptions& audio) const {
  std::string vector = "xvector";
  if (options_.pooled) {
    vector = name_of(options_.pooled->pooling);
    vector += options_.pooled->state ? " of " + std::to_string(*options_.pooled->state)
                                     : " of last_hidden_state";
  }
  return model_.fingerprint(
      "embed", {{"embedding", vector}, {"normalize", options_.normalize ? "true" : "false"}},
      audio);
}

}  // namespace w2vbert::tool
