// Long audio cut into windows before its features are made, as HF's pipelines cut it.
#pragma once

#include <cstdint>
#include <vector>

namespace w2vbert::tool {

// HF: transformers/pipelines/automatic_speech_recognition.py, chunk_iter: windows of `samples`
// samples, of which the first `left` and the last `right` are heard and not kept; but for the first
// window's left and the last one's right. 0 samples: audio stays whole. left + right < samples.
struct Windows {
  std::int64_t samples = 0;
  std::int64_t left = 0;
  std::int64_t right = 0;

  bool on() const noexcept { return samples > 0; }
};

// One window: samples [begin, end) of a clip, and how many of them at either end are not kept.
struct Window {
  std::int64_t begin, end;
  std::int64_t left, right;
};

// The windows of a clip of `samples` samples; one, with all of it, where that is whole. HF makes
// the features of a remainder of fewer than `min_samples` samples, too, or fails; it is left out
// here.
std::vector<Window> windows_of(std::int64_t samples, const Windows& how, std::int64_t min_samples);

// What is kept of the `rows` that a model gives for a window: [begin, end).
struct Kept {
  std::int64_t begin, end;
};
// HF: rescale_stride, with a row for each `samples_per_row` samples. Nothing is cut of a clip that
// is whole.
Kept kept_rows(const Window& window, std::int64_t rows, double samples_per_row);

}  // namespace w2vbert::tool
