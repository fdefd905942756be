#include "tool/tasks/alignment.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/text.h"
#include "w2vbert/core/error.h"
#include "w2vbert/ctc/forced_align.h"

namespace w2vbert::tool {
namespace {

constexpr const char* kText = "text";  // a file, a list or an option has it

at::Tensor log_probabilities(const at::Tensor& logits) {  // (T', V)
  return at::log_softmax(logits.to(at::kFloat), -1);
}

// A character of a text, which may be several tokens, and its frames.
struct Character {
  std::string_view text;
  std::size_t begin = 0;  // bytes of the text
  std::size_t end = 0;
  std::int64_t first_frame = 0;
  std::int64_t end_frame = 0;
  double probabilities = 0;  // the sum of its frames'
  std::int64_t frames = 0;
  bool is_delimiter = false;
};

// A run of characters as one text.
TimedText timed(std::string text, std::span<const Character> characters,
                const std::function<double(std::int64_t)>& time_of) {
  double probabilities = 0;
  std::int64_t frames = 0;
  for (const Character& character : characters) {
    probabilities += character.probabilities;
    frames += character.frames;
  }
  return {std::move(text), time_of(characters.front().first_frame),
          time_of(characters.back().end_frame), probabilities / static_cast<double>(frames)};
}

}  // namespace

Alignment::Alignment(const ModelRequest& request, const TranscriptionOptions& options)
    : transcription_(request, options) {}

std::vector<AnswerFunction> Alignment::load(LoadReport* report,
                                            const std::function<bool()>& interrupt_asked) const {
  return model().load(windows(), log_probabilities, report, interrupt_asked);
}

AlignedText Alignment::align(const AnsweredClip& clip, const WindowTensors& log_probs,
                             const std::string& text) const {
  const at::Tensor kept =
      kept_of_windows(log_probs, windows(), clip.samples, model().samples_per_row()).contiguous();
  const std::int64_t frames = kept.size(0), vocab_size = kept.size(1);
  const Wav2Vec2CTCTokenizer& tokenizer = transcription_.tokenizer();
  const std::int64_t blank = tokenizer.pad_token_id();
  const auto tokens = tokenizer.encode(text);
  if (tokens.empty()) throw UsageError("", kText, "is empty", "what is said in the clip");
  AlignedText aligned;
  std::vector<std::int64_t> targets;
  std::int64_t repeats = 0;
  for (const auto& token : tokens) {
    const std::string source = text.substr(token.begin, token.end - token.begin);
    if (token.id == blank || token.id >= vocab_size) {
      const std::string stands =
          token.is_unknown ? "unknown, for which the unk_token stands, " : "";
      throw UsageError("", kText,
                       in_quotes(source) + " is " + stands + "token " + std::to_string(token.id) +
                           (token.id == blank ? ", the blank"
                                              : ", of a model with " + std::to_string(vocab_size)),
                       "characters that the model can say");
    }
    if (token.is_unknown && std::find(aligned.unknown.begin(), aligned.unknown.end(), source) ==
                                aligned.unknown.end()) {
      aligned.unknown.push_back(source);
    }
    repeats += !targets.empty() && targets.back() == token.id;
    targets.push_back(token.id);
  }
  const auto length = static_cast<std::int64_t>(targets.size());
  if (frames < length + repeats) {
    throw UsageError("", kText,
                     "is too long for the clip: " + std::to_string(length) + " tokens, " +
                         std::to_string(repeats) + " of them as the one before, in " +
                         std::to_string(frames) + " frames",
                     "a frame for each, and one between two that are the same");
  }
  const ForcedAlignment alignment =
      forced_align(std::span(kept.const_data_ptr<float>(), static_cast<std::size_t>(kept.numel())),
                   vocab_size, targets, blank);
  std::vector<float> probabilities = alignment.scores;
  for (float& value : probabilities) value = std::exp(value);
  const std::vector<TokenSpan> spans = merge_tokens(alignment.path, probabilities, blank);

  std::vector<Character> characters;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto& token = tokens[i];
    const std::int64_t own = spans[i].end - spans[i].start;
    if (characters.empty() || characters.back().begin != token.begin) {
      Character& character = characters.emplace_back();
      character.text = std::string_view(text).substr(token.begin, token.end - token.begin);
      character.begin = token.begin;
      character.end = token.end;
      character.first_frame = spans[i].start;
      const std::string* spelled = tokenizer.token(token.id);
      character.is_delimiter =
          character.text == " " ||
          (spelled && !token.is_unknown && *spelled == tokenizer.word_delimiter_token);
    }
    Character& character = characters.back();
    character.end_frame = spans[i].end;
    character.frames += own;
    character.probabilities += spans[i].score * static_cast<double>(own);
  }
  const auto time_of = [&](std::int64_t frame) {
    return std::min(model().seconds_of(frame), clip.audio_seconds);
  };
  std::string word;
  std::size_t first = 0;  // character of the word
  for (std::size_t i = 0; i <= characters.size(); ++i) {
    const bool ends = i == characters.size() || characters[i].is_delimiter ||
                      (i > first && characters[i].begin != characters[i - 1].end);
    if (ends && i > first) {
      aligned.words.push_back(
          timed(std::move(word), std::span(characters).subspan(first, i - first), time_of));
      word.clear();
      first = i;
    }
    if (i == characters.size()) break;
    aligned.characters.push_back(
        timed(std::string(characters[i].text), std::span(characters).subspan(i, 1), time_of));
    if (characters[i].is_delimiter) {
      first = i + 1;
    } else {
      word += characters[i].text;
    }
  }
  return aligned;
}

}  // namespace w2vbert::tool
