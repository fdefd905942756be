// w2vbert segment: audio files -> intervals with a label.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/text.h"
#include "tool/cli/answers.h"
#include "tool/cli/commands.h"
#include "tool/cli/timed_output.h"
#include "tool/tasks/segmentation.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

struct SegmentOptions : AnswerOptions {
  WindowOptions windows;
  std::optional<ScoreFunction> function;
  std::optional<double> threshold;
  double max_gap_seconds = 0;
  double min_seconds = 0;
  std::string labels;
  TimedOutput timed;
};

SegmentationOptions segmentation(const SegmentOptions& options, const Wav2Vec2BertConfig& config) {
  SegmentationOptions wanted = usual_segmentation(config, options.function);
  if (options.threshold) wanted.threshold = *options.threshold;
  wanted.max_gap_seconds = options.max_gap_seconds;
  wanted.min_seconds = options.min_seconds;
  if (options.labels.empty()) return wanted;
  std::vector<std::string> known;
  for (std::int64_t id = 0; id < config.num_labels; ++id) known.push_back(label_of(config, id));
  const std::vector<std::string> parts = split(options.labels, ',');
  for (std::size_t begin = 0; begin < parts.size();) {
    // A label may have commas of its own: the longest that is one.
    std::size_t end = parts.size();
    std::string label;
    for (; end > begin; --end) {
      label = fmt::format("{}", fmt::join(std::span(parts).subspan(begin, end - begin), ","));
      if (std::find(known.begin(), known.end(), label) != known.end()) break;
    }
    if (end == begin) {
      throw UsageError("", "--labels", in_quotes(parts[begin]) + " is no label of the model",
                       comma_list(known));
    }
    wanted.labels.insert(label);
    begin = end;
  }
  return wanted;
}

// A tier of all segments; where those of two labels may overlap, one for each label.
std::vector<TimedTier> tiers_of(const std::vector<Segment>& segments,
                                const Wav2Vec2BertConfig& config,
                                const SegmentationOptions& options) {
  const bool may_overlap =
      options.function == ScoreFunction::sigmoid || options.max_gap_seconds > 0;
  if (!may_overlap) {
    TimedTier all{"segments", {}};
    std::transform(segments.begin(), segments.end(), std::back_inserter(all.labels), timed_text);
    return {all};
  }
  std::vector<TimedTier> tiers;
  std::map<std::int64_t, std::size_t> tier_of;  // by the label's number
  std::set<std::string> named;
  for (std::int64_t id = 0; id < config.num_labels; ++id) {
    std::string label = label_of(config, id);
    if (!options.labels.empty() && !options.labels.contains(label)) continue;
    if (!named.insert(label).second) label += " (" + std::to_string(id) + ")";
    tier_of[id] = tiers.size();
    tiers.push_back({std::move(label), {}});
  }
  for (const Segment& segment : segments) {
    tiers[tier_of.at(segment.label_id)].labels.push_back(timed_text(segment));
  }
  return tiers;
}

int run(const SegmentOptions& given) {
  given.clips.check_inputs();
  SegmentOptions options = given;
  AnswerCommand command;
  command.name = "segment";
  options.timed.apply(options, command);
  apply_threads(options.model.threads);
  const HeadModel model(options.model.request(), Head::audio_frame_classification);
  const SegmentationOptions wanted = segmentation(options, model.config());
  command.fields = [&] {
    return FingerprintFields{
        {"function", score_functions(/*with_none=*/false).text(wanted.function)},
        {"threshold", number_text(wanted.threshold)},
        {"close_gaps", number_text(wanted.max_gap_seconds)},
        {"min_duration", number_text(wanted.min_seconds)},
        {"labels", wanted.labels.empty() ? "all"
                                         : comma_list(std::vector<std::string>(
                                               wanted.labels.begin(), wanted.labels.end()))},
    };
  };
  command.windows = model.windows(options.windows.chunk(), options.windows.stride());
  command.load = [&](LoadReport* report, const std::function<bool()>& interrupt_asked) {
    const auto scores = [&](const at::Tensor& logits) {
      return scores_of(logits, wanted.function);
    };
    return model.load(command.windows, scores, report, interrupt_asked);
  };
  command.answer = [&](const AnsweredClip& clip, const WindowTensors& scores) {
    Answer answer;
    auto& segments = answer.json["segments"] = nlohmann::ordered_json::array();
    const at::Tensor kept =
        kept_of_windows(scores, command.windows, clip.samples, model.samples_per_row());
    const std::vector<Segment> found =
        segments_of(kept, model.config(), wanted, model.frames_per_second(), clip.audio_seconds);
    for (const Segment& segment : found) {
      segments.push_back({{"start", segment.start},
                          {"end", segment.end},
                          {"label", segment.label},
                          {"score", segment.score}});
      if (!answer.text.empty()) answer.text += '\t';
      answer.text +=
          fmt::format("{:.2f}-{:.2f} {}", segment.start, segment.end, on_one_line(segment.label));
      answer.timed.push_back(timed_text(segment));
    }
    if (options.timed.has_tiers()) answer.tiers = tiers_of(found, model.config(), wanted);
    return answer;
  };
  return answer_clips(options, model, command);
}

}  // namespace

Run add_segment(CLI::App& program) {
  CLI::App& command = *program.add_subcommand(
      "segment",
      "Write what is where in each file, with a Wav2Vec2BertForAudioFrameClassification");
  const auto options = std::make_shared<SegmentOptions>();
  options->add_inputs_to(command);
  add_value(command, "--function", options->function, score_functions(/*with_none=*/false),
            "softmax: each frame has its best label; sigmoid: any number of labels (default: "
            "sigmoid where the config's problem_type is multi_label_classification)");
  add_value(command, "--threshold", options->threshold, NumberFromZero{1, "P"},
            "The score that a frame's label has to have (default: 0.5 with sigmoid, else 0)");
  add_value(command, "--close-gaps", options->max_gap_seconds, NumberFromZero{kMaxSeconds},
            "Join segments of a label with at most S seconds between them");
  add_value(command, "--min-duration", options->min_seconds, NumberFromZero{kMaxSeconds},
            "Leave out segments that are shorter than S seconds, once gaps are closed");
  add_value(command, "--labels", options->labels, "A,B,...",
            "Write segments of these labels alone (default: of all)");
  options->windows.add_to(command);
  options->timed.add_to_segments(command);
  options->clips.add_naming_to(command);
  options->add_model_to(
      command, "path, seconds, and segments with their start and end in seconds, label and score");
  command.footer(
      "Example:\n  w2vbert segment a.wav --model my-pause-finder --labels pause --min-duration "
      "0.1\n"
      "prints each path and its segments, a tab between them. A segment's score is the mean of its "
      "frames'.\nExit status 3: some files failed.");
  return [options] { return run(*options); };
}

}  // namespace w2vbert::tool
