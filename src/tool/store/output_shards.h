// Shards of many clips: shard-00000.safetensors and its index, shard-00000.jsonl.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "checkpoint/safetensors_stream.h"
#include "core/file_lock.h"
#include "tool/store/outputs.h"
#include "tool/store/sha256.h"

namespace w2vbert::tool {

struct IndexedClip;
struct StoredShard;

// Shard k holds the rows [k * size, (k + 1) * size) of the list, in its order, but for those that
// failed or are bad, which may be mended later without moving the others: tensors <name>/<tensor>,
// the index also in its metadata. A partition is made of whole shards, by the hash of their names.
// A shard is written as its clips come and put in place when all have; a run that ends before puts
// there what it has, and the next one writes it anew, with the rest: the bytes are then those that
// one undisturbed run gives. Nothing else is in memory than clips that came before their turn.
class OutputShards : public Outputs {
 public:
  OutputShards(const InputList& inputs, const OutputContent& content, RunDirectory& directory);
  ~OutputShards() override;

  ScanResult scan(const Partition& partition, bool verify) override;
  std::size_t clean() override;
  std::string path_of(std::size_t index) const override;
  int max_threads() const override { return 1; }  // clips follow each other in a shard
  void write(Output& output) override;
  void skip(std::size_t index) override;
  void finish() override;

 private:
  struct OpenShard;

  std::size_t shard_of(std::size_t index) const;
  std::size_t begin_of(std::size_t shard) const;  // its first input
  std::size_t end_of(std::size_t shard) const;
  std::size_t bad_rows_in(std::size_t shard) const;
  // Those in it that are no inputs.
  std::vector<std::string> strange_clips(std::size_t shard, const StoredShard& stored) const;
  std::string path_of_shard(std::size_t shard) const;
  std::string index_path(std::size_t shard) const;
  SafetensorsMetadata metadata_of(const std::string& index, const std::string& digest) const;
  std::uint64_t longest_header(std::size_t shard, const StoredShard* stored) const;
  void check_alignment() const;
  // Throws UsageError for a folder that could not be listed.
  void check_folders() const;
  FileLock lock() const;
  OpenShard& open(std::size_t number);
  void begin_writing(OpenShard& shard);
  void advance(OpenShard& shard, bool to_the_end);
  void add(OpenShard& shard, const Output& output);
  void copy(OpenShard& shard, const std::string& name, const std::string& line);
  // What there is of an input to be copied, if a shard is there.
  static const IndexedClip* stored_clip(const OpenShard& shard, const std::string& name);
  void commit(OpenShard& shard);

  const InputList& inputs_;
  const OutputContent content_;
  RunDirectory& directory_;
  const std::size_t size_;
  // What scan() found, by shard.
  std::map<std::size_t, FileIdentity> damaged_;  // to be replaced
  std::vector<std::size_t> incomplete_;          // there, without some clips
  std::unordered_set<std::size_t> replaced_;     // clips in them whose input is another one by now
  std::vector<std::size_t> stale_;               // whose index is not what the shard says
  std::map<std::size_t, std::unique_ptr<OpenShard>> open_;
};

}  // namespace w2vbert::tool
