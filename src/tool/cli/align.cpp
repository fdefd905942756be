// w2vbert align: audio files and what is said in them -> when each word is said.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/text.h"
#include "tool/cli/answers.h"
#include "tool/cli/commands.h"
#include "tool/cli/format.h"
#include "tool/cli/timed_json.h"
#include "tool/cli/timed_output.h"
#include "tool/corpus/line_file.h"
#include "tool/tasks/alignment.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::size_t kMaxTextFileBytes = 64 << 20;
constexpr std::size_t kMaxLines = 8 << 20;  // which take a quarter of a gigabyte

struct AlignOptions : AnswerOptions {
  std::optional<std::string> text;
  std::string text_file;
  WindowOptions windows;
  TimedOutput timed;
};

// The text of each input: of --text, of a line of --text-file, or of the list.
class ClipTexts {
 public:
  ClipTexts(const AlignOptions& options) : text_(options.text), file_(options.text_file) {
    if (text_ && !file_.empty()) {
      throw UsageError("", "--text-file", "is given beside --text", "one of the two");
    }
    if (!text_ && file_.empty() && options.clips.manifest.empty()) {
      throw UsageError("", "--text", "is missing", "what is said, or --text-file FILE");
    }
    if (file_.empty()) return;
    options.clips.check_is_another_input("--text-file", file_);
    read_lines(file_, "what is said, as text", kMaxTextFileBytes, [&](std::string_view line) {
      if (lines_.size() == kMaxLines) {
        throw UsageError(file_, "", "has more than " + std::to_string(kMaxLines) + " lines",
                         "one for each input");
      }
      lines_.emplace_back(line);
    });
  }

  void begin(const InputList& inputs) {
    inputs_ = &inputs;
    const std::size_t rows = inputs.slots();
    if (file_.empty()) return;
    if (rows == 1) {  // all of the file is what is said in it
      std::string whole;
      for (const std::string& line : lines_) {
        if (line.empty()) continue;
        if (!whole.empty()) whole += ' ';
        whole += line;
      }
      lines_ = {whole};
    }
    if (lines_.size() == rows) return;
    throw UsageError(file_, "", "has " + count(lines_.size(), "line"),
                     "a line for each of " + std::to_string(rows) + " inputs");
  }

  std::string of(std::size_t index) const {
    if (text_) return *text_;
    if (!file_.empty()) return lines_[inputs_->slot(index)];
    if (auto text = inputs_->text(index)) return std::move(*text);
    throw UsageError(
        "", "", "the list does not say what is said in it",
        "a \"text\" (or transcription, sentence, transcript) in its row, or --text-file");
  }

 private:
  std::optional<std::string> text_;
  std::string file_;
  std::vector<std::string> lines_;
  const InputList* inputs_ = nullptr;
};

int run(const AlignOptions& given) {
  given.clips.check_inputs();
  ClipTexts texts(given);
  AlignOptions options = given;
  AnswerCommand command;
  command.name = "align";
  options.timed.apply(options, command);
  apply_threads(options.model.threads);
  const Alignment alignment(options.model.request(),
                            {options.windows.chunk(), options.windows.stride(), {}});
  command.warnings = alignment.warnings();
  command.windows = alignment.windows();
  command.fields = [&] { return alignment.fingerprint_fields(); };
  command.asked = [&](std::size_t index) {
    try {
      return texts.of(index);
    } catch (const UsageError&) {  // which is told when it is aligned
      return std::string();
    }
  };
  command.wants_texts = !options.text && options.text_file.empty();
  const auto begin = command.begin;
  command.begin = [&](const InputList& inputs, const Partition& partition) {
    texts.begin(inputs);
    if (begin) begin(inputs, partition);
  };
  command.load = [&](LoadReport* report, const std::function<bool()>& interrupt_asked) {
    return alignment.load(report, interrupt_asked);
  };
  command.answer = [&](const AnsweredClip& clip, const WindowTensors& log_probs) {
    AlignedText aligned = alignment.align(clip, log_probs, texts.of(clip.index));
    Answer answer;
    for (const std::string& unknown : aligned.unknown) {
      answer.notes.push_back("the model does not know " + in_quotes(unknown) +
                             ": its token for unknown characters is aligned instead");
    }
    answer.json = {{"words", timed_json(aligned.words, "word")},
                   {"characters", timed_json(aligned.characters, "character")}};
    for (const TimedText& word : aligned.words) {
      if (!answer.text.empty()) answer.text += '\t';
      answer.text += fmt::format("{:.2f}-{:.2f} {}", word.start, word.end, on_one_line(word.text));
    }
    answer.timed = aligned.words;
    answer.tiers = {{"words", std::move(aligned.words)},
                    {"characters", std::move(aligned.characters)}};
    return answer;
  };
  return answer_clips(options, alignment.model(), command);
}

}  // namespace

Run add_align(CLI::App& program) {
  CLI::App& command = *program.add_subcommand(
      "align",
      "Write when each word of a text is said, with a Wav2Vec2BertForCTC and its tokenizer");
  const auto options = std::make_shared<AlignOptions>();
  options->add_inputs_to(command);
  add_value(
      command, "--text", [options](const std::string& text) { options->text = text; }, "TEXT",
      "What is said, in each file: as the tokenizer spells it");
  add_value(command, "--text-file", options->text_file, "FILE",
            "What is said, - for the standard input: all of FILE for one audio file, else a line "
            "for each of them; without "
            "this and --text it is what the list says (text, transcription, sentence, transcript)");
  options->windows.add_to(command);
  options->timed.add_to_words(command);
  options->clips.add_naming_to(command);
  options->add_model_to(
      command,
      "path, seconds, and words and characters with their start and end in seconds "
      "and score");
  command.footer(
      "Example:\n  w2vbert align a.wav --model my-ctc-model --text \"what is said\" --format srt\n"
      "prints subtitles. The path is that of torchaudio's forced_align; a score is the mean "
      "probability of the\nframes of a word's characters. Exit status 3: some files failed.");
  return [options] { return run(*options); };
}

}  // namespace w2vbert::tool
