// w2vbert embed: audio files -> a vector each.
#include <fmt/format.h>

#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "core/escaped_name.h"
#include "tool/cli/answers.h"
#include "tool/cli/clip_report.h"
#include "tool/cli/commands.h"
#include "tool/cli/console.h"
#include "tool/cli/exit_status.h"
#include "tool/cli/signals.h"
#include "tool/store/json_text.h"
#include "tool/tasks/embedding.h"
#include "tool/tasks/model_files.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr double kUsualThreshold = 0.7;  // HF's documentation of speaker verification
constexpr std::int64_t kMaxState = 1 << 12;

struct EmbedOptions : AnswerOptions {
  std::optional<Pooling> pooling;
  std::optional<std::int64_t> state;
  bool normalize = false;
  bool compare = false;
  std::optional<double> threshold;

  void check() const {
    if (state && !pooling) {
      throw UsageError("", "--state", "is given without --pool", "both");
    }
    if (threshold && !compare) {
      throw UsageError("", "--threshold", "is given without --compare", "both");
    }
    if (compare && !clips.output.empty()) {
      throw UsageError("", "--compare", "is given beside --output", "one of the two");
    }
    if (!clips.output.empty()) {
      clips.check();
    } else {
      clips.check_inputs();
    }
  }

  EmbeddingOptions embedding() const {
    EmbeddingOptions wanted;
    if (pooling) wanted.pooled = PooledStates{*pooling, state};
    wanted.normalize = normalize;
    return wanted;
  }
};

int write_files(const EmbedOptions& options, const Embedding& embedding) {
  const InputList inputs = options.clips.inputs();
  check_no_input_is_an_output(inputs, options.clips.output);
  const HeadModel& model = embedding.model();
  Messages messages(options.output.quiet);
  ClipRunRequest request;
  request.features = model.features();
  request.audio = options.clips.audio(request.features.sampling_rate);
  request.reading_threads = options.clips.reading_threads_beside_model(model.device());
  request.tensor_names = {"embedding"};
  request.row_bytes = {embedding.size() * static_cast<std::int64_t>(sizeof(float))};
  request.batch_frames = model.batch_frames();
  request.functions = model.functions();
  request.prepare = [&] {
    LoadReport report;
    std::vector<BatchFunction> functions = embedding.load_for_files(&report, is_stopping);
    say_warnings(report, messages);
    say_engine(model.engine(), messages);
    return functions;
  };
  ProtectedFiles sources;
  add_model_files(sources, options.model.model, options.model.revision, options.model.lora);
  return run_over_clips(
      "embed", options.clips, options.output, inputs, embedding.fingerprint(request.audio), request,
      sources, messages,
      {{"engine", name_of(model.engine().kind)}, {"engine_reason", model.engine().reason}});
}

nlohmann::ordered_json numbers_of(const at::Tensor& vector) {
  nlohmann::ordered_json numbers = nlohmann::ordered_json::array();
  const at::Tensor wide = vector.to(at::kDouble).contiguous();
  const auto* const values = wide.const_data_ptr<double>();
  for (std::int64_t i = 0; i < wide.numel(); ++i) numbers.push_back(values[i]);
  return numbers;
}

// Both vectors, one line of what they have in common.
int compare(const EmbedOptions& options, const Embedding& embedding, AnswerCommand command) {
  std::array<at::Tensor, 2> vectors;
  std::array<std::string, 2> paths;
  command.begin = [&](const InputList& inputs, const Partition& partition) {
    // A tar has several, and so has a file whose channels are each a clip.
    if (inputs.size() != vectors.size()) {
      throw UsageError("", "--compare", "is given with " + count(inputs.size(), "clip"), "two");
    }
    if (partition.count > 1) {
      throw UsageError("", "--compare", "is given with a share of the clips", "all of them");
    }
  };
  command.answer = [&](const AnsweredClip& clip, const WindowTensors& vector) {
    vectors.at(clip.index) = vector.front();
    paths.at(clip.index) = clip.path;
    return Answer{};
  };
  command.print = [](const AnsweredClip&, const Answer&) {};
  const int status = answer_clips(options, embedding.model(), command);
  if (status != kDone || !vectors[0].defined() || !vectors[1].defined()) return status;
  const double cosine = cosine_of(vectors[0].to(at::kFloat), vectors[1].to(at::kFloat));
  const double threshold = options.threshold.value_or(kUsualThreshold);
  const bool is_same = cosine >= threshold;
  if (options.output.json) {
    print_result(json_line({{"a", escaped_name(paths[0])},
                            {"b", escaped_name(paths[1])},
                            {"cosine", cosine},
                            {"threshold", threshold},
                            {"same", is_same}}));
  } else {
    print_result(fmt::format("{:.6f}\t{} (threshold {})\n", cosine, is_same ? "same" : "different",
                             threshold));
  }
  return status;
}

int run(const EmbedOptions& options) {
  options.check();
  apply_threads(options.model.threads);
  const Embedding embedding(options.model.request(), options.embedding());
  if (!options.clips.output.empty()) return write_files(options, embedding);
  AnswerCommand command;
  command.load = [&](LoadReport* report, const std::function<bool()>& interrupt_asked) {
    return embedding.load(report, interrupt_asked);
  };
  command.answer = [](const AnsweredClip&, const WindowTensors& vector) {
    Answer answer;
    answer.json["embedding"] = numbers_of(vector.front());
    for (const auto& number : answer.json["embedding"]) {
      if (!answer.text.empty()) answer.text += ' ';
      answer.text += fmt::format("{:.6g}", number.get<double>());
    }
    return answer;
  };
  if (options.compare) return compare(options, embedding, std::move(command));
  return answer_clips(options, embedding.model(), command);
}

}  // namespace

Run add_embed(CLI::App& program) {
  CLI::App& command = *program.add_subcommand(
      "embed", "Write a vector for each file, with a Wav2Vec2BertForXVector or of pooled states");
  const auto options = std::make_shared<EmbedOptions>();
  options->clips.add_to(command);
  add_value(command, "--pool", options->pooling,
            OneOf<Pooling>({{"mean", Pooling::mean}, {"mean+std", Pooling::mean_std}}),
            "Take the states of any model, and of the frames that the mask counts the mean, or the "
            "mean and behind it the standard deviation (default: the x-vector's head)");
  add_value(command, "--state", options->state, WholeNumber<std::int64_t>{0, kMaxState},
            "Pool hidden_states.<N>, numbered as HuggingFace numbers them (default: "
            "last_hidden_state)");
  command.add_flag("--normalize", options->normalize, "Give each vector the length 1");
  command.add_flag("--compare", options->compare,
                   "Of two clips: print the cosine of their vectors, and whether it reaches "
                   "--threshold");
  add_value(
      command, "--threshold", options->threshold, NumberFromZero{1, "P"},
      "From which cosine on two files count as the same speaker's (default: 0.7; the best one "
      "depends on the model)");
  options->add_model_to(command,
                        "path, seconds, and the embedding, a list of numbers; with "
                        "--output a report of the run");
  command.footer(
      "Example:\n  w2vbert embed a.wav b.wav --model my-speaker-model --compare\n"
      "prints the cosine of the two vectors. Without --compare it prints each path and its "
      "numbers; "
      "with\n--output DIR each vector goes to a file of its own, as with `w2vbert extract`. Exit "
      "status 3: some files\nfailed.");
  return [options] { return run(*options); };
}

}  // namespace w2vbert::tool
