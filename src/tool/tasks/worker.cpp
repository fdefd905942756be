#include "tool/tasks/worker.h"

#include <ATen/core/grad_mode.h>

#include <exception>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "core/durable_file.h"
#include "core/text.h"
#include "tool/run/batch_runner.h"
#include "tool/run/clip_reader.h"
#include "tool/run/output_writer.h"
#include "w2vbert/core/error.h"
#include "w2vbert/version.h"

namespace w2vbert::tool {
namespace {

constexpr int kAnsweringThreads = 2;
// A longer batch is dropped when the program is to end: launchers kill after 30 seconds, and the
// program itself ends after ten (tool/cli/signals.cpp).
constexpr double kGraceSeconds = 5;
constexpr std::size_t kMaxKnownFolders = 1000;
constexpr std::size_t kMaxKnownChoices = 32;

// Counts the answers, and hands them on.
class Answers {
 public:
  Answers(const WorkerEvents& events, RequestSource& source, WorkerSummary& summary)
      : events_(events), source_(source), summary_(summary) {}

  // On any thread.
  void add(WorkerAnswer answer) {
    {
      const std::lock_guard lock(mutex_);
      ++(answer.failure ? summary_.failed : summary_.done);
      if (!answer.failure) summary_.audio_seconds += answer.audio_seconds;
    }
    AcceptedRequest asked = answer.asked;
    try {
      events_.answered(std::move(answer));
    } catch (...) {  // no memory, most of the time: a shorter one may do
      WorkerAnswer shorter;
      shorter.failure = failure_of(asked.request.path, "write", std::current_exception());
      shorter.asked = std::move(asked);
      events_.answered(std::move(shorter));
    }
  }
  void fail(std::size_t turn, ClipFailure failure) {
    WorkerAnswer answer;
    answer.asked = source_.take(turn);
    answer.failure = std::move(failure);
    add(std::move(answer));
  }
  void fail(std::size_t turn, const char* stage, const std::exception_ptr& failure) {
    fail(turn, failure_of(source_.find(turn).request.path, stage, failure));
  }

 private:
  const WorkerEvents& events_;
  RequestSource& source_;
  WorkerSummary& summary_;
  std::mutex mutex_;
};

// Writes the files that are asked for, and answers.
class AnswerSink : public OutputSink {
 public:
  AnswerSink(Answers& answers, RequestSource& source, double frame_rate_hz)
      : answers_(answers), source_(source), frame_rate_hz_(number_text(frame_rate_hz)) {}

  int max_threads() const override { return kAnsweringThreads; }

  void write(Output& output) override {
    WorkerAnswer answer;
    answer.asked = source_.take(output.index);
    answer.frames = output.report.frames;
    answer.audio_seconds = output.report.audio_seconds;
    answer.note = output.report.note;
    try {
      if (!answer.asked.request.output.empty()) put_in_place(answer.asked.request.output, output);
      answer.tensors = std::move(output.tensors);
    } catch (const StorageError& error) {
      answer.failure = {answer.asked.request.path, "write", "output", message_of(error)};
    } catch (...) {
      answer.failure = failure_of(answer.asked.request.path, "write", std::current_exception());
    }
    answers_.add(std::move(answer));
  }

  void skip(std::size_t) override {}
  void finish() override {}

 private:
  void put_in_place(const std::string& path, const Output& output) {
    clean_folder_of(path);
    SafetensorsMetadata metadata = {{"command", "worker"}, {"w2vbert", version()}};
    add_clip_metadata(metadata, output.report, frame_rate_hz_);
    add_input_metadata(metadata, output.report.input);
    stage_safetensors(path, output.tensors, metadata).put_in_place_of(std::nullopt);
  }

  // What a killed worker has left there.
  void clean_folder_of(const std::string& path) {
    const std::string folder = parent_path(path);
    {
      const std::lock_guard lock(mutex_);
      if (folders_.size() >= kMaxKnownFolders) folders_.clear();
      if (!folders_.insert(folder).second) return;
    }
    try {
      remove_stale_temporaries(folder);
    } catch (const StorageError&) {
      // A folder that is not there, for example: the file itself says so.
    }
  }

  Answers& answers_;
  RequestSource& source_;
  const std::string frame_rate_hz_;
  std::mutex mutex_;
  std::set<std::string> folders_;  // that have been cleaned
};

// Runs batches of clips for which the same is wanted.
class Computation {
 public:
  Computation(const ServedModel& model, const WorkerOptions& options, RequestSource& source,
              Answers& answers, OutputWriter& writer)
      : model_(model), options_(options), source_(source), answers_(answers), writer_(writer) {}

  void run(std::vector<ReadClip> batch, const std::function<bool()>& must_stop) {
    using Wanted = std::pair<WorkerRequest::Want, std::string>;
    std::map<Wanted, std::vector<ReadClip>> groups;
    for (ReadClip& clip : batch) {
      if (clip.failure) {
        answers_.fail(clip.index, "read", clip.failure);
      } else {
        const WorkerRequest request = source_.find(clip.index).request;
        groups[{request.want, request.states}].push_back(std::move(clip));
      }
    }
    for (auto& [wanted, clips] : groups) {
      Runner* runner = nullptr;
      try {
        runner = &runner_for(wanted.first, wanted.second);
      } catch (const UsageError& error) {
        for (const ReadClip& clip : clips) {
          answers_.fail(clip.index,
                        {source_.find(clip.index).request.path, "read", "request", error.what()});
        }
        continue;
      }
      run(*runner, std::move(clips), must_stop);
    }
  }

 private:
  struct Runner {
    explicit Runner(ServedModel::Choice choice)
        : function(std::move(choice.function)), batches(function, choice.batch_frames) {}
    const ServedModel::Function function;
    BatchRunner<MadeOfClip> batches;
  };

  Runner& runner_for(WorkerRequest::Want want, const std::string& states) {
    const std::pair key(want, states);
    const auto found = runners_.find(key);
    if (found != runners_.end()) return *found->second;
    auto runner = std::make_unique<Runner>(model_.choose(want, states, options_.batch_seconds));
    if (runners_.size() >= kMaxKnownChoices) runners_.clear();
    return *(runners_[key] = std::move(runner));
  }

  // As many at a time as may go through the model together.
  void run(Runner& runner, std::vector<ReadClip> clips, const std::function<bool()>& must_stop) {
    std::vector<ReadClip> part;
    std::int64_t frames = 0;
    for (ReadClip& clip : clips) {
      if (!part.empty() && frames + clip.frames() > runner.batches.frames()) {
        run_part(runner, std::exchange(part, {}), must_stop);
        frames = 0;
      }
      frames += clip.frames();
      part.push_back(std::move(clip));
    }
    run_part(runner, std::move(part), must_stop);
  }

  void run_part(Runner& runner, std::vector<ReadClip> part,
                const std::function<bool()>& must_stop) {
    const auto failed = [this](const ReadClip& clip, const char* stage,
                               const std::exception_ptr& failure) {
      answers_.fail(clip.index, stage, failure);
      return true;
    };
    const auto interrupted = [&] {
      for (const ReadClip& clip : part) {
        failed(clip, "model", std::make_exception_ptr(Interrupted()));
      }
    };
    if (must_stop()) return interrupted();
    try {
      run_batch(part, runner.batches, failed,
                [this](const ReadClip& clip, BatchRunner<MadeOfClip>::Result result) {
                  done(clip, std::move(result.output));
                });
    } catch (const Interrupted&) {
      interrupted();
    }
  }

  void done(const ReadClip& clip, MadeOfClip made) {
    if (made.tensors.empty()) {
      WorkerAnswer answer;
      answer.asked = source_.take(clip.index);
      answer.frames = clip.frames();
      answer.audio_seconds = clip.audio_seconds();
      answer.note = clip.note;
      answer.words = model_.timed_words(made.text, answer.audio_seconds);
      answer.text = std::move(made.text.text);
      return answers_.add(std::move(answer));
    }
    Output output;
    output.index = clip.index;
    output.report = report_of(clip);
    output.report.add_note(made.note);
    output.tensors = std::move(made.tensors);
    writer_.add(std::move(output));
  }

  const ServedModel& model_;
  const WorkerOptions& options_;
  RequestSource& source_;
  Answers& answers_;
  OutputWriter& writer_;
  std::map<std::pair<WorkerRequest::Want, std::string>, std::unique_ptr<Runner>> runners_;
};

}  // namespace

WorkerSummary serve(const std::shared_ptr<RequestSource>& source, const ServedModel& model,
                    const WorkerOptions& options, const WorkerEvents& events) {
  const at::NoGradGuard no_grad;
  WorkerSummary summary;
  ClipRunRequest reading;
  reading.audio = options.audio;
  reading.features = model.features();
  reading.read_timeout_seconds = options.read_timeout_seconds;
  const std::int64_t batch_frames = model.batch_frames(options.batch_seconds);
  ClipReader reader(source, reading, options.reading_threads, 2 * batch_frames,
                    options.in_order ? ClipOrder::as_listed : ClipOrder::as_read);
  events.load();
  const Stopwatch watch;
  Answers answers(events, *source, summary);
  AnswerSink sink(answers, *source, reading.features.frame_rate_hz());
  OutputWriter writer(sink);
  Computation computation(model, options, *source, answers, writer);
  const auto must_stop = [&] { return events.stop_requested() || source->is_output_gone(); };
  for (;;) {
    std::vector<ReadClip> batch = reader.next_batch(batch_frames);
    if (batch.empty()) break;
    computation.run(std::move(batch), must_stop);
    (void)writer.take_written();
  }
  writer.finish();
  (void)writer.take_written();  // throws what ended the writing
  summary.elapsed_seconds = watch.seconds();
  summary.hanging_readers = reader.hanging();
  return summary;
}

StopGrace::StopGrace(std::function<bool()> stop_requested)
    : stop_requested_(std::move(stop_requested)) {}

bool StopGrace::is_over() {
  if (!stop_requested_()) return false;
  if (!since_stop_) since_stop_.emplace();
  return since_stop_->seconds() > kGraceSeconds;
}

}  // namespace w2vbert::tool
