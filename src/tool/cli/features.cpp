// w2vbert features: audio files -> what HuggingFace's feature extractor returns for them.
#include <ATen/Parallel.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tool/cli/clip_report.h"
#include "tool/cli/commands.h"
#include "tool/cli/console.h"
#include "tool/cli/options.h"
#include "tool/tasks/model_files.h"

namespace w2vbert::tool {
namespace {

struct FeaturesOptions {
  ClipOptions clips;
  OutputOptions output;
  std::string model;
  std::string revision;
  std::optional<int> threads;
};

int run_features(const FeaturesOptions& options) {
  options.clips.check();
  apply_threads(options.threads);
  const InputList inputs = options.clips.inputs();
  check_no_input_is_an_output(inputs, options.clips.output);
  ClipRunRequest request;
  request.features = feature_settings(options.model, options.revision);
  request.audio = options.clips.audio(request.features.sampling_rate);
  request.reading_threads = options.clips.reading_threads(at::get_num_threads());
  request.tensor_names = {"input_features"};
  request.row_bytes = {request.features.num_mel_bins * request.features.stride *
                       static_cast<std::int64_t>(sizeof(float))};
  if (request.features.return_attention_mask) {
    request.tensor_names.push_back("attention_mask");
    request.row_bytes.push_back(sizeof(std::int64_t));
  }
  request.prepare = [] {
    return std::vector<BatchFunction>{[](const std::vector<EngineClip>& clips) {
      std::vector<ClipTensors> outputs;
      outputs.reserve(clips.size());
      for (const EngineClip& clip : clips) {
        NamedTensors& output = outputs.emplace_back().tensors;
        output.emplace_back("input_features", clip.input_features);
        if (clip.attention_mask.defined()) {
          output.emplace_back("attention_mask", clip.attention_mask);
        }
      }
      return outputs;
    }};
  };
  ProtectedFiles sources;
  if (!options.model.empty()) {
    add_model_files(sources, options.model, options.revision, /*lora=*/"");
  }
  Messages messages(options.output.quiet);
  return run_over_clips("features", options.clips, options.output, inputs,
                        features_fingerprint(request.features, request.audio), request, sources,
                        messages);
}

}  // namespace

Run add_features(CLI::App& program) {
  CLI::App& command = *program.add_subcommand(
      "features",
      "Write input_features (T, 160) and attention_mask (T) of each file: what HuggingFace's "
      "SeamlessM4TFeatureExtractor returns for it alone");
  const auto options = std::make_shared<FeaturesOptions>();
  options->clips.add_to(command);
  add_value(command, "--model", options->model, "PATH_OR_ID",
            "Take the settings from this model (default: the extractor's own)");
  add_value(command, "--revision", options->revision, "NAME",
            "Of that model, where it is a Hub id: a branch, a tag or a commit (default: main)");
  add_threads(command, options->threads, "the cores this process may use");
  options->output.add_to(command);
  command.footer("Example:\n  w2vbert features a.wav b.flac --output features");
  return [options] { return run_features(*options); };
}

}  // namespace w2vbert::tool
