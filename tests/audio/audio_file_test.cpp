// Every rule of what an audio file must be to be trusted, each with a file that breaks it.
#include "w2vbert/audio/audio_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <cstdint>
#include <fstream>
#include <functional>
#include <limits>
#include <random>
#include <utility>

#include "support/error_message.h"
#include "support/temporary_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::HasSubstr;

const std::string kCorpus = W2VBERT_AUDIO_CORPUS;
const std::vector<std::string> kWholeFiles = {
    "pcm16.wav",  "float.wav",  "adpcm.wav",  "extensible.wav", "big-endian.wav", "stereo.wav",
    "pcm16.rf64", "pcm16.w64",  "pcm16.aiff", "pcm16.au",       "pcm16.caf",      "alac.caf",
    "noise.flac", "vorbis.ogg", "opus.ogg",   "xing.mp3",       "variable.mp3"};

std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}
std::string corpus(const std::string& name) { return read_bytes(kCorpus + "/" + name); }

std::string little(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i) & 0xff);
  return text;
}

// `bytes` with `piece` in the place of what stands at `at`.
std::string with(std::string bytes, std::size_t at, const std::string& piece) {
  return bytes.replace(at, piece.size(), piece);
}

// A WAV of 16-bit silence but for its `format` fields and `data`.
std::string wav(std::uint32_t rate, std::uint16_t channels, const std::string& data,
                std::uint16_t encoding = 1, std::uint16_t bits = 16) {
  const auto block = static_cast<std::uint16_t>(channels * bits / 8);
  return "RIFF" + little(36 + data.size(), 4) + "WAVEfmt " + little(16, 4) + little(encoding, 2) +
         little(channels, 2) + little(rate, 4) + little(rate * block, 4) + little(block, 2) +
         little(bits, 2) + "data" + little(data.size(), 4) + data;
}

std::string floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

class AudioFile : public ::testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(directory_ / name, std::ios::binary) << bytes;
    return directory_ / name;
  }
  // The error that reading `bytes` gives; "" for none. It names the file and is one short line.
  std::string error_of(const std::string& bytes, const std::string& name = "clip.wav",
                       const AudioOptions& options = {}) const {
    return error_of_path(write(name, bytes), options);
  }
  std::string error_of_path(const std::string& path, const AudioOptions& options = {}) const {
    try {
      decode_audio(path, options);
    } catch (const AudioError& error) {
      std::string line = error.what();
      EXPECT_THAT(line, HasSubstr(path.substr(path.rfind('/') + 1)));
      EXPECT_THAT(line, HasSubstr(", expected ")) << line;
      EXPECT_LT(line.size(), 2048U);
      EXPECT_EQ(line.find('\n'), std::string::npos);
      return line;
    }
    return "";
  }
  std::vector<float> samples_of(const std::string& bytes, const std::string& name = "clip") const {
    return decode_audio(write(name, bytes)).samples;
  }

  TemporaryDirectory directory_;
};

TEST_F(AudioFile, EveryAcceptedKindIsReadWhole) {
  const std::vector<float> expected = samples_of(corpus("pcm16.wav"));
  ASSERT_EQ(expected.size(), 3000U);
  const std::vector<float> noise = samples_of(corpus("noise.flac"));
  ASSERT_EQ(noise.size(), 12000U);
  for (const std::string& name : kWholeFiles) {
    SCOPED_TRACE(name);
    const Waveform waveform = decode_audio(kCorpus + "/" + name);
    EXPECT_EQ(waveform.source_sample_rate_hz, 16000);
    EXPECT_EQ(waveform.sample_rate_hz, 16000);
    EXPECT_EQ(waveform.source_channels, name == "stereo.wav" ? 2 : 1);
    EXPECT_EQ(waveform.source_samples, static_cast<std::int64_t>(waveform.samples.size()));
    if (name.starts_with("pcm16") || name == "alac.caf" || name == "stereo.wav") {
      EXPECT_EQ(waveform.samples, expected);
    } else if (name.ends_with(".ogg") || name == "xing.mp3") {
      ASSERT_EQ(waveform.samples.size(), noise.size());
      double error = 0.0;
      double power = 0.0;
      for (std::size_t i = 0; i < noise.size(); ++i) {
        error += std::pow(waveform.samples[i] - noise[i], 2);
        power += std::pow(noise[i], 2);
      }
      EXPECT_LT(error, 0.1 * power);
    }
  }
  EXPECT_EQ(decode_audio(kCorpus + "/pcm16.w64").container, "W64");
  EXPECT_EQ(decode_audio(kCorpus + "/opus.ogg").container, "Ogg");
  EXPECT_EQ(decode_audio(kCorpus + "/xing.mp3").container, "MP3");
}

TEST_F(AudioFile, OnlyRegularFilesAreOpened) {
  EXPECT_THROW(decode_audio(directory_.path()), AudioError);
  EXPECT_THROW(decode_audio(directory_ / "absent.wav"), AudioError);
  EXPECT_THROW(decode_audio("/dev/zero"), AudioError);
  ASSERT_EQ(::mkfifo((directory_ / "pipe.wav").c_str(), 0600), 0);
  EXPECT_THROW(decode_audio(directory_ / "pipe.wav"),
               AudioError);  // and does not wait for a writer
  EXPECT_THAT(error_of(""), HasSubstr("is empty"));
}

TEST_F(AudioFile, TheContentDecidesAndNotTheName) {
  const std::string text(3000, 'a');
  for (const char* name :
       {"a.wav", "a.gsm", "a.vox", "a.au", "a.raw", "a.mp3", "a.flac", "a.sph"}) {
    EXPECT_THAT(error_of(text, name), HasSubstr("is no audio file, expected WAV, RF64")) << name;
  }
  EXPECT_EQ(samples_of(corpus("pcm16.wav"), "a.gsm").size(), 3000U);
  EXPECT_EQ(samples_of(corpus("noise.flac"), "a.wav").size(), 12000U);
  using namespace std::string_literals;
  for (const std::string& magic :
       {"Creative Voice File\x1a"s, "NIST_1A\n   1024\n"s, "FORM\0\0\1\0\x38SVX"s,
        "RIFF\0\0\0\0AVI "s, " paf"s, "ID3"s, "fLaX"s, "OggX"s}) {
    EXPECT_THAT(error_of(magic + text), HasSubstr("is no audio file")) << magic;
  }
}

TEST_F(AudioFile, CutFilesAreRefused) {
  for (const std::string& name : kWholeFiles) {
    const std::string whole = corpus(name);
    // The end of alac.caf is not audio.
    for (const std::size_t missing : {std::size_t{1}, std::size_t{2}, whole.size() / 2}) {
      if (name == "alac.caf" && missing == 1) continue;
      EXPECT_NE(error_of(whole.substr(0, whole.size() - missing), name), "")
          << name << " without its last " << missing << " bytes";
    }
    for (std::size_t size = 0; size < 100; ++size) {
      EXPECT_NE(error_of(whole.substr(0, size), name), "") << name << " of " << size << " bytes";
    }
  }
  EXPECT_THAT(error_of(corpus("pcm16.wav").substr(0, 1044)),
              HasSubstr("is truncated: its data chunk says 6000 bytes, 1000 are there"));
}

TEST_F(AudioFile, DamagedCompressedFilesAreRefused) {
  for (const char* name : {"noise.flac", "vorbis.ogg", "opus.ogg"}) {
    for (int place = 2; place < 10; ++place) {
      std::string bytes = corpus(name);
      const std::size_t at = bytes.size() * static_cast<std::size_t>(place) / 10;
      bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
      EXPECT_NE(error_of(bytes, name), "") << name << " at byte " << at;
    }
  }
  std::string bytes = corpus("xing.mp3");
  bytes.replace(bytes.size() / 2, 300, 300, '\0');
  EXPECT_THAT(error_of(bytes), HasSubstr("is damaged: no frame of the same kind at byte"));
}

TEST_F(AudioFile, AHeaderThatAnnouncesMoreThanThereIsIsRefused) {
  std::string flac = corpus("noise.flac");
  flac[21] = static_cast<char>(flac[21] | 0x0f);  // total samples: 36 bits
  EXPECT_THAT(error_of(with(flac, 22, "\xff\xff\xff\xff")),
              HasSubstr("holds 12000 frames, its header says 68719476735"));
  std::string aiff = corpus("pcm16.aiff");
  EXPECT_THAT(error_of(with(aiff, aiff.find("COMM") + 10, std::string("\0\0\x20\0", 4))),
              HasSubstr("its COMM chunk says 8192 frames, 3000 are there"));
}

TEST_F(AudioFile, ALengthOf0BeforeAudioIsRefused) {
  const std::string bytes = corpus("pcm16.wav");
  EXPECT_THAT(error_of(with(bytes, bytes.find("data") + 4, little(0, 4))),
              HasSubstr("its data chunk says 0 bytes, 6000 follow"));
  EXPECT_THAT(error_of(with(corpus("pcm16.au"), 8, little(0, 4))), HasSubstr("says 0 bytes"));
  EXPECT_THAT(error_of(wav(16000, 1, "")), HasSubstr("holds no audio"));
}

TEST_F(AudioFile, ASecondStreamBehindTheFirstIsRefusedAndNotForgotten) {
  for (const char* name : {"vorbis.ogg", "opus.ogg"}) {
    EXPECT_THAT(error_of(corpus(name) + corpus(name)), HasSubstr("holds several streams")) << name;
  }
  EXPECT_THAT(error_of(corpus("xing.mp3") + corpus("xing.mp3")),
              HasSubstr("holds more than its header says"));
  EXPECT_NE(error_of(corpus("noise.flac") + corpus("noise.flac")), "");
}

TEST_F(AudioFile, AMissingOggPageIsNoticed) {
  const std::string bytes = corpus("vorbis.ogg");
  std::vector<std::size_t> pages;
  for (auto at = bytes.find("OggS"); at != std::string::npos; at = bytes.find("OggS", at + 1)) {
    pages.push_back(at);
  }
  ASSERT_GE(pages.size(), 3U);
  const std::size_t page = pages[pages.size() - 2];
  EXPECT_THAT(error_of(bytes.substr(0, page) + bytes.substr(pages.back())),
              HasSubstr("pages are missing before page"));
  EXPECT_THAT(error_of(bytes.substr(0, pages.back())), HasSubstr("its stream has no last page"));
}

TEST_F(AudioFile, AnMp3WithoutALengthIsReadWhole) {
  // libsndfile alone guesses less than half of it and stops there.
  const Waveform waveform = decode_audio(kCorpus + "/variable.mp3");
  EXPECT_GE(waveform.samples.size(), 16000U);
  EXPECT_EQ(waveform.samples.size() % 576, 0U);
  // The first quarter is noise, the rest almost silence; nothing is shifted by the detour.
  const auto loudness = [&](std::size_t begin, std::size_t end) {
    double sum = 0.0;
    for (std::size_t i = begin; i < end; ++i) sum += std::abs(waveform.samples[i]);
    return sum / static_cast<double>(end - begin);
  };
  EXPECT_GT(loudness(1200, 4000), 0.1);
  EXPECT_LT(loudness(6000, 16000), 0.01);
  // Tags around the audio do not count as audio.
  const std::string bytes = corpus("variable.mp3");
  const std::string id3v2 = std::string("ID3\4\0\0\0\0\1\0", 10) + std::string(128, '\0');
  const std::string id3v1 = "TAG" + std::string(125, ' ');
  EXPECT_EQ(samples_of(id3v2 + bytes + id3v1), waveform.samples);
  EXPECT_EQ(samples_of(bytes + std::string(500, '\0')), waveform.samples);
  EXPECT_NE(error_of(bytes + id3v1 + bytes), "");
}

TEST_F(AudioFile, HarmlessOdditiesAreAccepted) {
  const std::string bytes = corpus("pcm16.wav");
  const std::vector<float> expected = samples_of(bytes);
  const std::size_t data = bytes.find("data");
  EXPECT_EQ(samples_of(bytes + "\x01"), expected);                 // an odd last byte
  EXPECT_EQ(samples_of(with(bytes, 32, little(7, 2))), expected);  // block align
  EXPECT_EQ(samples_of(with(bytes, 28, little(1, 4))), expected);  // byte rate
  EXPECT_EQ(samples_of(bytes + "something else behind it"), expected);
  for (const std::uint64_t placeholder : {0xffffffffU, 0x7fffffffU, 0x7ffff000U}) {
    EXPECT_EQ(samples_of(with(bytes, data + 4, little(placeholder, 4))), expected) << placeholder;
  }
  EXPECT_EQ(samples_of(with(corpus("pcm16.au"), 8, "\xff\xff\xff\xff")), expected);
  // libsndfile takes what follows the audio of a W64 for audio.
  EXPECT_EQ(samples_of(corpus("pcm16.w64") + std::string(1000, '\1')), expected);
  std::string flac = corpus("noise.flac");
  flac[21] = static_cast<char>(flac[21] & 0xf0);  // total samples: not known
  EXPECT_EQ(samples_of(with(flac, 22, std::string(4, '\0'))), samples_of(corpus("noise.flac")));
  EXPECT_EQ(samples_of(std::string("ID3\4\0\0\0\0\0\0", 10) + corpus("noise.flac")),
            samples_of(corpus("noise.flac")));
  EXPECT_EQ(samples_of(corpus("vorbis.ogg") + std::string(100, 'x')),
            samples_of(corpus("vorbis.ogg")));
}

TEST_F(AudioFile, RatesAndChannelsHaveLimits) {
  const std::string data(64 * 2 * 50, '\0');
  for (const std::uint32_t rate : {1U, 3999U, 384001U, 0x7fffffffU}) {
    EXPECT_THAT(error_of(wav(rate, 1, data)), HasSubstr(" Hz, expected 4000 to 384000")) << rate;
  }
  for (const std::uint32_t rate : {4000U, 384000U}) EXPECT_EQ(error_of(wav(rate, 1, data)), "");
  EXPECT_THAT(error_of(wav(16000, 65, data)), HasSubstr("has 65 channels, expected 1 to 64"));
  EXPECT_EQ(error_of(wav(16000, 64, data)), "");
  EXPECT_NE(error_of(wav(16000, 0, data)), "");
  EXPECT_NE(error_of(wav(0, 1, data)), "");
  EXPECT_NE(error_of(wav(0xffffffffU, 1, data)), "");
}

TEST_F(AudioFile, SamplesAreFiniteAndBelow32768) {
  std::vector<float> values(1000, 0.5F);
  const auto error = [&](float value) {
    values[700] = value;
    return error_of(wav(16000, 1, floats(values), 3, 32));
  };
  EXPECT_EQ(error(32767.0F), "");
  EXPECT_THAT(error(32768.0F), HasSubstr("32768.000000 at sample 700, expected finite samples"));
  EXPECT_THAT(error(-32768.0F), HasSubstr("at sample 700"));
  EXPECT_THAT(error(INFINITY), HasSubstr("inf at sample 700"));
  EXPECT_THAT(error(NAN), HasSubstr("nan at sample 700"));
}

TEST_F(AudioFile, LongFilesAreRefusedBeforeTheyAreReadWhole) {
  AudioOptions options;
  options.max_seconds = 0.1;
  EXPECT_THAT(error_of(corpus("pcm16.wav"), "clip.wav", options),
              HasSubstr("is longer than 0.1 seconds, expected a shorter file"));
  options.max_seconds = 0.2;
  EXPECT_EQ(error_of(corpus("pcm16.wav"), "clip.wav", options), "");
}

TEST_F(AudioFile, ChannelsBecomeTheFirstOrTheMean) {
  const std::string path = write("eight.wav", wav(16000, 3, floats({1, 2, 6, -1, 0, 0.5F}), 3, 32));
  AudioOptions options;
  EXPECT_EQ(decode_audio(path, options).samples, (std::vector<float>{1, -1}));
  options.channels = AudioOptions::Channels::mix;
  const Waveform mixed = decode_audio(path, options);
  EXPECT_EQ(mixed.samples, (std::vector<float>{3, -0.5F / 3}));
  EXPECT_EQ(mixed.source_channels, 3);
  EXPECT_EQ(mixed.source_samples, 2);
}

TEST_F(AudioFile, LoadingResamplesAndSaysFromWhat) {
  const std::string path = write("rate.wav", wav(48000, 1, std::string(2 * 4801, '\0')));
  const Waveform waveform = load_audio(path);
  EXPECT_EQ(waveform.sample_rate_hz, 16000);
  EXPECT_EQ(waveform.source_sample_rate_hz, 48000);
  EXPECT_EQ(waveform.source_samples, 4801);
  EXPECT_EQ(waveform.samples.size(), 1601U);
  AudioOptions sinc;
  sinc.resampler = AudioOptions::Resampler::sinc;
  EXPECT_EQ(load_audio(path, sinc).samples.size(), 1601U);
}

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST_F(AudioFile, AWaveformNeedsARate) {
  for (const int rate : {0, -16000}) {
    Waveform made;
    made.samples.assign(1000, 0.5F);
    made.sample_rate_hz = rate;
    const auto words = HasSubstr("made: has samples at " + std::to_string(rate) + " Hz");
    EXPECT_THAT(message_of<AudioError>([&] { resample_audio(made, {}, "made"); }), words);
    EXPECT_THAT(message_of<AudioError>([&] { cut_audio(made, 0, 0, "made"); }), words);
  }
}

TEST_F(AudioFile, APartHasBordersThatAreNumbers) {
  Waveform made;
  made.samples.assign(16000, 0.5F);
  made.sample_rate_hz = 16000;
  EXPECT_EQ(cut_audio(made, 0.25, 0, "made").samples.size(), 12000U);
  EXPECT_EQ(cut_audio(made, 0.25, 0.5, "made").samples.size(), 8000U);
  for (const auto& part : {std::pair{-0.1, 0.0},
                           {kNan, 0.0},
                           {kInfinity, 0.0},
                           {-kInfinity, 0.0},
                           {0.0, -0.1},
                           {0.0, kNan},
                           {0.0, kInfinity},
                           {0.0, -kInfinity}}) {
    const double from = part.first, seconds = part.second;
    EXPECT_THAT(message_of<AudioError>([&] { cut_audio(made, from, seconds, "made"); }),
                HasSubstr("made: has no part from"))
        << from << " " << seconds;
  }
}

TEST_F(AudioFile, OptionsAreRatesAndSeconds) {
  const std::string path = write("clip.wav", corpus("pcm16.wav"));
  const Waveform waveform = decode_audio(path);
  const auto expect_refused = [&](const std::string& setting, const auto& change) {
    AudioOptions options;
    change(options);
    const auto words = HasSubstr(setting + ": is ");
    EXPECT_THAT(message_of<AudioError>([&] { decode_audio(path, options); }), words);
    EXPECT_THAT(message_of<AudioError>([&] { resample_audio(waveform, options, path); }), words);
  };
  for (const int rate : {0, -1}) {
    expect_refused("target_sample_rate_hz",
                   [&](AudioOptions& options) { options.target_sample_rate_hz = rate; });
  }
  expect_refused("first_sample_rate_hz",
                 [](AudioOptions& options) { options.first_sample_rate_hz = -1; });
  for (const double seconds : {kNan, -1.0, -kInfinity}) {
    expect_refused("first_seconds",
                   [&](AudioOptions& options) { options.first_seconds = seconds; });
    expect_refused("max_seconds", [&](AudioOptions& options) { options.max_seconds = seconds; });
  }
  AudioOptions options;
  options.max_seconds = kInfinity;
  for (const double seconds : {1e300, kInfinity}) {
    options.first_seconds = seconds;
    EXPECT_EQ(load_audio(path, options).samples, waveform.samples) << seconds;
  }
}

TEST_F(AudioFile, DamagedAnywhereItIsReadOrRefusedAndNothingElse) {
  std::mt19937 random(1);
  for (const std::string& name : kWholeFiles) {
    const std::string whole = corpus(name);
    for (int round = 0; round < 60; ++round) {
      std::string bytes = whole;
      // Half of the damage goes to the headers.
      const std::size_t range =
          round % 2 == 0 ? std::min<std::size_t>(bytes.size(), 120) : bytes.size();
      for (int flips = 0; flips < 3; ++flips) bytes[random() % range] = static_cast<char>(random());
      error_of(bytes, name);
    }
  }
}

}  // namespace
}  // namespace w2vbert::testing
