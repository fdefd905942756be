#include "engine/device/ragged_layout.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "engine/device/cuda/launchers.h"
#include "engine/device/device_copies.h"
#include "engine/row_blocks.h"

namespace w2vbert {
namespace {

// Attention's share of the work is small: up to this many frames all clips are of about one length,
// and above a clip of this fraction of the longest is.
constexpr std::int64_t kShortFrames = 128;
constexpr double kMinFraction = 0.75;

bool is_about_as_long(std::int64_t frames, std::int64_t longest) {
  return longest <= kShortFrames ||
         static_cast<double>(frames) >= kMinFraction * static_cast<double>(longest);
}

// All kernels take the same tiles.
static_assert(cuda::kAttentionTileRows == cuda::kGatedConvTileRows);

// int32 (tiles, 4)
at::Tensor tensor_of(const std::vector<cuda::RowTile>& tiles) {
  static_assert(sizeof(cuda::RowTile) == 4 * sizeof(std::int32_t));
  const at::Tensor table = at::empty({static_cast<std::int64_t>(tiles.size()), 4}, at::kInt);
  auto* number = table.mutable_data_ptr<std::int32_t>();
  for (const cuda::RowTile& tile : tiles) {
    for (const std::int32_t row : {tile.clip_begin, tile.clip_end, tile.first, tile.end}) {
      *number++ = row;
    }
  }
  return table;
}

ClipGroup group_of(const std::vector<RaggedLength>& clips, const std::vector<std::size_t>& numbers,
                   std::int64_t begin, c10::Device device) {
  ClipGroup group;
  group.begin = begin;
  group.numbers = numbers;
  group.frames = clips[group.numbers.front()].frames;
  for (const std::size_t number : group.numbers) group.rows += clips[number].frames;
  const std::int64_t count = group.clips();
  const bool ragged = group.rows != count * group.frames;
  at::Tensor absent = at::zeros({count, group.frames}, at::kBool);
  at::Tensor padded = at::zeros({count, group.frames}, at::kBool);
  at::Tensor keyless = at::zeros({count}, at::kBool);
  const at::Tensor places = at::empty({group.rows}, at::kLong);
  auto* place = places.mutable_data_ptr<std::int64_t>();
  bool has_padding = false, has_keyless = false;
  for (std::int64_t i = 0; i < count; ++i) {
    const RaggedLength& clip = clips[group.numbers[static_cast<std::size_t>(i)]];
    std::iota(place, place + clip.frames, i * group.frames);
    place += clip.frames;
    absent[i].narrow(0, clip.frames, group.frames - clip.frames).fill_(true);
    if (!clip.attention_mask.defined()) continue;
    const at::Tensor padding = clip.attention_mask.to(at::kBool).logical_not();
    padded[i].narrow(0, 0, clip.frames).copy_(padding);
    has_padding = has_padding || padding.any().item<bool>();
    if (!padding.all().item<bool>()) continue;
    keyless[i] = true;
    has_keyless = true;
  }
  if (ragged) {
    group.places = upload(places, device);
    group.absent = upload(absent, device);
  }
  if (has_padding) group.padded = upload(padded, device);
  if (has_keyless) group.keyless = upload(keyless, device);
  return group;
}

}  // namespace

at::Tensor ClipGroup::spread(const at::Tensor& packed) const {
  const std::int64_t width = packed.size(1);
  if (!places.defined()) return packed.view({clips(), frames, width});
  return at::zeros({clips() * frames, width}, packed.options())
      .index_copy_(0, places, packed)
      .view({clips(), frames, width});
}

at::Tensor ClipGroup::pack(const at::Tensor& spread) const {
  const at::Tensor all = spread.reshape({clips() * frames, spread.size(2)});
  return places.defined() ? all.index_select(0, places) : all;
}

RaggedLayout::RaggedLayout(const std::vector<RaggedLength>& clips, c10::Device device,
                           const Options& options)
    : gap_(options.gap), order_(clips.size()), begins_(clips.size()) {
  const auto frames_of = [&](std::size_t number) { return clips[number].frames; };
  std::iota(order_.begin(), order_.end(), std::size_t{0});
  std::stable_sort(order_.begin(), order_.end(), [&](std::size_t one, std::size_t other) {
    return frames_of(one) > frames_of(other);
  });
  std::vector<std::size_t> numbers;  // of the next group
  const auto joins = [&](std::size_t number) {
    if (numbers.empty()) return true;
    const std::int64_t longest = frames_of(numbers.front());
    return is_about_as_long(frames_of(number), longest) &&
           static_cast<std::int64_t>(numbers.size() + 1) * longest * longest <= options.max_scores;
  };
  const auto close_group = [&] {
    if (numbers.empty()) return;
    groups_.push_back(group_of(clips, numbers, begins_[numbers.front()], device));
    numbers.clear();
  };
  for (const std::size_t number : order_) {
    if (!joins(number)) close_group();
    numbers.push_back(number);
    begins_[number] = clip_rows_;
    clip_rows_ += frames_of(number);
  }
  close_group();

  rows_ = round_up(clip_rows_, options.row_multiple);
  // What was added is like one more clip, which nothing reads.
  const at::Tensor gapped = at::empty({rows_}, at::kLong);
  at::Tensor padding = at::zeros({rows_, 1}, at::kBool);
  auto* place = gapped.mutable_data_ptr<std::int64_t>();
  std::int64_t next = 0;
  const auto add_rows = [&](std::int64_t count) {
    next += gap_;
    std::iota(place, place + count, next);
    place += count;
    next += count;
  };
  bool has_padding = false;
  for (const std::size_t number : order_) {
    add_rows(frames_of(number));
    if (!clips[number].attention_mask.defined()) continue;
    padding.narrow(0, begins_[number], frames_of(number))
        .copy_(clips[number].attention_mask.to(at::kBool).logical_not().unsqueeze(1));
    has_padding = true;
  }
  if (rows_ > clip_rows_) add_rows(rows_ - clip_rows_);
  rows_with_gaps_ = next;
  if (has_padding && padding.any().item<bool>()) {
    padded_rows_ = upload(padding, device);
    valid_rows_ = upload(padding.squeeze(1).logical_not().to(at::kByte), device);
  }
  gapped_places_ = upload(gapped, device);
  convolved_places_ = gapped_places_ - gap_;
  if (rows_ <= std::numeric_limits<std::int32_t>::max()) {
    std::vector<std::int32_t> begins{0};
    for (const std::size_t number : order_) {
      begins.push_back(begins.back() + static_cast<std::int32_t>(frames_of(number)));
    }
    row_tiles_ = upload(tensor_of(cuda::make_row_tiles(begins, cuda::kAttentionTileRows)), device);
  }
}

at::Tensor RaggedLayout::with_gaps(const at::Tensor& packed) const {
  return at::zeros({rows_with_gaps_, packed.size(1)}, packed.options())
      .index_copy_(0, gapped_places_, packed);
}

at::Tensor RaggedLayout::without_gaps(const at::Tensor& convolved) const {
  return convolved.index_select(0, convolved_places_);
}

}  // namespace w2vbert
