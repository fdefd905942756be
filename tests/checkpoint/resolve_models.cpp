// The C++ half of hub_as_python.py and convert_pickles.py. Each line of stdin is {"environment":
// {NAME: VALUE, ...}, "id": ID, "revision": NAME}; printed for each: {"cache": where Hub ids are
// looked up, "path": the model's directory, "problem": what its weights or an adapter's lack},
// without what there is not.
#include <stdlib.h>

#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "checkpoint/missing_weights.h"
#include "w2vbert/checkpoint/model_directory.h"
#include "w2vbert/core/error.h"

int main() {
  using Json = nlohmann::json;
  for (std::string line; std::getline(std::cin, line);) {
    const Json asked = Json::parse(line);
    for (const char* name :
         {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"}) {
      ::unsetenv(name);
    }
    for (const auto& [name, value] : asked["environment"].items()) {
      ::setenv(name.c_str(), value.get<std::string>().c_str(), 1);
    }
    Json answer = {{"cache", w2vbert::hub_cache_directory()}};
    try {
      answer["path"] = w2vbert::resolve_model(asked["id"], asked["revision"]).path;
      if (answer["path"].get<std::string>().ends_with("adapter")) {
        w2vbert::check_adapter_weights(answer["path"]);
      } else {
        w2vbert::check_weights(answer["path"]);
      }
    } catch (const w2vbert::Error& error) {
      answer["problem"] = error.what();
    }
    std::cout << answer.dump() << '\n';
  }
}
