#include "tool/corpus/input_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/error_message.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

InputList list_of(const std::vector<std::string>& paths) {
  InputList list("/work");
  for (const std::string& path : paths) list.add(path);
  list.finish();
  return list;
}

std::vector<std::string> names_of(const std::vector<std::string>& paths) {
  const InputList list = list_of(paths);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < list.size(); ++i) names.push_back(list.name(i));
  return names;
}

std::string error_of(const std::vector<std::string>& paths) {
  return message_of<UsageError>([&] { list_of(paths); });
}

TEST(InputList, NamesASingleInputByItsFileName) {
  EXPECT_THAT(names_of({"a/b/c.wav"}), ElementsAre("c"));
  EXPECT_THAT(names_of({"/c.wav"}), ElementsAre("c"));
}

TEST(InputList, NamesInputsByTheirPathBelowTheCommonRoot) {
  EXPECT_THAT(names_of({"x/a/1.wav", "x/b/1.wav"}), ElementsAre("a/1", "b/1"));
  EXPECT_THAT(names_of({"x/1.wav", "x/b/1.wav"}), ElementsAre("1", "b/1"));
  EXPECT_THAT(names_of({"/work/x/1.wav", "x/2.flac"}), ElementsAre("1", "2"));
  EXPECT_THAT(names_of({"/a/1.wav", "/b/1.wav"}), ElementsAre("a/1", "b/1"));
}

TEST(InputList, NamesMembersByTheirKeysBesideFiles) {
  InputList list("/work");
  list.add("x/a/1.wav");
  list.add_named("key", "x/b.tar/part/2.wav");
  list.set_member({"x/b.tar", Member::Kind::packed, 512, 100, FileIdentity{1, 2, 3, 4}});
  list.add_named("other", "x/b.tar/part/3.wav");
  list.set_member({"x/b.tar", Member::Kind::packed, 1536, 200, FileIdentity{1, 2, 3, 4}});
  list.add_named("third", "x/c.tar/4.wav");
  list.set_member({"x/c.tar", Member::Kind::packed, 512, 300, FileIdentity{1, 3, 3, 4}});
  list.add("x/d/5.wav");
  list.finish();
  std::vector<std::string> names;
  for (std::size_t i = 0; i < list.size(); ++i) names.push_back(list.name(i));
  EXPECT_THAT(names, ElementsAre("a/1", "key", "other", "third", "d/5"));
  EXPECT_FALSE(list.place(0).member);
  EXPECT_FALSE(list.place(4).member);
  const InputPlace place = list.place(2);
  EXPECT_EQ(place.path, "x/b.tar/part/3.wav");
  EXPECT_EQ(place.path_on_disk(), "x/b.tar");
  EXPECT_EQ(place.member->begin, 1536U);
  EXPECT_EQ(place.member->bytes, 200U);
  EXPECT_EQ(place.member->listed, (FileIdentity{1, 2, 3, 4}));
  EXPECT_TRUE(list.are_packed_together(1, 2));
  EXPECT_FALSE(list.are_packed_together(2, 3));
  EXPECT_FALSE(list.are_packed_together(0, 4));
}

TEST(InputList, NamesMembersByTheirPathsWhereThatIsAsked) {
  InputList list("/work");
  list.set_naming(Naming::path);
  list.add_named("key", "x/b.tar/part/2.wav");
  list.add_named("key", "x/c.tar/part/2.wav");
  list.finish();
  EXPECT_EQ(list.name(0), "b.tar/part/2");
  EXPECT_EQ(list.name(1), "c.tar/part/2");
  InputList mixed("/work");
  mixed.set_naming(Naming::id);
  mixed.add_named("key", "x/b.tar/part/2.wav");
  mixed.add("x/a.wav");
  EXPECT_THAT(message_of<UsageError>([&] { mixed.finish(); }),
              HasSubstr("has no names of its own"));
}

TEST(InputList, MakesAnInputOfEachChannel) {
  const auto split = [](InputList& list) {
    list.split_channels([&](std::size_t i) { return list.path(i) == "x/two.wav" ? 2 : 1; });
    list.finish();
    std::vector<std::string> names;
    for (std::size_t i = 0; i < list.size(); ++i) names.push_back(list.name(i));
    return names;
  };
  InputList paths("/work");
  paths.add("x/one.wav");
  paths.add("x/two.wav");
  paths.add("x/two.wav", {0.5, 0.25});
  EXPECT_THAT(split(paths), ElementsAre("one-ch1", "two-ch1", "two-ch2", "two-0000500-0000750-ch1",
                                        "two-0000500-0000750-ch2"));
  EXPECT_EQ(paths.channel(1), 1);
  EXPECT_EQ(paths.channel(4), 2);
  EXPECT_EQ(paths.path(4), "x/two.wav");
  EXPECT_FALSE(paths.segment(2).has_value());
  EXPECT_EQ(paths.segment(4)->offset_seconds, 0.5);
  InputList named("/work");
  named.add_named("utterance", "x/two.wav");
  EXPECT_THAT(split(named), ElementsAre("utterance-ch1", "utterance-ch2"));
  EXPECT_FALSE(list_of({"x/two.wav"}).channel(0).has_value());
}

TEST(InputList, TakesWholeComponentsForTheCommonRoot) {
  EXPECT_THAT(names_of({"speech/1.wav", "speaker/1.wav"}), ElementsAre("speech/1", "speaker/1"));
}

TEST(InputList, DropsOnlyTheLastExtension) {
  EXPECT_THAT(names_of({"a.b.wav", "c", ".hidden", "d.x/e"}),
              ElementsAre("a.b", "c", ".hidden", "d.x/e"));
}

TEST(InputList, ResolvesDotsByText) {
  EXPECT_THAT(names_of({"x/./a.wav", "x//y/../b.wav"}), ElementsAre("a", "b"));
  EXPECT_THAT(names_of({"../x/a.wav", "../y/a.wav"}), ElementsAre("x/a", "y/a"));
}

TEST(InputList, KeepsThePathsAsGiven) {
  const InputList list = list_of({"x/./a b.wav", "x/\xFF.wav"});
  EXPECT_EQ(list.path(0), "x/./a b.wav");
  EXPECT_EQ(list.path(1), "x/\xFF.wav");
  EXPECT_EQ(list.name(1), "\xFF");
}

TEST(InputList, DoesNotDependOnTheOrder) {
  EXPECT_THAT(names_of({"x/a/1.wav", "x/b/2.wav", "x/3.wav"}), ElementsAre("a/1", "b/2", "3"));
  EXPECT_THAT(names_of({"x/3.wav", "x/b/2.wav", "x/a/1.wav"}), ElementsAre("3", "b/2", "a/1"));
}

TEST(InputList, RefusesTwoInputsWithOneName) {
  EXPECT_THAT(error_of({"x/a.wav", "x/b.wav", "x/a.flac"}), HasSubstr("\"a\" as x/a.wav does"));
  EXPECT_THAT(error_of({"x/a.wav", "x/./a.wav"}), HasSubstr("\"a\""));
}

TEST(InputList, RefusesWhatIsNoFileName) {
  EXPECT_THAT(error_of({}), HasSubstr("no inputs"));
  EXPECT_THAT(error_of({""}), HasSubstr("empty path"));
  EXPECT_THAT(error_of({"/"}), HasSubstr("no name"));
  EXPECT_THAT(error_of({"x/..wav", "x/b.wav"}), HasSubstr("no name"));
  EXPECT_THAT(error_of({"a\nb.wav"}), HasSubstr("line break"));
  EXPECT_THAT(error_of({std::string(244, 'a') + ".wav"}), HasSubstr("256 bytes"));
  EXPECT_EQ(error_of({std::string(243, 'a') + ".wav"}), "accepted");
}

TEST(InputList, NamesPartsByTheirBorders) {
  InputList list("/work");
  list.add("x/a.wav", {1.5, 2.75});
  list.add("x/a.wav");
  list.add("x/a.wav", {12345.6784, 0});
  list.add("x/b.wav");
  list.finish();
  EXPECT_EQ(list.name(0), "a-0001500-0004250");
  EXPECT_EQ(list.name(1), "a");
  EXPECT_EQ(list.name(2), "a-12345678");
  EXPECT_EQ(list.name(3), "b");
  EXPECT_EQ(list.segment(0)->duration_seconds, 2.75);
  EXPECT_FALSE(list.segment(1));
  EXPECT_EQ(list.segment(2)->offset_seconds, 12345.6784);
  EXPECT_FALSE(list.segment(3));
}

// Else all names would be others while a disk or a folder's permissions fail.
TEST(InputList, NamesTheFilesBesideAFolderThatCannotBeListedAsWithIt) {
  for (const std::string folder : {"/work/clips/a", "clips/a/", "/work/clips/a/x/.."}) {
    InputList list("/work");
    list.add("clips/b/1.wav");
    list.add("clips/b/2.wav");
    list.add_bad_row({folder, "", "cannot be listed"});
    list.finish();
    EXPECT_EQ(list.name(0), "b/1") << folder;
    EXPECT_EQ(list.name(1), "b/2") << folder;
  }
  InputList rows("/work");
  rows.add("clips/b/1.wav");
  rows.add_bad_row({"/work/list.txt", "line 2", "has no path"});
  rows.finish();
  EXPECT_EQ(rows.name(0), "1");
}

TEST(InputList, NamesInputsAsItIsAsked) {
  const auto names_as = [](InputList list, Naming naming) {
    list.set_naming(naming);
    list.finish();
    std::vector<std::string> names;
    for (std::size_t i = 0; i < list.size(); ++i) names.push_back(list.name(i));
    return names;
  };
  InputList files("/work");
  files.add("x/a.b.wav");
  files.add("y/z/c.wav", {1, 2});
  EXPECT_THAT(names_as(files, Naming::path), ElementsAre("x/a.b", "y/z/c-0001000-0003000"));
  EXPECT_THAT(names_as(files, Naming::stem), ElementsAre("a.b", "c-0001000-0003000"));
  EXPECT_THAT(message_of<UsageError>([&] { names_as(files, Naming::id); }),
              HasSubstr("no names of its own"));
  InputList named("/work");
  named.add_named("utt/1", "x/a.wav");
  named.add_named("utt/2", "y/b.wav");
  EXPECT_THAT(names_as(named, Naming::id), ElementsAre("utt/1", "utt/2"));
  EXPECT_THAT(names_as(named, Naming::path), ElementsAre("x/a", "y/b"));
  EXPECT_THAT(names_as(named, Naming::stem), ElementsAre("a", "b"));
  InputList twice("/work");
  twice.add("x/a.wav");
  twice.add("y/a.wav");
  EXPECT_THAT(message_of<UsageError>([&] { names_as(twice, Naming::stem); }),
              HasSubstr("\"a\" as"));
}

TEST(InputList, NamesTheBeginningOfAFileAsTheFile) {
  InputList list("/work");
  list.add("x/a.wav", {0, 3.2, /*has_offset=*/false});
  list.add("x/b.wav", {0, 3.2});
  list.finish();
  EXPECT_EQ(list.name(0), "a");
  EXPECT_EQ(list.segment(0)->duration_seconds, 3.2);
  EXPECT_EQ(list.name(1), "b-0000000-0003200");
}

// A file cannot be where a folder has to be.
TEST(InputList, RefusesAFileInAnothersFolder) {
  const auto error_of_names = [](const std::vector<std::string>& names,
                                 std::string_view ending) -> std::string {
    return message_of<UsageError>([&] {
      InputList list("/work");
      for (const std::string& name : names) list.add_named(name, name + ".wav");
      list.set_output_ending(ending);
      list.finish();
    });
  };
  for (const std::string ending : {".safetensors", ".npy"}) {
    for (const std::vector<std::string>& names :
         {std::vector<std::string>{"a", "a" + ending + "/b"},
          {"a" + ending + "/b", "c", "a"},
          {"x/a", "x/a" + ending + "/y/b"},
          {"a" + ending + ending, "b" + ending, "a" + ending + ending + ending + "/b"}}) {
      EXPECT_THAT(error_of_names(names, ending),
                  ::testing::AllOf(HasSubstr("whose folder"), HasSubstr("is the output file of")))
          << names.back();
    }
    EXPECT_EQ(error_of_names({"a", "a/b", "b" + ending + "/c", ending + "/a"}, ending), "accepted");
  }
  EXPECT_EQ(error_of_names({"a", "a.npy/b"}, ".safetensors"), "accepted");
  EXPECT_THAT(error_of({"x/a.wav", "x/a.safetensors/b.wav"}), HasSubstr("x/a.wav"));
}

TEST(InputList, RefusesAFolderOfAReservedName) {
  const auto error_of_name = [](const std::string& name) {
    return message_of<UsageError>([&] {
      InputList list("/work");
      list.set_reserved([](std::string_view file) { return file == "run.json"; });
      list.add_named("other", "b.wav");
      list.add_named(name, "a.wav");
      list.set_output_ending(".npy");
      list.finish();
    });
  };
  EXPECT_THAT(error_of_name("run.json/b"),
              ::testing::AllOf(HasSubstr("a.wav"), HasSubstr("run.json/b")));
  EXPECT_EQ(error_of_name("run.json"), "accepted");
  EXPECT_EQ(error_of_name("x/run.json/b"), "accepted");
}

TEST(InputList, LimitsNamesByTheFilesThatThereAre) {
  const auto is_good = [](std::size_t bytes, std::string_view ending) {
    InputList list("/work");
    list.set_output_ending(ending);
    return !list.problem_of("/in/" + std::string(bytes, 'a') + ".wav", {}, {});
  };
  EXPECT_TRUE(is_good(243, ".safetensors"));
  EXPECT_FALSE(is_good(244, ".safetensors"));
  EXPECT_TRUE(is_good(251, ".npy"));
  EXPECT_FALSE(is_good(252, ".npy"));
  EXPECT_TRUE(is_good(300, ""));  // in a shard
  EXPECT_FALSE(is_good(4000, ""));
  InputList sharded("/work");
  sharded.set_output_ending("");
  sharded.set_reserved([](std::string_view file) { return file == "run.json"; });
  for (const char* name : {"a", "a/b", "run.json/c"}) sharded.add_named(name, "/in/x.wav");
  sharded.finish();
}

TEST(InputList, LosesAChannelWhoseNameIsTooLongAndNoOther) {
  InputList list("/work");
  list.add("/in/" + std::string(242, 'a') + ".wav");
  list.add("/in/b.wav");
  list.split_channels([](std::size_t) { return 2; });
  list.finish();
  EXPECT_EQ(list.size(), 2U);
  EXPECT_EQ(list.name(1), "b-ch2");
  EXPECT_EQ(list.bad_rows().size(), 2U);
  EXPECT_EQ(list.slot(0), 2U);
}

TEST(InputList, SaysWhatANameMayBe) {
  InputList list("/work");
  for (const char* name : {"a//b", "../x", "./a"}) {
    EXPECT_THAT(list.problem_of("/in/a.wav", name, {})->expected,
                HasSubstr("a name whose parts between slashes are not empty"));
  }
  EXPECT_THAT(list.problem_of("/in/..wav", "", {})->expected, HasSubstr("the path of an audio"));
}

TEST(InputList, NamesTheSegmentsOfOneName) {
  InputList list("/work");
  list.add("/in/a.wav", {0.2, 0.1});
  list.add("/in/a.wav", {0.2004, 0});
  list.add("/in/a.wav", {0.2, 0});
  EXPECT_THAT(message_of<UsageError>([&] { list.finish(); }),
              HasSubstr("/in/a.wav: 0.2 s to the end: gives the output name \"a-0000200\" as "
                        "/in/a.wav (0.2004 s to the end) does"));
}

TEST(InputList, NeedsNoNamesWhereOutputsHaveNone) {
  InputList list("/work", OutputNames::kUnneeded);
  const std::string long_name = "x/" + std::string(250, 'a') + ".wav";
  for (const std::string& path :
       {std::string("x/a.wav"), std::string("x/a.wav"), long_name, std::string("x/a\nb.wav")}) {
    EXPECT_FALSE(list.problem_of(path, {}, {}));
    list.add(path);
  }
  list.finish();
  EXPECT_EQ(list.name(1), "a");  // a partition goes by it
  InputList named("/work");
  EXPECT_TRUE(named.problem_of(long_name, {}, {}));
}

TEST(InputList, TakesNamesAsTheyAreGiven) {
  InputList list("/work");
  list.add_named("spk1/utt.1", "x/a.wav");
  list.add_named("utt2", "y/a.wav");
  list.finish();
  EXPECT_EQ(list.name(0), "spk1/utt.1");
  EXPECT_EQ(list.path(1), "y/a.wav");
  for (const char* name : {"../a", "/a", "a//b", "a/", ".", "a/../../b"}) {
    InputList bad("/work");
    bad.add_named(name, "x/a.wav");
    EXPECT_THROW(bad.finish(), UsageError) << name;
  }
  InputList twice("/work");
  twice.add_named("a", "x/a.wav");
  twice.add_named("a", "y/a.wav");
  EXPECT_THROW(twice.finish(), UsageError);
}

}  // namespace
}  // namespace w2vbert::tool::testing
