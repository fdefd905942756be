// The scores of each frame -> segments with a label.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tool/formats/timed_text.h"
#include "tool/tasks/classification.h"
#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert::tool {

struct SegmentationOptions {
  ScoreFunction function = ScoreFunction::softmax;
  // With a sigmoid: frames whose score is at least this belong to a label, whatever the others
  // have. Otherwise: frames whose best label has less than this belong to none.
  double threshold = 0;
  // Segments of one label with at most so many seconds between them are one; then those that are
  // shorter than min_seconds go.
  double max_gap_seconds = 0;
  double min_seconds = 0;
  std::set<std::string> labels;  // the others' segments are left out; empty: all
};

// What `segment` does unless other things are asked for: the function of the config's problem_type,
// softmax for a regression, and with a sigmoid the threshold of HF's documentation. `function`:
// another one.
SegmentationOptions usual_segmentation(const Wav2Vec2BertConfig& config,
                                       std::optional<ScoreFunction> function = {});

// From `start` to `end`, in seconds from the clip's start.
struct Segment {
  double start = 0;
  double end = 0;
  std::string label;
  std::int64_t label_id = 0;
  double score = 0;  // the mean of the label's scores over its frames, of closed gaps as well
};

TimedText timed_text(const Segment& segment);

// HF has no pipeline for frames; its documentation takes a sigmoid and 0.5 for several labels at
// once, projects take the best label of a frame. `scores` (T, N) as scores_of gives them; a frame
// is `frame_seconds` long, the last ones end with the audio. In the order of their starts, then of
// the labels' numbers.
std::vector<Segment> segments_of(const at::Tensor& scores, const Wav2Vec2BertConfig& config,
                                 const SegmentationOptions& options, double frames_per_second,
                                 double audio_seconds);

}  // namespace w2vbert::tool
