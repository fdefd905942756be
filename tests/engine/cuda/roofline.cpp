// cuda_roofline: what each kernel reads, writes and computes a frame, counted by the emulator, and
// the least time that it can take on some GPUs by each of their limits; and what the whole model
// may come to with that. Prints three tables in Markdown, for docs/gpu.md.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "engine/cuda/emulator/emulator.h"
#include "engine/device/cuda/launchers.h"
#include "engine/device/cuda/row_tiles.h"

namespace {

using namespace w2vbert::cuda;
using emulator::Buffer;
using Narrow = std::uint16_t;  // a bfloat16

// w2v-BERT 2.0.
constexpr std::int32_t kChannels = 1024, kKernelSize = 31, kHeads = 16, kHeadSize = 64, kLeft = 64,
                       kRight = 8, kIntermediate = 4096;

// A frame's part of a kernel's work.
struct Work {
  std::string kernel;
  double read, read_once, written;           // bytes
  double matrix_flops, flops, exponentials;  // flops: one a multiplication, one an addition
  double shared_turns;                       // of shared memory, 128 bytes each
  double shared_kib = 0.0;                   // of a block
};

// From data sheets (SXM, without sparsity) and their boost clocks.
struct Gpu {
  const char* name;
  double bytes, matrix_flops, flops;  // a second
  double multiprocessors, clock;
};
constexpr Gpu kGpus[] = {{"A100", 2.0e12, 312e12, 19.5e12, 108, 1.41e9},
                         {"H100", 3.35e12, 989e12, 67e12, 132, 1.98e9},
                         {"H200", 4.8e12, 989e12, 67e12, 132, 1.98e9},
                         {"B200", 8.0e12, 2250e12, 75e12, 148, 1.965e9}};
constexpr double kExponentialsOfAMultiprocessor = 16;  // a cycle
constexpr double kFrames = 16384;

Work finish(const char* kernel, const char* refused, double frames, double times, double flops,
            double exponentials) {
  if (refused != nullptr) {
    std::fprintf(stderr, "error: %s\n", refused);
    std::exit(1);
  }
  const auto counters = emulator::take_counters();
  const auto findings = emulator::take_findings();
  if (findings.total() > 0) {
    std::fprintf(stderr, "error: %s\n", findings.text().c_str());
    std::exit(1);
  }
  const auto each = [&](std::uint64_t count) {
    return static_cast<double>(count) * times / frames;
  };
  return {kernel,
          32 * each(counters.read_sectors),
          32 * each(counters.distinct_read_sectors),
          32 * each(counters.distinct_written_sectors),
          4096 * each(counters.matrix_products),
          flops,
          exponentials,
          each(counters.shared_accesses + counters.bank_conflicts),
          static_cast<double>(counters.shared_bytes) / 1024.0};
}

std::vector<Narrow> numbers(std::size_t size) {
  std::vector<Narrow> values(size);
  for (std::size_t i = 0; i < size; ++i) values[i] = static_cast<Narrow>(0x3e00 + i * 7 % 256);
  return values;
}

Work count_conv() {
  constexpr std::int32_t kRows = 4 * kGatedConvTileRows;
  const auto tiles = make_row_tiles({0, kRows}, kGatedConvTileRows);
  Buffer<Narrow> x(numbers(std::size_t{kRows} * 2 * kChannels), "x"),
      weight(numbers(kKernelSize * kChannels), "weight"), y(std::size_t{kRows} * kChannels, "y");
  Buffer<float> norm(std::vector<float>(kChannels, 1.0f), "norm");
  Buffer<RowTile> table(tiles, "tiles");
  GatedConv arguments;
  arguments.x = x.data();
  arguments.weight = weight.data();
  arguments.norm_weight = arguments.norm_bias = norm.data();
  arguments.y = y.data();
  arguments.tiles = table.data();
  arguments.tile_count = static_cast<std::int32_t>(tiles.size());
  arguments.channels = kChannels;
  arguments.kernel_size = kKernelSize;
  const auto* refused = launch_gated_conv(arguments, Element::bfloat16, nullptr);
  // The convolution, and about 20 for gate, LayerNorm and swish.
  return finish("gated convolution", refused, kRows, 1.0, kChannels * (2.0 * kKernelSize + 20.0),
                2.5 * kChannels);
}

Work count_attention(std::int32_t rows, const char* name) {
  const auto tiles = make_row_tiles({0, rows}, kAttentionTileRows);
  // One head: the others do the same on their own columns.
  Buffer<Narrow> qkv(numbers(static_cast<std::size_t>(rows) * 3 * kHeadSize), "qkv"),
      e(numbers((kLeft + 1 + kRight) * kHeadSize), "distance_embedding"),
      y(static_cast<std::size_t>(rows) * kHeadSize, "y");
  Buffer<RowTile> table(tiles, "tiles");
  RelativeAttention arguments;
  arguments.qkv = qkv.data();
  arguments.distance_embedding = e.data();
  arguments.y = y.data();
  arguments.tiles = table.data();
  arguments.tile_count = static_cast<std::int32_t>(tiles.size());
  arguments.heads = 1;
  arguments.head_size = kHeadSize;
  arguments.left = kLeft;
  arguments.right = kRight;
  arguments.scale = 0.125f;
  const auto* refused = launch_relative_attention(arguments, Element::bfloat16, nullptr);
  // For each score: bias, maximum, difference, factor, sum.
  return finish(name, refused, rows, kHeads, 5.0 * kHeads * rows, 1.0 * kHeads * rows);
}

Work count_norm() {
  constexpr std::int64_t kRows = 64;
  Buffer<float> residual(std::vector<float>(kRows * kChannels, 1.0f), "residual"),
      norm(std::vector<float>(kChannels, 1.0f), "norm");
  Buffer<Narrow> delta(numbers(kRows * kChannels), "delta"), y(kRows * kChannels, "y");
  AddNorm arguments;
  arguments.residual = residual.data();
  arguments.delta = delta.data();
  arguments.norm_weight = arguments.norm_bias = norm.data();
  arguments.y = y.data();
  arguments.rows = kRows;
  arguments.channels = kChannels;
  const auto* refused = launch_add_norm(arguments, Element::bfloat16, nullptr);
  return finish("add + LayerNorm", refused, kRows, 1.0, 9.0 * kChannels, 0.0);
}

Work count_swish() {
  constexpr std::int64_t kRows = 64;
  Buffer<Narrow> x(numbers(kRows * kIntermediate), "x"), bias(numbers(kIntermediate), "bias"),
      y(kRows * kIntermediate, "y");
  BiasSwish arguments;
  arguments.x = x.data();
  arguments.bias = bias.data();
  arguments.y = y.data();
  arguments.rows = kRows;
  arguments.channels = kIntermediate;
  const auto* refused = launch_bias_swish(arguments, Element::bfloat16, nullptr);
  return finish("bias + swish", refused, kRows, 1.0, 4.0 * kIntermediate, 2.0 * kIntermediate);
}

// The least time of a frame in seconds, and the limit that gives it.
std::pair<double, const char*> shortest_time(const Work& work, const Gpu& gpu) {
  const double cycles = gpu.multiprocessors * gpu.clock;
  const std::pair<double, const char*> limits[] = {
      {(work.read_once + work.written) / gpu.bytes, "memory"},
      {work.matrix_flops / gpu.matrix_flops, "matrix products"},
      {work.flops / gpu.flops, "float32"},
      {work.exponentials / (kExponentialsOfAMultiprocessor * cycles), "exponentials"},
      {work.shared_turns / cycles, "shared memory"}};
  return *std::max_element(std::begin(limits), std::end(limits));
}

// The matrix products of a frame in one layer: q, k, v and out, two feed forwards, and the two
// pointwise convolutions.
constexpr double kProductFlops =
    2.0 * kChannels * (4.0 * kChannels + 4.0 * kIntermediate + 3.0 * kChannels);
constexpr double kLayers = 24, kFramesPerSecond = 50;

// How many times real time the encoder runs, with products at `product_share` of the peak and
// kernels at `kernel_share` of their limits.
double real_time_factor(const std::vector<Work>& of_a_layer, const Gpu& gpu, double product_share,
                        double kernel_share) {
  double seconds = kProductFlops / (product_share * gpu.matrix_flops);
  for (const Work& work : of_a_layer) seconds += shortest_time(work, gpu).first / kernel_share;
  return 1.0 / (kLayers * kFramesPerSecond * seconds);
}

}  // namespace

int main() {
  emulator::count_traffic(true);
  const std::vector<Work> all = {count_conv(), count_attention(500, "attention, 10 s"),
                                 count_attention(1500, "attention, 30 s"), count_norm(),
                                 count_swish()};
  std::printf(
      "| kernel | read | read once | written | matrix flop | other flop | exponentials | "
      "shared-memory turns | KiB a "
      "block |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
  for (const auto& work : all) {
    std::printf("| %s | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %.1f | %.1f |\n",
                work.kernel.c_str(), work.read, work.read_once, work.written, work.matrix_flops,
                work.flops, work.exponentials, work.shared_turns, work.shared_kib);
  }
  std::printf("\n| kernel |");
  for (const auto& gpu : kGpus) std::printf(" %s |", gpu.name);
  std::printf("\n| --- | --- | --- | --- | --- |\n");
  for (const auto& work : all) {
    std::printf("| %s |", work.kernel.c_str());
    for (const auto& gpu : kGpus) {
      const auto [seconds, limit] = shortest_time(work, gpu);
      std::printf(" %.0f, %s |", seconds * kFrames * 1e6, limit);
    }
    std::printf("\n");
  }

  const Work &conv = all[0], &norm = all[3], &swish = all[4];
  const auto layer_with = [&](const Work& attention) {
    return std::vector<Work>{conv, attention, norm, norm, norm, norm, norm, swish, swish};
  };
  std::printf("\n| clips, products at, kernels at |");
  for (const auto& gpu : kGpus) std::printf(" %s |", gpu.name);
  std::printf("\n| --- | --- | --- | --- | --- |\n");
  const auto factors = [&](const char* name, const std::vector<Work>& layer, double product_share,
                           double kernel_share) {
    std::printf("| %s |", name);
    for (const auto& gpu : kGpus) {
      std::printf(" %.0f |", real_time_factor(layer, gpu, product_share, kernel_share));
    }
    std::printf("\n");
  };
  factors("products alone, 60 %", {}, 0.6, 1.0);
  factors("10 s, 60 %, 50 %", layer_with(all[1]), 0.6, 0.5);
  factors("30 s, 60 %, 50 %", layer_with(all[2]), 0.6, 0.5);
  factors("30 s, 60 %, 33 %", layer_with(all[2]), 0.6, 1.0 / 3.0);
  return 0;
}
