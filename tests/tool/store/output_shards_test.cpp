#include "tool/store/output_shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "support/error_message.h"
#include "support/raw_safetensors.h"
#include "support/temporary_directory.h"
#include "tool/store/made_outputs.h"
#include "tool/store/run_directory.h"
#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::size_t kShardSize = 3;

class Shards : public ::testing::Test {
 protected:
  // Clips that are pending and not in `failed` are written, the others skipped, in `order`.
  Outputs::ScanResult run(const std::string& directory, const InputList& inputs,
                          const std::vector<std::size_t>& order,
                          const std::vector<std::size_t>& failed = {}, bool verify = false) {
    RunDirectory run_directory(directory, made_run(kShardSize));
    OutputShards shards(inputs, kContent, run_directory);
    Outputs::ScanResult found = shards.scan({}, verify);
    shards.clean();
    run_directory.start(inputs.size(), found.finished);
    for (const std::size_t index : order) {
      if (std::find(found.pending.begin(), found.pending.end(), index) == found.pending.end()) {
        continue;
      }
      if (std::find(failed.begin(), failed.end(), index) != failed.end()) {
        shards.skip(index);
        continue;
      }
      Output output = made_output(inputs, shards, index);
      shards.write(output);
    }
    shards.finish();
    return found;
  }
  std::vector<std::string> shards_in(const std::string& directory) {
    std::vector<std::string> bytes;
    for (const char* name : {"shard-00000", "shard-00001"}) {
      bytes.push_back(read_text(directory + "/" + name + ".safetensors"));
      bytes.push_back(read_text(directory + "/" + name + ".jsonl"));
    }
    return bytes;
  }
  const TemporaryDirectory scratch_;
  const InputList inputs_ = made_inputs(5);  // two shards, the second one shorter
  const std::vector<std::size_t> in_order_ = {0, 1, 2, 3, 4};
};

TEST_F(Shards, HoldEveryClipsTensorsAndItsLine) {
  const auto found = run(scratch_ / "out", inputs_, in_order_);
  EXPECT_THAT(found.pending, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_EQ(found.finished, 0U);
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const std::string path = scratch_ / (i < 3 ? "out/shard-00000" : "out/shard-00001");
    const Checkpoint shard = Checkpoint::open(path + ".safetensors");
    const at::Tensor state = shard.read(inputs_.name(i) + "/state");
    EXPECT_EQ(state.sizes(), at::IntArrayRef({static_cast<std::int64_t>(i) + 2, 2}));
    EXPECT_EQ(state[0][1].item<float>(), 100.0F * static_cast<float>(i) + 1);
    EXPECT_THAT(read_text(path + ".jsonl"),
                HasSubstr("{\"name\":\"" + inputs_.name(i) + "\",\"shard\":\""));
  }
  EXPECT_THAT(read_text(scratch_ / "out/shard-00001.jsonl"),
              HasSubstr(R"("frames":5,"samples":80000,"sample_rate_hz":16000,)"
                        R"("source_sample_rate_hz":44100,"source_channels":2})"));
}

TEST_F(Shards, HaveTheSameBytesWhateverOrderClipsComeIn) {
  run(scratch_ / "ordered", inputs_, in_order_);
  run(scratch_ / "mixed", inputs_, {4, 2, 0, 3, 1});
  EXPECT_EQ(shards_in(scratch_ / "mixed"), shards_in(scratch_ / "ordered"));
}

TEST_F(Shards, AreCompletedByALaterRunToTheSameBytes) {
  run(scratch_ / "ordered", inputs_, in_order_);
  const std::vector<std::vector<std::size_t>> failures = {{0}, {1}, {2, 3}, {0, 1, 2}, {4}};
  for (const auto& failed : failures) {
    const std::string out = scratch_ / ("resumed-" + std::to_string(failed.front()));
    std::filesystem::remove_all(out);
    run(out, inputs_, in_order_, failed);
    const auto found = run(out, inputs_, {4, 3, 2, 1, 0});
    EXPECT_EQ(found.pending, failed);
    EXPECT_EQ(found.finished, inputs_.size() - failed.size());
    EXPECT_EQ(shards_in(out), shards_in(scratch_ / "ordered"));
    EXPECT_THAT(run(out, inputs_, in_order_).pending, IsEmpty());
  }
}

TEST_F(Shards, KeepWhatTheyHaveWhenARunEndsEarly) {
  const std::string out = scratch_ / "out";
  run(out, inputs_, {0, 2});  // nothing is known of the others
  const auto found = run(out, inputs_, {});
  EXPECT_THAT(found.pending, ElementsAre(1, 3, 4));
  EXPECT_EQ(found.finished, 2U);
  EXPECT_FALSE(std::filesystem::exists(out + "/shard-00001.safetensors"));
}

TEST_F(Shards, TakeMoreInputsAtTheEndOfTheList) {
  const std::string out = scratch_ / "out";
  run(out, made_inputs(4), in_order_);
  const auto found = run(out, inputs_, in_order_);
  EXPECT_THAT(found.pending, ElementsAre(4));
  run(scratch_ / "ordered", inputs_, in_order_);
  EXPECT_EQ(shards_in(out), shards_in(scratch_ / "ordered"));
}

TEST_F(Shards, KeepThePlacesOfBadRows) {
  const std::string out = scratch_ / "out";
  const auto list_without = [](std::size_t bad) {
    InputList list("/");
    for (std::size_t i = 0; i < 5; ++i) {
      if (i == bad) {
        list.add_bad_row({"list.jsonl", "line " + std::to_string(i + 1), "is no JSON"});
      } else {
        list.add("/in/clip-" + std::to_string(i) + ".wav");
      }
    }
    list.finish();
    return list;
  };
  for (std::size_t bad = 0; bad < 5; ++bad) {
    std::filesystem::remove_all(out);
    run(out, list_without(bad), {0, 1, 2, 3});
    const auto mended = run(out, inputs_, in_order_);
    EXPECT_THAT(mended.pending, ElementsAre(bad));
    EXPECT_EQ(mended.finished, 4U);
    const auto before = shards_in(out);
    const auto odd_again = run(out, list_without(bad), {});
    EXPECT_THAT(odd_again.pending, IsEmpty());
    EXPECT_EQ(odd_again.finished, 4U);
    EXPECT_EQ(shards_in(out), before);
  }
}

// What was a row once has been finished, and may be one again.
TEST_F(Shards, KeepTheClipsOfRowsThatBecameBad) {
  const std::string out = scratch_ / "out";
  run(out, inputs_, in_order_, {0});
  InputList list("/");
  list.add(inputs_.path(0));
  list.add_bad_row({"list.jsonl", "line 2", "is no JSON"});
  for (std::size_t i = 2; i < 5; ++i) list.add(inputs_.path(i));
  list.finish();
  EXPECT_THAT(run(out, list, {0}).pending, ElementsAre(0));
  EXPECT_EQ(run(out, inputs_, {}).finished, 5U);
  const Checkpoint shard = Checkpoint::open(out + "/shard-00000.safetensors");
  EXPECT_EQ(shard.read("clip-1/state")[0][1].item<float>(), 101.0F);
}

// Its clips would be in one of the shards, and the others' in others, once it can be listed.
TEST_F(Shards, AreNotBegunWhereAFolderCannotBeListed) {
  const std::string out = scratch_ / "out";
  run(out, inputs_, in_order_);
  const auto before = read_text(out + "/shard-00000.safetensors");
  InputList list("/");
  list.add_bad_row({"/in/a", "", "cannot be listed: Input/output error", /*is_folder=*/true});
  for (std::size_t i = 1; i < 5; ++i) list.add(inputs_.path(i));
  list.finish();
  EXPECT_THAT(message_of<UsageError>([&] { run(out, list, {}); }),
              AllOf(HasSubstr("/in/a: in which shards"), HasSubstr("Input/output error")));
  EXPECT_EQ(read_text(out + "/shard-00000.safetensors"), before);
}

TEST_F(Shards, AreNotMadeOfBadRowsAlone) {
  const std::string out = scratch_ / "out";
  InputList list("/");
  for (const char* place : {"line 1", "line 2", "line 3"}) {
    list.add_bad_row({"list.jsonl", place, "is no JSON"});
  }
  list.add("/in/clip-3.wav");
  list.add("/in/clip-4.wav");
  list.finish();
  EXPECT_THAT(run(out, list, {0, 1}).pending, ElementsAre(0, 1));
  EXPECT_FALSE(std::filesystem::exists(out + "/shard-00000.safetensors"));
  EXPECT_THAT(run(out, inputs_, {}).pending, ElementsAre(0, 1, 2));
}

TEST_F(Shards, RefuseAListThatOtherClipsWereWrittenFor) {
  run(scratch_ / "out", inputs_, in_order_);
  InputList others("/");
  for (const char* name : {"/in/clip-1.wav", "/in/clip-0.wav", "/in/new.wav"}) others.add(name);
  others.finish();
  EXPECT_THROW(run(scratch_ / "out", others, {}), UsageError);
}

TEST_F(Shards, AreDoneAnewWhereTheirDataChanged) {
  const std::string out = scratch_ / "out", path = out + "/shard-00000.safetensors";
  run(out, inputs_, in_order_);
  const std::string whole = read_text(path);
  std::string changed = whole;
  changed.back() ^= 1;
  write_text(path, changed);
  EXPECT_THAT(run(out, inputs_, in_order_).pending, IsEmpty());  // headers alone are read
  const auto found = run(out, inputs_, in_order_, {}, /*verify=*/true);
  EXPECT_THAT(found.pending, ElementsAre(0, 1, 2));
  EXPECT_EQ(found.damaged, 3U);
  EXPECT_EQ(found.finished, 2U);
  EXPECT_EQ(read_text(path), whole);
}

TEST_F(Shards, DoNotCopyDataThatChanged) {
  const std::string out = scratch_ / "out", path = out + "/shard-00000.safetensors";
  run(out, inputs_, in_order_, {1});
  std::string changed = read_text(path);
  changed.back() ^= 1;
  write_text(path, changed);
  try {
    run(out, inputs_, in_order_);
    FAIL() << "copied";
  } catch (const StorageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("holds other data than were written"));
  }
  EXPECT_EQ(read_text(path), changed);
}

TEST_F(Shards, GetAnIndexFileAgainThatIsGoneOrChanged) {
  const std::string out = scratch_ / "out", path = out + "/shard-00001.jsonl";
  run(out, inputs_, in_order_);
  const std::string index = read_text(path);
  std::filesystem::remove(path);
  run(out, inputs_, in_order_);
  EXPECT_EQ(read_text(path), index);
  write_text(path, index + "more");
  run(out, inputs_, in_order_);
  EXPECT_EQ(read_text(path), index);
}

TEST_F(Shards, GoOnWithoutTheirIndexAndTheRunRecord) {
  const std::string out = scratch_ / "out", other = scratch_ / "other";
  run(out, inputs_, in_order_, {1});
  std::filesystem::create_directory(other);
  for (const char* shard : {"/shard-00000.safetensors", "/shard-00001.safetensors"}) {
    std::filesystem::copy(out + shard, other + shard);
  }
  EXPECT_THAT(run(other, inputs_, in_order_).pending, ElementsAre(1));
  run(scratch_ / "ordered", inputs_, in_order_);
  EXPECT_EQ(shards_in(other), shards_in(scratch_ / "ordered"));
}

// What was thrown there may come in the middle of the clip that is copied or of the commit.
TEST_F(Shards, AreNotWrittenOnBehindAClipThatIsHalfInThem) {
  RunDirectory directory(scratch_ / "out", made_run(kShardSize));
  OutputShards shards(inputs_, kContent, directory);
  (void)shards.scan({}, false);
  directory.start(5, 0);
  Output empty = made_output(inputs_, shards, 0);
  empty.tensors.clear();
  EXPECT_THROW(shards.write(empty), WritingEnded);
}

TEST_F(Shards, HoldNamesOfAnyBytes) {
  InputList inputs("/");
  for (const char* path : {"/in/\xff.wav", "/in/\\xff.wav", "/in/\x01.wav"}) inputs.add(path);
  inputs.finish();
  run(scratch_ / "names", inputs, {0, 1, 2});
  const Checkpoint shard = Checkpoint::open(scratch_ / "names/shard-00000.safetensors");
  EXPECT_EQ(shard.read("\\xff/state").size(0), 2);
  EXPECT_EQ(shard.read("\\x5cxff/state").size(0), 3);
  EXPECT_EQ(shard.read("\x01/state").size(0), 4);
  EXPECT_EQ(run(scratch_ / "names", inputs, {}).finished, 3U);
}

// Two runs extend one shard, and the slower one has looked at it before the faster one wrote it.
TEST_F(Shards, KeepWhatAFasterProcessHasPutIntoThem) {
  const std::string out = scratch_ / "out";
  run(out, inputs_, {0});
  RunDirectory directory(out, made_run(kShardSize));
  OutputShards slow(inputs_, kContent, directory);
  (void)slow.scan({}, false);
  directory.start(inputs_.size(), 1);
  Output second = made_output(inputs_, slow, 1);
  slow.write(second);
  run(out, inputs_, in_order_);
  const auto faster = shards_in(out);
  EXPECT_THROW(slow.finish(), StorageError);
  EXPECT_EQ(shards_in(out), faster);
}

TEST_F(Shards, RefuseTensorsThatTheyCannotHold) {
  OutputContent odd_rows = kContent;
  odd_rows.row_bytes = {12};
  RunDirectory early(scratch_ / "early", made_run(kShardSize));
  EXPECT_THROW(OutputShards(inputs_, odd_rows, early).scan({}, false), UsageError);

  RunDirectory directory(scratch_ / "out", made_run(kShardSize));
  OutputShards shards(inputs_, kContent, directory);
  (void)shards.scan({}, false);
  directory.start(5, 0);
  Output odd = made_output(inputs_, shards, 0);
  odd.tensors.front().second = at::zeros({3, 1});  // 12 bytes
  EXPECT_THROW(shards.write(odd), UsageError);
}

TEST_F(Shards, BelongToOnePartitionEach) {
  RunDirectory directory(scratch_ / "out", made_run(kShardSize));
  std::vector<std::size_t> all;
  for (std::uint64_t index = 0; index < 3; ++index) {
    OutputShards shards(inputs_, kContent, directory);
    const auto found = shards.scan({index, 3}, false);
    all.insert(all.end(), found.pending.begin(), found.pending.end());
    for (const std::size_t clip : found.pending) {
      EXPECT_TRUE((Partition{index, 3}.holds(clip < 3 ? "shard-00000" : "shard-00001")));
    }
    EXPECT_EQ(shards.max_threads(), 1);
    EXPECT_EQ(shards.path_of(2), scratch_ / "out/shard-00000.safetensors");
    EXPECT_EQ(shards.path_of(3), scratch_ / "out/shard-00001.safetensors");
  }
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, in_order_);
}

}  // namespace
}  // namespace w2vbert::tool::testing
