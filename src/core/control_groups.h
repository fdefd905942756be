// The control groups (cgroups, version 1 or 2) that a process is in.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace w2vbert {

// Calls visit(directory, version) for the directory of the group in which `controller` ("cpu",
// "memory") limits this process, and of each group above it. In a container the path may be the
// host's while the mount shows the container's own group at its top: directories may not be there.
// `root` stands before /proc and /sys. Never throws but what `visit` throws.
void for_each_control_group(
    const std::string& root, std::string_view controller,
    const std::function<void(const std::string& directory, int version)>& visit);

}  // namespace w2vbert
