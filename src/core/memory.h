// How much memory this process may still take.
#pragma once

#include <cstdint>
#include <string>

namespace w2vbert {

// Bytes: what the kernel thinks can be had without swapping (MemAvailable), or less when a cgroup
// (version 1 or 2, its own or one above it) limits memory. What cannot be read sets no limit; with
// none at all 2^63 - 1. Never throws. `root` stands before /proc and /sys, for tests.
std::int64_t usable_memory(const std::string& root = "");

}  // namespace w2vbert
