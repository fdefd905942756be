#include "tool/cli/answer_file.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <fstream>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "support/namespaces.h"
#include "support/temporary_directory.h"
#include "support/text_file.h"
#include "tool/corpus/input_list.h"
#include "tool/store/writable.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

AnsweredClip clip_of(const std::string& path) {
  AnsweredClip clip;
  clip.path = path;
  clip.audio_seconds = 1;
  return clip;
}

Answer answer_of(const std::string& path) {
  Answer answer;
  const auto words = nlohmann::ordered_json::array({{{"word", "of"}, {"start", 0}, {"end", 0.5}}});
  answer.json = {{"text", "of " + path}, {"words", words}};
  return answer;
}

std::string line_of(const std::string& path) {
  return json_line_of(clip_of(path), answer_of(path).json);
}

std::string answers_of(std::initializer_list<const char*> paths) {
  std::string lines;
  for (const char* path : paths) lines += line_of(path);
  return lines;
}

class AnswerLines : public ::testing::Test {
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
    AnswerFile file(path_, {}, list, {{{"model", "a"}}});
    file.begin();
    for (std::size_t index = 0; index < list.size(); ++index) {
      if (index < done.size()) {
        AnsweredClip clip = clip_of(list.path(index));
        clip.index = index;
        clip.input.path = clip.path;
        file.add(clip, answer_of(clip.path));
      } else {
        file.add({list.path(index), "read", "audio", "is no audio file"}, index);
      }
    }
    return file.finish();
  }

  TemporaryDirectory scratch_;
  std::string path_ = scratch_ / "text.jsonl";
};

TEST_F(AnswerLines, KeepsTheLinesOfAFolderThatCannotBeListedInTheirPlaces) {
  const std::string before =
      answers_of({"/in/a", "/in/b/1", "/in/b/2", "/in/b/3", "/in/c", "/in/d"});
  write({"/in/a", "/in/b/1", "/in/b/2", "/in/b/3", "/in/c", "/in/d"}, {});
  EXPECT_EQ(write({"/in/a", "/in/c"}, {"/in/d"}), 4U);
  EXPECT_EQ(read_text(path_), before);
}

TEST_F(AnswerLines, HasAClipOfSuchAFolderOnce) {
  write({"/in/b/1", "/in/b/2", "/in/b/3", "/in/c"}, {});
  // Two of the three were seen before the listing failed.
  EXPECT_EQ(write({"/in/b/1", "/in/c"}, {"/in/b/2"}), 2U);
  EXPECT_EQ(read_text(path_), answers_of({"/in/b/1", "/in/c", "/in/b/2", "/in/b/3"}));
}

}  // namespace
}  // namespace w2vbert::tool::testing
