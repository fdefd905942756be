// The C++ half of match_as_peft.py. Each line of stdin is {"config": adapter_config.json,
// "modules":
// [...]}; printed for each: {"targets": [...], "ranks": [...], "alphas": [...]} or {"error":
// "..."}.
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "config/lora_config.h"
#include "w2vbert/core/error.h"

int main() {
  using Json = nlohmann::ordered_json;
  for (std::string line; std::getline(std::cin, line);) {
    const Json asked = Json::parse(line);
    Json answer = Json::object();
    try {
      const auto config = w2vbert::LoraConfig::from_json(asked["config"].dump(), "config");
      for (const Json& module : asked["modules"]) {
        const auto name = module.get<std::string>();
        answer["targets"].push_back(config.targets(name));
        const std::int64_t rank = config.rank_of(name);
        answer["ranks"].push_back(rank);
        answer["alphas"].push_back(config.scaling_of(name) * static_cast<double>(rank));
      }
    } catch (const w2vbert::Error& error) {
      answer = {{"error", error.what()}};
    }
    std::cout << answer.dump() << '\n';
  }
}
