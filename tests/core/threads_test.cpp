#include "core/threads.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <string>
#include <thread>

#include "support/fake_system.h"

namespace w2vbert::testing {
namespace {

// This machine may have few CPUs, so limits are tested by how they lower what the affinity mask
// gives.
class FakeRoot : public FakeSystem {
 public:
  int cores() const { return usable_cores(path()); }
};

int cores_of_mask() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  sched_getaffinity(0, sizeof mask, &mask);
  return CPU_COUNT(&mask);
}

TEST(UsableCores, IsTheAffinityMaskWithoutCgroups) {
  EXPECT_EQ(FakeRoot().cores(), cores_of_mask());
}

TEST(UsableCores, IsAtLeastOneHere) { EXPECT_GE(usable_cores(), 1); }

TEST(UsableCores, FollowsTheAffinityOfTheCallingThread) {
  std::thread([] {
    cpu_set_t mask;
    CPU_ZERO(&mask);
    sched_getaffinity(0, sizeof mask, &mask);
    int first = 0;
    while (!CPU_ISSET(first, &mask)) ++first;
    CPU_ZERO(&mask);
    CPU_SET(first, &mask);
    ASSERT_EQ(sched_setaffinity(0, sizeof mask, &mask), 0);
    EXPECT_EQ(FakeRoot().cores(), 1);
  }).join();
}

TEST(UsableCores, IsLimitedByTheQuotaOfVersion2) {
  FakeRoot root;
  root.put("/proc/self/cgroup", "0::/job\n");
  root.put("/sys/fs/cgroup/job/cpu.max", "50000 100000\n");
  EXPECT_EQ(root.cores(), 1);
}

TEST(UsableCores, IsLimitedByAGroupFurtherUp) {
  FakeRoot root;
  root.put("/proc/self/cgroup", "0::/slice/job/step\n");
  root.put("/sys/fs/cgroup/slice/cpu.max", "100000 100000\n");
  root.put("/sys/fs/cgroup/slice/job/step/cpu.max", "max 100000\n");
  EXPECT_EQ(root.cores(), 1);
}

TEST(UsableCores, SeesTheContainersOwnGroupAtTheTopOfItsMount) {
  FakeRoot root;
  root.put("/proc/self/cgroup", "0::/host/path/of/container\n");
  root.put("/sys/fs/cgroup/cpu.max", "100000 100000\n");
  EXPECT_EQ(root.cores(), 1);
}

TEST(UsableCores, RoundsAQuotaUp) {
  if (cores_of_mask() < 2) GTEST_SKIP() << "needs two CPUs";
  FakeRoot root;
  root.put("/proc/self/cgroup", "0::/job\n");
  root.put("/sys/fs/cgroup/job/cpu.max", "101000 100000\n");
  EXPECT_EQ(root.cores(), 2);
}

TEST(UsableCores, IsLimitedByTheQuotaOfVersion1) {
  for (const std::string mount : {"cpu,cpuacct", "cpu"}) {
    FakeRoot root;
    root.put("/proc/self/cgroup", "5:memory:/job\n4:cpu,cpuacct:/job\n0::/\n");
    root.put("/sys/fs/cgroup/" + mount + "/job/cpu.cfs_quota_us", "100000\n");
    root.put("/sys/fs/cgroup/" + mount + "/job/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(root.cores(), 1) << mount;
  }
}

TEST(UsableCores, TakesNoLimitFromWhatIsNotOne) {
  for (const char* text :
       {"max 100000\n", "", "100000\n", "1e3 100000\n", "0 100000\n", "100000 0\n", "-1 100000\n",
        "99999999999999999999 1\n", "9223372036854775807 1\n"}) {
    FakeRoot root;
    root.put("/proc/self/cgroup", "garbage\n0::relative\n0::/job\n");
    root.put("/sys/fs/cgroup/job/cpu.max", text);
    EXPECT_EQ(root.cores(), cores_of_mask()) << text;
  }
  FakeRoot root;
  root.put("/proc/self/cgroup", "4:cpu:/job\n");
  root.put("/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "-1\n");
  root.put("/sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(root.cores(), cores_of_mask());
}

TEST(UsableCores, DoesNotFollowAPathOutOfTheMount) {
  FakeRoot root;
  root.put("/proc/self/cgroup", "0::/../../other\n");
  root.put("/sys/fs/cgroup/cpu.stat", "");
  root.put("/sys/fs/other/cpu.max", "100000 100000\n");
  root.put("/sys/other/cpu.max", "100000 100000\n");
  EXPECT_EQ(root.cores(), cores_of_mask());
}

}  // namespace
}  // namespace w2vbert::testing
