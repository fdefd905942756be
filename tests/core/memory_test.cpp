#include "core/memory.h"

#include <gtest/gtest.h>

#include <limits>

#include "support/fake_system.h"

namespace w2vbert::testing {
namespace {

constexpr std::int64_t kMebibyte = 1 << 20;

void put_available(FakeSystem& system, std::int64_t mebibytes) {
  system.put("/proc/meminfo",
             "MemTotal:       99999999 kB\nMemFree:          123456 kB\nMemAvailable: " +
                 std::to_string(mebibytes * 1024) + " kB\nBuffers: 5 kB\n");
}

TEST(UsableMemory, IsWhatTheKernelSays) {
  FakeSystem system;
  put_available(system, 700);
  EXPECT_EQ(usable_memory(system.path()), 700 * kMebibyte);
  EXPECT_GT(usable_memory(), 0);
  EXPECT_LT(usable_memory(), std::numeric_limits<std::int64_t>::max());
}

TEST(UsableMemory, IsWhatTheGroupsLimitLeaves) {
  FakeSystem system;
  put_available(system, 700);
  system.put("/proc/self/cgroup", "0::/slice/job\n");
  system.put("/sys/fs/cgroup/slice/job/memory.max", "max\n");
  system.put("/sys/fs/cgroup/slice/job/memory.current", "12345\n");
  EXPECT_EQ(usable_memory(system.path()), 700 * kMebibyte);
  system.put("/sys/fs/cgroup/slice/memory.max", std::to_string(500 * kMebibyte) + "\n");
  system.put("/sys/fs/cgroup/slice/memory.current", std::to_string(300 * kMebibyte) + "\n");
  EXPECT_EQ(usable_memory(system.path()), 200 * kMebibyte);
  system.put("/sys/fs/cgroup/slice/memory.stat",
             "anon 1\ninactive_file " + std::to_string(50 * kMebibyte) + "\nactive_file 7\n");
  EXPECT_EQ(usable_memory(system.path()), 250 * kMebibyte);
}

TEST(UsableMemory, KnowsVersion1) {
  FakeSystem system;
  put_available(system, 700);
  system.put("/proc/self/cgroup", "4:cpu:/x\n7:memory:/job\n");
  system.put("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", std::to_string(90 * kMebibyte));
  system.put("/sys/fs/cgroup/memory/job/memory.usage_in_bytes", std::to_string(100 * kMebibyte));
  EXPECT_EQ(usable_memory(system.path()), 0);
}

TEST(UsableMemory, TakesNoLimitFromWhatIsNotThere) {
  EXPECT_EQ(usable_memory(FakeSystem().path()), std::numeric_limits<std::int64_t>::max());
}

}  // namespace
}  // namespace w2vbert::testing
