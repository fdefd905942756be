// w2vbert transcribe: audio files -> text.
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "tool/cli/answers.h"
#include "tool/cli/commands.h"
#include "tool/cli/timed_json.h"
#include "tool/cli/timed_output.h"
#include "tool/cli/typed_options.h"
#include "tool/tasks/transcription.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::int64_t kMaxBeamWidth = 1 << 16;

// --decoder beam, and what goes with it alone.
class DecoderOptions {
 public:
  void add_to(CLI::App& command) {
    add_value(
        command, "--decoder", is_beam_search_, OneOf<bool>({{"greedy", false}, {"beam", true}}),
        "How a text is made of the model's outputs: the most likely token of each frame, or a "
        "beam search with a language model, as transformers' Wav2Vec2ProcessorWithLM decodes");
    add(command, "--lm", lm_, "PATH",
        "The beam search's language model: ARPA text, a binary file of KenLM, or a directory with "
        "alphabet.json or attrs.json (default: the folder language_model of the model's directory, "
        "if there is one)");
    add(command, "--alpha", alpha_, AnyNumber{},
        "Weight of the language model (default: that of its attrs.json, or 0.5)");
    add(command, "--beta", beta_, AnyNumber{},
        "What each word adds to a score (default: that of attrs.json, or 1.5)");
    add(command, "--beam-width", beam_width_, WholeNumber<std::int64_t>{1, kMaxBeamWidth},
        "Hypotheses that are kept at each frame (default: 100)");
    add(command, "--hotwords", hotwords_, "FILE",
        "Words that are more likely than the language model knows, one a line, - for the standard "
        "input");
    add(command, "--hotword-weight", hotword_weight_, AnyNumber{},
        "What each of them adds to a score (default: 10)");
    add(command, "--n-best", n_best_, WholeNumber<std::int64_t>{1, kMaxBeamWidth},
        "Write the N best texts with their scores and words into a line of --json (default: the "
        "best one alone)");
  }

  // Throws UsageError for an option that needs the beam search.
  std::optional<BeamDecoding> beam() const {
    if (!is_beam_search_) {
      if (!first_given_.empty()) {
        throw UsageError("", first_given_, "belongs to the beam search", "--decoder beam");
      }
      return std::nullopt;
    }
    BeamDecoding decoding;
    decoding.lm = lm_;
    decoding.alpha = alpha_;
    decoding.beta = beta_;
    decoding.hotwords = hotwords_;
    if (beam_width_) decoding.search.beam_width = *beam_width_;
    if (hotword_weight_) decoding.search.hotword_weight = *hotword_weight_;
    if (n_best_) decoding.n_best = static_cast<std::size_t>(*n_best_);
    return decoding;
  }
  const std::string& hotwords() const { return hotwords_; }
  bool tells_n_best() const { return n_best_.has_value(); }

 private:
  template <class Value, class Reader>
  void add(CLI::App& command, const std::string& name, std::optional<Value>& value,
           const Reader& read, const std::string& help) {
    add_value(
        command, name,
        [this, name, read, &value](const std::string& text) {
          if (first_given_.empty()) first_given_ = name;
          value = read(name, text);
        },
        read.placeholder, help);
  }
  void add(CLI::App& command, const std::string& name, std::string& value,
           const std::string& placeholder, const std::string& help) {
    add_value(
        command, name,
        [this, name, &value](const std::string& text) {
          if (first_given_.empty()) first_given_ = name;
          value = text;
        },
        placeholder, help);
  }

  bool is_beam_search_ = false;
  std::string lm_;
  std::optional<double> alpha_;
  std::optional<double> beta_;
  std::optional<std::int64_t> beam_width_;
  std::string hotwords_;
  std::optional<double> hotword_weight_;
  std::optional<std::int64_t> n_best_;
  std::string first_given_;
};

struct TranscribeOptions : AnswerOptions {
  WindowOptions windows;
  DecoderOptions decoder;
  TimedOutput timed;
};

nlohmann::ordered_json n_best_json(const std::vector<ScoredText>& texts) {
  auto list = nlohmann::ordered_json::array();
  for (const ScoredText& text : texts) {
    list.push_back({{"text", text.text},
                    {"logit_score", text.logit_score},
                    {"lm_score", text.lm_score},
                    {"words", timed_json(text.words, "word")}});
  }
  return list;
}

int run(const TranscribeOptions& given) {
  given.clips.check_inputs();
  given.clips.check_is_another_input("--hotwords", given.decoder.hotwords());
  TranscribeOptions options = given;
  AnswerCommand command;
  options.timed.apply(options, command);
  std::optional<BeamDecoding> beam = options.decoder.beam();
  const bool has_lines = !command.keep && !command.print;
  const bool has_json = has_lines && (options.output.json || !options.clips.output.empty());
  if (options.decoder.tells_n_best() && !has_json) {
    throw UsageError("", "--n-best", "is given where each clip has one text", "--json or --output");
  }
  apply_threads(options.model.threads);
  const Transcription transcription(
      options.model.request(),
      {options.windows.chunk(), options.windows.stride(), std::move(beam)});
  command.name = "transcribe";
  command.fields = [&] {
    FingerprintFields fields = transcription.fingerprint_fields();
    if (options.decoder.tells_n_best()) fields.emplace_back("n_best", "told");
    return fields;
  };
  command.warnings = transcription.warnings();
  command.windows = transcription.windows();
  command.load = [&](LoadReport* report, const std::function<bool()>& interrupt_asked) {
    return transcription.load(report, interrupt_asked);
  };
  command.answer = [&](const AnsweredClip& clip, const WindowTensors& ids) {
    ClipText text = transcription.text_of(clip, ids);
    std::string line = on_one_line(text.text);
    Answer answer;
    answer.json = {{"text", std::move(text.text)}, {"words", timed_json(text.words, "word")}};
    answer.text = std::move(line);
    if (options.decoder.tells_n_best()) answer.json["n_best"] = n_best_json(text.n_best);
    answer.timed = text.words;
    answer.tiers = {{"words", std::move(text.words)}};
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
  options->timed.add_to_words(command);
  options->clips.add_naming_to(command);
  options->decoder.add_to(command);
  options->add_model_to(command,
                        "path, seconds, text, and words with their start and end in seconds");
  command.footer(
      "Example:\n  w2vbert transcribe a.wav b.flac --model my-ctc-model\n"
      "prints each path, a tab and the text: that of greedy CTC decoding with the tokenizer in the "
      "model's\ndirectory (vocab.json, tokenizer_config.json), as HuggingFace's processor decodes, "
      "or "
      "with --decoder beam\nthat of its Wav2Vec2ProcessorWithLM. Exit status 3: some files "
      "failed.");
  return [options] { return run(*options); };
}

}  // namespace w2vbert::tool
