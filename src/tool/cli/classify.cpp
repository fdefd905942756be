// w2vbert classify: audio files -> labels.
#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "tool/cli/answers.h"
#include "tool/cli/commands.h"
#include "tool/tasks/classification.h"

namespace w2vbert::tool {
namespace {

constexpr std::int64_t kMaxTop = std::int64_t{1} << 24;

struct ClassifyOptions : AnswerOptions {
  std::optional<std::int64_t> top;
  std::optional<ScoreFunction> function;
};

int run(const ClassifyOptions& options) {
  options.clips.check_inputs();
  apply_threads(options.model.threads);
  const HeadModel model(options.model.request(), Head::sequence_classification);
  const ScoreFunction function = options.function.value_or(score_function_of(model.config()));
  AnswerCommand command;
  command.name = "classify";
  command.fields = [&] {
    return FingerprintFields{
        {"function", score_functions(/*with_none=*/true).text(function)},
        {"top", options.top ? std::to_string(*options.top) : "all"},
    };
  };
  command.load = [&](LoadReport* report, const std::function<bool()>& interrupt_asked) {
    const auto logits = [](const at::Tensor& of_clip) { return of_clip; };
    return model.load({}, logits, report, interrupt_asked);
  };
  command.answer = [&](const AnsweredClip&, const WindowTensors& logits) {
    Answer answer;
    auto& labels = answer.json["labels"] = nlohmann::ordered_json::array();
    const at::Tensor scores = scores_of(logits.front(), function);
    check_finite(scores.isfinite(), "scores", model.request().precision);
    for (const ScoredLabel& scored : highest_labels(scores, model.config(), options.top)) {
      labels.push_back({{"label", scored.label}, {"score", scored.score}});
      if (!answer.text.empty()) answer.text += '\t';
      answer.text += fmt::format("{} {:.4f}", on_one_line(scored.label), scored.score);
    }
    return answer;
  };
  return answer_clips(options, model, command);
}

}  // namespace

OneOf<ScoreFunction> score_functions(bool with_none) {
  std::vector<std::pair<std::string, ScoreFunction>> known = {{"softmax", ScoreFunction::softmax},
                                                              {"sigmoid", ScoreFunction::sigmoid}};
  if (with_none) known.emplace_back("none", ScoreFunction::none);
  return OneOf<ScoreFunction>(known);
}

Run add_classify(CLI::App& program) {
  CLI::App& command = *program.add_subcommand(
      "classify", "Write each file's labels, with a Wav2Vec2BertForSequenceClassification");
  const auto options = std::make_shared<ClassifyOptions>();
  options->add_inputs_to(command);
  add_value(command, "--top", options->top, WholeNumber<std::int64_t>{1, kMaxTop, "K"},
            "Write the K labels with the highest scores (default: all)");
  add_value(command, "--function", options->function, score_functions(/*with_none=*/true),
            "What makes scores of the logits (default: by the config's problem_type, as "
            "transformers' pipeline: none for a regression, sigmoid for several labels at once, "
            "else softmax)");
  options->add_model_to(command, "path, seconds, and labels with their scores, the highest first");
  command.footer(
      "Example:\n  w2vbert classify a.wav b.flac --model my-classifier --top 3\n"
      "prints each path and its labels with their scores, a tab between them: those of "
      "transformers'\npipeline(\"audio-classification\"). Exit status 3: some files failed.");
  return [options] { return run(*options); };
}

}  // namespace w2vbert::tool
