// Every rule of what an audio file must be to be trusted, each with a file that breaks it.
#include "w2vbert/audio/audio_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <random>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "audio/shared_library.h"
#include "support/error_message.h"
#include "support/temporary_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Matcher;
using ::testing::StartsWith;

const std::string kCorpus = W2VBERT_AUDIO_CORPUS;
const std::vector<std::string> kWholeFiles = {
    "pcm16.wav",  "float.wav",  "adpcm.wav",  "extensible.wav", "big-endian.wav", "stereo.wav",
    "pcm16.rf64", "pcm16.w64",  "pcm16.aiff", "pcm16.au",       "pcm16.caf",      "alac.caf",
    "noise.flac", "vorbis.ogg", "opus.ogg",   "xing.mp3",       "variable.mp3",   "mp3.wav"};

// What libav reads, of which libsndfile knows neither the container nor the encoding.
const std::vector<std::string> kForeignFiles = {
    "alac.m4a",  "aac.m4a", "fragments.mp4", "aac.aac",   "opus.webm",
    "live.webm", "wma.wma", "flac.ogg",      "speex.ogg", "mp3.avi",
    "mp3.flv",   "ac3.rm",  "pcm.tta",       "g722.wav",  "alac-of-ffmpeg.caf"};

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

std::string big(std::uint64_t value, int bytes) {
  const std::string text = little(value, bytes);
  return {text.rbegin(), text.rend()};
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
       {"Creative Voice File\x1a"s, "FORM\0\0\1\0\x38SVX"s, " paf"s, "ID3"s, "fLaX"s, "OggX"s}) {
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

// What is read of a file that was cut, whose whole has `samples`: all of it, or with a note.
void expect_not_shorter(const Waveform& read, std::size_t samples) {
  EXPECT_TRUE(!read.note.empty() || read.samples.size() >= samples) << read.samples.size();
}

TEST_F(AudioFile, NoCutFileIsShorterWithoutAWord) {
  std::vector<std::string> names = kWholeFiles;
  if (!libav_version().empty()) {
    names.insert(names.end(), kForeignFiles.begin(), kForeignFiles.end());
  }
  constexpr std::size_t kCuts = 61;
  for (const std::string& name : names) {
    const std::string whole = corpus(name);
    const std::size_t samples = samples_of(whole).size();
    std::vector<std::size_t> sizes = {whole.size() - 1, whole.size() - 3, whole.size() - 40};
    for (std::size_t i = 1; i < kCuts; ++i) sizes.push_back(whole.size() * i / kCuts);
    for (const std::size_t size : sizes) {
      SCOPED_TRACE(name + " of " + std::to_string(size) + " bytes");
      const std::string path = write("cut", whole.substr(0, size));
      if (error_of_path(path).empty()) expect_not_shorter(decode_audio(path), samples);
    }
  }
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
  std::string aiff = corpus("pcm16.aiff");
  EXPECT_THAT(error_of(with(aiff, aiff.find("COMM") + 10, std::string("\0\0\x20\0", 4))),
              HasSubstr("its COMM chunk says 8192 frames, 3000 are there"));
  // libsndfile says so in a log that texts of the file can fill.
  std::string texts;
  for (int i = 0; i < 20; ++i) texts += "ANNO" + big(1000, 4) + std::string(1000, 'x');
  aiff.replace(aiff.find("COMM") + 10, 4, big(6000, 4)).insert(aiff.find("SSND"), texts);
  EXPECT_THAT(error_of(aiff), HasSubstr("its COMM chunk says 6000 frames, 3000 are there"));
}

TEST_F(AudioFile, TextsOfAFileAreNoDamage) {
  for (const std::string& text :
       {std::string("THE COMEDY OF ERRORS"), std::string("\n data : 1000 (should be 400)"),
        std::string("\nFLAC__STREAM_DECODER_ERROR_STATUS_FRAME_CRC_MISMATCH "),
        std::string("Frame count read from 'COMM' chunk (9) calculated from length of 'SSND' "
                    "chunk (3)")}) {
    SCOPED_TRACE(text);
    const std::string field = text.size() % 2 == 0 ? text : text + " ";
    const auto expected = samples_of(corpus("pcm16.wav"));
    std::string wave = corpus("pcm16.wav");
    wave.insert(
        36, "LIST" + little(field.size() + 12, 4) + "INFOINAM" + little(field.size(), 4) + field);
    EXPECT_EQ(samples_of(wave), expected);
    std::string aiff = corpus("pcm16.aiff");
    aiff.insert(aiff.find("SSND"), "NAME" + big(field.size(), 4) + field);
    EXPECT_EQ(samples_of(aiff), expected);
    const std::string info = big(1, 4) + std::string("title\0", 6) + field + '\0';
    std::string caf = corpus("pcm16.caf");
    caf.insert(caf.find("data"), "info" + big(info.size(), 8) + info);
    EXPECT_EQ(samples_of(caf), expected);
    const std::string comment = "TITLE=" + field;
    const std::string comments = little(0, 4) + little(1, 4) + little(comment.size(), 4) + comment;
    constexpr std::size_t kBehindStreamInfo = 42;
    const std::string flac = corpus("noise.flac");
    EXPECT_EQ(samples_of(std::string(flac).insert(kBehindStreamInfo,
                                                  '\4' + big(comments.size(), 3) + comments)),
              samples_of(flac));
  }
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
  // An MPEG stream has no header of its own: what a Xing tag counts is a hint.
  EXPECT_EQ(samples_of(corpus("xing.mp3") + corpus("xing.mp3")).size() / 20000, 1U);
  EXPECT_NE(error_of(corpus("noise.flac") + corpus("noise.flac")), "");
  for (const char* name :
       {"pcm16.wav", "pcm16.rf64", "pcm16.w64", "pcm16.aiff", "pcm16.au", "pcm16.caf"}) {
    EXPECT_THAT(error_of(corpus(name) + corpus(name)), HasSubstr("holds several streams")) << name;
  }
  const std::string tag = std::string("ID3\4\0\0\0\0\0\7", 10) + std::string(7, 'x');
  for (const char* name : {"vorbis.ogg", "opus.ogg", "aac.m4a"}) {
    EXPECT_THAT(error_of(tag + corpus(name) + tag + corpus(name)),
                HasSubstr("holds several streams"))
        << name;
  }
  if (libav_version().empty()) return;
  for (const std::string& name : kForeignFiles) {
    const std::string path = write("two", corpus(name) + corpus(name));
    if (!error_of_path(path).empty()) continue;
    EXPECT_GE(decode_audio(path).samples.size() * 10, samples_of(corpus(name)).size() * 19) << name;
  }
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
              HasSubstr("pages are missing"));
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

TEST_F(AudioFile, SamplesAreFiniteAndAtMost32768) {
  std::vector<float> values(1000, 0.5F);
  const auto error = [&](float value) {
    values[700] = value;
    return error_of(wav(16000, 1, floats(values), 3, 32));
  };
  for (const float value : {32767.0F, 32768.0F, -32768.0F}) EXPECT_EQ(error(value), "") << value;
  EXPECT_THAT(error(std::nextafter(-32768.0F, -1e9F)),
              HasSubstr("-32768.003906 at sample 700, expected finite samples"));
  EXPECT_THAT(error(40000.0F), HasSubstr("at sample 700"));
  EXPECT_THAT(error(INFINITY), HasSubstr("inf at sample 700"));
  EXPECT_THAT(error(NAN), HasSubstr("nan at sample 700"));
}

// --- What writers leave odd, and what is whole all the same ---

TEST_F(AudioFile, TheSizeOfTheWholeFileCountsForNothing) {
  const auto expected = samples_of(corpus("pcm16.wav"));
  const auto sizes = [](std::uint64_t size) {
    return std::vector<std::uint64_t>{0,        1,        8,        size / 2,   size - 8,  size - 1,
                                      size + 1, size + 8, size * 2, 0x7fffffff, 0xffffffff};
  };
  for (const char* name : {"pcm16.wav", "big-endian.wav", "extensible.wav", "pcm16.aiff"}) {
    const std::string whole = corpus(name);
    const bool is_little = whole.starts_with("RIFF");
    for (const std::uint64_t size : sizes(whole.size() - 8)) {
      const std::string field = is_little ? little(size, 4) : big(size, 4);
      EXPECT_EQ(samples_of(with(whole, 4, field)), expected) << name << " " << size;
    }
  }
  const std::string w64 = corpus("pcm16.w64");
  for (const std::uint64_t size : sizes(w64.size())) {
    EXPECT_EQ(samples_of(with(w64, 16, little(size, 8))), expected) << "w64 " << size;
  }
  const std::string rf64 = corpus("pcm16.rf64");
  const std::size_t ds64 = rf64.find("ds64") + 8;
  for (const std::uint64_t size : sizes(rf64.size() - 8)) {
    EXPECT_EQ(samples_of(with(rf64, ds64, little(size, 8))), expected) << "ds64 " << size;
  }
}

TEST_F(AudioFile, ASizeThatAStreamingWriterLeftCountsForNothing) {
  const auto expected = samples_of(corpus("pcm16.wav"));
  const std::string w64 = corpus("pcm16.w64"), rf64 = corpus("pcm16.rf64"),
                    caf = corpus("pcm16.caf"), aiff = corpus("pcm16.aiff");
  const std::size_t ds64 = rf64.find("ds64") + 8;
  for (const std::uint64_t size : {0x7fffffffffffffffU, 0xffffffffffffffffU, 0x7fffffffffffffe7U}) {
    EXPECT_EQ(samples_of(with(w64, w64.find("data") + 16, little(size, 8))), expected) << size;
    EXPECT_EQ(samples_of(with(rf64, ds64 + 8, little(size, 8))), expected) << size;
    EXPECT_EQ(samples_of(with(caf, caf.find("data") + 4, big(size, 8))), expected) << size;
  }
  EXPECT_EQ(samples_of(with(rf64, ds64, std::string(24, '\0'))), expected);  // all of it
  EXPECT_THAT(error_of(with(rf64, ds64 + 8, little(0, 8))), HasSubstr("ds64 chunk says 0 bytes"));
  for (const std::uint64_t size : {0U, 0xffffffffU}) {
    EXPECT_EQ(samples_of(with(aiff, aiff.find("SSND") + 4, big(size, 4))), expected) << size;
    EXPECT_EQ(samples_of(with(aiff, aiff.find("COMM") + 10, big(size, 4))), expected) << size;
  }
  if (libav_version().empty()) return;
  const std::string g722 = corpus("g722.wav"), avi = corpus("mp3.avi");
  EXPECT_EQ(samples_of(with(g722, g722.find("data") + 4, little(0xffffffff, 4))), samples_of(g722));
  std::string streamed = avi.substr(0, avi.find("idx1"));
  streamed.replace(avi.find("movi") - 4, 4, little(0xffffffff, 4));
  EXPECT_EQ(samples_of(streamed), samples_of(avi));
  EXPECT_THAT(error_of(streamed.substr(0, streamed.size() - 50)), HasSubstr("is truncated"));
}

TEST_F(AudioFile, TheSizeOfTheAudioCounts) {
  for (const auto& [name, chunk] :
       {std::pair{"pcm16.wav", "data"}, {"extensible.wav", "data"}, {"adpcm.wav", "data"}}) {
    const std::string whole = corpus(name);
    const std::size_t at = whole.find(chunk) + 4;
    EXPECT_THAT(error_of(with(whole, at, little(whole.size() - at - 4 + 600, 4))),
                HasSubstr("is truncated: its data chunk says"))
        << name;
  }
  const std::string aiff = corpus("pcm16.aiff");
  const std::size_t at = aiff.find("SSND") + 4;
  EXPECT_THAT(error_of(with(aiff, at, big(aiff.size(), 4))), HasSubstr("is truncated"));
}

TEST_F(AudioFile, TheCountOfAFactChunkIsAHint) {
  const std::string data = floats(std::vector<float>(1000, 0.25F));
  const auto with_fact = [&](std::uint32_t count) {
    std::string file = wav(16000, 1, data, 3, 32);
    return file.insert(36, "fact" + little(4, 4) + little(count, 4));
  };
  for (const std::uint32_t count : {0U, 1U, 999U, 1000U, 1001U, 99999U, 0xffffffffU}) {
    EXPECT_EQ(samples_of(with_fact(count)), std::vector<float>(1000, 0.25F)) << count;
  }
}

TEST_F(AudioFile, TheCountOfAXingTagIsAHint) {
  const std::string whole = corpus("xing.mp3");
  const auto expected = samples_of(whole);
  const std::size_t tag = std::min(whole.find("Xing"), whole.find("Info"));
  ASSERT_LT(tag, 200U);
  ASSERT_EQ(whole[tag + 7] & 1, 1);
  const auto count = static_cast<std::uint32_t>(static_cast<std::uint8_t>(whole[tag + 10]) << 8 |
                                                static_cast<std::uint8_t>(whole[tag + 11]));
  for (const std::uint32_t said : {count - 1, count + 1, count / 2, 2 * count, 0U}) {
    const Waveform read = decode_audio(write("clip", with(whole, tag + 8, big(said, 4))));
    EXPECT_EQ(read.samples, expected) << said;
    EXPECT_THAT(read.note, HasSubstr("its Xing tag counts " + std::to_string(said) + " frames"));
  }
  EXPECT_EQ(decode_audio(write("clip", whole)).note, "");
}

// The first frame of a file without tags before it.
std::string first_frame(const std::string& mp3) {
  return mp3.substr(0, mp3.find(mp3.substr(0, 2), 4));
}

TEST_F(AudioFile, AXingTagNeedsNoCount) {
  const std::string whole = corpus("xing.mp3");
  const std::string frame = first_frame(whole);
  const std::string rest = whole.substr(frame.size());
  const std::size_t tag = std::min(whole.find("Xing"), whole.find("Info"));
  const char flags = static_cast<char>(whole[tag + 7] & ~1);
  // The other fields stand where the count was.
  std::string without = with(frame, tag + 7, std::string(1, flags));
  without.erase(tag + 8, 4).append(4, '\0');
  EXPECT_EQ(samples_of(without + rest), samples_of(whole));
  std::string blank = frame;
  std::fill(blank.begin() + static_cast<std::ptrdiff_t>(tag) + 4, blank.end(), '\0');
  EXPECT_NEAR(static_cast<double>(samples_of(blank + rest).size()),
              static_cast<double>(samples_of(whole).size()), 1700);  // with the padding
  EXPECT_NE(error_of((blank + rest).substr(0, whole.size() - 10)), "");
}

TEST_F(AudioFile, AVbriTagIsNoAudio) {
  const std::string whole = corpus("variable.mp3");
  std::string frame = first_frame(whole);
  std::fill(frame.begin() + 4, frame.end(), '\0');
  ASSERT_GT(frame.size(), 62U);
  EXPECT_EQ(samples_of(with(frame, 36, "VBRI" + big(1, 2)) + whole), samples_of(whole));
}

TEST_F(AudioFile, MpegAudioInAWavIsReadByItsFrames) {
  const Waveform read = decode_audio(kCorpus + "/mp3.wav");
  EXPECT_EQ(read.container, "WAV");
  EXPECT_EQ(read.note, "");
  EXPECT_EQ(read.samples.size(), 23U * 576);  // as ffmpeg reads it
  // A W64 says the same of it.
  const std::string wave = corpus("mp3.wav");
  const std::string rest("\xF3\xAC\xD3\x11\x8C\xD1\x00\xC0\x4F\x8E\xDB\x8A", 12);
  const std::size_t format = wave.find("fmt ") + 8, data = wave.find("data") + 8;
  const std::string audio = wave.substr(data);
  const std::string w64 = std::string("riff\x2E\x91\xCF\x11\xA5\xD6\x28\xDB\x04\xC1\x00\x00", 16) +
                          little(0, 8) + "wave" + rest + "fmt " + rest + little(56, 8) +
                          wave.substr(format, 30) + little(0, 2) + "data" + rest +
                          little(audio.size() + 24, 8) + audio;
  EXPECT_EQ(samples_of(w64), read.samples);
}

// --- Tags and zeros around a stream ---

std::string id3v2(std::size_t bytes, bool has_footer = false) {
  const std::string size = {static_cast<char>(bytes >> 21 & 0x7f),
                            static_cast<char>(bytes >> 14 & 0x7f),
                            static_cast<char>(bytes >> 7 & 0x7f), static_cast<char>(bytes & 0x7f)};
  const std::string rest = std::string("\4\0", 2) + (has_footer ? '\x10' : '\0') + size;
  return "ID3" + rest + std::string(bytes, 'x') + (has_footer ? "3DI" + rest : "");
}
const std::string kId3v1 = "TAG" + std::string(124, '\0') + "\xff";
const std::string kEnhancedId3v1 = "TAG+" + std::string(223, 'e') + kId3v1;

std::string ape(bool has_header) {
  const std::string item = little(4, 4) + little(0, 4) + std::string("Title\0", 6) + "Song";
  const auto block = [&](std::uint32_t flags) {
    return "APETAGEX" + little(has_header ? 2000 : 1000, 4) + little(item.size() + 32, 4) +
           little(1, 4) + little(flags, 4) + std::string(8, '\0');
  };
  return (has_header ? block(0xa0000000) : "") + item + block(has_header ? 0x80000000 : 0);
}
const std::string kLyrics1 = "LYRICSBEGIN" + std::string(500, 'l') + "LYRICSEND";
const std::string kLyrics2 = "LYRICSBEGININD0000200" + std::string("000021") + "LYRICS200";

TEST_F(AudioFile, TagsAndZerosAroundAStreamArePassedOver) {
  const std::string zeros(417, '\0');
  const std::vector<std::string> before = {
      zeros,     id3v2(300), id3v2(300, true), id3v2(0) + id3v2(10), id3v2(100) + zeros,
      ape(true), kId3v1,     zeros + id3v2(50)};
  const std::vector<std::string> behind = {zeros,
                                           kId3v1,
                                           kEnhancedId3v1,
                                           id3v2(20, true),
                                           ape(true),
                                           ape(false),
                                           kLyrics1 + kId3v1,
                                           kLyrics2 + kId3v1,
                                           ape(true) + kLyrics2 + kId3v1,
                                           zeros + ape(false) + kId3v1,
                                           ape(true) + zeros};
  for (const char* name : {"xing.mp3", "variable.mp3", "noise.flac", "pcm16.wav", "pcm16.aiff"}) {
    const std::string whole = corpus(name);
    const auto expected = samples_of(whole);
    for (std::size_t i = 0; i < before.size(); ++i) {
      EXPECT_EQ(samples_of(before[i] + whole), expected) << name << " behind " << i;
    }
    for (std::size_t i = 0; i < behind.size(); ++i) {
      EXPECT_EQ(samples_of(whole + behind[i]), expected) << name << " before " << i;
      EXPECT_EQ(samples_of(before[i % before.size()] + whole + behind[i]), expected) << name;
    }
  }
}

TEST_F(AudioFile, WhatStandsBehindAStreamIsReadOnce) {
  const std::string flac = corpus("noise.flac");
  const auto repeated = [](const std::string& text, std::size_t bytes) {
    std::string all;
    while (all.size() < bytes) all += text;
    return all;
  };
  constexpr std::size_t kBytes = 1 << 20;
  for (const std::string& behind :
       {repeated("\1\2", kBytes) + std::string(8, '\0'),
        repeated("\xff\xf8", kBytes) + std::string(8, '\0'), repeated("000000LYRICS200", kBytes)}) {
    int reads = 0;
    try {
      decode_audio(write("clip", flac + behind), {}, [&] { ++reads; });
    } catch (const AudioError&) {  // it is no padding
    }
    EXPECT_LT(reads, 200) << behind.substr(0, 15);
  }
  const std::string tags = repeated(kLyrics2 + kId3v1, 30000);
  EXPECT_EQ(samples_of(flac + tags), samples_of(flac));
}

// --- Ogg ---

class OggFile : public AudioFile {
 protected:
  static bool is_of_sndfile(const std::string& name) {
    return std::find(kForeignFiles.begin(), kForeignFiles.end(), name) == kForeignFiles.end();
  }
  static std::vector<std::string> pages_of(const std::string& bytes) {
    std::vector<std::string> pages;
    for (std::size_t at = 0; at < bytes.size();) {
      const auto segments = static_cast<std::uint8_t>(bytes[at + 26]);
      std::size_t size = 27U + segments;
      for (std::size_t i = 0; i < segments; ++i)
        size += static_cast<std::uint8_t>(bytes[at + 27 + i]);
      pages.push_back(bytes.substr(at, size));
      at += size;
    }
    return pages;
  }
  // With right checksums.
  static std::string joined(const std::vector<std::string>& pages) {
    std::string bytes;
    for (std::string page : pages) {
      page.replace(22, 4, 4, '\0');
      std::uint32_t crc = 0;
      for (const char byte : page) {
        crc ^= static_cast<std::uint32_t>(static_cast<std::uint8_t>(byte)) << 24;
        for (int bit = 0; bit < 8; ++bit) crc = crc << 1 ^ ((crc >> 31) * 0x04c11db7U);
      }
      bytes += with(page, 22, little(crc, 4));
    }
    return bytes;
  }
};

TEST_F(OggFile, PagesMayBeNumberedFromAnyNumberAndJump) {
  for (const char* name :
       {"vorbis.ogg", "opus.ogg", "long-vorbis.ogg", "long-opus.ogg", "flac.ogg", "speex.ogg"}) {
    if (!is_of_sndfile(name) && libav_version().empty()) continue;
    const std::string whole = corpus(name);
    const auto expected = samples_of(whole);
    const auto pages = pages_of(whole);
    ASSERT_EQ(joined(pages), whole);
    ASSERT_GE(pages.size(), 3U);
    for (const std::uint32_t first : {7U, 0xffffffffU}) {
      for (const std::size_t jump_at : {std::size_t{0}, std::size_t{2}, pages.size() - 1}) {
        auto odd = pages;
        for (std::size_t i = jump_at; i < odd.size(); ++i) {
          odd[i].replace(18, 4, little(first + i, 4));
        }
        const Waveform read = decode_audio(write("clip", joined(odd)));
        EXPECT_EQ(read.samples, expected) << name << " " << first << " at " << jump_at;
        EXPECT_THAT(read.note, HasSubstr("its pages are not numbered from 0 on"));
      }
    }
  }
}

TEST_F(OggFile, TheLastPageNeedsNoMark) {
  for (const char* name :
       {"vorbis.ogg", "opus.ogg", "long-vorbis.ogg", "long-opus.ogg", "flac.ogg", "speex.ogg"}) {
    if (!is_of_sndfile(name) && libav_version().empty()) continue;
    const std::string whole = corpus(name);
    auto pages = pages_of(whole);
    pages.back()[5] = static_cast<char>(pages.back()[5] & ~0x04);
    for (const std::string& behind : {std::string(), std::string(300, '\0'), kId3v1}) {
      const Waveform read = decode_audio(write("clip", joined(pages) + behind));
      EXPECT_EQ(read.samples, samples_of(whole)) << name;
      EXPECT_THAT(read.note, HasSubstr("its stream has no last page")) << name;
    }
  }
}

TEST_F(OggFile, AMissingPageIsNoticedByWhatIsNotThere) {
  for (const char* name : {"long-vorbis.ogg", "long-opus.ogg", "flac.ogg", "speex.ogg"}) {
    if (!is_of_sndfile(name) && libav_version().empty()) continue;
    const auto pages = pages_of(corpus(name));
    ASSERT_GE(pages.size(), 5U);
    // Without the first page of audio it is a stream that was joined late.
    for (std::size_t missing = 3; missing + 1 < pages.size(); ++missing) {
      auto cut = pages;
      cut.erase(cut.begin() + static_cast<std::ptrdiff_t>(missing));
      EXPECT_NE(error_of(joined(cut)), "") << name << " without page " << missing;
    }
  }
}

TEST_F(OggFile, TextsOfAFileAreNoDamage) {
  for (const auto& [name, word] : {std::pair{"vorbis.ogg", "libVorbis"}, {"opus.ogg", "libopus"}}) {
    const std::string whole = corpus(name);
    const std::string text = "ERRORS\nERROR";
    const std::size_t at = whole.find(word);
    ASSERT_NE(at, std::string::npos) << name;
    EXPECT_EQ(
        samples_of(joined(pages_of(with(whole, at, text.substr(0, std::string(word).size()))))),
        samples_of(whole))
        << name;
  }
}

TEST_F(OggFile, APacketThatTheNextPageWouldEndIsMissing) {
  const auto pages = pages_of(corpus("long-vorbis.ogg"));
  auto cut = pages;
  cut.pop_back();
  cut.back()[26] = static_cast<char>(1);  // one segment of 255 bytes: its packet is open
  cut.back().resize(27);
  cut.back() += '\xff' + std::string(255, '\1');
  EXPECT_THAT(error_of(joined(cut)), HasSubstr("is truncated behind page"));
}

// --- NIST SPHERE ---

std::string sphere(const std::string& data, const std::string& coding, int bytes,
                   const std::string& order, int channels, std::size_t samples,
                   const std::string& more = "", std::size_t header_bytes = 1024) {
  const std::string size = std::to_string(header_bytes);
  const auto text = [](const std::string& name, const std::string& value) {
    return name + " -s" + std::to_string(value.size()) + " " + value + "\n";
  };
  std::string header = "NIST_1A\n" + std::string(7 - size.size(), ' ') + size + "\n";
  header += "channel_count -i " + std::to_string(channels) + "\n";
  header += "sample_count -i " + std::to_string(samples) + "\nsample_rate -i 16000\n";
  header += "sample_n_bytes -i " + std::to_string(bytes) + "\n" + more;
  if (!order.empty()) header += text("sample_byte_format", order);
  if (!coding.empty()) header += text("sample_coding", coding);
  header += "end_head\n";
  header.resize(header_bytes, '\0');
  return header + data;
}

// The same samples in an AU file, which has them in big-endian order.
std::string au(const std::string& data, std::uint32_t encoding, int channels) {
  return ".snd" + big(24, 4) + big(data.size(), 4) + big(encoding, 4) + big(16000, 4) +
         big(static_cast<std::uint64_t>(channels), 4) + data;
}

TEST_F(AudioFile, SphereFilesOfEveryCodingAreRead) {
  std::string data(2400, '\0');
  std::mt19937 random(3);
  for (char& byte : data) byte = static_cast<char>(random());
  const auto swapped = [&](std::size_t bytes) {
    std::string turned = data;
    for (std::size_t at = 0; at < turned.size(); at += bytes) {
      std::reverse(turned.begin() + static_cast<std::ptrdiff_t>(at),
                   turned.begin() + static_cast<std::ptrdiff_t>(at + bytes));
    }
    return turned;
  };
  struct Coding {
    std::string name;
    int bytes;
    std::string ascending, descending;
    std::uint32_t au_encoding;
  };
  for (const Coding& one : {Coding{"pcm", 1, "1", "1", 2},
                            {"pcm", 2, "01", "10", 3},
                            {"pcm", 3, "012", "210", 4},
                            {"pcm", 4, "0123", "3210", 5},
                            {"pcm", 3, "01", "10", 4},  // as sox writes them
                            {"pcm", 4, "01", "10", 5},
                            {"", 2, "01", "10", 3},
                            {"ulaw", 1, "1", "1", 1},
                            {"mu-law", 1, "", "", 1},
                            {"alaw", 1, "1", "", 27}}) {
    for (const int channels : {1, 2, 3}) {
      SCOPED_TRACE(one.name + std::to_string(one.bytes) + "x" + std::to_string(channels));
      const std::size_t samples =
          data.size() / static_cast<std::size_t>(one.bytes) / static_cast<std::size_t>(channels);
      const auto expected = samples_of(au(data, one.au_encoding, channels));
      const auto turned = swapped(static_cast<std::size_t>(one.bytes));
      EXPECT_EQ(samples_of(sphere(data, one.name, one.bytes, one.descending, channels, samples)),
                expected);
      EXPECT_EQ(samples_of(sphere(turned, one.name, one.bytes, one.ascending, channels, samples,
                                  "speaker_id -s5 fcjf0\n", 4096)),
                expected);
      EXPECT_THAT(
          error_of(sphere(data, one.name, one.bytes, one.descending, channels, samples + 1)),
          HasSubstr("is truncated: its header says " + std::to_string(samples + 1) + " samples"));
    }
  }
  const Waveform read = decode_audio(write("SA1.WAV", sphere(data, "pcm", 2, "01", 1, 1000)));
  EXPECT_EQ(read.container, "SPHERE");
  EXPECT_EQ(read.samples.size(), 1000U);  // what follows is no audio
}

TEST_F(AudioFile, SphereFilesThatCannotBeReadSayWhy) {
  const std::string data(2000, '\1');
  EXPECT_THAT(error_of(sphere(data, "pcm,embedded-shorten-v2.00", 2, "01", 1, 1000)),
              AllOf(HasSubstr("shorten"), HasSubstr("sph2pipe")));
  EXPECT_THAT(error_of(sphere(data, "pcm,embedded-wavpack-v1.0", 2, "01", 1, 1000)),
              HasSubstr("compressed"));
  EXPECT_THAT(error_of(sphere(data, "adpcm", 2, "01", 1, 1000)), HasSubstr("adpcm"));
  EXPECT_THAT(error_of(sphere(data, "pcm", 2, "00", 1, 1000)), HasSubstr("sample_byte_format"));
  EXPECT_THAT(error_of(sphere(data, "pcm", 9, "01", 1, 1000)), HasSubstr("sample_n_bytes"));
  EXPECT_THAT(error_of(sphere(data, "pcm", 2, "01", 0, 1000)), HasSubstr("channel_count"));
  EXPECT_THAT(error_of("NIST_1A\n   none\n" + data), HasSubstr("SPHERE header"));
  EXPECT_THAT(error_of("NIST_1A\n   9999\n" + data), HasSubstr("truncated in its SPHERE header"));
}

// --- MPEG layers I and II ---

TEST_F(AudioFile, TheOtherMpegLayersAreRead) {
  // Frames that allocate no bits: silence of the right length.
  const auto frames = [](const std::string& header, std::size_t bytes, std::size_t count) {
    std::string all;
    for (std::size_t i = 0; i < count; ++i) {
      std::string frame = header;
      frame.resize(bytes, '\0');
      all += frame;
    }
    return all;
  };
  // 48 kHz, mono: layer II at 64 kbit/s, layer I at 64 kbit/s; MPEG 2 at 24 kHz, layer II, 32
  // kbit/s.
  for (const auto& [header, bytes, samples, name] :
       {std::tuple{std::string("\xff\xfd\x44\xc0"), 192, 1152, "MP2"},
        {std::string("\xff\xff\x24\xc0"), 64, 384, "MP1"},
        {std::string("\xff\xf5\x44\xc0"), 192, 1152, "MP2"}}) {
    const std::string whole = frames(header, static_cast<std::size_t>(bytes), 50);
    const Waveform read = decode_audio(write("a.mp2", whole));
    EXPECT_EQ(read.container, name);
    EXPECT_EQ(read.source_samples, 50 * samples);
    EXPECT_EQ(read.samples, std::vector<float>(static_cast<std::size_t>(50 * samples), 0.0F));
    EXPECT_THAT(error_of(whole.substr(0, whole.size() - 1)), HasSubstr("is truncated in frame 49"));
  }
}

// --- Damage, salvaged ---

TEST_F(AudioFile, SalvageTakesWhatStandsBeforeTheDamage) {
  AudioOptions salvage;
  salvage.salvage = true;
  for (const char* name : {"pcm16.wav", "float.wav", "big-endian.wav", "pcm16.rf64", "pcm16.w64",
                           "pcm16.aiff", "pcm16.au", "pcm16.caf", "long.flac", "long-vorbis.ogg",
                           "long-opus.ogg", "xing.mp3", "variable.mp3"}) {
    const std::string whole = corpus(name);
    const auto samples = samples_of(whole);
    const std::string cut = whole.substr(0, whole.size() * 2 / 3);
    EXPECT_NE(error_of(cut), "") << name;
    const Waveform read = decode_audio(write("cut", cut), salvage);
    EXPECT_GT(read.samples.size(), samples.size() / 4) << name;
    ASSERT_LT(read.samples.size(), samples.size()) << name;
    const bool is_lossy =
        std::string(name).ends_with(".ogg") || std::string(name).ends_with(".mp3");
    if (!is_lossy) {
      EXPECT_TRUE(std::equal(read.samples.begin(), read.samples.end(), samples.begin())) << name;
    }
    EXPECT_THAT(read.note, AllOf(HasSubstr("seconds are read, "), HasSubstr(" lost"))) << name;
    const Waveform sound = decode_audio(write("whole", whole), salvage);
    EXPECT_EQ(sound.samples, samples) << name;
    EXPECT_EQ(sound.note, "") << name;
  }
  // A FLAC decoder fills damage with zeros.
  std::string flac = corpus("long.flac");
  flac[flac.size() / 2] = static_cast<char>(flac[flac.size() / 2] ^ 0x10);
  const auto samples = samples_of(corpus("long.flac"));
  const Waveform read = decode_audio(write("flipped", flac), salvage);
  EXPECT_GT(read.samples.size(), samples.size() / 4);
  EXPECT_LT(read.samples.size(), samples.size());
  EXPECT_TRUE(std::equal(read.samples.begin(), read.samples.end(), samples.begin()));
  // What is no audio, or no number, stays refused.
  EXPECT_NE(error_of(std::string(3000, 'a'), "a", salvage), "");
  EXPECT_NE(error_of(wav(16000, 1, floats({1, NAN, 0}), 3, 32), "a", salvage), "");
}

TEST_F(AudioFile, OtherKindsOfAudioAreNamed) {
  for (const auto& [bytes, word] : {std::pair{std::string("\0\0\0\x20", 4) + "ftypM4A ", "MP4"},
                                    {std::string("\x1a\x45\xdf\xa3"), "WebM"},
                                    {std::string("\x30\x26\xb2\x75\x8e\x66\xcf\x11"), "WMA"},
                                    {std::string("#!AMR\n"), "AMR"},
                                    {std::string("\x0b\x77"), "AC-3"},
                                    {std::string("\xff\xf1"), "AAC"},
                                    {id3v2(20) + "\xff\xf1", "AAC"},
                                    {std::string("wvpk"), "WavPack"}}) {
    EXPECT_THAT(error_of(bytes + std::string(400, '\0')),
                // libav finds some of them readable, and then damaged.
                libav_version().empty()
                    ? Matcher<std::string>(AllOf(HasSubstr(word), HasSubstr("ffmpeg")))
                    : Matcher<std::string>(AnyOf(AllOf(HasSubstr(word), HasSubstr("ffmpeg")),
                                                 HasSubstr("is damaged"))));
  }
}

TEST(SharedLibrary, SaysWhatCannotBeLoadedOrFound) {
  EXPECT_THAT(
      message_of<AudioError>([] { SharedLibrary("libof-no-one.so.7", "a library of one"); }),
      AllOf(StartsWith("libof-no-one.so.7: cannot be loaded: "),
            HasSubstr("No such file or directory"), HasSubstr("expected a library of one")));
  const SharedLibrary maths("libm.so.6", "");
  EXPECT_EQ(maths.find<double (*)(double)>("cbrt")(8.0), 2.0);
  EXPECT_THAT(message_of<AudioError>([&] { maths.find<void (*)()>("of_no_one"); }),
              AllOf(StartsWith("libm.so.6: cannot be loaded: "), HasSubstr("of_no_one")));
}

TEST_F(AudioFile, OtherKindsAreReadWhereLibavIsThere) {
  if (libav_version().empty()) GTEST_SKIP() << "this build has no libav";
  const auto expected = samples_of(corpus("noise.flac"));
  const auto power = [](const std::vector<float>& samples) {
    double sum = 0;
    for (const float sample : samples) sum += static_cast<double>(sample) * sample;
    return sum;
  };
  for (const auto& [name, container] : {std::pair{"alac.m4a", "MP4"},
                                        {"flac.ogg", "Ogg"},
                                        {"aac.m4a", "MP4"},
                                        {"aac.aac", "AAC"},
                                        {"fragments.mp4", "MP4"},
                                        {"opus.webm", "Matroska"},
                                        {"live.webm", "Matroska"},
                                        {"wma.wma", "ASF"},
                                        {"speex.ogg", "Ogg"},
                                        {"mp3.avi", "AVI"},
                                        {"mp3.flv", "FLV"},
                                        {"ac3.rm", "RealMedia"}}) {
    SCOPED_TRACE(name);
    const std::string path = kCorpus + "/" + name;
    const Waveform read = load_audio(path);
    EXPECT_EQ(read.container, container);
    EXPECT_EQ(read.note, "");
    EXPECT_EQ(count_channels(path), 1);
    if (name == std::string("alac.m4a") || name == std::string("flac.ogg")) {
      EXPECT_EQ(read.samples, expected);
    } else {  // of whole frames, with their padding
      EXPECT_NEAR(static_cast<double>(read.samples.size()), 12000.0, 1400.0);
      EXPECT_NEAR(power(read.samples), power(expected), 0.12 * power(expected));
    }
    AudioOptions limit;
    limit.max_seconds = 0.3;
    EXPECT_THAT(error_of_path(path, limit), HasSubstr("is longer than 0.3 seconds"));
  }
  // Encodings that libsndfile does not know, in containers that it does, and what has no loss.
  for (const auto& [name, container] :
       {std::pair{"alac-of-ffmpeg.caf", "CAF"}, {"pcm.tta", "TTA"}, {"g722.wav", "WAV"}}) {
    const Waveform read = decode_audio(kCorpus + "/" + name);
    EXPECT_EQ(read.container, container);
    EXPECT_EQ(read.samples.size(), 3000U) << name;
    const bool is_lossy = container == std::string("WAV");
    EXPECT_TRUE(is_lossy || read.samples == samples_of(corpus("pcm16.wav"))) << name;
  }
  AudioOptions salvage;
  salvage.salvage = true;
  for (const char* name : {"opus.webm", "wma.wma", "aac.aac", "live.webm", "flac.ogg", "speex.ogg",
                           "mp3.avi", "mp3.flv", "ac3.rm", "fragments.mp4", "g722.wav"}) {
    const std::string whole = corpus(name);
    const std::string cut = whole.substr(0, whole.size() * 2 / 3);
    EXPECT_THAT(error_of(cut, name), AnyOf(HasSubstr("is truncated"), HasSubstr("is damaged")));
    const Waveform read = decode_audio(write(name, cut), salvage);
    EXPECT_GT(read.samples.size(), samples_of(whole).size() / 4) << name;
    EXPECT_THAT(read.note, AllOf(HasSubstr("seconds are read, "), HasSubstr(" lost"))) << name;
  }
  const std::string alac = corpus("alac.m4a");
  EXPECT_THAT(error_of(alac.substr(0, alac.size() * 2 / 3)), HasSubstr("its mdat box says"));
  // libav looks for the next block, and passes over those between.
  std::string webm = corpus("live.webm");
  for (std::size_t i = webm.size() * 6 / 10; i < webm.size() * 6 / 10 + 200; ++i) {
    webm[i] = static_cast<char>(webm[i] ^ 0x5a);
  }
  EXPECT_THAT(error_of(webm), HasSubstr("is damaged: no element at byte"));
  std::mt19937 random(2);
  for (const std::string& name : kForeignFiles) {
    for (int round = 0; round < 40; ++round) {  // read or refused, and nothing else
      std::string bytes = corpus(name);
      const std::size_t range =
          round % 2 == 0 ? std::min<std::size_t>(bytes.size(), 600) : bytes.size();
      for (int flips = 0; flips < 3; ++flips) bytes[random() % range] = static_cast<char>(random());
      error_of(bytes, name);
    }
  }
}

// Where the containers say what follows, in bytes; what the codecs' own frames say is theirs.
std::vector<std::size_t> places_of_structure(const std::string& name, const std::string& bytes) {
  std::vector<std::size_t> places;
  const auto add = [&](std::size_t at, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) places.push_back(at + i);
  };
  const auto number = [&](std::size_t at) { return static_cast<std::uint8_t>(bytes[at]); };
  if (name == "aac.aac") {
    for (std::size_t at = 0; at < bytes.size();) {
      add(at, 6);
      at += static_cast<std::size_t>((number(at + 3) & 3) << 11 | number(at + 4) << 3 |
                                     number(at + 5) >> 5);
    }
  } else if (name == "mp3.flv") {  // the tags, without their times, and the sizes behind them
    for (std::size_t at = 13; at < bytes.size();) {
      const std::size_t size =
          static_cast<std::size_t>(number(at + 1) << 16 | number(at + 2) << 8 | number(at + 3));
      add(at, 4);
      add(at + 11, 1);
      add(at + 11 + size, 4);
      at += 15 + size;
    }
  } else if (name == "mp3.avi") {
    for (std::size_t at = bytes.find("movi") + 4; bytes.compare(at, 4, "idx1") != 0;) {
      add(at, 8);
      const auto size = static_cast<std::size_t>(number(at + 4) | number(at + 5) << 8);
      at += 8 + size + size % 2;
    }
  } else {  // a Matroska file's blocks, without their times
    for (std::size_t at = bytes.find("\xa3\x40"); at != std::string::npos;
         at = bytes.find("\xa3\x40", at + 1)) {
      add(at, 4);
      add(at + 6, 1);
    }
  }
  return places;
}

// A decoder passes over what it does not know, and nothing else tells that it was there.
TEST_F(AudioFile, AFlippedBitOfAContainerLosesNoFrameUnseen) {
  if (libav_version().empty()) GTEST_SKIP() << "this build has no libav";
  AudioOptions salvage;
  salvage.salvage = true;
  for (const char* name : {"aac.aac", "mp3.flv", "mp3.avi", "live.webm"}) {
    const std::string whole = corpus(name);
    const std::size_t samples = samples_of(whole).size();
    std::size_t refused = 0;
    const std::vector<std::size_t> places = places_of_structure(name, whole);
    for (const std::size_t at : places) {
      std::string flipped = whole;
      flipped[at] = static_cast<char>(flipped[at] ^ 1 << (at * 5 + at / 8) % 8);
      const std::string path = write(name, flipped);
      try {
        EXPECT_GE(decode_audio(path).samples.size(), samples) << name << " at " << at;
      } catch (const AudioError&) {
        if (++refused % 8 != 0) continue;
        try {
          const Waveform read = decode_audio(path, salvage);
          EXPECT_LE(read.samples.size(), samples) << name << " at " << at;
          EXPECT_THAT(read.note, HasSubstr("seconds are read")) << name << " at " << at;
        } catch (const AudioError&) {
          EXPECT_LT(at, places.front() + 512) << name;  // nothing stands before it
        }
      }
    }
    EXPECT_GT(refused, 20U) << name;
  }
}

TEST_F(AudioFile, ARunOfSamplesThatAFragmentLacksIsDamage) {
  if (libav_version().empty()) GTEST_SKIP() << "this build has no libav";
  const std::string whole = corpus("fragments.mp4");
  // The names of two boxes, and how many samples a run has: all of its four.
  const std::size_t places[] = {whole.rfind("trun"), whole.rfind("traf"), whole.find("trun") + 11};
  for (const std::size_t at : places) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ 4);
    EXPECT_THAT(error_of(flipped), HasSubstr("is damaged: no whole moof box")) << at;
  }
}

TEST_F(AudioFile, ALengthBeyondTheLimitIsRefusedBeforeAnySampleIsDecoded) {
  // The header says that it has hours: the first block is never asked for.
  std::string flac = with(corpus("noise.flac"), 22, big(100'000'000, 4));
  AudioOptions options;
  options.max_seconds = 1000;
  EXPECT_THAT(error_of(flac, "a.flac", options), HasSubstr("is longer than 1000 seconds"));
  options.max_seconds = 1e9;
  EXPECT_THAT(error_of(flac, "a.flac", options),
              HasSubstr("holds 12000 frames, its header says 100000000"));
  // Years, which a file without blocks on the disk has bytes enough for.
  flac[21] = static_cast<char>(flac[21] | 0x0f);
  const std::string path = write("b.flac", with(flac, 22, "\xff\xff\xff\xff"));
  std::filesystem::resize_file(path, std::uintmax_t{1} << 30);
  EXPECT_THAT(
      error_of_path(path),
      HasSubstr("seconds, expected a shorter file, or a limit other than that of the memory"));
}

constexpr std::uint64_t kMaxFlacBlock = 65535;

std::uint64_t flac_checksum(const std::string& bytes, std::uint64_t polynomial, int bits) {
  std::uint64_t value = 0;
  for (const char byte : bytes) {
    value ^= static_cast<std::uint64_t>(static_cast<std::uint8_t>(byte)) << (bits - 8);
    for (int bit = 0; bit < 8; ++bit) {
      value = (value << 1) ^ (value >> (bits - 1) != 0 ? polynomial : 0);
      value &= (std::uint64_t{1} << bits) - 1;
    }
  }
  return value;
}

// Silence in the largest blocks, each a constant of 8 bits: nothing is longer for its bytes.
std::string silent_flac(std::uint64_t blocks) {
  std::string flac = std::string("fLaC\x80", 5) + big(34, 3) + big(kMaxFlacBlock, 2) +
                     big(kMaxFlacBlock, 2) + std::string(6, '\0');
  // 20 bits of the rate, 3 of the channels less 1, 5 of a sample's bits less 1, 36 of the samples
  flac += big(std::uint64_t{16000} << 44 | std::uint64_t{7} << 36 | blocks * kMaxFlacBlock, 8) +
          std::string(16, '\0');
  for (std::uint64_t block = 0; block < blocks; ++block) {
    std::string frame = big(0xfff87502, 4) + big(block, 1) + big(kMaxFlacBlock - 1, 2);
    frame += big(flac_checksum(frame, 0x07, 8), 1) + std::string(2, '\0');
    flac += frame + big(flac_checksum(frame, 0x8005, 16), 2);
  }
  return flac;
}

TEST_F(AudioFile, MoreSamplesThanTheBytesOfAFlacCanHoldAreDamage) {
  const std::string whole = corpus("noise.flac");
  std::string odd = with(whole, 22, "\xff\xff\xff\xff");
  odd[21] = static_cast<char>(odd[21] | 0x0f);
  EXPECT_THAT(error_of(odd), HasSubstr("its header says 68719476735 samples, more than its " +
                                       std::to_string(whole.size()) + " bytes can hold"));
  AudioOptions salvage;
  salvage.salvage = true;
  EXPECT_EQ(decode_audio(write("odd.flac", odd), salvage).samples, samples_of(whole));
  EXPECT_EQ(samples_of(silent_flac(60)).size(), std::size_t{60} * kMaxFlacBlock);
}

TEST_F(AudioFile, NoMemoryIsTakenForWhatAHeaderClaims) {
  std::string flac = corpus("long.flac");
  flac[21] = static_cast<char>(flac[21] | 0x0f);
  const std::string path = write("a.flac", with(flac, 22, "\xff\xff\xff\xff"));
  std::filesystem::resize_file(path, (std::uintmax_t{3} << 30) - 1);  // without blocks on the disk
  std::ofstream(path, std::ios::binary | std::ios::app) << 'x';
  AudioOptions options;
  options.salvage = true;
  EXPECT_GT(decode_audio(path, options).samples.size(), 30000U);
  options.salvage = false;
  options.max_seconds = 1e9;
  EXPECT_THAT(error_of_path(path, options), HasSubstr("is damaged"));
}

// --- Progress ---

TEST_F(AudioFile, ReadingTellsOfItsProgressBeforeTheFirstSample) {
  // The pages of an Ogg file are looked at first, all of them.
  std::string whole = corpus("vorbis.ogg");
  const std::string path = write("a.ogg", whole + std::string(1 << 20, '\0'));
  int calls = 0;
  decode_audio(path, {}, [&] { ++calls; });
  EXPECT_GE(calls, 2);
  // What it throws comes out as it is, through the decoder's C code as well.
  for (int last = 1; last < calls; ++last) {
    int left = last;
    EXPECT_THROW(decode_audio(path, {},
                              [&] {
                                if (--left == 0) throw std::domain_error("stop");
                              }),
                 std::domain_error);
  }
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
  options.channels = AudioOptions::Channels::one;
  for (const auto& [channel, expected] :
       {std::pair{1, std::vector<float>{1, -1}}, {2, {2, 0}}, {3, {6, 0.5F}}}) {
    options.channel = channel;
    EXPECT_EQ(decode_audio(path, options).samples, expected);
  }
  for (const int channel : {4, 64}) {
    options.channel = channel;
    EXPECT_THAT(error_of_path(path, options),
                HasSubstr("has 3 channels, expected at least " + std::to_string(channel)));
  }
  for (const int channel : {0, -1, 65}) {
    options.channel = channel;
    EXPECT_THAT(error_of_path(path, options), HasSubstr("expected 1 to 64"));
  }
  EXPECT_EQ(count_channels(path), 3);
}

TEST_F(AudioFile, ChannelsAreCountedWhereAFileCanBeRead) {
  const std::string many = write("many.wav", wav(16000, 65, std::string(65 * 100 * 2, '\1')));
  EXPECT_THAT(message_of<AudioError>([&] { count_channels(many); }),
              HasSubstr("has 65 channels, expected 1 to 64"));
  const std::string whole = corpus("stereo.wav");
  const std::string cut = write("cut.wav", whole.substr(0, whole.size() / 2));
  EXPECT_THAT(message_of<AudioError>([&] { count_channels(cut); }), HasSubstr("is truncated"));
  AudioOptions options;
  options.salvage = true;
  EXPECT_EQ(count_channels(cut, options), 2);
}

TEST_F(AudioFile, ResamplingOnTheWayGivesTheSameSamples) {
  for (const int rate : {8000, 22050, 44100, 48000, 384000}) {
    std::mt19937 random(5);
    std::string data(60000, '\0');
    for (char& byte : data) byte = static_cast<char>(random());
    const std::string path = write("rate.wav", wav(static_cast<std::uint32_t>(rate), 1, data));
    AudioOptions round_about;
    round_about.first_sample_rate_hz = 22050;
    round_about.first_seconds = 0.5;
    AudioOptions cut;
    cut.first_seconds = 0.01;
    for (const AudioOptions& options : {AudioOptions(), round_about, cut}) {
      EXPECT_EQ(load_audio(path, options).samples,
                resample_audio(decode_audio(path, options), options, path).samples)
          << rate;
    }
  }
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
  made.source_sample_rate_hz = 48000;
  EXPECT_EQ(cut_audio(made, 0.25, 0.5, "made").source_samples, 24000);
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

// --- Kinds of WAVE files that libsndfile takes for another one ---

// A W64 of `data` whose fmt chunk is `format`.
std::string w64(const std::string& format, const std::string& data) {
  using namespace std::string_literals;
  const std::string end_of_id = "\xF3\xAC\xD3\x11\x8C\xD1\x00\xC0\x4F\x8E\xDB\x8A"s;
  const auto chunk = [&](const std::string& name, const std::string& bytes) {
    return name + end_of_id + little(24 + bytes.size(), 8) + bytes +
           std::string((8 - bytes.size() % 8) % 8, '\0');
  };
  const std::string chunks = "wave" + end_of_id + chunk("fmt ", format) + chunk("data", data);
  return "riff\x2E\x91\xCF\x11\xA5\xD6\x28\xDB\x04\xC1\x00\x00"s + little(24 + chunks.size(), 8) +
         chunks;
}

// The fields of a fmt chunk, one channel of 16 kHz; extensible ones have a GUID.
std::string format_chunk(std::uint32_t tag, std::uint32_t bits, std::uint32_t block,
                         std::uint32_t encoding = 0) {
  using namespace std::string_literals;
  std::string fields = little(tag, 2) + little(1, 2) + little(16000, 4) + little(16000 * block, 4) +
                       little(block, 2) + little(bits, 2);
  if (tag != 0xfffe) return fields;
  return fields + little(22, 2) + little(bits, 2) + little(4, 4) + little(encoding, 2) +
         "\0\0\0\0\x10\0\x80\0\0\xAA\0\x38\x9B\x71"s;
}

TEST_F(AudioFile, AnExtensibleW64IsReadAsWhatItIs) {
  std::string companded(2000, '\0');
  std::mt19937 random(7);
  for (char& byte : companded) byte = static_cast<char>(random());
  std::vector<float> values(500);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = std::sin(static_cast<float>(i) * 0.1F);
  }
  for (const auto& [tag, bits, data] : {std::tuple{1U, 16U, companded},
                                        {3U, 32U, floats(values)},
                                        {6U, 8U, companded},
                                        {7U, 8U, companded}}) {
    const auto expected = samples_of(
        wav(16000, 1, data, static_cast<std::uint16_t>(tag), static_cast<std::uint16_t>(bits)));
    EXPECT_EQ(samples_of(w64(format_chunk(tag, bits, bits / 8), data)), expected) << tag;
    EXPECT_EQ(samples_of(w64(format_chunk(0xfffe, bits, bits / 8, tag), data)), expected) << tag;
  }
  std::string unknown = format_chunk(0xfffe, 16, 2, 1);
  unknown.back() = 'x';
  EXPECT_THAT(error_of(w64(unknown, companded)), HasSubstr("unknown GUID"));
}

TEST_F(AudioFile, SamplesOfAW64WithRoomToSpareAreReadWhole) {
  std::string data, wide;
  std::mt19937 random(8);
  for (int i = 0; i < 900; ++i) {
    std::string sample(3, '\0');
    for (char& byte : sample) byte = static_cast<char>(random());
    data += sample;
    wide += '\0' + sample;
  }
  const auto expected = samples_of(wav(16000, 1, data, 1, 24));
  EXPECT_EQ(samples_of(w64(format_chunk(1, 24, 3), data)), expected);
  EXPECT_EQ(samples_of(w64(format_chunk(1, 24, 4), wide)), expected);
  EXPECT_EQ(samples_of(w64(format_chunk(0xfffe, 24, 4, 1), wide)), expected);
  EXPECT_THAT(
      error_of(w64(format_chunk(1, 24, 5), wide)),
      AllOf(HasSubstr("has blocks of 5 bytes for 1 channels of 24 bits"), HasSubstr("expected 3")));
}

TEST_F(AudioFile, Bw64IsRf64UnderANewerName) {
  const std::string rf64 = corpus("pcm16.rf64");
  const Waveform read = decode_audio(write("new.wav", with(rf64, 0, "BW64")));
  EXPECT_EQ(read.samples, samples_of(rf64));
  EXPECT_EQ(read.container, "BW64");
  EXPECT_THAT(error_of(with(rf64, 0, "BW64").substr(0, 3000)), HasSubstr("is truncated"));
}

// A WAV of another encoding, with a fact chunk that counts `samples`.
std::string coded_wav(const std::string& format, std::size_t samples, const std::string& data) {
  const std::string chunks = "WAVEfmt " + little(format.size(), 4) + format + "fact" +
                             little(4, 4) + little(samples, 4) + "data" + little(data.size(), 4) +
                             data;
  return "RIFF" + little(chunks.size(), 4) + chunks;
}

TEST_F(AudioFile, MpegAudioInAWavIsReadWholeWhateverTheFactChunkCounts) {
  for (const char* name : {"xing.mp3", "variable.mp3"}) {
    const std::string mp3 = corpus(name);
    const auto expected = samples_of(mp3);
    const std::string format = format_chunk(0x55, 0, 1) + little(0, 2);
    for (const std::size_t said : {expected.size(), std::size_t{1}, 3 * expected.size()}) {
      const std::string whole = coded_wav(format, said, mp3);
      const Waveform read = decode_audio(write("a.wav", whole + "LIST" + little(4, 4) + "INFO"));
      EXPECT_EQ(read.samples, expected) << name << " " << said;
      EXPECT_EQ(read.container, "WAV");
      EXPECT_THAT(error_of(whole.substr(0, whole.size() - 500)), HasSubstr("is truncated"));
      EXPECT_EQ(samples_of(w64(format, mp3)), expected) << name;
    }
  }
  std::string frames;
  for (int i = 0; i < 50; ++i) frames += "\xff\xf5\x44\xc0" + std::string(188, '\0');
  EXPECT_EQ(samples_of(coded_wav(format_chunk(0x50, 0, 192) + little(0, 2), 9, frames)).size(),
            50U * 1152);
}

TEST_F(AudioFile, AWavOfACodecThatLibsndfileLacksIsDecodedOrNamed) {
  const std::string data(4096, '\x5a');
  const std::string yamaha = coded_wav(format_chunk(0x20, 4, 1024), 9000000, data);
  const std::string g722 = coded_wav(format_chunk(0x28f, 4, 1), 5, data);
  if (libav_version().empty()) {
    EXPECT_THAT(error_of(yamaha), AllOf(HasSubstr("Yamaha ADPCM"), HasSubstr("ffmpeg")));
    EXPECT_THAT(error_of(g722), AllOf(HasSubstr("G.722"), HasSubstr("ffmpeg")));
    return;
  }
  for (const std::string& whole : {yamaha, g722}) {
    const Waveform read = decode_audio(write("a.wav", whole));
    EXPECT_EQ(read.samples.size(), 2 * data.size());
    EXPECT_EQ(read.container, "WAV");
    EXPECT_THAT(error_of(whole.substr(0, whole.size() - 1)), HasSubstr("is truncated"));
  }
  EXPECT_THAT(error_of(coded_wav(format_chunk(0xeeee, 4, 1), 5, data)),
              AllOf(HasSubstr("a WAVE file of compressed audio"), HasSubstr("ffmpeg")));
}

// --- MPEG streams that were joined or cut ---

TEST_F(AudioFile, TagsInTheMiddleOfAnMpegStreamArePassedOver) {
  for (const char* name : {"xing.mp3", "variable.mp3"}) {
    const std::string whole = corpus(name);
    const auto once = samples_of(whole + whole);
    const std::size_t seam = samples_of(whole).size();
    for (const std::string& between :
         {kId3v1, id3v2(300), kId3v1 + id3v2(40), std::string(50, '\0') + kId3v1, ape(true),
          kId3v1 + std::string(700, '\0'), ape(true) + kId3v1 + id3v2(5000)}) {
      const Waveform read = decode_audio(write("a.mp3", whole + between + whole + kId3v1));
      ASSERT_EQ(read.samples.size(), once.size()) << name;
      // The decoder begins anew at the seam, with what overlaps there.
      for (std::size_t i = 0; i < once.size(); ++i) {
        if (i >= seam && i < seam + 2 * 576) continue;
        ASSERT_EQ(read.samples[i], once[i]) << name << " " << i;
      }
    }
    // Zeros alone are a hole, and tags that no frame follows hide nothing.
    EXPECT_THAT(error_of(whole + std::string(300, '\0') + whole), HasSubstr("is damaged"));
    EXPECT_THAT(error_of(whole + kId3v1 + std::string(300, 'x')), HasSubstr("is damaged"));
  }
}

TEST_F(AudioFile, AnMpegStreamMayBeginInTheMiddleOfAFrame) {
  const std::string whole = corpus("variable.mp3");
  const auto expected = samples_of(whole);
  const std::size_t second = whole.find(whole.substr(0, 2), 4);
  const Waveform read = decode_audio(write("late.mp3", whole.substr(second - 50)));
  EXPECT_THAT(read.note, HasSubstr("its stream begins in the middle of a frame: the first 50 "));
  ASSERT_EQ(read.samples.size(), expected.size() - 576);
  // The first frames may lack data that stood before; nothing is louder for it.
  float loudest = 0;
  for (const float sample : read.samples) loudest = std::max(loudest, std::abs(sample));
  EXPECT_LT(loudest, 1.2F);
  for (std::size_t i = 4 * 576; i < read.samples.size(); ++i) {
    ASSERT_NEAR(read.samples[i], expected[i + 576], 1e-4F) << i;
  }
  EXPECT_THAT(error_of(std::string(3000, 'x') + whole), HasSubstr("is no audio file"));
  EXPECT_THAT(error_of(whole.substr(0, second)), HasSubstr("holds a single frame"));
}

// --- CAF, FLAC and SPHERE ---

TEST_F(AudioFile, ACafMayHaveNoLengthAndIsSalvagedWhereItIsCut) {
  const std::string whole = corpus("pcm16.caf");
  const auto expected = samples_of(whole);
  const std::size_t size_at = whole.find("data", 60) + 4;
  EXPECT_EQ(samples_of(with(whole, size_at, big(~std::uint64_t{0}, 8))), expected);
  AudioOptions salvage;
  salvage.salvage = true;
  const std::string cut = whole.substr(0, whole.size() - 1001);
  EXPECT_THAT(error_of(cut), HasSubstr("is truncated: its data chunk says"));
  const Waveform read = decode_audio(write("cut.caf", cut), salvage);
  EXPECT_EQ(read.samples, std::vector<float>(expected.begin(), expected.end() - 501));
}

TEST_F(AudioFile, FramesBehindTheCountOfAFlacAreNoticed) {
  const std::string whole = corpus("noise.flac");
  const auto expected = samples_of(whole);
  AudioOptions salvage;
  salvage.salvage = true;
  for (const std::uint64_t count : {6000U, 1U, 11999U, 12001U}) {
    const std::string odd = with(whole, 22, big(count, 4));
    EXPECT_THAT(error_of(odd),
                HasSubstr("holds 12000 frames, its header says " + std::to_string(count)));
    EXPECT_EQ(decode_audio(write("odd.flac", odd), salvage).samples, expected);
  }
}

TEST_F(AudioFile, SphereFieldsMayBeRealNumbersAndCapitals) {
  const std::string data(1000, '\x33');
  const std::string plain = sphere(data, "ulaw", 1, "1", 1, 1000);
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string file = plain;
    file.replace(file.find(from), from.size(), to);
    file.erase(file.find('\0'), to.size() - from.size());
    return file;
  };
  const auto expected = samples_of(plain);
  EXPECT_EQ(samples_of(changed("sample_rate -i 16000", "sample_rate -r 16000.0")), expected);
  EXPECT_EQ(samples_of(changed("sample_rate -i 16000", "sample_rate -r 16000.")), expected);
  EXPECT_EQ(samples_of(changed("-s4 ulaw", "-s4 ULAW")), expected);
  EXPECT_THAT(error_of(changed("sample_rate -i 16000", "sample_rate -r 16000.5")),
              HasSubstr("16000.5"));
}

// --- Salvage of what was never finished ---

TEST_F(AudioFile, SalvageReadsAFileWhoseLengthWasNeverFilledIn) {
  AudioOptions salvage;
  salvage.salvage = true;
  const std::string whole = corpus("pcm16.wav");
  const auto expected = samples_of(whole);
  const std::string rf64 = corpus("pcm16.rf64");
  const std::size_t ds64 = rf64.find("ds64") + 8;
  const std::string caf = corpus("pcm16.caf");
  for (const std::string& unfinished :
       {with(whole, whole.find("data") + 4, little(0, 4)),
        with(corpus("pcm16.au"), 8, little(0, 4)),
        with(with(rf64, rf64.find("data") + 4, little(0xffffffff, 4)), ds64 + 8, little(0, 8)),
        with(caf, caf.find("data", 60) + 4, big(0, 8))}) {
    EXPECT_THAT(error_of(unfinished), HasSubstr("has no length: its "));
    const Waveform read = decode_audio(write("unfinished", unfinished), salvage);
    EXPECT_EQ(read.samples, expected);
    EXPECT_THAT(read.note, HasSubstr("has no length"));
  }
  // Other chunks are no audio.
  const std::string empty = wav(16000, 1, "") + "LIST" + little(8, 4) + "INFOabcd";
  EXPECT_THAT(error_of(empty, "empty.wav", salvage), HasSubstr("holds no audio"));
}

TEST_F(AudioFile, SalvageMakesUpNoSamplesOfAnUnfinishedBlock) {
  AudioOptions salvage;
  salvage.salvage = true;
  const std::string whole = corpus("adpcm.wav");
  const auto expected = samples_of(whole);
  const std::size_t data = whole.find("data") + 8;
  const auto block = static_cast<std::size_t>(static_cast<std::uint8_t>(whole[32])) +
                     256 * static_cast<std::size_t>(static_cast<std::uint8_t>(whole[33]));
  const std::size_t block_samples = (block - 4) * 2 + 1;
  for (const std::size_t more : {std::size_t{0}, std::size_t{1}, block / 2, block - 1}) {
    const Waveform read =
        decode_audio(write("cut.wav", whole.substr(0, data + 2 * block + more)), salvage);
    EXPECT_EQ(read.samples,
              std::vector<float>(expected.begin(),
                                 expected.begin() + static_cast<std::ptrdiff_t>(2 * block_samples)))
        << more;
  }
  // Three blocks of GSM, whose bytes are an odd number.
  const std::string gsm = coded_wav(format_chunk(0x31, 0, 65) + little(2, 2) + little(320, 2),
                                    4 * 320, std::string(4 * 65, '\x35'));
  EXPECT_EQ(samples_of(gsm).size(), 4U * 320);
  for (const std::size_t missing : {1U, 40U, 65U}) {
    const std::string path = write("cut.wav", gsm.substr(0, gsm.size() - missing));
    EXPECT_EQ(decode_audio(path, salvage).samples.size(), 3U * 320) << missing;
  }
}

TEST_F(AudioFile, SalvageMakesUpNoSamplesOfAnUnfinishedBlockOfAnAiff) {
  using namespace std::string_literals;
  std::string blocks(20 * 34, '\0');
  for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<char>(i % 34 < 2 ? 0 : i);
  const std::string kind = big(1, 2) + big(20 * 64, 4) + big(16, 2) +
                           "\x40\x0c\xfa\0\0\0\0\0\0\0ima4\0\0"s;  // 16 kHz as an 80-bit number
  const std::string chunks = "AIFCCOMM" + big(kind.size(), 4) + kind + "SSND" +
                             big(8 + blocks.size(), 4) + big(0, 8) + blocks;
  const std::string whole = "FORM" + big(chunks.size(), 4) + chunks;
  const auto expected = samples_of(whole);
  ASSERT_EQ(expected.size(), 20U * 64);
  AudioOptions salvage;
  salvage.salvage = true;
  for (const std::size_t missing : {1U, 20U, 34U}) {
    const Waveform read =
        decode_audio(write("cut.aiff", whole.substr(0, whole.size() - missing)), salvage);
    EXPECT_EQ(read.samples, std::vector<float>(expected.begin(), expected.end() - 64)) << missing;
  }
}

TEST_F(AudioFile, NothingIsPrintedAboutAnOddMpegStream) {
  const std::string whole = corpus("xing.mp3");
  ::testing::internal::CaptureStderr();
  // More than the Xing tag counts, tags between frames, a single frame, a lost beginning.
  for (const std::string& odd :
       {whole + whole, whole + ape(true) + whole, whole.substr(0, 432), whole.substr(300)}) {
    try {
      decode_audio(write("odd.mp3", odd));
    } catch (const AudioError&) {
    }
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST_F(AudioFile, ASecondStreamBehindTagsOrZerosIsRefused) {
  for (std::string name : {"pcm16.wav", "pcm16.rf64", "pcm16.w64", "pcm16.aiff", "pcm16.au",
                           "pcm16.caf", "vorbis.ogg", "mp3.wav", "aac.m4a", "fragments.mp4",
                           "pcm.tta", "wma.wma", "mp3.flv", "mp3.avi", "opus.webm", "ac3.rm"}) {
    const bool is_foreign =
        std::find(kForeignFiles.begin(), kForeignFiles.end(), name) != kForeignFiles.end();
    if (is_foreign && libav_version().empty()) continue;
    const std::string whole = corpus(name);
    for (const std::string& between :
         {id3v2(30), id3v2(31) + '\0', kId3v1, std::string(64, '\0'), id3v2(30) + kId3v1}) {
      EXPECT_THAT(error_of(whole + between + whole), HasSubstr("holds several streams")) << name;
    }
  }
}

// --- Streams that libav reads ---

TEST_F(AudioFile, TagsAroundAForeignStreamArePassedOver) {
  if (libav_version().empty()) GTEST_SKIP() << "this build has no libav";
  const std::string whole = corpus("aac.aac");
  const auto expected = samples_of(whole);
  for (const std::string& tag : {kId3v1, ape(true), kLyrics2 + kId3v1, ape(false) + kId3v1}) {
    EXPECT_EQ(samples_of(whole + tag), expected);
    EXPECT_EQ(samples_of(id3v2(30) + id3v2(20) + whole + tag), expected);
  }
  EXPECT_EQ(samples_of(ape(true) + whole), expected);
  EXPECT_EQ(samples_of(std::string(100, '\0') + whole), expected);
}

TEST_F(AudioFile, ALengthThatCountsMoreThanTheAudioIsNoTruncation) {
  if (libav_version().empty()) GTEST_SKIP() << "this build has no libav";
  // Beside a picture that is longer.
  EXPECT_EQ(decode_audio(kCorpus + "/picture.wmv").samples.size(),
            decode_audio(kCorpus + "/wma.wma").samples.size());
  // From 0 on, where the first sample stands at 0.25 seconds.
  std::string late = corpus("opus.webm");
  const auto expected = samples_of(late);
  late[late.find("\xe7\x81") + 2] = '\xfa';
  const std::size_t length_at = late.find("\x44\x89\x88") + 3;
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    bits = bits << 8 | static_cast<std::uint8_t>(late[length_at + i]);
  }
  late = with(late, length_at,
              big(std::bit_cast<std::uint64_t>(std::bit_cast<double>(bits) + 250), 8));
  EXPECT_EQ(samples_of(late), expected);
}

TEST_F(OggFile, OneStreamOfAudioAmongOthersIsRead) {
  if (libav_version().empty()) GTEST_SKIP() << "this build has no libav";
  const auto skeleton = [](const std::string& packet, char flags, std::uint32_t number) {
    return std::string("OggS\0", 5) + flags + little(0, 8) + little(77, 4) + little(number, 4) +
           little(0, 4) + '\1' + static_cast<char>(packet.size()) + packet;
  };
  std::string head = std::string("fishead\0", 8) + little(3, 2) + little(0, 2);
  head.resize(64, '\0');
  for (const char* name : {"vorbis.ogg", "opus.ogg"}) {
    auto pages = pages_of(corpus(name));
    pages.insert(pages.begin(), skeleton(head, 2, 0));
    pages.insert(pages.begin() + 2, skeleton("", 4, 1));
    const Waveform read = decode_audio(write("two.ogg", joined(pages)));
    EXPECT_NEAR(static_cast<double>(read.samples.size()) / read.sample_rate_hz, 0.75, 0.02) << name;
    const std::string all = joined(pages);
    EXPECT_THAT(error_of(all.substr(0, all.size() - 20)), HasSubstr("is truncated in page"));
    EXPECT_THAT(error_of(with(all, all.size() - 20, "x")), HasSubstr("is damaged: wrong checksum"));
    EXPECT_THAT(error_of(all + all), HasSubstr("holds several streams"));
    // Neither of two streams of audio is the one that is meant.
    auto other = pages_of(corpus(name));
    for (std::string& page : other) page.replace(14, 4, little(1234567, 4));
    auto both = pages_of(corpus(name));
    both.insert(both.begin() + 1, other[0]);
    both.insert(both.begin() + 3, other.begin() + 1, other.end());
    EXPECT_THAT(error_of(joined(both)), HasSubstr("holds several streams"));
  }
}

TEST_F(AudioFile, ChannelsAreCountedInOneOrder) {
  // Each of the six is louder than the one before: left, right, centre, low frequencies, ...
  for (const char* name : {"surround.ogg", "surround.opus"}) {
    AudioOptions options;
    options.channels = AudioOptions::Channels::one;
    for (options.channel = 1; options.channel <= 6; ++options.channel) {
      const auto samples = decode_audio(kCorpus + "/" + name, options).samples;
      double power = 0;
      for (const float sample : samples) power += static_cast<double>(sample) * sample;
      const double amplitude = std::sqrt(2 * power / static_cast<double>(samples.size()));
      EXPECT_NEAR(amplitude, 0.1 * options.channel, 0.03) << name;
    }
  }
}

TEST_F(AudioFile, AGitLfsPointerSaysHowToFetchTheFile) {
  EXPECT_THAT(error_of("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n"),
              HasSubstr("run git lfs pull"));
}

}  // namespace
}  // namespace w2vbert::testing
