#include "tool/cli/transcript.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <fstream>
#include <initializer_list>
#include <string>
#include <string_view>

#include "support/namespaces.h"
#include "support/temporary_directory.h"
#include "support/text_file.h"
#include "tool/corpus/input_list.h"
#include "tool/store/writable.h"

namespace w2vbert::tool::testing {
namespace {

ClipText clip_text(const std::string& path, std::size_t index = 0) {
  ClipText clip;
  clip.index = index;
  clip.path = path;
  clip.text = "of " + path;
  clip.audio_seconds = 1;
  return clip;
}

std::string transcript_of(std::initializer_list<const char*> paths) {
  std::string lines;
  for (const char* path : paths) lines += json_line_of(clip_text(path));
  return lines;
}

class Transcript : public ::testing::Test {
 protected:
  // Writes what a call finds of the files below /in: all of `done`, none of `failed`, and /in/b
  // could not be listed to its end.
  std::size_t write(std::initializer_list<std::string_view> done,
                    std::initializer_list<std::string_view> failed) {
    InputList list("/", OutputNames::kUnneeded);
    list.add_bad_row({"/in/b", "", "cannot be listed: Stale file handle", /*is_folder=*/true});
    for (const std::string_view path : done) list.add(path);
    for (const std::string_view path : failed) list.add(path);
    list.finish();
    TranscriptFile file(path_, {}, list);
    for (std::size_t index = 0; index < list.size(); ++index) {
      if (index < done.size()) {
        file.add(clip_text(list.path(index), index));
      } else {
        file.add_failed(index);
      }
    }
    return file.write();
  }

  TemporaryDirectory scratch_;
  std::string path_ = scratch_ / "text.jsonl";
};

TEST_F(Transcript, KeepsTheLinesOfAFolderThatCannotBeListedInTheirPlaces) {
  const std::string before =
      transcript_of({"/in/a", "/in/b/1", "/in/b/2", "/in/b/3", "/in/c", "/in/d"});
  write_text(path_, before);
  EXPECT_EQ(write({"/in/a", "/in/c"}, {"/in/d"}), 4U);
  EXPECT_EQ(read_text(path_), before);
}

TEST_F(Transcript, HasAClipOfSuchAFolderOnce) {
  write_text(path_, transcript_of({"/in/b/1", "/in/b/2", "/in/b/3", "/in/c"}));
  // Two of the three were seen before the listing failed.
  EXPECT_EQ(write({"/in/b/1", "/in/c"}, {"/in/b/2"}), 2U);
  EXPECT_EQ(read_text(path_), transcript_of({"/in/b/1", "/in/c", "/in/b/2", "/in/b/3"}));
}

}  // namespace
}  // namespace w2vbert::tool::testing
