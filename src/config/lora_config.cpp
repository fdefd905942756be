#include "config/lora_config.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <memory>

#include "config/config_table.h"
#include "core/text.h"

namespace w2vbert {
namespace {

using Config = LoraConfig;
using Field = ConfigField<Config>;

constexpr double kMaxRank = 1 << 20;
constexpr double kMaxAlpha = 1e9;
constexpr double kNoLimit = 0;
constexpr std::string_view kBiases[] = {"none", "all", "lora_only"};
constexpr std::string_view kPeftTypes[] = {"LORA"};
// Those that leave the base weights as they are.
constexpr std::string_view kInitialisations[] = {"gaussian", "eva", "orthogonal"};

const Field kFields[] = {
    {"r", &Config::r, 1, kMaxRank, "the rank"},
    {"lora_alpha", &Config::lora_alpha, -kMaxAlpha, kMaxAlpha, "the scale times the rank"},
    {"use_rslora", &Config::use_rslora, kNoLimit, kNoLimit, "the scale is over the root of r"},
    {"fan_in_fan_out", &Config::fan_in_fan_out, kNoLimit, kNoLimit, "weights are stored (in, out)"},
    {"bias", &Config::bias, kNoLimit, kNoLimit, "the biases that are trained", kBiases},
    {"lora_bias", &Config::lora_bias, kNoLimit, kNoLimit, "lora_B has a bias"},
    {"modules_to_save", &Config::modules_to_save, kNoLimit, kNoLimit, "modules replaced whole"},
};
// Keys of the same file that are read by hand.
constexpr std::string_view kReadByHand[] = {
    "peft_type",           "init_lora_weights", "target_modules", "exclude_modules",
    "layers_to_transform", "layers_pattern",    "rank_pattern",   "alpha_pattern"};
// Keys that change nothing once an adapter is trained, or only the variants refused below.
constexpr std::string_view kWithoutEffect[] = {
    "auto_mapping",   "base_model_name_or_path", "corda_config", "ensure_weight_tying",
    "eva_config",     "inference_mode",          "loftq_config", "lora_dropout",
    "lora_ga_config", "megatron_core",           "peft_version", "qalora_group_size",
    "revision",       "runtime_config",          "task_type"};
// Kinds of LoRA that merge otherwise, or not at all.
constexpr std::string_view kNotSupported[] = {"alora_invocation_tokens",
                                              "arrow_config",
                                              "kasa_config",
                                              "layer_replication",
                                              "megatron_config",
                                              "monteclora_config",
                                              "use_bdlora",
                                              "use_dora",
                                              "use_qalora",
                                              "target_parameters",
                                              "velora_config",
                                              "trainable_token_indices"};

template <typename Words>
bool among(const Words& words, std::string_view word) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

// null, false, "", [], {}: nothing is asked for.
bool says_nothing(const JsonValue& value) {
  if (value.is_null()) return true;
  if (const auto* flag = value.get_if<bool>()) return !*flag;
  if (const auto* text = value.get_if<std::string>()) return text->empty();
  if (const auto* list = value.get_if<JsonValue::Array>()) return list->empty();
  if (const auto* object = value.get_if<JsonValue::Object>()) return object->empty();
  return false;
}

constexpr const char* kPattern = "a regular expression as Python's re takes it";

// One of PEFT's expressions: `given` with what stands around it.
PythonPattern read_pattern(const ConfigReader& reader, const char* key, const std::string& given,
                           const std::shared_ptr<MatchBudget>& budget, std::string_view before = "",
                           std::string_view after = "") {
  const std::string shown = describe(JsonScalar(std::string_view(given)));
  if (given.empty()) reader.fail(key, shown, kPattern);
  try {
    return PythonPattern(std::string(before) + given + std::string(after), budget);
  } catch (const PatternError& error) {
    reader.fail(key, shown + " " + error.what(), kPattern);
  }
}

std::vector<std::string> read_names(const ConfigReader& reader, const JsonValue& value,
                                    const char* key, const char* expected) {
  const auto* list = value.get_if<JsonValue::Array>();
  if (!list) reader.fail(key, value.describe(), expected);
  std::vector<std::string> names;
  for (const JsonValue& element : *list) {
    const auto* name = element.get_if<std::string>();
    if (!name || name->empty()) reader.fail(key, "holds " + element.describe(), expected);
    names.push_back(*name);
  }
  return names;
}

// A list of names, a regular expression, or null.
void read_modules(const ConfigReader& reader, const JsonValue& root, const char* key,
                  std::vector<std::string>& names, std::optional<PythonPattern>& pattern,
                  const std::shared_ptr<MatchBudget>& budget) {
  const JsonValue* value = root.find(key);
  if (!value || value->is_null()) return;
  if (const auto* text = value->get_if<std::string>()) {
    if (*text == "all-linear") {
      reader.fail(key, "\"all-linear\"", "the names of the modules, which PEFT saves in its place");
    }
    pattern = read_pattern(reader, key, *text, budget);
  } else {
    names = read_names(reader, *value, key, "a list of module names, a regular expression or null");
  }
}

void read_layers(const ConfigReader& reader, const JsonValue& root, Config& config,
                 const std::shared_ptr<MatchBudget>& budget) {
  constexpr const char* kNumbers = "an integer, a list of integers or null";
  if (const JsonValue* value = root.find("layers_to_transform"); value && !value->is_null()) {
    if (const auto* list = value->get_if<JsonValue::Array>()) {
      for (const JsonValue& number : *list) {
        config.layers_to_transform.push_back(
            reader.integer(number, "layers_to_transform", kNumbers));
      }
    } else {
      config.layers_to_transform = {reader.integer(*value, "layers_to_transform", kNumbers)};
    }
  }
  std::vector<std::string> patterns;
  if (const JsonValue* value = root.find("layers_pattern"); value && !value->is_null()) {
    constexpr const char* kExpected = "a regular expression, a list of them or null";
    if (const auto* text = value->get_if<std::string>()) {
      if (!text->empty()) patterns = {*text};
    } else {
      patterns = read_names(reader, *value, "layers_pattern", kExpected);
    }
  }
  // PEFT: tuners_utils.py, check_target_module_exists
  constexpr std::string_view kNumber = "\\.(?P<idx>\\d+)\\.";
  for (const std::string& pattern : patterns) {
    config.layers_pattern.push_back(
        read_pattern(reader, "layers_pattern", pattern, budget, "(?:^|.*?\\.)", kNumber));
  }
  const bool by_number = !config.layers_to_transform.empty() || !config.layers_pattern.empty();
  if (config.target_pattern && by_number) {
    reader.fail("layers_to_transform", "is given beside a target_modules that is a text", "null");
  }
  if (config.layers_pattern.empty()) {  // the first number behind two other parts of a name
    config.layers_pattern.push_back(
        read_pattern(reader, "layers_pattern", ".*?\\.[^.]*", budget, "", kNumber));
  }
}

template <typename Number, typename Read>
void read_patterns(const ConfigReader& reader, const JsonValue& root, const char* key,
                   std::vector<std::pair<PythonPattern, Number>>& patterns,
                   const std::shared_ptr<MatchBudget>& budget, Read read) {
  const JsonValue* value = root.find(key);
  if (!value || value->is_null()) return;
  const auto* object = value->get_if<JsonValue::Object>();
  if (!object) reader.fail(key, value->describe(), "an object of regular expressions and numbers");
  for (const auto& [pattern, number] : *object) {
    // PEFT: get_pattern_key (utils/other.py)
    patterns.emplace_back(read_pattern(reader, key, pattern, budget, "(.*\\.)?(", ")$"),
                          read(number));
  }
}

void read_initialisation(const ConfigReader& reader, const JsonValue& root) {
  constexpr const char* kKey = "init_lora_weights";
  const JsonValue* value = root.find(kKey);
  if (!value || value->is_null() || value->get_if<bool>()) return;
  const auto* word = value->get_if<std::string>();
  if (!word) reader.fail(kKey, value->describe(), "true, false or a word");
  if (among(kInitialisations, *word)) return;
  reader.fail(
      kKey, value->describe() + " changes the base weights, or merges otherwise",
      "true, false, \"gaussian\", \"eva\" or \"orthogonal\" (PEFT's save_pretrained converts "
      "with path_initial_model_for_weight_conversion)");
}

bool is_known(const std::string& key) {
  return among(kReadByHand, key) || among(kWithoutEffect, key) || among(kNotSupported, key) ||
         std::any_of(std::begin(kFields), std::end(kFields),
                     [&](const Field& field) { return key == field.key; });
}

bool is_end_of(const std::string& name, const std::string& module) {
  return module == name || (module.size() > name.size() && module.ends_with(name) &&
                            module[module.size() - name.size() - 1] == '.');
}

// What `match` says; an expression that takes too long is the config's fault.
template <typename Match>
auto checked(const Config& config, const char* key, const Match& match) {
  try {
    return match();
  } catch (const PatternError& error) {
    throw ConfigError(config.path, key, std::string("the regular expression ") + error.what(),
                      "one that takes no more than seconds, with all others of the file");
  }
}

// The layer's number in a module's name.
std::optional<std::int64_t> layer_number(const Config& config, const std::string& module) {
  constexpr std::size_t kMaxDigits = 18;
  return checked(config, "layers_pattern", [&]() -> std::optional<std::int64_t> {
    for (const PythonPattern& pattern : config.layers_pattern) {
      if (!pattern.match(module)) continue;
      const auto digits = pattern.group_of_match(module, "idx");
      if (!digits || digits->size() > kMaxDigits) return std::nullopt;
      return std::stoll(*digits);
    }
    return std::nullopt;
  });
}

template <typename Number>
Number by_pattern(const Config& config, const char* key,
                  const std::vector<std::pair<PythonPattern, Number>>& patterns,
                  const std::string& module, Number otherwise) {
  return checked(config, key, [&] {
    for (const auto& [pattern, number] : patterns) {
      if (pattern.match(module)) return number;
    }
    return otherwise;
  });
}

}  // namespace

Config Config::from_json(std::string_view text, const std::string& path) {
  const JsonValue root = parse_config(text, path);
  const ConfigReader reader(path);
  // First: what the other keys mean depends on it.
  const JsonValue* type = root.find("peft_type");
  if (!type || type->is_null()) reader.fail("peft_type", "is missing", "LORA");
  reader.read_word(root, {"peft_type"}, kPeftTypes);
  for (const std::string_view key : kNotSupported) {
    const JsonValue* value = root.find(key);
    if (!value || says_nothing(*value)) continue;
    reader.fail(std::string(key), value->describe() + " is not supported", "plain LoRA");
  }
  for (const auto& [key, value] : *root.get_if<JsonValue::Object>()) {
    if (is_known(key) || says_nothing(value)) continue;
    reader.fail(key, value.describe() + " under a key that is not known",
                "an adapter_config.json of PEFT's LoRA");
  }
  Config config;
  config.path = path;
  const auto budget = std::make_shared<MatchBudget>();
  for (const Field& field : kFields) {
    reader.read(root, field, config);
    reader.check(field, config);
  }
  read_initialisation(reader, root);
  read_modules(reader, root, "target_modules", config.target_modules, config.target_pattern,
               budget);
  read_modules(reader, root, "exclude_modules", config.exclude_modules, config.exclude_pattern,
               budget);
  for (const std::string& name : config.modules_to_save) {
    // PEFT takes them for names in one place and for expressions in another: what is both.
    const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char c) {
      return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-';
    });
    if (!plain || name.empty()) {
      reader.fail("modules_to_save", describe(JsonScalar(std::string_view(name))),
                  "names of modules");
    }
    config.saved_patterns.push_back(
        read_pattern(reader, "modules_to_save", name, budget, "(^|.*\\.)", "($|\\..*)"));
  }
  read_layers(reader, root, config, budget);
  read_patterns(reader, root, "rank_pattern", config.rank_pattern, budget,
                [&](const JsonValue& value) {
                  const std::int64_t rank = reader.integer(value, "rank_pattern", "integers");
                  if (rank < 1 || static_cast<double>(rank) > kMaxRank) {
                    reader.fail("rank_pattern", value.describe(), range_text(1, kMaxRank));
                  }
                  return rank;
                });
  read_patterns(
      reader, root, "alpha_pattern", config.alpha_pattern, budget, [&](const JsonValue& value) {
        const auto* real = value.get_if<double>();
        const double alpha =
            real ? *real : static_cast<double>(reader.integer(value, "alpha_pattern", "numbers"));
        if (!(alpha >= -kMaxAlpha && alpha <= kMaxAlpha)) {
          reader.fail("alpha_pattern", value.describe(), range_text(-kMaxAlpha, kMaxAlpha));
        }
        return alpha;
      });
  return config;
}

Config Config::from_pretrained(const std::string& directory) {
  const std::string path = join_path(directory, "adapter_config.json");
  return from_json(read_config_text(path), path);
}

bool Config::targets(const std::string& module) const {
  const auto names = [&](const std::vector<std::string>& ends) {
    return std::any_of(ends.begin(), ends.end(),
                       [&](const std::string& end) { return is_end_of(end, module); });
  };
  const auto fits = [&](const char* key, const PythonPattern& pattern) {
    return checked(*this, key, [&] { return pattern.fullmatch(module); });
  };
  if (exclude_pattern ? fits("exclude_modules", *exclude_pattern) : names(exclude_modules)) {
    return false;
  }
  // PEFT: a module that is saved whole, and all that is in it, is never a target.
  for (const PythonPattern& saved : saved_patterns) {
    if (checked(*this, "modules_to_save", [&] { return saved.match(module); })) return false;
  }
  if (target_pattern) return fits("target_modules", *target_pattern);
  // PEFT: a whole name counts in any layer.
  if (std::find(target_modules.begin(), target_modules.end(), module) != target_modules.end()) {
    return true;
  }
  if (!names(target_modules)) return false;
  if (layers_to_transform.empty()) return true;
  const auto number = layer_number(*this, module);
  return number && std::find(layers_to_transform.begin(), layers_to_transform.end(), *number) !=
                       layers_to_transform.end();
}

bool Config::saves(const std::string& module) const {
  // PEFT: by the letters alone, so that "norm" means "final_layer_norm" too.
  return std::any_of(modules_to_save.begin(), modules_to_save.end(),
                     [&](const std::string& end) { return module.ends_with(end); });
}

std::int64_t Config::rank_of(const std::string& module) const {
  return by_pattern(*this, "rank_pattern", rank_pattern, module, r);
}

double Config::scaling_of(const std::string& module) const {
  const double alpha = by_pattern(*this, "alpha_pattern", alpha_pattern, module, lora_alpha);
  const auto rank = static_cast<double>(rank_of(module));
  return use_rslora ? alpha / std::sqrt(rank) : alpha / rank;
}

}  // namespace w2vbert
