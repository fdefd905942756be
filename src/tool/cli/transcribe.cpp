// w2vbert transcribe: audio files -> text.
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "tool/cli/answers.h"
#include "tool/cli/commands.h"
#include "tool/cli/timed_output.h"
#include "tool/cli/timed_words.h"
#include "tool/tasks/transcription.h"

namespace w2vbert::tool {
namespace {

struct TranscribeOptions : AnswerOptions {
  WindowOptions windows;
  TimedOutput timed;
};

int run(const TranscribeOptions& given) {
  given.clips.check_inputs();
  TranscribeOptions options = given;
  AnswerCommand command;
  options.timed.apply(options, command);
  apply_threads(options.model.threads);
  const Transcription transcription(options.model.request(),
                                    {options.windows.chunk(), options.windows.stride()});
  command.members = {"text", "words"};
  command.warnings = transcription.warnings();
  command.windows = transcription.windows();
  command.load = [&](LoadReport* report, const std::function<bool()>& interrupt_asked) {
    return transcription.load(report, interrupt_asked);
  };
  command.answer = [&](const AnsweredClip& clip, const WindowTensors& ids) {
    ClipText text = transcription.text_of(clip, ids);
    Answer answer;
    answer.text = on_one_line(text.text);
    answer.json = {{"text", std::move(text.text)}, {"words", words_json(text.words)}};
    TimedTier& words = answer.tiers.emplace_back(TimedTier{"words", {}});
    for (TimedWord& word : text.words) {
      words.labels.push_back({std::move(word.word), word.start, word.end});
    }
    return answer;
  };
  return answer_clips(options, transcription.model(), command);
}

}  // namespace

Run add_transcribe(CLI::App& program) {
  CLI::App& command = *program.add_subcommand(
      "transcribe", "Write what is said in each file, with a Wav2Vec2BertForCTC and its tokenizer");
  const auto options = std::make_shared<TranscribeOptions>();
  options->add_inputs_to(command);
  options->windows.add_to(command);
  options->timed.add_to(command);
  options->add_model_to(command,
                        "path, seconds, text, and words with their start and end in seconds");
  command.footer(
      "Example:\n  w2vbert transcribe a.wav b.flac --model my-ctc-model\n"
      "prints each path, a tab and the text: that of greedy CTC decoding with the tokenizer in the "
      "model's\ndirectory (vocab.json, tokenizer_config.json), as HuggingFace's processor decodes. "
      "Exit status 3: some\nfiles failed.");
  return [options] { return run(*options); };
}

}  // namespace w2vbert::tool
