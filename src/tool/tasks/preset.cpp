#include "tool/tasks/preset.h"

#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

using Resampler = AudioOptions::Resampler;

// librosa.load(path, sr=16000)
AudioOptions librosa() {
  AudioOptions audio;
  audio.channels = AudioOptions::Channels::mix;
  audio.resampler = Resampler::soxr;
  return audio;
}

// librosa.load(path), 15 s of it, torchaudio.transforms.Resample(22050, 16000)
AudioOptions indextts2_speaker() {
  AudioOptions audio = librosa();
  audio.first_sample_rate_hz = 22050;
  audio.first_resampler = Resampler::soxr;
  audio.first_seconds = 15;
  audio.resampler = Resampler::sinc_transform;
  return audio;
}

// librosa.load(path, sr=16000), 15 s of it
AudioOptions indextts2_emotion() {
  AudioOptions audio = librosa();
  audio.first_sample_rate_hz = audio.target_sample_rate_hz;
  audio.first_seconds = 15;
  return audio;
}

// At the codec's 24 kHz, then torchaudio.functional.resample(audio, 24000, 16000)
AudioOptions dualcodec() {
  AudioOptions audio;
  audio.channels = AudioOptions::Channels::mix;
  audio.first_sample_rate_hz = 24000;
  audio.first_resampler = Resampler::sinc;
  audio.resampler = Resampler::sinc;
  return audio;
}

AudioOptions xcodec2() {
  AudioOptions audio = librosa();
  audio.padding = AudioOptions::Padding::xcodec2;
  return audio;
}

// torchaudio.load, transforms.Resample, and zeros to the next multiple of 320 samples
AudioOptions neucodec() {
  AudioOptions audio = librosa();
  audio.resampler = Resampler::sinc_transform;
  audio.padding = AudioOptions::Padding::neucodec;
  return audio;
}

// soundfile.read, julius.ResampleFrac, the mean of the channels, and that normalised
AudioOptions tribev2() {
  AudioOptions audio = librosa();
  audio.resampler = Resampler::julius;
  audio.normalize = true;
  return audio;
}

// torchaudio.load, the mean of the channels, transforms.Resample
AudioOptions audiotoken() {
  AudioOptions audio = librosa();
  audio.resampler = Resampler::sinc_transform;
  return audio;
}

}  // namespace

const std::vector<Preset>& presets() {
  static const std::vector<Preset> all = {
      {.name = "indextts2",
       .summary = "IndexTTS-2, speaker prompt: state 17, normalised",
       .audio = indextts2_speaker(),
       .states = "17",
       .stats = true},
      {.name = "indextts2-emotion",
       .summary = "IndexTTS-2, emotion prompt: state 17, normalised",
       .audio = indextts2_emotion(),
       .states = "17",
       .stats = true},
      {.name = "maskgct",
       .summary = "MaskGCT: state 17, normalised",
       .audio = librosa(),
       .states = "17",
       .stats = true},
      {.name = "dualcodec",
       .summary = "DualCodec: state 17, normalised, mean of 4 frames (--pool 2: 25 Hz)",
       .audio = dualcodec(),
       .states = "17",
       .stats = true,
       .pool = 4},
      {.name = "xcodec2",
       .summary = "X-Codec2: state 16, padded, no mask",
       .audio = xcodec2(),
       .attention_mask = false,
       .states = "16"},
      {.name = "sidon",
       .summary = "Sidon: state 8, with its adapter (lora)",
       .audio = librosa(),
       .states = "8"},
      {.name = "neucodec",
       .summary = "NeuCodec: state 16, padded, no mask",
       .audio = neucodec(),
       .attention_mask = false,
       .states = "16"},
      {.name = "tribev2",
       .summary = "TRIBE v2: means of states 12 to 17 and 18 to 24 at 2 Hz, no mask",
       .audio = tribev2(),
       .attention_mask = false,
       .states = "mean:12-17,mean:18-24",
       .rows_per_second = 2},
      {.name = "audiotoken",
       .summary = "audiotoken, semantic_m: state 19 after a LayerNorm (--kmeans: its tokens)",
       .audio = audiotoken(),
       .states = "19",
       .layer_norm = true},
  };
  return all;
}

const Preset& preset_named(const std::string& name) {
  std::vector<std::string> known;
  for (const Preset& preset : presets()) {
    if (preset.name == name) return preset;
    known.emplace_back(preset.name);
  }
  throw UsageError("", "preset", in_quotes(name) + " is unknown", "one of " + comma_list(known),
                   "preset");
}

AudioOptions with_way_of(const Preset& preset, AudioOptions audio) {
  const AudioOptions& way = preset.audio;
  audio.target_sample_rate_hz = way.target_sample_rate_hz;
  audio.resampler = way.resampler;
  audio.first_sample_rate_hz = way.first_sample_rate_hz;
  audio.first_resampler = way.first_resampler;
  audio.first_seconds = way.first_seconds;
  audio.padding = way.padding;
  audio.normalize = way.normalize;
  audio.channels = way.channels;
  return audio;
}

void check_beside(const Preset& preset, const BesidePreset& given) {
  const std::string name(preset.name);
  const auto refuse = [&](const char* setting, const std::string& problem,
                          const std::string& expected) {
    throw UsageError("", setting, problem, expected, setting);
  };
  const auto check = [&](const char* setting, bool agrees, const std::string& preset_says) {
    if (agrees) return;
    refuse(setting, "is not what the preset " + name + " does", preset_says + ", or no preset");
  };
  const AudioOptions& audio = preset.audio;
  check("states", given.states.empty() || given.states == preset.states,
        std::string(preset.states));
  check("state_weights", given.state_weights.empty(), "none");
  check("resampler", !given.resampler || *given.resampler == audio.resampler,
        audio.resampler == Resampler::soxr ? "soxr" : "none");
  check("channels", !given.channels || given.channels->channels == audio.channels,
        channels_name(audio));
  if (preset.stats && given.stats.empty()) {
    refuse("stats", "is not given, the preset " + name + " needs it",
           "a safetensors file with mean and var (scripts/convert_stats.py makes one)");
  }
  if (!preset.stats && !given.stats.empty()) {
    refuse("stats", "is given, the preset " + name + " has no statistics", "one of the two");
  }
}

}  // namespace w2vbert::tool
