// w2vbert view: a recording -> a page that shows what a model makes of it.
#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/escaped_name.h"
#include "core/file.h"
#include "core/stopwatch.h"
#include "core/text.h"
#include "tool/cli/answers.h"
#include "tool/cli/clip_report.h"
#include "tool/cli/commands.h"
#include "tool/cli/console.h"
#include "tool/cli/exit_status.h"
#include "tool/cli/format.h"
#include "tool/cli/html.h"
#include "tool/cli/options.h"
#include "tool/cli/view_page.h"
#include "tool/store/json_text.h"
#include "tool/store/writable.h"
#include "tool/tasks/model_files.h"
#include "tool/tasks/recording_view.h"
#include "w2vbert/audio/audio_file.h"
#include "w2vbert/core/error.h"
#include "w2vbert/version.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

// All states of a longer clip at once, and its attention, are more than a small machine has time
// and memory for.
constexpr double kMaxWholeSeconds = 300;
constexpr double kUsualChunkSeconds = 60;
constexpr double kUsualStrideSeconds = 10;
constexpr double kUsualPlaybackSeconds = 600;
// Browsers take no text of more than half a gigabyte: this is 307 MB of it at 16,000 Hz.
constexpr double kMaxPlaybackSeconds = 7200;
constexpr std::size_t kMaxPlaybackSamples = 7200 * 16000;

struct ViewOptions {
  std::string path;
  ClipOptions clips;
  WindowOptions windows;
  ModelOptions model;
  OutputOptions report;
  std::optional<Head> head;
  double playback_seconds = kUsualPlaybackSeconds;
};

// The heads, as the commands that give their answers are called.
OneOf<Head> tasks() {
  return OneOf<Head>({{"transcribe", Head::ctc},
                      {"classify", Head::sequence_classification},
                      {"segment", Head::audio_frame_classification},
                      {"embed", Head::xvector},
                      {"extract", Head::pooling}});
}

void check(const ViewOptions& options) {
  if (options.path.empty()) throw UsageError("", "AUDIO", "no audio file", "the path of one");
  if (options.clips.output.empty()) {
    throw UsageError("", "--output", "is not given", "the name of a page, such as page.html");
  }
  if (options.clips.channels.channel == kEachChannel) {
    throw UsageError("", "--channels", "is each", "one channel, or their mean: a page shows one");
  }
  (void)options.windows.stride();
}

Windows chosen_windows(const ViewOptions& options, const RecordingViewer& viewer, double seconds) {
  if (options.windows.chunk() > 0) {
    return viewer.windows(options.windows.chunk(), options.windows.stride());
  }
  if (seconds <= kMaxWholeSeconds) return {};
  return viewer.windows(kUsualChunkSeconds, kUsualStrideSeconds);
}

std::string chunks_text(const RecordingView& view, const Windows& windows, double rate) {
  if (view.chunks == 1) return "whole";
  return fmt::format("{} chunks of {} s, of which {} s at either end are heard and not kept",
                     view.chunks, number_text(static_cast<double>(windows.samples) / rate),
                     number_text(static_cast<double>(windows.left) / rate));
}

std::string channel_text(const AudioOptions& audio, const Waveform& waveform) {
  if (waveform.source_channels == 1) return "1 channel";
  const std::string all = fmt::format("{} channels, ", waveform.source_channels);
  if (audio.channels == AudioOptions::Channels::mix) return all + "their mean";
  return all + fmt::format("channel {}", audio.channel);
}

std::string playback_text(const ViewOptions& options, const Waveform& waveform, double seconds) {
  if (waveform.samples.size() > kMaxPlaybackSamples) {
    return fmt::format("The audio is not in this page: it has {} samples, more than {}.",
                       waveform.samples.size(), kMaxPlaybackSamples);
  }
  if (seconds <= options.playback_seconds) return "";
  return fmt::format(
      "The audio is not in this page: it is longer than the {} s of --playback-seconds.",
      number_text(options.playback_seconds));
}

std::string embedding_text(const RecordingView& view) {
  std::string norms;
  for (const PartAnswer& part : view.parts) {
    constexpr std::size_t kMaxNorms = 200;  // bytes
    if (norms.size() > kMaxNorms) {
      norms += ", ...";
      break;
    }
    if (!norms.empty()) norms += ", ";
    norms += number_text(std::round(*part.embedding_norm * 1e4) / 1e4);
  }
  return fmt::format("{} values{} of length {}; it has no place on the time axis",
                     view.embedding_size, view.parts.size() > 1 ? " for each chunk," : "", norms);
}

// What the model answered, in a few words.
std::string answer_text(const RecordingView& view) {
  if (view.has_words) return count(view.words.size(), "word");
  if (view.num_labels > 0) return count(view.segments.size(), "segment");
  if (view.embedding_size > 0) return fmt::format("an embedding of {}", view.embedding_size);
  if (view.parts.size() > 1) return count(view.parts.size(), "labelled chunk");
  if (!view.parts.empty()) return "label " + quote_bytes(view.parts.front().labels.front().label);
  return count(static_cast<std::size_t>(view.energies.rows), "state");
}

int run(const ViewOptions& options) {
  check(options);
  apply_threads(options.model.threads);
  const ModelRequest request = options.model.request();
  ProtectedFiles sources;
  sources.add(options.path, "the input");
  add_model_files(sources, request.model, request.revision, request.lora);
  OutputFile output(options.clips.output, "output", sources,
                    [](const std::string& path) { return is_page_of("view", path); });
  RecordingViewer viewer(request, options.head);
  const HeadModel& model = viewer.model();
  const AudioOptions audio = options.clips.audio(model.features().sampling_rate);
  const Waveform waveform = load_audio(options.path, audio);
  const double rate = waveform.sample_rate_hz;
  const double seconds = static_cast<double>(waveform.samples.size()) / rate;
  const Windows windows = chosen_windows(options, viewer, seconds);

  Messages messages(options.report.quiet);
  if (!waveform.note.empty()) messages.say(quote_bytes(options.path) + ": " + waveform.note);
  for (const std::string& warning : viewer.warnings()) messages.say(warning);
  Stopwatch watch;
  LoadReport report;
  viewer.load(&report);
  const double load_seconds = watch.seconds();
  say_warnings(report, messages);
  say_engine(model.engine(), messages);
  watch = Stopwatch();
  const RecordingView view =
      viewer.view(waveform, options.path, windows, [&](std::size_t done, std::size_t all) {
        if (all > 1) messages.progress(done, all, "chunks");
      });
  const double compute_seconds = watch.seconds();
  messages.clear();
  for (const std::string& note : view.notes) messages.say(quote_bytes(options.path) + ": " + note);

  const std::string class_name = class_of(viewer.head());
  ViewPage page;
  page.title = std::string(file_name(options.path));
  page.summary = fmt::format("{:.2f} s; {}, {}", view.seconds, class_name, answer_text(view));
  page.playback = playback_text(options, waveform, seconds);
  if (page.playback.empty()) page.audio = &waveform;
  page.facts = {
      {"recording", quote_bytes(options.path, 1000)},
      {"file", fmt::format("{}, {} Hz, {}", waveform.container, waveform.source_sample_rate_hz,
                           channel_text(audio, waveform))},
      {"shown and played",
       fmt::format("what the model hears: one channel at {} Hz{}", waveform.sample_rate_hz,
                   page.audio ? ", played in 16 bits" : "")},
      {"model", quote_bytes(options.model.model, 1000)},
      {"class", class_name},
      {"computed", fmt::format("{} engine, {}, {}", name_of(model.engine().kind),
                               name_of(request.precision), chunks_text(view, windows, rate))},
      {"answer",
       view.embedding_size > 0 ? "embedding: " + embedding_text(view) : answer_text(view)},
      {"written by", fmt::format("w2vbert {}, which follows transformers {}", version(),
                                 name_of(request.hf_version))}};
  if (!waveform.note.empty()) page.facts.insert(page.facts.begin() + 2, {"note", waveform.note});
  for (const std::string& note : view.notes) page.facts.push_back({"note", note});
  const std::string html = view_html(page, view, model.features());
  output.put(StagedFile(output.path(), html));

  messages.say(fmt::format("{}: {}, {}; {}; {:.1f} MB; loaded in {:.2f} s, computed in {:.2f} s",
                           quote_bytes(options.clips.output), class_name, answer_text(view),
                           page.audio ? "with the audio" : "without the audio",
                           static_cast<double>(html.size()) / 1e6, load_seconds, compute_seconds));
  if (options.report.json) {
    const Json told = {{"command", "view"},
                       {"path", escaped_name(options.path)},
                       {"output", escaped_name(options.clips.output)},
                       {"architecture", class_name},
                       {"task", tasks().text(viewer.head())},
                       {"engine", name_of(model.engine().kind)},
                       {"engine_reason", model.engine().reason},
                       {"hf_version", name_of(request.hf_version)},
                       {"seconds", view.seconds},
                       {"chunks", view.chunks},
                       {"states", view.energies.rows},
                       {"words", view.words.size()},
                       {"segments", view.segments.size()},
                       {"notes", view.notes},
                       {"with_audio", page.audio != nullptr},
                       {"bytes", html.size()},
                       {"load_seconds", load_seconds},
                       {"compute_seconds", compute_seconds}};
    print_report(json_text(told));
  }
  return kDone;
}

}  // namespace

Run add_view(CLI::App& program) {
  CLI::App& command = *program.add_subcommand(
      "view",
      "Write an HTML page about one recording: waveform, log-mel features, the states' energy, and "
      "what the model says, on one time axis, with playback");
  const auto options = std::make_shared<ViewOptions>();
  command.add_option("AUDIO", options->path, "An audio file: WAV, FLAC, Ogg, MP3 and others")
      ->type_name("");
  add_value(
      command, "--output", options->clips.output, OutputPath{"PAGE.html"},
      "The page, which needs nothing else; one of an earlier call is replaced, any other file "
      "is left as it is");
  add_value(command, "--task", options->head, tasks(),
            "Whose answer is shown: words, labels of the recording, labels of each frame, or the "
            "length of an embedding; extract: the states alone (default: by the class that "
            "config.json names)");
  add_value(command, "--playback-seconds", options->playback_seconds,
            NumberFromZero{kMaxPlaybackSeconds},
            "Put the audio of a recording of up to S seconds into the page, 43 kB for each; a page "
            "without it plays the recording's file when that is chosen there");
  options->windows.add_to(command,
                          "whole up to 300 seconds, longer audio in chunks of 60 with a "
                          "stride of 10");
  options->clips.add_audio_to(command);
  options->model.add_to(command);
  options->report.add_to(command);
  command.footer(
      "Example:\n  w2vbert view speech.wav --model my-ctc-model --output speech.html\n"
      "then open speech.html in a browser: no network is used. Exit status 3: the recording cannot "
      "be read.");
  return [options] { return run(*options); };
}

}  // namespace w2vbert::tool
