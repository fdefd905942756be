// adapter_config.json of a PEFT LoRA adapter. Torch-free.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/python_pattern.h"

namespace w2vbert {

// What PEFT's LoraConfig (peft/tuners/lora/config.py, 0.21) says about merging, under its names and
// with its defaults. Modules are named as the adapter names them: without "base_model.model.".
struct LoraConfig {
  std::int64_t r = 8;       // rank
  double lora_alpha = 8;    // the product of the two matrices is scaled by lora_alpha / r,
  bool use_rslora = false;  // or by lora_alpha / sqrt(r)
  // Without effect: PEFT takes it as false for the layers there are here, which are no Conv1D.
  bool fan_in_fan_out = false;
  std::string bias = "none";  // whose biases the adapter has trained: "none", "all" or "lora_only"
  bool lora_bias = false;     // lora_B has a bias of its own
  // Ends of module names (whole parts between dots), or one regular expression for the whole name.
  std::vector<std::string> target_modules;
  std::optional<PythonPattern> target_pattern;
  std::vector<std::string> exclude_modules;
  std::optional<PythonPattern> exclude_pattern;
  std::vector<std::string>
      modules_to_save;  // ends of the names of modules that the adapter replaces
  std::vector<PythonPattern> saved_patterns;      // the same, and all that is in those modules
  std::vector<std::int64_t> layers_to_transform;  // numbers in module names; empty: any
  std::vector<PythonPattern> layers_pattern;      // what leads to that number, its group "idx"
  // Regular expressions for the end of a module's name; the first that fits says its rank or alpha.
  std::vector<std::pair<PythonPattern, std::int64_t>> rank_pattern;
  std::vector<std::pair<PythonPattern, double>> alpha_pattern;
  std::string path;  // for the messages

  // Reads the text of an adapter_config.json. Everything that changes what merging means and is not
  // among the fields above (DoRA, other peft_types, initialisations that change the base weights,
  // ...) is refused, as is an unknown key with a value that says something. Regular expressions are
  // Python's. Throws ConfigError naming `path`, the key, what is there and what was expected.
  static LoraConfig from_json(std::string_view text, const std::string& path);

  // Reads <directory>/adapter_config.json.
  static LoraConfig from_pretrained(const std::string& directory);

  // These throw ConfigError for regular expressions that take too long to match.

  // Whether the module has LoRA matrices (PEFT: tuners_utils.py, check_target_module_exists).
  bool targets(const std::string& module) const;
  // Whether the adapter has the module whole (PEFT: utils/other.py, _set_trainable).
  bool saves(const std::string& module) const;
  // PEFT: utils/other.py, get_pattern_key.
  std::int64_t rank_of(const std::string& module) const;
  double scaling_of(const std::string& module) const;
};

}  // namespace w2vbert
