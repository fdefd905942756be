#include "tool/cli/options.h"

#include <ATen/Parallel.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <limits>

#include "core/dtype.h"
#include "core/threads.h"
#include "tool/cli/command_line.h"
#include "tool/corpus/manifest.h"
#include "w2vbert/core/device.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::int64_t kMaxThreads = 1024;
constexpr int kMaxReadersByDefault = 16;
constexpr double kDecoderPatienceSeconds = 60;
constexpr std::int64_t kMaxClipsInShard = 100'000;  // more do not fit into a header

std::optional<std::string> environment_variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? std::optional<std::string>(value) : std::nullopt;
}

std::optional<std::string> given(const std::string& word) {
  return word.empty() ? std::nullopt : std::optional<std::string>(word);
}

bool is_directory(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

// torchrun and srun start a process for each device of a machine; some show each its own alone.
std::string device_of_launcher() {
  const auto visible = environment_variable("CUDA_VISIBLE_DEVICES");
  if (visible && visible->find(',') == std::string::npos) return "cuda";
  for (const char* name : {"LOCAL_RANK", "SLURM_LOCALID"}) {
    if (const auto index = environment_variable(name)) return "cuda:" + *index;
  }
  return "cuda";
}

std::string working_directory() {
  std::array<char, PATH_MAX> buffer{};
  // A directory that has been removed has no path; names are then made below "/".
  return ::getcwd(buffer.data(), buffer.size()) ? buffer.data() : "/";
}

}  // namespace

CLI::Option* add_value(CLI::App& command, const std::string& name, std::string& value,
                       const std::string& placeholder, const std::string& help) {
  CLI::Option* option = command.add_option(name, value, help);
  option->type_name(placeholder);
  return option;
}

void OutputOptions::add_to(CLI::App& command) {
  command.add_flag("--json", json, "Print one machine-readable report on stdout");
  command.add_flag("--quiet", quiet, "No progress and no messages on stderr, errors only");
}

void ModelOptions::add_to(CLI::App& command) {
  add_value(command, "--model", model, "PATH_OR_ID",
            "A HuggingFace model directory, or a Hub id in the local cache");
  add_value(
      command, "--device", device, "cpu|cuda[:N]",
      "Where the model runs; cuda is the device of LOCAL_RANK or SLURM_LOCALID if one is set, else "
      "the first (default: cpu)");
  add_value(command, "--dtype", dtype, "float32|bfloat16|float16|int8",
            "Type to compute in, and of the outputs; int8 is for the fused engine, with outputs in "
            "float32 "
            "(default: float32)");
  add_value(command, "--engine", engine, "fused|reference",
            "How the model is run: fast (on a CPU; what it cannot run falls back on the "
            "reference, with a message), or HuggingFace's operations one for one (default: fused)");
  add_value(command, "--attn-implementation", attn_implementation, "eager|sdpa",
            "Which of HuggingFace's attention paths the reference engine follows (default: sdpa)");
  add_value(command, "--threads", threads, "N",
            "Threads (default: the cores this process may use)");
  add_value(command, "--prefix", prefix, "NAME",
            "What stands before every tensor's name in the checkpoint, such as semantic_model.");
  add_value(
      command, "--lora", lora, "DIR",
      "A PEFT LoRA adapter (adapter_config.json and adapter_model.safetensors) to merge into the "
      "weights");
  command.add_flag("--lenient", lenient,
                   "Initialise missing tensors as HuggingFace does, with a warning each");
}

ModelRequest ModelOptions::request() const {
  if (model.empty()) {
    throw UsageError("", "--model", "is not given", "a model directory or a Hub id");
  }
  one_of("--dtype", dtype, {"float32", "bfloat16", "float16", "int8"});
  one_of("--engine", engine, {"fused", "reference"});
  one_of("--attn-implementation", attn_implementation, {"eager", "sdpa"});
  ModelRequest request;
  request.model = model;
  request.precision = *precision_of(dtype);
  request.engine = *engine_kind_of(engine);
  request.attn_implementation = attn_implementation;
  request.lenient = lenient;
  request.prefix = prefix;
  request.lora = lora;
  request.device = parse_device(device == "cuda" ? device_of_launcher() : device);
  return request;
}

void apply_threads(const std::string& threads) {
  at::set_num_threads(threads.empty()
                          ? usable_cores()
                          : static_cast<int>(whole_number("--threads", threads, 1, kMaxThreads)));
}

void ClipOptions::add_to(CLI::App& command) {
  add_inputs_to(command);
  add_value(command, "--output", output, "DIR", "Directory for the outputs, made if need be");
  add_value(
      command, "--output-format", output_format, "safetensors|npy",
      "A file for each input: all tensors and what is known of the input, or the states (or the "
      "features) alone for numpy.load (default: safetensors)");
  add_value(command, "--shard-size", shard_size, "N",
            "Put N inputs into each file, shard-00000.safetensors and so on, with an index of JSON "
            "lines beside it: the N first rows of the list, the N next ... (default: a file each)");
  add_audio_to(command);
  add_value(command, "--num-shards", num_shards, "N", "Do only a share of the inputs: of N shares");
  add_value(command, "--shard-index", shard_index, "I", "... this one, from 0");
  add_value(command, "--readers", readers, "N",
            "Threads that decode audio and make features (default: by the cores)");
  add_value(command, "--read-timeout", read_timeout, "S",
            "A file whose decoder gives nothing for S seconds fails (default: 60)");
  add_value(command, "--max-failures", max_failures, "N",
            "End the run when more than N files have failed (default: never)");
  command.add_flag("--allow-failures", allow_failures,
                   "Exit with 0 although some files failed: for launchers that would start anew");
  command.add_flag("--verify", verify,
                   "Read finished outputs whole and redo those that are damaged");
}

void ClipOptions::add_inputs_to(CLI::App& command) {
  command.add_option("AUDIO", paths, "Audio files: WAV, FLAC, Ogg, MP3 and others")->type_name("");
  add_value(
      command, "--manifest", manifest, "FILE|DIR",
      "A list of audio files instead (- for stdin), relative paths counting from its folder, or a "
      "directory, for the audio files in and below it");
  add_value(
      command, "--manifest-format", manifest_format, "list|tsv|jsonl|scp",
      "One path a line, fairseq's TSV, NeMo's JSON lines (with offset and duration), or Kaldi's "
      "wav.scp (default: by the file's ending, else list)");
}

void ClipOptions::add_audio_to(CLI::App& command) {
  add_value(command, "--resampler", resampler, "soxr|sinc",
            "For other sample rates: soxr HQ (what librosa does) or torchaudio's windowed sinc "
            "(default: soxr)");
  add_value(command, "--channels", channels, "first|mix",
            "Of several channels the first, as HuggingFace does, or their mean (default: first)");
  add_value(command, "--max-seconds", max_seconds, "S", "Refuse longer clips");
}

void ClipOptions::check() const {
  check_inputs();
  if (output.empty()) throw UsageError("", "--output", "is not given", "a directory");
  (void)partition();
  if (clips_in_shard() > 0 && format() != OutputFormat::safetensors) {
    throw UsageError("", "--shard-size", "is given beside --output-format " + output_format,
                     "--output-format safetensors");
  }
  (void)read_timeout_seconds();
  (void)reading_threads(1);
  (void)failures_allowed();
}

void ClipOptions::check_inputs() const {
  if (!paths.empty() && !manifest.empty()) {
    throw UsageError("", "--manifest", "is given beside audio files", "one of the two");
  }
  if (paths.empty() && manifest.empty()) {
    throw UsageError("", "AUDIO", "no audio files", "their paths, or --manifest FILE");
  }
  if (!manifest_format.empty()) {
    if (manifest.empty()) {
      throw UsageError("", "--manifest-format", "is given without --manifest", "both");
    }
    one_of("--manifest-format", manifest_format, {"list", "tsv", "jsonl", "scp"});
  }
  audio(16000);
}

InputList ClipOptions::inputs() const {
  InputList list = unnamed_inputs();
  list.finish();
  return list;
}

InputList ClipOptions::unnamed_inputs() const {
  InputList list(working_directory());
  for (const std::string& path : paths) {
    if (path.empty()) throw UsageError("", "", "an empty path", "the path of an audio file");
    list.add(path);
  }
  if (is_directory(manifest)) {
    read_audio_directory(manifest, list);
  } else if (!manifest.empty()) {
    read_manifest(manifest,
                  parse_manifest_format(manifest_format).value_or(manifest_format_of(manifest)),
                  list);
  }
  return list;
}

AudioOptions ClipOptions::audio(std::int64_t sampling_rate) const {
  AudioOptions audio;
  audio.target_sample_rate_hz = static_cast<int>(sampling_rate);
  audio.resampler = one_of("--resampler", resampler, {"soxr", "sinc"}) == "soxr"
                        ? AudioOptions::Resampler::soxr
                        : AudioOptions::Resampler::sinc;
  audio.channels = one_of("--channels", channels, {"first", "mix"}) == "first"
                       ? AudioOptions::Channels::first
                       : AudioOptions::Channels::mix;
  if (!max_seconds.empty()) {
    audio.max_seconds = positive_number("--max-seconds", max_seconds, kMaxSeconds);
  }
  return audio;
}

OutputFormat ClipOptions::format() const {
  return one_of("--output-format", output_format, {"safetensors", "npy"}) == "npy"
             ? OutputFormat::npy
             : OutputFormat::safetensors;
}

std::size_t ClipOptions::clips_in_shard() const {
  return shard_size.empty() ? 0
                            : static_cast<std::size_t>(
                                  whole_number("--shard-size", shard_size, 1, kMaxClipsInShard));
}

double ClipOptions::read_timeout_seconds() const {
  return read_timeout.empty() ? kDecoderPatienceSeconds
                              : positive_number("--read-timeout", read_timeout, kMaxSeconds);
}

int ClipOptions::reading_threads(int by_default) const {
  if (readers.empty()) return std::min(by_default, kMaxReadersByDefault);
  return static_cast<int>(whole_number("--readers", readers, 1, kMaxThreads));
}

std::size_t ClipOptions::failures_allowed() const {
  constexpr auto kAll = std::numeric_limits<std::int64_t>::max();
  return static_cast<std::size_t>(
      max_failures.empty() ? kAll : whole_number("--max-failures", max_failures, 0, kAll));
}

Partition ClipOptions::partition() const {
  return choose_partition(environment_variable, given(num_shards), given(shard_index));
}

}  // namespace w2vbert::tool
