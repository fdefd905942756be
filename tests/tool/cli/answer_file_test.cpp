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

std::string line_of(const std::string& path) {
  const auto words = nlohmann::ordered_json::array({{{"word", "of"}, {"start", 0}, {"end", 0.5}}});
  return json_line_of(clip_of(path), {{"text", "of " + path}, {"words", words}});
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
    AnswerFile file(path_, {}, list, {{"text", "words"}});
    for (std::size_t index = 0; index < list.size(); ++index) {
      if (index < done.size()) {
        file.add(index, line_of(list.path(index)));
      } else {
        file.add_failed(index);
      }
    }
    return file.write();
  }

  TemporaryDirectory scratch_;
  std::string path_ = scratch_ / "text.jsonl";
};

TEST_F(AnswerLines, KeepsTheLinesOfAFolderThatCannotBeListedInTheirPlaces) {
  const std::string before =
      answers_of({"/in/a", "/in/b/1", "/in/b/2", "/in/b/3", "/in/c", "/in/d"});
  write_text(path_, before);
  EXPECT_EQ(write({"/in/a", "/in/c"}, {"/in/d"}), 4U);
  EXPECT_EQ(read_text(path_), before);
}

TEST_F(AnswerLines, HasAClipOfSuchAFolderOnce) {
  write_text(path_, answers_of({"/in/b/1", "/in/b/2", "/in/b/3", "/in/c"}));
  // Two of the three were seen before the listing failed.
  EXPECT_EQ(write({"/in/b/1", "/in/c"}, {"/in/b/2"}), 2U);
  EXPECT_EQ(read_text(path_), answers_of({"/in/b/1", "/in/c", "/in/b/2", "/in/b/3"}));
}

TEST_F(AnswerLines, AreReplacedWhereTheyAreOfTheSameCommandAlone) {
  const InputList list = [] {
    InputList inputs("/", OutputNames::kUnneeded);
    inputs.add("/in/a");
    inputs.finish();
    return inputs;
  }();
  const auto begin = [&](AnswerMembers members) {
    AnswerFile(path_, {}, list, std::move(members));
  };
  write_text(path_, answers_of({"/in/a"}));
  EXPECT_NO_THROW(begin({{"text", "words"}}));
  EXPECT_THROW(begin({{"text"}}), StorageError);                     // one member more
  EXPECT_THROW(begin({{"text", "words", "labels"}}), StorageError);  // one member less
  // With a member that some lines have, also a list of texts with their words.
  const AnswerMembers with_n_best{{"text"}, {"n_best"}};
  for (
      const char* const line :
      {R"({"path": "/a", "seconds": 1, "text": "x"})",
       R"({"path": "/a", "seconds": 1, "text": "x", "n_best": [{"text": "x", "words": [{"word": "x"}]}]})"}) {
    write_text(path_, std::string(line) + "\n");
    EXPECT_NO_THROW(begin(with_n_best)) << line;
    EXPECT_THROW(begin({{"n_best"}}), StorageError) << line;
  }
  for (const char* const line :
       {R"({"path": "/a", "seconds": 1, "labels": [{"label": "x", "score": 0.5}]})",
        R"({"path": "/a", "seconds": 1, "labels": []})",
        R"({"path": "/a", "seconds": 1, "labels": [0.5, 1, -2, null]})"}) {
    write_text(path_, std::string(line) + "\n");
    EXPECT_NO_THROW(begin({{"labels"}})) << line;
  }
  for (const char* const line : {R"({"path": "/a", "seconds": 1, "labels": "x"})",
                                 R"({"path": "/a", "seconds": 1, "labels": [["x"]]})",
                                 R"({"path": "/a", "seconds": 1, "labels": [{"label": {}}]})",
                                 R"({"path": "/a", "labels": []})"}) {
    write_text(path_, std::string(line) + "\n");
    EXPECT_THROW(begin({{"labels"}}), StorageError) << line;
  }
}

}  // namespace
}  // namespace w2vbert::tool::testing
