// What a ClipReader is given to read: the inputs of a list, or others as they come.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "tool/corpus/input_list.h"
#include "w2vbert/audio/waveform.h"

namespace w2vbert::tool {

// What one clip is read from.
struct ClipInput {
  std::string path;  // of the file, or ""; InputPlace::path
  std::optional<InputSegment> segment = {};
  std::optional<int> channel = {};        // of the file, from 1; else what the options say
  std::optional<Waveform> waveform = {};  // in the place of a file
  std::optional<Member> member = {};      // where the path is that of one

  InputPlace place() const { return {path, member}; }
};

// Clips in turns, which count from 0 without gaps. Any thread may call its members.
class ClipSource {
 public:
  struct Turns {
    std::size_t begin = 0;
    std::size_t end = 0;  // behind the last
  };

  virtual ~ClipSource() = default;
  // The next turns, for one thread: parts of one file that follow each other, which decodes it
  // once, or members of one compressed tar, which reads it once. May wait for them. Empty: there
  // are no more. One thread at a time calls it.
  virtual Turns next() = 0;
  // What ReadClip::index is for the clip of a turn.
  virtual std::size_t index(std::size_t turn) const = 0;
  // Asked once for each turn. What it throws is the clip's failure.
  virtual ClipInput input(std::size_t turn) = 0;
  // next() returns soon, also where it waits, and there are no more.
  virtual void close() {}
};

// Those inputs of a list.
class ListedClips : public ClipSource {
 public:
  // `pending`: indices into `inputs`. Both outlive it.
  ListedClips(const InputList& inputs, const std::vector<std::size_t>& pending)
      : inputs_(inputs), pending_(pending) {}

  Turns next() override;
  std::size_t index(std::size_t turn) const override { return pending_[turn]; }
  ClipInput input(std::size_t turn) override;

 private:
  const InputList& inputs_;
  const std::vector<std::size_t>& pending_;
  std::size_t next_ = 0;
};

}  // namespace w2vbert::tool
