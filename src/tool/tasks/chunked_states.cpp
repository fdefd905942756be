#include "tool/tasks/chunked_states.h"

#include <ATen/ATen.h>

#include <cstddef>

namespace w2vbert::tool {

std::vector<ClipStates> states_in_chunks(const ComputeStates& compute,
                                         const std::vector<EngineClip>& clips,
                                         const Chunking& chunking, std::int64_t batch_frames) {
  struct ClipChunk {
    std::size_t clip;
    Chunk chunk;
  };
  std::vector<ClipChunk> chunks;
  for (std::size_t clip = 0; clip < clips.size(); ++clip) {
    for (const Chunk& chunk : chunks_of(clips[clip].input_features.size(0), chunking)) {
      chunks.push_back({clip, chunk});
    }
  }
  struct CutState {
    std::vector<at::Tensor> parts;
  };
  std::vector<std::vector<CutState>> kept(clips.size());
  for (std::size_t begin = 0; begin < chunks.size();) {
    std::vector<EngineClip> batch;
    std::size_t end = begin;
    for (std::int64_t frames = 0; end < chunks.size(); ++end) {
      const auto& [clip, chunk] = chunks[end];
      frames += chunk.end - chunk.begin;
      if (frames > batch_frames && end > begin) break;
      batch.push_back({clips[clip].input_features.slice(0, chunk.begin, chunk.end),
                       clips[clip].attention_mask.defined()
                           ? clips[clip].attention_mask.slice(0, chunk.begin, chunk.end)
                           : at::Tensor()});
    }
    const std::vector<ClipStates> computed = compute(batch);
    for (std::size_t i = begin; i < end; ++i) {
      const auto& [clip, chunk] = chunks[i];
      const std::vector<at::Tensor>& states = computed[i - begin].states;
      kept[clip].resize(states.size());
      for (std::size_t state = 0; state < states.size(); ++state) {
        const at::Tensor& rows = states[state];
        const bool whole = chunk.keep_end - chunk.keep_begin == chunk.end - chunk.begin;
        kept[clip][state].parts.push_back(
            whole ? rows
                  : rows.slice(0, chunk.keep_begin - chunk.begin, chunk.keep_end - chunk.begin)
                        .clone());
      }
    }
    begin = end;
  }
  std::vector<ClipStates> results(clips.size());
  for (std::size_t clip = 0; clip < clips.size(); ++clip) {
    for (const CutState& state : kept[clip]) {
      results[clip].states.push_back(state.parts.size() == 1 ? state.parts.front()
                                                             : at::cat(state.parts));
    }
  }
  return results;
}

}  // namespace w2vbert::tool
