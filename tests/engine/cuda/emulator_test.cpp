// The emulator itself: its numbers and its instructions beside what they are defined as. That its
// checks find what they are for is in planted_bugs_test.cpp.
#include "engine/cuda/emulator/emulator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace {

TEST(Emulator, KeepsEveryNarrowNumber) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = __half{static_cast<std::uint16_t>(bits)};
    const auto bfloat = __nv_bfloat16{static_cast<std::uint16_t>(bits)};
    if (const float value = __half2float(half); !std::isnan(value)) {
      ASSERT_EQ(__float2half_rn(value).bits, bits);
    }
    if (const float value = __bfloat162float(bfloat); !std::isnan(value)) {
      ASSERT_EQ(__float2bfloat16_rn(value).bits, bits);
    }
  }
}

TEST(Emulator, RoundsToTheNearestEvenNumber) {
  EXPECT_EQ(__float2half_rn(1.0f + 0x1p-11f).bits, 0x3c00);    // a tie: the even one below
  EXPECT_EQ(__float2half_rn(1.0f + 0x1.8p-10f).bits, 0x3c02);  // a tie: the even one above
  EXPECT_EQ(__float2half_rn(65519.0f).bits, 0x7bff);
  EXPECT_EQ(__float2half_rn(65520.0f).bits, 0x7c00);
  EXPECT_EQ(__float2half_rn(-0x1.8p-25f).bits, 0x8001);
  EXPECT_EQ(__float2half_rn(0x1p-25f).bits, 0x0000);
  EXPECT_EQ(__float2bfloat16_rn(1.0f + 0x1p-8f).bits, 0x3f80);
  EXPECT_EQ(__float2bfloat16_rn(3.4e38f).bits, 0x7f80);
}

TEST(Emulator, RunsAWarp) {
  emulator::Buffer<float> y(32, "y");
  auto* out = y.data();
  emulator::launch({1, 1, 1}, 32, 0, [&] {
    float value = static_cast<float>(threadIdx.x);
    for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(~0u, value, lanes);
    emulator::store4(out + threadIdx.x, __float_as_uint(value));
  });
  EXPECT_EQ(emulator::take_findings().total(), 0u);
  EXPECT_EQ(y.values(), std::vector<float>(32, 496.0f));
}

TEST(Emulator, FindsThreadsThatWaitForEver) {
  emulator::launch({1, 1, 1}, 32, 0, [] {
    if (threadIdx.x < 16) __syncwarp();
  });
  EXPECT_EQ(emulator::take_findings().barrier, 1u);
}

// mma.sync and ldmatrix together: y = a b^T for a (16, 16) and b (8, 16) in shared memory.
TEST(Emulator, MultipliesAsTheFragmentsLie) {
  std::mt19937 generator(1);
  std::vector<float> a(256), b(128);
  for (auto& value : a) value = static_cast<float>(static_cast<int>(generator() % 17)) - 8.0f;
  for (auto& value : b) value = static_cast<float>(static_cast<int>(generator() % 17)) - 8.0f;
  emulator::Buffer<float> y(128, "y");
  auto* out = y.data();
  emulator::launch({1, 1, 1}, 32, 768, [&] {
    auto* shared = static_cast<std::uint16_t*>(emulator::shared_memory());  // a, then b
    const auto value_at = [&](std::size_t i) { return i < 256 ? a[i] : b[i - 256]; };
    for (std::size_t i = 2 * threadIdx.x; i < 384; i += 64) {
      const unsigned low = __float2bfloat16_rn(value_at(i)).bits;
      emulator::store4(
          shared + i, low | static_cast<unsigned>(__float2bfloat16_rn(value_at(i + 1)).bits) << 16);
    }
    __syncthreads();
    const unsigned lane = threadIdx.x;
    unsigned rows[4], columns[4];
    emulator::load_matrices(rows, shared + lane % 16 * 16 + lane / 16 * 8, false);
    emulator::load_matrices(columns, shared + 256 + lane % 8 * 16 + lane / 8 % 2 * 8, false);
    float c[4] = {};
    emulator::multiply_bfloat16(c, rows, {columns[0], columns[1]});
    for (unsigned i = 0; i < 4; ++i) {
      emulator::store4(out + (lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2,
                       __float_as_uint(c[i]));
    }
  });
  const auto findings = emulator::take_findings();
  EXPECT_EQ(findings.total(), 0u) << findings.text();
  const auto values = y.values();
  for (std::size_t row = 0; row < 16; ++row) {
    for (std::size_t column = 0; column < 8; ++column) {
      float expected = 0.0f;
      for (std::size_t k = 0; k < 16; ++k) expected += a[row * 16 + k] * b[column * 16 + k];
      EXPECT_EQ(values[row * 8 + column], expected) << row << " " << column;
    }
  }
}

TEST(Emulator, CountsSectorsAndBankConflicts) {
  emulator::Buffer<float> x(std::vector<float>(1024, 1.0f), "x");
  emulator::Buffer<float> y(32, "y");
  auto* in = x.data();
  auto* out = y.data();
  emulator::count_traffic(true);
  emulator::launch({1, 1, 1}, 32, 4096, [&] {
    auto* shared = static_cast<float*>(emulator::shared_memory());
    const auto value = emulator::load4(in + threadIdx.x * 8);  // a sector each
    emulator::store4(shared + threadIdx.x * 2, value);         // two threads a bank
    emulator::store4(out + threadIdx.x, value);                // four sectors
  });
  emulator::count_traffic(false);
  const auto counters = emulator::take_counters();
  EXPECT_EQ(counters.read_bytes, 128u);
  EXPECT_EQ(counters.read_sectors, 32u);
  EXPECT_EQ(counters.written_sectors, 4u);
  EXPECT_EQ(counters.shared_accesses, 1u);
  EXPECT_EQ(counters.bank_conflicts, 1u);
}

}  // namespace
