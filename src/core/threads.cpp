#include "core/threads.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <limits>
#include <optional>
#include <vector>

#include "core/control_groups.h"
#include "core/parse_number.h"

namespace w2vbert {
namespace {

constexpr int kNoThreadLimit = std::numeric_limits<int>::max();

int cores_of_affinity() {
  // The kernel refuses a mask shorter than its own; machines beyond 1024 CPUs exist.
  for (int cpus = CPU_SETSIZE; cpus <= (1 << 20); cpus *= 2) {
    std::vector<cpu_set_t> mask((static_cast<std::size_t>(cpus) + CPU_SETSIZE - 1) / CPU_SETSIZE);
    const std::size_t bytes = mask.size() * sizeof(cpu_set_t);
    if (::sched_getaffinity(0, bytes, mask.data()) == 0) return CPU_COUNT_S(bytes, mask.data());
  }
  return static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
}

// The blank-separated words of a small file of the kernel; empty if it is not there.
std::vector<std::string> words_of(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> words;
  for (std::string word; words.size() < 8 && file >> word;) words.push_back(word);
  return words;
}

int cores_of_quota(std::optional<std::int64_t> quota, std::optional<std::int64_t> period) {
  if (!quota || !period || *quota <= 0 || *period <= 0) return kNoThreadLimit;
  const double cores = std::ceil(static_cast<double>(*quota) / static_cast<double>(*period));
  return cores >= kNoThreadLimit ? kNoThreadLimit : std::max(1, static_cast<int>(cores));
}

// Version 2: cpu.max holds "<quota or max> <period>", in microseconds.
int limit_of_v2(const std::string& directory) {
  const std::vector<std::string> words = words_of(directory + "/cpu.max");
  return words.size() == 2 ? cores_of_quota(parse_number<std::int64_t>(words[0]),
                                            parse_number<std::int64_t>(words[1]))
                           : kNoThreadLimit;
}

// Version 1: two files; a quota of -1 means no limit.
int limit_of_v1(const std::string& directory) {
  const std::vector<std::string> quota = words_of(directory + "/cpu.cfs_quota_us");
  const std::vector<std::string> period = words_of(directory + "/cpu.cfs_period_us");
  return quota.size() == 1 && period.size() == 1
             ? cores_of_quota(parse_number<std::int64_t>(quota[0]),
                              parse_number<std::int64_t>(period[0]))
             : kNoThreadLimit;
}

int limit_of_cgroups(const std::string& root) {
  int smallest = kNoThreadLimit;
  for_each_control_group(root, "cpu", [&](const std::string& directory, int version) {
    smallest = std::min(smallest, version == 2 ? limit_of_v2(directory) : limit_of_v1(directory));
  });
  return smallest;
}

}  // namespace

int usable_cores(const std::string& root) {
  return std::max(1, std::min(cores_of_affinity(), limit_of_cgroups(root)));
}

}  // namespace w2vbert
