// How many threads this process may keep busy.
#pragma once

#include <string>

namespace w2vbert {

// The CPUs of the calling thread's affinity mask, or fewer when a cgroup (version 1 or 2, its own
// or one above it) limits CPU time: quota / period, rounded up, for a container with 1.5 CPUs gets
// more done with two threads than with one. At least 1. Never throws: what cannot be read sets no
// limit. `root` stands before /proc and /sys, for tests.
int usable_cores(const std::string& root = "");

}  // namespace w2vbert
