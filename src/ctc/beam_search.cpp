// pyctcdecode 0.5.0, decoder.py.
#include "w2vbert/ctc/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core/file.h"
#include "core/pairwise_sum.h"
#include "core/text.h"
#include "ctc/hypothesis_store.h"
#include "ctc/python_set.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr std::int64_t kMaxBeamWidth = 1 << 16;
// pyctcdecode: MIN_TOKEN_CLIP_P.
constexpr double kMinProbability = 1e-15;
constexpr int kNoLabel = -1;
constexpr int kNoFrames = -1;

void check_options(const BeamSearchOptions& options) {
  const auto fail = [](const char* name, const std::string& value, const char* expected) {
    throw UsageError("", name, value, expected, name);
  };
  if (options.beam_width < 1 || options.beam_width > kMaxBeamWidth) {
    fail("beam_width", std::to_string(options.beam_width), "1 to 65536");
  }
  if (!(options.beam_prune_logp <= 0)) {
    fail("beam_prune_logp", number_text(options.beam_prune_logp), "at most 0");
  }
  if (std::isnan(options.token_min_logp)) fail("token_min_logp", "nan", "a number");
  if (!std::isfinite(options.hotword_weight)) {
    fail("hotword_weight", number_text(options.hotword_weight), "a finite number");
  }
}

// What the labels do to a hypothesis.
struct Label {
  int text = 0;  // what of the store's labels it adds; equal labels have the same
  int same = 0;  // the first label with this text
  bool is_blank = false;
  bool ends_word = false;     // a space, or a label that begins a word in BPE
  bool forces_break = false;  // BPE: the next label begins a word as well
};

struct Labels {
  std::vector<std::string> texts;  // of the labels, then those of BPE without their marks
  std::vector<Label> labels;

  explicit Labels(const CtcAlphabet& alphabet) : texts(alphabet.labels) {
    std::unordered_map<std::string_view, int> first;
    labels.resize(alphabet.labels.size());
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const std::string& text = alphabet.labels[i];
      Label& label = labels[i];
      label.text = static_cast<int>(i);
      label.same = first.try_emplace(text, static_cast<int>(i)).first->second;
      label.is_blank = text.empty();
      if (!alphabet.is_bpe) {
        label.ends_word = text == " ";
        continue;
      }
      label.ends_word = text.starts_with(CtcAlphabet::kWordMark);
      std::string_view clean = text;
      if (label.ends_word) clean.remove_prefix(CtcAlphabet::kWordMark.size());
      if (text.ends_with(CtcAlphabet::kWordMark)) {
        if (!clean.empty()) clean.remove_suffix(CtcAlphabet::kWordMark.size());
        label.forces_break = true;
      }
      label.text = static_cast<int>(texts.size());
      texts.emplace_back(clean);
    }
  }
};

// Lists of words' frames that grow at their end and share their beginnings.
class FrameLists {
 public:
  struct Frames {
    int before = kNoFrames;
    std::int64_t start = 0;
    std::int64_t end = 0;
  };
  int add(int list, std::int64_t start, std::int64_t end) {
    lists_.push_back({list, start, end});
    return static_cast<int>(lists_.size() - 1);
  }
  std::vector<Frames> of(int list) const {
    std::vector<Frames> frames;
    for (; list != kNoFrames; list = lists_[list].before) frames.push_back(lists_[list]);
    std::reverse(frames.begin(), frames.end());
    return frames;
  }
  bool is_full() const { return lists_.size() > limit_; }
  // Forgets all but these lists; changes their numbers.
  void collect(std::span<int*> kept) {
    std::vector<int> numbers(lists_.size(), kNoFrames);
    for (const int* list : kept) {
      for (int at = *list; at != kNoFrames && numbers[at] == kNoFrames; at = lists_[at].before) {
        numbers[at] = 0;
      }
    }
    std::size_t next = 0;
    for (std::size_t i = 0; i < lists_.size(); ++i) {
      if (numbers[i] == kNoFrames) continue;
      numbers[i] = static_cast<int>(next);
      Frames frames = lists_[i];
      if (frames.before != kNoFrames) frames.before = numbers[frames.before];
      lists_[next++] = frames;
    }
    lists_.resize(next);
    for (int* list : kept) {
      if (*list != kNoFrames) *list = numbers[*list];
    }
    limit_ = std::max(kMinLimit, 4 * lists_.size());
  }

 private:
  static constexpr std::size_t kMinLimit = 1 << 12;
  std::vector<Frames> lists_;
  std::size_t limit_ = kMinLimit;
};

// pyctcdecode's Beam, at the end of a frame. `Score` is NumPy's type of what it sums: float64 for
// logits, for np.clip gives that beside a bound of this type, and float32 for probabilities.
template <typename Score>
struct Beam {
  int text = 0;
  int word = 0;  // has begun
  int last_label = kNoLabel;
  int frames = kNoFrames;   // of the words of the text
  std::int64_t start = -1;  // of the word that has begun
  std::int64_t end = -1;
  Score logit_score = 0;
  Score score = 0;
};

// Which of a frame's hypotheses is (text, word, last label): a hash table that is emptied by
// counting.
class BeamTable {
 public:
  void begin(std::size_t most) {
    std::size_t places = 64;
    while (places < 2 * most) places *= 2;
    if (places > slots_.size()) {
      slots_.assign(places, {});
      turn_ = 0;
    }
    ++turn_;
  }
  // The hypothesis of that name; `next`, which it has from now on, if there was none.
  int find_or_add(int text, int word, int label, int next) {
    const std::uint64_t mask = slots_.size() - 1;
    auto hash = static_cast<std::uint64_t>(text) * 0x9e3779b97f4a7c15U;
    hash ^= static_cast<std::uint64_t>(word) * 0xc2b2ae3d27d4eb4fU;
    hash ^= static_cast<std::uint64_t>(label + 1) * 0x165667b19e3779f9U;
    hash ^= hash >> 29;
    for (std::uint64_t place = hash & mask;; place = (place + 1) & mask) {
      Slot& slot = slots_[place];
      if (slot.turn != turn_) {
        slot = {text, word, label, next, turn_};
        return next;
      }
      if (slot.text == text && slot.word == word && slot.label == label) return slot.beam;
    }
  }

 private:
  struct Slot {
    int text = 0;
    int word = 0;
    int label = 0;
    int beam = 0;
    std::uint64_t turn = 0;
  };
  std::vector<Slot> slots_;
  std::uint64_t turn_ = 0;
};

template <typename Score>
Score sum_log_scores(Score a, Score b) {
  const Score larger = a >= b ? a : b;
  const Score smaller = a >= b ? b : a;
  return larger + static_cast<Score>(std::log(1 + std::exp(static_cast<double>(smaller - larger))));
}

template <typename Score>
class Search {
 public:
  Search(const CtcAlphabet& alphabet, const WordLanguageModel* language_model,
         const BeamSearchOptions& options)
      : alphabet_(alphabet),
        language_model_(language_model),
        options_(options),
        hotwords_(options.hotwords, options.hotword_weight),
        labels_(alphabet),
        // At least one word of history.
        store_(labels_.texts, language_model, hotwords_,
               options.prune_history
                   ? std::max(1, (language_model ? language_model->model().order() : 1) - 1)
                   : 0),
        beams_(1) {}

  // One frame: the logarithms of the labels' probabilities.
  void add(std::span<const Score> log_probs) {
    const std::span<const int> chosen = choose_labels(log_probs);
    next_.clear();
    table_.begin(beams_.size() * chosen.size());
    for (const int label : chosen) {
      for (const Beam<Score>& beam : beams_) extend(beam, label, log_probs[label]);
    }
    ++frame_;
    for (Beam<Score>& beam : next_) beam.score = score_of(beam);
    trim();
    if (options_.prune_history) prune_history();
    collect();
  }

  std::vector<BeamHypothesis> finish() {
    struct Final {
      std::string text;
      int frames;
    };
    std::vector<Final> finals;
    std::unordered_map<std::string, std::size_t> by_text;
    next_.clear();
    for (const Beam<Score>& beam : beams_) {
      const int frames =
          beam.word == 0 ? beam.frames : frames_.add(beam.frames, beam.start, beam.end);
      std::string text = store_.text(beam.text);
      if (beam.word != 0) text = store_.text(store_.extend_text(beam.text, beam.word));
      const auto [found, is_new] = by_text.try_emplace(text, finals.size());
      Beam<Score> final = beam;
      final.frames = static_cast<int>(found->second);
      if (is_new) {
        finals.push_back({std::move(text), frames});
        next_.push_back(final);
      } else {
        final.logit_score = sum_log_scores(next_[found->second].logit_score, beam.logit_score);
        finals[found->second].frames = frames;
        next_[found->second] = final;
      }
    }
    for (Beam<Score>& beam : next_) {
      beam.score = beam.logit_score + static_cast<Score>(store_.final_score(beam.text, beam.word));
    }
    trim();
    std::vector<BeamHypothesis> hypotheses;
    for (const Beam<Score>& beam : beams_) {
      const Final& final = finals[beam.frames];
      BeamHypothesis& hypothesis = hypotheses.emplace_back();
      const std::vector<FrameLists::Frames> frames = frames_.of(final.frames);
      std::size_t i = 0;
      for (const std::string_view word : split_at_blanks(final.text)) {
        if (!hypothesis.text.empty()) hypothesis.text += ' ';
        hypothesis.text += word;
        if (i < frames.size()) {
          hypothesis.words.push_back({std::string(word), frames[i].start, frames[i].end});
        }
        ++i;
      }
      hypothesis.logit_score = static_cast<double>(beam.logit_score);
      hypothesis.lm_score = static_cast<double>(beam.score);
    }
    return hypotheses;
  }

 private:
  std::span<const int> choose_labels(std::span<const Score> log_probs) {
    chosen_.clear();
    const auto least = static_cast<Score>(options_.token_min_logp);
    int best = 0;
    for (int i = 0; i < static_cast<int>(log_probs.size()); ++i) {
      if (log_probs[i] >= least) chosen_.push_back(i);
      if (log_probs[i] > log_probs[best]) best = i;
    }
    return set_order_.of(chosen_, best);
  }

  void extend(const Beam<Score>& beam, int label_number, Score log_prob) {
    const Label& label = labels_.labels[label_number];
    Beam<Score> next = beam;
    next.logit_score = beam.logit_score + log_prob;
    next.last_label = label.same;
    bool ends_word = false;
    if (label.is_blank) {
      // The same text.
    } else if (label.same == beam.last_label) {
      next.end = frame_ + 1;
    } else if (alphabet_.is_bpe && (label.ends_word || forces_break_)) {
      // pyctcdecode: one for all hypotheses.
      forces_break_ = label.forces_break;
      ends_word = true;
      next.word = store_.extend_word(0, label.text);
      next.start = frame_;
      next.end = frame_ + 1;
    } else if (!alphabet_.is_bpe && label.ends_word) {
      ends_word = true;
      next.word = 0;
      next.start = -1;
      next.end = -1;
    } else {
      next.word = store_.extend_word(beam.word, alphabet_.is_bpe ? label_number : label.text);
      if (beam.start < 0) next.start = frame_;
      next.end = frame_ + 1;
    }
    if (ends_word) next.text = store_.extend_text(beam.text, beam.word);
    const int number = static_cast<int>(next_.size());
    const int found = table_.find_or_add(next.text, next.word, next.last_label, number);
    if (ends_word && beam.word != 0) next.frames = frames_.add(beam.frames, beam.start, beam.end);
    if (found == number) {
      next_.push_back(next);
      return;
    }
    // pyctcdecode: of paths that spell the same the last one tells the frames.
    next.logit_score = sum_log_scores(next_[found].logit_score, next.logit_score);
    next_[found] = next;
  }

  Score score_of(const Beam<Score>& beam) const {
    const double text_score = store_.text_score(beam.text);
    const double word_score = store_.partial_score(beam.word);
    if (language_model_) {
      return beam.logit_score +
             static_cast<Score>(beam.word == 0 ? text_score : text_score + word_score);
    }
    return (beam.logit_score + static_cast<Score>(text_score)) + static_cast<Score>(word_score);
  }

  // next_ -> beams_: the best, in their order.
  void trim() {
    Score best = -std::numeric_limits<Score>::infinity();
    for (const Beam<Score>& beam : next_) best = std::max(best, beam.score);
    const Score least = best + static_cast<Score>(options_.beam_prune_logp);
    ranking_.clear();
    for (std::size_t i = 0; i < next_.size(); ++i) {
      if (next_[i].score >= least) ranking_.push_back(static_cast<int>(i));
    }
    const std::size_t count =
        std::min(ranking_.size(), static_cast<std::size_t>(options_.beam_width));
    std::partial_sort(ranking_.begin(), ranking_.begin() + static_cast<std::ptrdiff_t>(count),
                      ranking_.end(), [this](int a, int b) {
                        if (next_[a].score != next_[b].score)
                          return next_[a].score > next_[b].score;
                        return a < b;
                      });
    beams_.clear();
    for (std::size_t i = 0; i < count; ++i) beams_.push_back(next_[ranking_[i]]);
  }

  void prune_history() {
    table_.begin(beams_.size());
    std::size_t kept = 0;
    for (std::size_t i = 0; i < beams_.size(); ++i) {
      const Beam<Score> beam = beams_[i];
      const int number = static_cast<int>(kept);
      if (table_.find_or_add(store_.history(beam.text), beam.word, beam.last_label, number) ==
          number) {
        beams_[kept++] = beam;
      }
    }
    beams_.resize(kept);
  }

  void collect() {
    if (store_.is_full()) {
      std::vector<int*> texts;
      std::vector<int*> words;
      for (Beam<Score>& beam : beams_) {
        texts.push_back(&beam.text);
        words.push_back(&beam.word);
      }
      store_.collect(texts, words);
    }
    if (frames_.is_full()) {
      std::vector<int*> lists;
      for (Beam<Score>& beam : beams_) lists.push_back(&beam.frames);
      frames_.collect(lists);
    }
  }

  const CtcAlphabet& alphabet_;
  const WordLanguageModel* language_model_;
  const BeamSearchOptions& options_;
  HotwordScorer hotwords_;
  Labels labels_;
  HypothesisStore store_;
  FrameLists frames_;
  std::vector<Beam<Score>> beams_;
  std::vector<Beam<Score>> next_;
  BeamTable table_;
  PythonSetOrder set_order_;
  std::vector<int> chosen_;
  std::vector<int> ranking_;
  bool forces_break_ = false;
  std::int64_t frame_ = 0;
};

// pyctcdecode: math.isclose(logits.sum(axis=1).mean(), 1), as NumPy sums float32.
bool are_probabilities(std::span<const float> logits, std::int64_t vocab_size) {
  const auto frames = static_cast<std::int64_t>(logits.size()) / vocab_size;
  std::vector<float> sums;
  for (std::int64_t t = 0; t < frames; ++t) {
    const float* row = logits.data() + t * vocab_size;
    sums.push_back(pairwise_sum<float>(0, vocab_size, [row](std::int64_t i) { return row[i]; }));
  }
  const auto sum = pairwise_sum<float>(0, frames, [&](std::int64_t t) { return sums[t]; });
  return sum / static_cast<float>(frames) == 1.0F;
}

void fail_frame(std::int64_t frame) {
  throw UsageError("logits", "frame " + std::to_string(frame),
                   "is NaN, +infinity, or without a finite value", "finite numbers");
}

// pyctcdecode: np.clip(_log_softmax(logits, axis=1), np.log(MIN_TOKEN_CLIP_P), 0).
void log_softmax(std::span<const float> row, std::int64_t frame, std::vector<float>& exponentials,
                 std::vector<double>& out) {
  const float greatest = *std::max_element(row.begin(), row.end());
  if (!std::isfinite(greatest)) fail_frame(frame);
  for (std::size_t i = 0; i < row.size(); ++i) exponentials[i] = std::exp(row[i] - greatest);
  const float sum = pairwise_sum<float>(0, static_cast<std::int64_t>(row.size()),
                                        [&](std::int64_t i) { return exponentials[i]; });
  if (!std::isfinite(sum)) fail_frame(frame);
  const float log_sum = std::log(sum);
  static const double kMinLogProbability = std::log(kMinProbability);
  for (std::size_t i = 0; i < row.size(); ++i) {
    const float log_prob = (row[i] - greatest) - log_sum;
    out[i] = std::min(std::max(static_cast<double>(log_prob), kMinLogProbability), 0.0);
  }
}

void log_probabilities(std::span<const float> row, std::vector<float>& out) {
  for (std::size_t i = 0; i < row.size(); ++i) {
    out[i] = std::log(std::min(std::max(row[i], static_cast<float>(kMinProbability)), 1.0F));
  }
}

}  // namespace

BeamSearchDecoder::BeamSearchDecoder(CtcAlphabet alphabet,
                                     std::optional<WordLanguageModel> language_model)
    : alphabet_(std::move(alphabet)), language_model_(std::move(language_model)) {}

BeamSearchDecoder BeamSearchDecoder::from_pretrained(const std::string& directory) {
  CtcAlphabet alphabet = CtcAlphabet::load(join_path(directory, "alphabet.json"));
  const std::string language_model = join_path(directory, "language_model");
  if (!exists<ConfigError>(language_model)) return BeamSearchDecoder(std::move(alphabet));
  return BeamSearchDecoder(std::move(alphabet), WordLanguageModel::from_directory(language_model));
}

std::vector<BeamHypothesis> BeamSearchDecoder::decode(std::span<const float> logits,
                                                      const BeamSearchOptions& options) const {
  check_options(options);
  const auto vocab_size = static_cast<std::int64_t>(alphabet_.labels.size());
  if (vocab_size == 0 || logits.size() % alphabet_.labels.size() != 0) {
    throw UsageError("logits", "", std::to_string(logits.size()) + " values",
                     "a multiple of the alphabet's " + std::to_string(vocab_size) + " labels");
  }
  const auto frames = static_cast<std::int64_t>(logits.size()) / vocab_size;
  const WordLanguageModel* language_model = language_model_ ? &*language_model_ : nullptr;
  const auto row = [&](std::int64_t t) {
    return logits.subspan(static_cast<std::size_t>(t * vocab_size), alphabet_.labels.size());
  };
  std::vector<float> values(alphabet_.labels.size());
  if (frames > 0 && are_probabilities(logits, vocab_size)) {
    Search<float> search(alphabet_, language_model, options);
    for (std::int64_t t = 0; t < frames; ++t) {
      const auto probabilities = row(t);
      if (std::any_of(probabilities.begin(), probabilities.end(),
                      [](float value) { return std::isnan(value); })) {
        fail_frame(t);
      }
      log_probabilities(probabilities, values);
      search.add(values);
    }
    return search.finish();
  }
  Search<double> search(alphabet_, language_model, options);
  std::vector<double> log_probs(alphabet_.labels.size());
  for (std::int64_t t = 0; t < frames; ++t) {
    log_softmax(row(t), t, values, log_probs);
    search.add(log_probs);
  }
  return search.finish();
}

}  // namespace w2vbert
