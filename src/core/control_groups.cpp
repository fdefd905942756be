#include "core/control_groups.h"

#include <fstream>
#include <sstream>

namespace w2vbert {

void for_each_control_group(
    const std::string& root, std::string_view controller,
    const std::function<void(const std::string& directory, int version)>& visit) {
  const std::string mounts = root + "/sys/fs/cgroup";
  const auto visit_upwards = [&](const std::string& mount, std::string group, int version) {
    visit(mount, version);
    if (group.find("..") != std::string::npos) return;
    while (group.size() > 1) {
      visit(mount + group, version);
      group.resize(group.rfind('/'));
    }
  };
  std::ifstream groups(root + "/proc/self/cgroup");  // lines of <id>:<controllers>:<path>
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (!group.starts_with('/')) continue;
    if (controllers.empty()) {
      for (const char* mount : {"", "/unified"}) visit_upwards(mounts + mount, group, 2);
      continue;
    }
    std::istringstream names(controllers);
    for (std::string name; std::getline(names, name, ',');) {
      if (name != controller) continue;
      for (const std::string& mount : {controllers, name}) {
        visit_upwards(mounts + "/" + mount, group, 1);
      }
    }
  }
}

}  // namespace w2vbert
