// Under which names another engine has what HF's modules give.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace w2vbert::tool {

class NameMapping {
 public:
  // HF's own names: "encoder.layers.0.ffn1", also as "encoder.layers.0.ffn1.output",
  // "encoder.layers.0.ffn1/output" and as in a file of scripts/export_parity_fixtures.py.
  NameMapping() = default;

  // "ctranslate2", "fairseq2", "mlx", or a JSON file: an object with HF's names as keys, and as
  // values the engine's name or a list of names that it may have. {i} stands for a whole number,
  // {name} for anything, in the key and in the values. Throws UsageError and ConfigError.
  static NameMapping open(const std::string& name_or_path);
  // The names of the mappings that the program brings along.
  static std::vector<std::string> ready();

  // What `name` may be called, the mapping's names first. Includes HF's own. A head's names of its
  // base model are mapped without "wav2vec2_bert.", too.
  std::vector<std::string> candidates(const std::string& name) const;

 private:
  static NameMapping parse(const std::string& text, const std::string& path);
  std::vector<std::pair<std::string, std::vector<std::string>>> rules_;
};

}  // namespace w2vbert::tool
