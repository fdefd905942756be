#include "tool/tasks/segmentation.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

namespace w2vbert::tool {
namespace {

constexpr double kSigmoidThreshold = 0.5;  // HF's documentation of audio frame classification

struct Frames {
  std::int64_t begin, end;
};

// Where `is_in` (T) is true.
std::vector<Frames> runs_of(const at::Tensor& is_in) {
  const at::Tensor flags = is_in.contiguous();
  const bool* const in = flags.const_data_ptr<bool>();
  std::vector<Frames> runs;
  for (std::int64_t frame = 0; frame < flags.size(0); ++frame) {
    if (!in[frame]) continue;
    if (!runs.empty() && runs.back().end == frame) {
      ++runs.back().end;
    } else {
      runs.push_back({frame, frame + 1});
    }
  }
  return runs;
}

// (T, N): which labels a frame belongs to.
at::Tensor labelled(const at::Tensor& scores, const SegmentationOptions& options) {
  at::Tensor high = scores.ge(options.threshold);
  if (options.function == ScoreFunction::sigmoid) return high;
  const at::Tensor best = scores.argmax(-1, /*keepdim=*/true);  // (T, 1)
  return at::zeros_like(high).scatter_(1, best, true).logical_and(high);
}

}  // namespace

SegmentationOptions usual_segmentation(const Wav2Vec2BertConfig& config,
                                       std::optional<ScoreFunction> function) {
  SegmentationOptions options;
  const ScoreFunction usual = score_function_of(config);
  options.function =
      function.value_or(usual == ScoreFunction::none ? ScoreFunction::softmax : usual);
  options.threshold = options.function == ScoreFunction::sigmoid ? kSigmoidThreshold : 0;
  return options;
}

TimedText timed_text(const Segment& segment) {
  return {segment.label, segment.start, segment.end, segment.score};
}

std::vector<Segment> segments_of(const at::Tensor& scores, const Wav2Vec2BertConfig& config,
                                 const SegmentationOptions& options, double frames_per_second,
                                 double audio_seconds) {
  const at::Tensor wide = scores.to(at::kDouble);
  const at::Tensor is_in = labelled(wide, options);
  const auto time_of = [&](std::int64_t frame) {
    return std::min(static_cast<double>(frame) / frames_per_second, audio_seconds);
  };
  std::vector<Segment> segments;
  for (std::int64_t id = 0; id < wide.size(1); ++id) {
    const std::string label = label_of(config, id);
    if (!options.labels.empty() && !options.labels.contains(label)) continue;
    std::vector<Frames> joined;
    for (const Frames& run : runs_of(is_in.select(1, id))) {
      const bool is_near = !joined.empty() &&
                           static_cast<double>(run.begin - joined.back().end) / frames_per_second <=
                               options.max_gap_seconds;
      if (is_near) {
        joined.back().end = run.end;
      } else {
        joined.push_back(run);
      }
    }
    for (const Frames& run : joined) {
      Segment segment{time_of(run.begin), time_of(run.end), label, id,
                      wide.select(1, id).slice(0, run.begin, run.end).mean().item<double>()};
      // A frame of padding may lie behind the audio.
      const double seconds = segment.end - segment.start;
      constexpr double kRounding = 1e-9;  // a difference of times is not to the last bit
      if (seconds > 0 && seconds + kRounding >= options.min_seconds) {
        segments.push_back(std::move(segment));
      }
    }
  }
  std::stable_sort(segments.begin(), segments.end(),
                   [](const Segment& a, const Segment& b) { return a.start < b.start; });
  return segments;
}

}  // namespace w2vbert::tool
