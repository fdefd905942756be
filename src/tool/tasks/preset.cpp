#include "tool/tasks/preset.h"

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

}  // namespace

const std::vector<Preset>& presets() {
  static const std::vector<Preset> all = {
      {"indextts2", "IndexTTS-2, speaker prompt: state 17, normalised", indextts2_speaker(), true,
       17, true, 1},
      {"indextts2-emotion", "IndexTTS-2, emotion prompt: state 17, normalised", indextts2_emotion(),
       true, 17, true, 1},
      {"maskgct", "MaskGCT: state 17, normalised", librosa(), true, 17, true, 1},
      {"dualcodec", "DualCodec: state 17, normalised, mean of 4 frames (--pool 2: 25 Hz)",
       dualcodec(), true, 17, true, 4},
      {"xcodec2", "X-Codec2: state 16, padded, no mask", xcodec2(), false, 16, false, 1},
      {"sidon", "Sidon: state 8, with its adapter (lora)", librosa(), true, 8, false, 1},
  };
  return all;
}

AudioOptions with_way_of(const Preset& preset, AudioOptions audio) {
  const AudioOptions& way = preset.audio;
  audio.target_sample_rate_hz = way.target_sample_rate_hz;
  audio.resampler = way.resampler;
  audio.first_sample_rate_hz = way.first_sample_rate_hz;
  audio.first_resampler = way.first_resampler;
  audio.first_seconds = way.first_seconds;
  audio.padding = way.padding;
  audio.channels = way.channels;
  return audio;
}

}  // namespace w2vbert::tool
