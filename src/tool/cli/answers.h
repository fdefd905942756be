// What transcribe, classify, segment and embed have in common: an answer for each clip, as a line.
#pragma once

#include <CLI/App.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tool/cli/answer.h"
#include "tool/cli/answer_file.h"
#include "tool/cli/options.h"
#include "tool/run/answer_run.h"
#include "tool/tasks/classification.h"
#include "tool/tasks/head_model.h"

namespace w2vbert::tool {

struct AnswerOptions {
  ClipOptions clips;
  ModelOptions model;
  OutputOptions output;

  // AUDIO, --manifest, --output and how audio is read; then add_model_to(), so that a command's own
  // options stand between.
  void add_inputs_to(CLI::App& command);
  void add_model_to(CLI::App& command, const std::string& json);  // what a line of --json has
};

// --chunk-seconds and --stride-seconds: windows as HF's pipelines cut them.
class WindowOptions {
 public:
  void add_to(CLI::App& command, const std::string& by_default = "whole");
  double chunk() const;   // 0: whole
  double stride() const;  // at either end; throws UsageError for one without chunks

 private:
  std::optional<double> given_chunk_;
  std::optional<double> given_stride_;
};

// What answers are kept for.
struct KeepRequest {
  const InputList& inputs;  // which outlive them
  const Fingerprint& run;
  const Partition& partition;
  const ProtectedFiles& sources;
  AnswerRecords::Asked asked;
};

// How a command answers.
struct AnswerCommand {
  const char* name = "";  // of the command
  // What its answers depend on beside the model, the audio and the windows.
  std::function<FingerprintFields()> fields = [] { return FingerprintFields(); };
  // What is asked of an input beside its path, segment and channel.
  AnswerRecords::Asked asked = {};
  std::vector<std::string> warnings;  // that are told first
  Windows windows;
  std::function<std::vector<AnswerFunction>(LoadReport* report,
                                            const std::function<bool()>& interrupt_asked)>
      load;
  // Called for several clips at the same time.
  std::function<Answer(const AnsweredClip&, const WindowTensors&)> answer;
  // Instead of printing a line.
  std::function<void(const AnsweredClip&, const Answer&)> print = {};
  // Where answers are kept, instead of in a file of lines at --output.
  std::function<std::unique_ptr<KeptAnswers>(const KeepRequest& request)> keep = {};
  // Called with the inputs before the weights are loaded; they outlive the run.
  std::function<void(const InputList&, const Partition&)> begin = {};
  bool names_outputs = false;  // no two inputs may have one name
  bool wants_texts = false;    // what the list says is said in each input
};

// softmax, sigmoid, none
OneOf<ScoreFunction> score_functions(bool with_none);

// Runs over the clips, prints their answers or writes them to --output; returns the exit status.
int answer_clips(const AnswerOptions& options, const HeadModel& model,
                 const AnswerCommand& command);

// All of `text`, on one line and without a tab.
std::string on_one_line(const std::string& text);

}  // namespace w2vbert::tool
