// Where in an emission the tokens of a known text are. Torch-free.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace w2vbert {

/// A label for each frame: a path through an emission.
struct ForcedAlignment {
  std::vector<std::int64_t> path;  ///< (T): the blank or a token
  std::vector<float> scores;       ///< (T): the emission's value of that label
};

/// torchaudio: torchaudio.functional.forced_align for a batch of one, to the last bit: the most
/// probable path that spells `targets`, which is what is left of it without repeated labels and
/// blanks. Its sums are float32, and of paths with equal sums it is the one that torchaudio takes:
/// of three predecessors the first counts, unless another one is above both others.
///
/// So where the second and the third one are equal, torchaudio goes on from the first, which is
/// worse and may not be a path at all. Where no path is left by that, the answer is that of
/// the usual rule, by which the second one counts; torchaudio's path does not spell the targets
/// then.
///
/// `log_probs`: (T, V), row by row: logarithms of probabilities, of which some may be -infinity.
/// `targets`: (L), ids below V. Takes some T * L steps, and memory for the square root of T rows
/// of 2 L + 1 states where T * L is large.
/// Throws UsageError: no targets, an id that is not below V, the blank among the targets, fewer
/// frames than targets and repeats among them, NaN or +infinity in `log_probs`, a size that is not
/// a multiple of V, no path with a probability above 0.
ForcedAlignment forced_align(std::span<const float> log_probs, std::int64_t vocab_size,
                             std::span<const std::int64_t> targets, std::int64_t blank = 0);

/// torchaudio: torchaudio.functional.TokenSpan. A token, and the frames that it has: start to
/// before end.
struct TokenSpan {
  std::int64_t token = 0;
  std::int64_t start = 0;
  std::int64_t end = 0;
  double score = 0;  ///< the mean of its frames' scores
};

/// torchaudio: torchaudio.functional.merge_tokens: the runs of a path's labels, but for blanks.
/// A score is summed in double, in torchaudio in float32. Throws UsageError: `path` and `scores` of
/// different lengths.
std::vector<TokenSpan> merge_tokens(std::span<const std::int64_t> path,
                                    std::span<const float> scores, std::int64_t blank = 0);

}  // namespace w2vbert
