// Times the fused engine's kernels one by one, at the sizes of the published model:
//   scripts/build kernels_benchmark && build/bin/kernels_benchmark --benchmark_filter=Linear
// Google Benchmark's options apply. Threads: OMP_NUM_THREADS.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>

#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "engine/gemm_roofline.h"
#include "engine/kernels/packed_linear.h"
#include "engine/kernels/packed_rows.h"
#include "engine/kernels/ragged_attention.h"
#include "engine/kernels/tile_gemm.h"
#include "engine/kernels/vector_kernels.h"
#include "engine/parallel_tasks.h"
#include "engine/ragged_batch.h"
#include "engine/row_blocks.h"
#include "engine/scratch_buffer.h"

namespace {

using namespace w2vbert;  // NOLINT: a program of its own

constexpr std::int64_t kChannels = 1024, kInner = 4096, kHeads = 16, kHeadSize = 64;
constexpr std::int64_t kLeft = 64, kRight = 8, kKernel = 31;
constexpr float kEps = 1e-5F;

ScratchBuffer random_buffer(std::int64_t count) {
  ScratchBuffer buffer;
  at::from_blob(buffer.reserve(count), {count}, at::kFloat).normal_();
  return buffer;
}

void count_flops(benchmark::State& state, double of_one) {
  state.counters["FLOP/s"] = benchmark::Counter(
      of_one, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

void count_bytes(benchmark::State& state, std::int64_t of_one) {
  state.SetBytesProcessed(state.iterations() * of_one);
}

bool lacks(benchmark::State& state, Precision precision) {
  if (tile_gemm_is_fast(precision)) return false;
  state.SkipWithError("this processor has no instructions for it");
  return true;
}

// rows, in, out
void packed_linear(benchmark::State& state, Precision precision) {
  if (lacks(state, precision)) return;
  const std::int64_t rows = state.range(0), in = state.range(1), out = state.range(2);
  torch::nn::Sequential module(torch::nn::Linear(in, out));
  const WeightScope weights = {std::make_shared<ModuleWeights>(*module), ""};
  PackedLinear linear(weights, {.parts = {{"0"}}}, precision);
  linear.pack();
  ScratchBuffer x = random_buffer((rows + kRowGranule) * in);
  ScratchBuffer y = random_buffer((rows + kRowGranule) * out);
  PackedRows packed;
  packed.assign(precision, x.data(), rows, in);
  for (auto _ : state) linear.forward(packed, 0, rows, y.data());
  count_flops(state, 2.0 * static_cast<double>(rows * in * out));
}

// What oneDNN's own linear layers do for the products of one encoder layer.
void onednn_linears(benchmark::State& state) {
  const Wav2Vec2BertConfig config;
  PackedGemmRate rate(config);
  double fastest = 0;
  for (auto _ : state) fastest = std::max(fastest, rate.measure(state.range(0), 1));
  state.counters["FLOP/s"] =
      benchmark::Counter(fastest, benchmark::Counter::kDefaults, benchmark::Counter::kIs1000);
}

void attention(benchmark::State& state, Precision precision) {
  if (lacks(state, precision)) return;
  const std::int64_t frames = state.range(0);
  RaggedBatch batch;
  batch.add(frames, {});
  const std::int64_t stride = (frames + kRowGranule) * kHeadSize;
  const ScratchBuffer qkv = random_buffer(3 * kHeads * stride);
  ScratchBuffer y = random_buffer(frames * kChannels);
  const RaggedAttention module(kHeads, kHeadSize, at::randn({kLeft + 1 + kRight, kHeadSize}), kLeft,
                               kRight, precision, /*sdpa=*/true);
  RaggedAttention::Scratch scratch;
  for (auto _ : state) module.forward(batch, qkv.data(), stride, scratch, y.data());
  count_flops(state, 4.0 * static_cast<double>(frames * frames * kChannels));
}

void layer_norm(benchmark::State& state) {
  const std::int64_t rows = state.range(0);
  ScratchBuffer x = random_buffer(rows * kChannels), y = random_buffer(rows * kChannels);
  const ScratchBuffer weight = random_buffer(kChannels), bias = random_buffer(kChannels);
  for (auto _ : state) {
    parallel_rows(rows, [&](std::int64_t first, std::int64_t count) {
      vector_kernels().layer_norm(x.data() + first * kChannels, count, kChannels, weight.data(),
                                  bias.data(), kEps, y.data() + first * kChannels);
    });
  }
  count_bytes(state, 2 * rows * kChannels * static_cast<std::int64_t>(sizeof(float)));
}

void depthwise_conv(benchmark::State& state) {
  const std::int64_t rows = state.range(0);
  ScratchBuffer x = random_buffer(rows * kChannels), y = random_buffer(rows * kChannels);
  const ScratchBuffer weight = random_buffer(kChannels * kKernel);
  for (auto _ : state) {
    parallel_rows(rows, [&](std::int64_t first, std::int64_t count) {
      vector_kernels().depthwise(x.data(), first, count, kChannels, weight.data(), kKernel,
                                 y.data() + first * kChannels);
    });
  }
  count_flops(state, 2.0 * static_cast<double>(rows * kChannels * kKernel));
}

// float32 rows to what a layer of that precision takes.
void packed_rows(benchmark::State& state, Precision precision) {
  const std::int64_t rows = state.range(0);
  ScratchBuffer x = random_buffer((rows + kRowGranule) * kInner);
  PackedRows result;
  for (auto _ : state) result.assign(precision, x.data(), rows, kInner);
  count_bytes(state, rows * kInner * static_cast<std::int64_t>(sizeof(float)));
}

void linear_sizes(benchmark::internal::Benchmark* all) {
  all->ArgNames({"rows", "in", "out"});
  for (const std::int64_t rows : {50, 250, 1500}) {
    all->Args({rows, kChannels, kInner})->Args({rows, kInner, kChannels});
    all->Args({rows, kChannels, kChannels});
  }
}

void frame_counts(benchmark::internal::Benchmark* all) {
  all->ArgName("frames")->Arg(50)->Arg(250)->Arg(1500)->Arg(6000);
}

BENCHMARK_CAPTURE(packed_linear, float32, Precision::float32)->Apply(linear_sizes)->UseRealTime();
BENCHMARK_CAPTURE(packed_linear, bfloat16, Precision::bfloat16)->Apply(linear_sizes)->UseRealTime();
BENCHMARK_CAPTURE(packed_linear, int8, Precision::int8)->Apply(linear_sizes)->UseRealTime();
BENCHMARK(onednn_linears)->ArgName("rows")->Arg(250)->Arg(1500)->UseRealTime();
BENCHMARK_CAPTURE(attention, float32, Precision::float32)->Apply(frame_counts)->UseRealTime();
BENCHMARK_CAPTURE(attention, bfloat16, Precision::bfloat16)->Apply(frame_counts)->UseRealTime();
BENCHMARK(layer_norm)->ArgName("rows")->Arg(250)->Arg(1500)->UseRealTime();
BENCHMARK(depthwise_conv)->ArgName("rows")->Arg(250)->Arg(1500)->UseRealTime();
BENCHMARK_CAPTURE(packed_rows, bfloat16, Precision::bfloat16)
    ->ArgName("rows")
    ->Arg(250)
    ->UseRealTime();
BENCHMARK_CAPTURE(packed_rows, int8, Precision::int8)->ArgName("rows")->Arg(250)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
