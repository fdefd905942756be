#include "tool/cli/options.h"

#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <iterator>
#include <limits>
#include <utility>

#include "audio/opened_audio.h"
#include "core/environment.h"
#include "core/file.h"
#include "core/parse_number.h"
#include "core/text.h"
#include "core/threads.h"
#include "tool/corpus/archive.h"
#include "tool/corpus/audio_directory.h"
#include "tool/run/local_process.h"
#include "tool/store/run_directory.h"
#include "w2vbert/core/device.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::int64_t kMaxThreads = 1024;
constexpr int kMaxReadersByDefault = 16;
constexpr std::int64_t kMaxClipsInShard = 100'000;  // more do not fit into a header

std::optional<std::string> given(const std::string& word) {
  return word.empty() ? std::nullopt : std::optional<std::string>(word);
}

// torchrun and srun start a process for each device of a machine.
std::string device_of_launcher() {
  const auto process = local_process(environment_variable);
  return process ? "cuda:" + std::to_string(process->index) : "cuda";
}

// All that this process sees, or its share of them.
std::vector<c10::Device> all_gpus() {
  const c10::Device first = parse_device("cuda");
  const auto process = local_process(environment_variable);
  std::vector<c10::Device> devices;
  for (const int gpu :
       gpus_of(process.value_or(LocalProcess{0, 1, ""}), at::detail::getCUDAHooks().getNumGPUs())) {
    devices.emplace_back(first.type(), static_cast<c10::DeviceIndex>(gpu));
  }
  return devices;
}

// Reads --devices.
std::vector<c10::Device> parse_devices(const std::string& text) {
  if (text == "all") return all_gpus();
  std::vector<c10::Device> devices;
  for (const std::string& word : split(text, ',')) devices.push_back(parse_device(word));
  for (const c10::Device device : devices) {
    if (device.is_cuda() && std::count(devices.begin(), devices.end(), device) > 1) {
      throw UsageError("", "--devices", in_quotes(text) + ": names " + device.str() + " twice",
                       "each GPU once");
    }
    if (device.type() != devices.front().type()) {
      throw UsageError("", "--devices",
                       in_quotes(text) + ": " + devices.front().str() + " and " + device.str() +
                           " give different bits",
                       "devices of one kind");
    }
  }
  return devices;
}

// A file that cannot be read fails once, when it is its turn.
int channels_of_file(InputOpener& opener, const InputPlace& place, bool salvage) {
  AudioOptions options;
  options.salvage = salvage;
  try {
    return count_channels(opener.open(place), options);
  } catch (const AudioError&) {
    return 1;
  }
}

// Asks each input but those that repeat a path. Some kinds of files are read whole to be sure of
// them, which is the time that this takes: on all threads.
std::vector<int> count_all_channels(const InputList& list, bool salvage) {
  std::vector<int> channels(list.size());
  at::parallel_for(
      0, static_cast<std::int64_t>(list.size()), 1, [&](std::int64_t begin, std::int64_t end) {
        InputOpener opener;
        for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
          if (!list.repeats_path(i)) {
            channels[i] = channels_of_file(opener, list.place(i), salvage);
          }
        }
      });
  return channels;
}

std::string working_directory() {
  std::array<char, PATH_MAX> buffer{};
  // A directory that has been removed has no path; names are then made below "/".
  return ::getcwd(buffer.data(), buffer.size()) ? buffer.data() : "/";
}

}  // namespace

OneOf<Precision> precisions(const std::string& shown_instead) {
  std::vector<std::pair<std::string, Precision>> choices;
  for (const Precision precision : kPrecisions) choices.emplace_back(name_of(precision), precision);
  return OneOf<Precision>(std::move(choices), shown_instead);
}

OneOf<std::vector<Precision>> precisions_or_all() {
  std::vector<std::pair<std::string, std::vector<Precision>>> choices;
  std::vector<Precision> all(std::begin(kPrecisions), std::end(kPrecisions));
  for (const Precision precision : all) {
    choices.emplace_back(name_of(precision), std::vector<Precision>{precision});
  }
  choices.emplace_back("all", std::move(all));
  return OneOf<std::vector<Precision>>(std::move(choices));
}

OneOf<EngineKind> engine_kinds() {
  std::vector<std::pair<std::string, EngineKind>> choices;
  for (const EngineKind kind : {EngineKind::fused, EngineKind::reference}) {
    choices.emplace_back(name_of(kind), kind);
  }
  return OneOf<EngineKind>(std::move(choices));
}

HfVersion HfVersions::operator()(const std::string& option, const std::string& text) const {
  if (const auto version = hf_version_of(text)) return *version;
  throw UsageError("", option, in_quotes(text) + " is not supported",
                   "a release of transformers from " + name_of(kOldestHfVersion) + " to " +
                       name_of(kNewestHfVersion));
}

OneOf<std::string> attn_implementations() { return one_of({"eager", "sdpa"}); }

void add_model(CLI::App& command, std::string& model, std::string& revision) {
  add_value(command, "--model", model, "PATH_OR_ID",
            "A HuggingFace model directory, or a Hub id in the local cache, also id@revision");
  add_value(command, "--revision", revision, "NAME",
            "Of a Hub id: a branch, a tag, or a commit or its beginning (default: main)");
}

void add_lora(CLI::App& command, std::string& lora, std::string& lora_prefix) {
  add_value(
      command, "--lora", lora, "PATH_OR_ID",
      "A PEFT LoRA adapter (adapter_config.json and adapter_model.safetensors) to merge into the "
      "weights: a directory, or a Hub id in the local cache, also id@revision");
  add_value(command, "--lora-prefix", lora_prefix, "NAME",
            "What stands before the model's names in the adapter, behind base_model.model. "
            "(default: found by itself where there is one place)");
}

void add_hf_version(CLI::App& command, HfVersion& version) {
  add_value(command, "--hf-version", version, HfVersions(),
            "Which release of transformers to follow where they differ");
}

void add_prefix(CLI::App& command, std::string& prefix) {
  add_value(command, "--prefix", prefix, "NAME",
            "What stands before every tensor's name in the checkpoint, such as semantic_model.");
}

void add_quiet(CLI::App& command, bool& quiet) {
  command.add_flag("--quiet", quiet, "No progress and no messages on stderr, errors only");
}

void add_threads(CLI::App& command, std::optional<int>& threads, const std::string& by_default) {
  add_value(command, "--threads", threads, WholeNumber<int>{1, kMaxThreads},
            "Threads (default: " + by_default + ")");
}

void OutputOptions::add_to(CLI::App& command) {
  command.add_flag("--json", json, "Print one machine-readable report on stdout");
  add_quiet(command, quiet);
}

void ModelOptions::add_to(CLI::App& command, bool several) {
  add_model_to(command);
  if (several) {
    add_value(command, "--devices", devices, "all|NAME,NAME,...",
              "Several devices at once, instead of --device: all GPUs (under torchrun, srun or "
              "mpirun this process's share of them), or those named; the clips are shared out "
              "among them, and each has the model in its memory");
  }
  add_value(command, "--dtype", precision, precisions(),
            "Type to compute in, and of the outputs; int8 is for the fused engine, with outputs in "
            "float32. `w2vbert doctor` shows how fast and how exact each is here");
  add_engine_to(command);
}

void ModelOptions::add_model_to(CLI::App& command) {
  add_model(command, model, revision);
  add_value(
      command, "--device", device, "cpu|cuda[:N]",
      "Where the model runs; cuda is this process's own GPU under torchrun, srun or mpirun, else "
      "the first (default: cpu)");
}

void ModelOptions::add_engine_to(CLI::App& command) {
  add_value(command, "--engine", engine, engine_kinds(),
            "How the model is run: fast (on a CPU, and on a GPU with kernels of its own; what it "
            "cannot run falls back on the reference, with a message), or HuggingFace's operations "
            "one for one");
  add_value(command, "--attn-implementation", attn_implementation, attn_implementations(),
            "Which of HuggingFace's attention paths the reference engine follows (default: what "
            "config.json asks for, else sdpa)");
  add_hf_version(command, hf_version);
  add_threads(command, threads, "the cores this process may use");
  add_prefix(command, prefix);
  add_lora(command, lora, lora_prefix);
  command.add_flag("--lenient", lenient,
                   "Initialise missing tensors as HuggingFace does, with a warning each");
}

ModelRequest ModelOptions::request() const {
  if (model.empty()) {
    throw UsageError("", "--model", "is not given", "a model directory or a Hub id");
  }
  if (lora.empty() && !lora_prefix.empty()) {
    throw UsageError("", "--lora-prefix", "is given without --lora", "both");
  }
  ModelRequest request;
  request.model = model;
  request.revision = revision;
  request.precision = precision;
  request.engine = engine;
  request.attn_implementation = attn_implementation;
  request.hf_version = hf_version;
  request.lenient = lenient;
  request.prefix = prefix;
  request.lora = lora;
  request.lora_prefix = lora_prefix;
  if (devices.empty()) {
    request.device = parse_device(device.empty()     ? "cpu"
                                  : device == "cuda" ? device_of_launcher()
                                                     : device);
    return request;
  }
  if (!device.empty()) {
    throw UsageError("", "--devices", "is given beside --device", "one of the two");
  }
  request.more_devices = parse_devices(devices);
  request.device = request.more_devices.front();
  request.more_devices.erase(request.more_devices.begin());
  return request;
}

void apply_threads(std::optional<int> threads) {
  at::set_num_threads(threads ? *threads : usable_cores());
}

void ClipOptions::add_to(CLI::App& command) {
  add_inputs_to(command);
  add_value(command, "--output", output, OutputPath{"DIR"},
            "Directory for the outputs, made if need be");
  add_value(
      command, "--output-format", output_format,
      OneOf<OutputFormat>({{"safetensors", OutputFormat::safetensors}, {"npy", OutputFormat::npy}}),
      "A file for each input: all tensors and what is known of the input, or the states (or the "
      "features) alone for numpy.load");
  add_value(command, "--shard-size", shard_size, WholeNumber<std::size_t>{1, kMaxClipsInShard},
            "Put N inputs into each file, shard-00000.safetensors and so on, with an index of JSON "
            "lines beside it: the N first rows of the list, the N next ... (default: a file each)");
  add_naming_to(command);
  add_audio_to(command);
  add_partition_to(command);
  add_readers_to(command);
  add_value(command, "--max-failures", max_failures,
            WholeNumber<std::size_t>{0, std::numeric_limits<std::int64_t>::max()},
            "End the run when more than N files have failed (default: never)");
  command.add_flag("--allow-failures", allow_failures,
                   "Exit with 0 although some files failed: for launchers that would start anew");
  command.add_flag("--verify", verify,
                   "Read finished outputs whole and redo those that are damaged");
}

void ClipOptions::add_naming_to(CLI::App& command) {
  add_value(
      command, "--name", naming,
      OneOf<Naming>({{"path", Naming::path}, {"stem", Naming::stem}, {"id", Naming::id}}),
      "What outputs are named after: the path below the deepest folder that holds all inputs, the "
      "file name alone, or the name that the list gives (default: id where the list has names, "
      "else path)");
}

void ClipOptions::add_readers_to(CLI::App& command) {
  add_value(command, "--readers", readers, WholeNumber<int>{1, kMaxThreads},
            "Threads that decode audio and make features (default: by the cores)");
  add_value(command, "--read-timeout", read_timeout_seconds, PositiveNumber{kMaxSeconds},
            "A file whose decoder gives nothing for S seconds fails");
}

void ClipOptions::add_inputs_to(CLI::App& command) {
  command
      .add_option("AUDIO", paths,
                  "Audio files: WAV, FLAC, Ogg, MP3 and others, and tars of them (WebDataset's)")
      ->type_name("");
  add_value(
      command, "--manifest", manifest, "FILE|DIR",
      "A list of audio files and tars instead (- for stdin), relative paths counting from its "
      "folder, or a directory, for those in and below it, by links, too");
  add_value(
      command, "--manifest-format", manifest_format,
      OneOf<ManifestFormat>({{"list", ManifestFormat::list},
                             {"tsv", ManifestFormat::tsv},
                             {"csv", ManifestFormat::csv},
                             {"jsonl", ManifestFormat::jsonl},
                             {"scp", ManifestFormat::scp},
                             {"segments", ManifestFormat::segments}}),
      "One path a line, fairseq's or Common Voice's TSV, datasets' metadata.csv, JSON lines or an "
      "array of NeMo's (with offset and duration), datasets' or Lhotse's, or Kaldi's wav.scp or "
      "segments; any of them may be compressed with gzip (default: by the file's ending, else "
      "list)");
}

void ClipOptions::add_partition_to(CLI::App& command) {
  add_value(
      command, "--partition", share, "I/N",
      "Do only share I, from 0, of N shares of the inputs (default: for a list or a directory "
      "the share that torchrun, mpirun, srun or a Slurm array gives this process)");
  add_value(command, "--num-shards", num_shards, "N", "The same in two options: of N shares");
  add_value(command, "--shard-index", shard_index, "I", "... this one, from 0");
}

void add_state_weights(CLI::App& command, std::string& file, bool& no_softmax) {
  add_value(command, "--state-weights", file, "FILE",
            "A .npy or safetensors file with a weight for each state of the weighted sum, all of "
            "them unless weighted:N-N says which; the softmax of the weights is taken, as "
            "HuggingFace's and s3prl's weighted sums are learned");
  command.add_flag("--no-softmax", no_softmax, "Take the weights of --state-weights as they are");
}

void ClipOptions::add_audio_to(CLI::App& command) {
  using Resampler = AudioOptions::Resampler;
  add_value(command, "--resampler", resampler,
            OneOf<Resampler>({{"soxr", Resampler::soxr}, {"sinc", Resampler::sinc}}),
            "For other sample rates: soxr HQ (what librosa does) or torchaudio's windowed sinc");
  add_value(
      command, "--channels",
      [this](const std::string& text) { channels = parse_channels(text, EachChannel::allowed); },
      "first|second|mean|N|each",
      "Of several channels the first, as HuggingFace does, the second, the Nth, their mean (also "
      "mix), or each as a clip of its own, whose output's name ends in -ch1, -ch2 ... (default: "
      "first)");
  add_value(command, "--max-audio-seconds", max_seconds, PositiveNumber{kMaxSeconds},
            "Refuse longer files (default: what the memory at hand carries)");
  add_value(command, "--max-seconds", max_seconds, PositiveNumber{kMaxSeconds},
            "The same under its older name")
      ->group("");
  command.add_flag("--salvage", salvage,
                   "Take of a damaged or truncated file what stands before the damage, with a "
                   "message that says how much is lost");
}

void ClipOptions::check() const {
  check_inputs();
  if (output.empty()) throw UsageError("", "--output", "is not given", "a directory");
  if (shard_size && output_format == OutputFormat::npy) {
    throw UsageError("", "--shard-size", "is given beside --output-format npy",
                     "--output-format safetensors");
  }
}

void ClipOptions::check_inputs() const {
  if (!paths.empty() && !manifest.empty()) {
    throw UsageError("", "--manifest", "is given beside audio files", "one of the two");
  }
  if (paths.empty() && manifest.empty()) {
    throw UsageError("", "AUDIO", "no audio files", "their paths, or --manifest FILE");
  }
  if (manifest_format && manifest.empty()) {
    throw UsageError("", "--manifest-format", "is given without --manifest", "both");
  }
  (void)partition();
}

void ClipOptions::check_is_another_input(const char* option, const std::string& path) const {
  if (path != "-" || manifest != "-") return;
  throw UsageError("", option, "is the standard input, and so is --manifest",
                   "one of the two in a file");
}

InputList ClipOptions::inputs() const { return inputs(OutputNames::kNeeded); }

InputList ClipOptions::unnamed_inputs() const { return inputs(OutputNames::kUnneeded); }

InputList ClipOptions::inputs(OutputNames names) const {
  InputList list(working_directory(), names);
  list.set_output_ending(shard_size ? "" : ending_of(output_format));
  if (naming) list.set_naming(*naming);
  if (keep_texts) list.keep_texts();
  list.set_reserved(&is_name_of_record);
  ArchiveLister archives(list);
  for (const std::string& path : paths) {
    if (path.empty()) throw UsageError("", "", "an empty path", "the path of an audio file");
    has_archive_name(path) ? archives.add(path) : list.add(path);
  }
  if (is_directory<UsageError>(manifest)) {
    read_audio_directory(manifest, list);
  } else if (has_archive_name(manifest)) {
    archives.add(manifest);
  } else if (!manifest.empty()) {
    read_manifest(manifest, manifest_format, list);
  }
  archives.finish();
  if (channels.channel == kEachChannel) {
    const std::vector<int> counts = count_all_channels(list, salvage);
    list.split_channels([&](std::size_t index) { return counts[index]; });
  }
  list.finish();
  return list;
}

AudioOptions ClipOptions::audio(std::int64_t sampling_rate) const {
  AudioOptions audio;
  audio.target_sample_rate_hz = static_cast<int>(sampling_rate);
  audio.resampler = resampler;
  audio.channels = channels.channels;
  audio.channel = channels.channel;
  audio.salvage = salvage;
  if (max_seconds) audio.max_seconds = *max_seconds;
  return audio;
}

int ClipOptions::reading_threads(int by_default) const {
  return readers.value_or(std::min(by_default, kMaxReadersByDefault));
}

int ClipOptions::reading_threads_beside_model(c10::Device device) const {
  // Decoding and features take one core for about a hundred times real time. On these cores the
  // model is slower; on a GPU it is faster than all of them.
  const int cores_per_reader = device.is_cpu() ? 8 : 1;
  return reading_threads(std::max(1, at::get_num_threads() / cores_per_reader));
}

PartitionChoice ClipOptions::partition() const {
  return choose_partition(
      environment_variable,
      {given(share), given(num_shards), given(shard_index),
       !manifest.empty() || std::any_of(paths.begin(), paths.end(), &has_archive_name)});
}

}  // namespace w2vbert::tool
