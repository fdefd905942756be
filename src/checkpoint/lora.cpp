#include "w2vbert/checkpoint/lora.h"

#include <ATen/ATen.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "checkpoint/lora_tensors.h"
#include "checkpoint/missing_weights.h"
#include "checkpoint/state_dict.h"
#include "checkpoint/wrapped_names.h"
#include "config/lora_config.h"
#include "core/file.h"
#include "core/text.h"
#include "w2vbert/checkpoint/model_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr std::size_t kMaxUnusedListed = 5;

using Shape = std::vector<std::int64_t>;
using Names = std::set<std::string, std::less<>>;

// One change of the module, with the adapter's tensors by their names in the file.
struct Merge {
  enum class Kind { kLinear, kConv1d, kEmbedding };
  Kind kind;
  at::Tensor weight;
  std::string a;
  std::string b;
  double scaling;
};
struct AddBias {
  at::Tensor bias;
  std::string b;
  double scaling;
};
struct Replace {
  std::string name;  // the module's
  at::Tensor tensor;
  std::string with;
};

bool starts_with_module(const std::string& name, const std::string& module) {
  return name.size() > module.size() && name.starts_with(module) && name[module.size()] == '.';
}

// "base_model.model.a.b.lora_A.weight" -> "a.b".
std::string module_of(std::string_view key) {
  key.remove_prefix(kPeftPrefix.size());
  std::size_t end = key.rfind('.');
  for (const std::string_view mark : {".lora_", ".base_layer."}) {
    end = std::min(end, key.find(mark));
  }
  return std::string(key.substr(0, end));
}

// What stands before the longest end of `name` that is one of `names`; nothing where none is.
std::optional<std::string> place_of(std::string_view name, const Names& names) {
  for (std::size_t at = 0; at < name.size();) {
    if (names.contains(name.substr(at))) return std::string(name.substr(0, at));
    const std::size_t dot = name.find('.', at);
    if (dot == std::string_view::npos) break;
    at = dot + 1;
  }
  return std::nullopt;
}

class LoraMerger {
 public:
  LoraMerger(const torch::nn::Module& module, const std::string& path_or_id,
             const MergeLoraOptions& options)
      : module_(module),
        options_(options),
        base_(options.base_model_prefix + "."),
        files_(find_lora(path_or_id)),
        config_(LoraConfig::from_pretrained(parent_path(files_.config))),
        tensors_(files_.weights) {
    for (const auto& [name, key] : tensors_.keys()) left_.insert(name);
    module_has_head_ = module.named_children().contains(options.base_model_prefix);
    find_model();
    if (!files_.folder.empty()) {
      report_.warnings.push_back(quote_bytes(path_or_id) + ": the adapter in its folder " +
                                 quote_bytes(files_.folder) + " is taken");
    }
  }

  void plan() {
    std::string saved_whole;  // the module that the adapter replaces and that the walk is in
    for (const auto& item : module_.named_modules(/*name_prefix=*/"", /*include_self=*/false)) {
      const auto name = name_in_adapter(item.key());
      if (!name) continue;
      if (!saved_whole.empty() && starts_with_module(*name, saved_whole)) continue;
      const std::string& trained = tensors_.trained_name(*name);
      if (config_.saves(trained) || is_resized_head(item.key(), *name)) {
        saved_whole = *name;
        plan_replacement(item.key(), *name, *item.value());
        continue;
      }
      const at::Tensor bias = own_parameter(*item.value(), "bias");
      const std::string key = std::string(kPeftPrefix) + *name;
      if (config_.targets(trained)) {
        plan_merge(*name, *item.value());
        // save_embedding_layers: the layer below the matrices, whole.
        const bool with_layer = tensors_.find(key + ".base_layer.weight") != nullptr;
        if (with_layer) {
          replace(item.key() + ".weight", own_parameter(*item.value(), "weight"),
                  key + ".base_layer.weight");
        }
        const bool with_bias = config_.bias != "none" ||
                               (with_layer && tensors_.find(key + ".base_layer.bias") != nullptr);
        if (with_bias && bias.defined()) {
          replace(item.key() + ".bias", bias, key + ".base_layer.bias");
        }
      } else if (config_.bias == "all" && bias.defined()) {
        replace(item.key() + ".bias", bias, key + ".bias");
      }
    }
    check_left();
    if (merges_.empty() && replacements_.empty()) {
      fail("", "has nothing for this model", "an adapter of a model of its class");
    }
  }

  // The module's names of what apply() replaces.
  std::vector<std::string> replaced() const {
    std::vector<std::string> names;
    names.reserve(replacements_.size());
    for (const Replace& change : replacements_) names.push_back(change.name);
    return names;
  }

  LoraReport apply() {
    for (const Replace& change : replacements_) {
      tensors_.read(change.with, change.tensor.detach());
    }
    for (const Merge& change : merges_) {
      const at::Tensor weight = change.weight.detach();
      weight.add_(delta(change));
    }
    for (const AddBias& change : biases_) {
      const at::Tensor bias = change.bias.detach();
      bias.add_(at::mul(read(change.b, bias), change.scaling));
    }
    report_.merged = static_cast<std::int64_t>(merges_.size());
    report_.replaced = static_cast<std::int64_t>(replacements_.size());
    if (config_.fan_in_fan_out) {
      report_.warnings.push_back(quote_bytes(files_.config) +
                                 ": fan_in_fan_out: true is taken as false, as PEFT does");
    }
    if (!report_.unused.empty()) {
      const std::size_t count = report_.unused.size();
      std::vector<std::string> first(
          report_.unused.begin(),
          report_.unused.begin() + static_cast<std::ptrdiff_t>(std::min(count, kMaxUnusedListed)));
      for (std::string& name : first) name = quote_bytes(name);
      const std::string list = comma_list(first) + (count > kMaxUnusedListed ? ", ..." : "");
      report_.warnings.push_back(quote_bytes(files_.weights) + ": " + std::to_string(count) +
                                 " tensors are for parts that this model does not have: " + list);
    }
    return std::move(report_);
  }

 private:
  [[noreturn]] void fail(std::string_view key, std::string_view problem,
                         std::string_view expected = {}) const {
    throw CheckpointError(files_.weights, key, problem, expected);
  }

  // Finds what stands before the names of the base model and of a head in the adapter, which may
  // have been trained inside of other modules.
  void find_model() {
    Names base_modules, head_modules;
    for (const auto& item : module_.named_modules(/*name_prefix=*/"", /*include_self=*/false)) {
      if (const auto name = name_in_base(item.key())) {
        // One part alone, such as "adapter", says little.
        if (name->find('.') != std::string::npos) base_modules.insert(*name);
      } else if (item.key() != options_.base_model_prefix) {
        head_modules.insert(item.key());
      }
    }
    std::set<std::string> places, head_places;
    const std::string given = with_dot(options_.prefix);
    for (const std::string& key : left_) {
      if (!std::string_view(key).substr(kPeftPrefix.size()).starts_with(given)) continue;
      const std::string name = module_of(key);
      if (const auto place = place_of(name, base_modules)) {
        places.insert(*place);
      } else if (const auto head_place = place_of(name, head_modules)) {
        head_places.insert(*head_place);
      }
    }
    if (places.size() == 1) {
      base_at_ = *places.begin();
    } else if (places.empty()) {
      const bool has_base_prefix = std::any_of(left_.begin(), left_.end(), [&](const auto& key) {
        return std::string_view(key).substr(kPeftPrefix.size()).starts_with(given + base_);
      });
      const bool one_head = head_places.size() == 1;
      base_at_ = one_head ? *head_places.begin() + base_ : has_base_prefix ? given + base_ : given;
    } else if (places.contains(base_) || places.contains("")) {
      base_at_ = places.contains(base_) ? base_ : "";
    } else {
      const std::vector<std::string> all(places.begin(), places.end());
      throw CheckpointError(files_.weights, "",
                            "has the names of this model in several places, behind " +
                                quote_bytes(comma_list(all), 400),
                            "one of them to be chosen", "lora_prefix");
    }
    if (!module_has_head_) return;
    if (const auto at = find_base(base_at_, base_); at != std::string::npos) {
      head_at_ = base_at_.substr(0, at);
    } else if (head_places.size() == 1) {
      head_at_ = *head_places.begin();
    }
  }

  // The name that a module of this model has in the base model; nothing for the base model itself
  // and for a head.
  std::optional<std::string> name_in_base(const std::string& name) const {
    if (!module_has_head_) return name;
    if (name.starts_with(base_)) return name.substr(base_.size());
    return std::nullopt;
  }

  // What the adapter calls a module of this model; nothing for a head that its model does not have.
  std::optional<std::string> name_in_adapter(const std::string& name) const {
    if (const auto in_base = name_in_base(name)) return base_at_ + *in_base;
    if (name == options_.base_model_prefix) {
      if (base_at_.empty()) return std::nullopt;
      std::string itself = base_at_;
      itself.pop_back();  // the dot
      return itself;
    }
    if (!head_at_) return std::nullopt;
    return *head_at_ + name;
  }

  // Whether a name of the adapter is in the part of it that is this model.
  bool is_of_model(const std::string& name) const {
    return name.starts_with(base_at_) || (head_at_ && name.starts_with(*head_at_));
  }

  // A head that is in the file though the config speaks of no such module: PEFT saves the output
  // layer, and loads it, where the vocabulary has been given another size.
  bool is_resized_head(const std::string& own_name, const std::string& name) const {
    return module_has_head_ && !name_in_base(own_name) &&
           tensors_.find(std::string(kPeftPrefix) + name + ".weight") != nullptr;
  }

  static at::Tensor own_parameter(const torch::nn::Module& module, const std::string& name) {
    for (const auto& item : module.named_parameters(/*recurse=*/false)) {
      if (item.key() == name) return item.value();
    }
    return {};
  }

  // The tensor is there, has this shape, and is taken.
  void take(const std::string& name, const Shape& shape, const std::string& why = "") {
    const CheckpointTensor* tensor = tensors_.find(name);
    if (!tensor) fail(name, "is missing", "shape " + shape_text(shape) + why);
    if (tensor->shape != shape) {
      fail(tensor->name, "has shape " + shape_text(tensor->shape), shape_text(shape) + why);
    }
    left_.erase(name);
  }

  void replace(const std::string& name, const at::Tensor& tensor, const std::string& with) {
    take(with, tensor.sizes().vec());
    replacements_.push_back({name, tensor, with});
  }

  // In the dtype that PEFT gives to an adapter's matrices: the weight's, and float32 for the narrow
  // ones (autocast_adapter_dtype).
  at::Tensor read(const std::string& name, const at::Tensor& weight) const {
    const bool wide = weight.scalar_type() == at::kDouble;
    return tensors_.read(name).to(weight.device(), wide ? at::kDouble : at::kFloat);
  }

  void plan_merge(const std::string& name, const torch::nn::Module& module) {
    const std::string prefix = std::string(kPeftPrefix) + name;
    const std::string& trained = tensors_.trained_name(name);
    const std::int64_t rank = config_.rank_of(trained);
    const std::string why = " (rank " + std::to_string(rank) + " of " + kLoraConfigFile + ")";
    const double scaling = config_.scaling_of(trained);
    const auto unsupported = [&](const std::string& what) {
      throw ConfigError(files_.config, "target_modules", "names " + quote_bytes(name) + ", " + what,
                        "Linear, Embedding and Conv1d without groups");
    };
    Merge merge{Merge::Kind::kLinear, own_parameter(module, "weight"), prefix + ".lora_A.weight",
                prefix + ".lora_B.weight", scaling};
    if (const auto* linear = dynamic_cast<const torch::nn::LinearImpl*>(&module)) {
      take(merge.a, {rank, linear->options.in_features()}, why);
      take(merge.b, {linear->options.out_features(), rank}, why);
    } else if (const auto* conv = dynamic_cast<const torch::nn::Conv1dImpl*>(&module)) {
      if (conv->options.groups() != 1) {
        unsupported("a Conv1d with " + std::to_string(conv->options.groups()) +
                    " groups, which PEFT cannot merge");
      }
      merge.kind = Merge::Kind::kConv1d;
      take(merge.a, {rank, conv->options.in_channels(), merge.weight.size(2)}, why);
      take(merge.b, {conv->options.out_channels(), rank, 1}, why);
    } else if (const auto* table = dynamic_cast<const torch::nn::EmbeddingImpl*>(&module)) {
      merge.kind = Merge::Kind::kEmbedding;
      merge.a = prefix + ".lora_embedding_A";
      merge.b = prefix + ".lora_embedding_B";
      take(merge.a, {rank, table->options.num_embeddings()}, why);
      take(merge.b, {table->options.embedding_dim(), rank}, why);
    } else {
      unsupported("a module of another kind");
    }
    merges_.push_back(merge);
    if (!config_.lora_bias) return;
    const at::Tensor bias = own_parameter(module, "bias");
    if (!bias.defined()) {
      throw ConfigError(files_.config, "lora_bias",
                        "true, but " + quote_bytes(name) + " has no bias to merge it into",
                        "false, or layers with a bias");
    }
    biases_.push_back({bias, prefix + ".lora_B.bias", scaling});
    take(biases_.back().b, bias.sizes().vec());
  }

  void plan_replacement(const std::string& own_name, const std::string& name,
                        const torch::nn::Module& module) {
    const std::string prefix = std::string(kPeftPrefix) + name + ".";
    for (const auto& [tensor_name, tensor] : state_dict_of(module)) {
      replace(own_name + "." + tensor_name, tensor, prefix + tensor_name);
    }
  }

  // The adapter's number of the layer that the name leads into.
  std::optional<std::int64_t> layer_of(std::string_view name) const {
    constexpr std::string_view kLayers = "encoder.layers.";
    if (!name.starts_with(base_at_)) return std::nullopt;
    name.remove_prefix(base_at_.size());
    if (!name.starts_with(kLayers)) return std::nullopt;
    name.remove_prefix(kLayers.size());
    std::int64_t number = 0;
    std::size_t digits = 0;
    for (; digits < name.size() && name[digits] >= '0' && name[digits] <= '9' && digits < 9;
         ++digits) {
      number = 10 * number + (name[digits] - '0');
    }
    if (digits == 0 || digits == name.size() || name[digits] != '.') return std::nullopt;
    return number;
  }

  void check_left() {
    std::set<std::string> modules;
    std::int64_t layers = 0;
    for (const auto& item : module_.named_modules(/*name_prefix=*/"", /*include_self=*/false)) {
      if (const auto name = name_in_adapter(item.key())) {
        modules.insert(*name);
        if (const auto layer = layer_of(*name + ".")) layers = std::max(layers, *layer + 1);
      }
    }
    for (const std::string& left : left_) {
      const std::string name = left.substr(kPeftPrefix.size());
      const std::string& key = tensors_.key_of(left);
      const auto layer = layer_of(name);
      if (!is_of_model(name) || (options_.fewer_layers && layer && *layer >= layers)) {
        report_.unused.push_back(key);
        continue;
      }
      // Say what is wrong with it.
      const auto lora = name.find(".lora_");
      const std::string module = name.substr(0, lora == std::string::npos ? name.rfind('.') : lora);
      if (lora != std::string::npos && !modules.contains(module)) {
        fail(key, "belongs to no module of the model", "one of the model's names");
      }
      if (lora != std::string::npos && !config_.targets(tensors_.trained_name(module))) {
        fail(key,
             "is there, but target_modules of " + std::string(kLoraConfigFile) + " does not name " +
                 quote_bytes(module),
             "LoRA matrices of target_modules only");
      }
      if (name.ends_with(".bias")) {
        fail(key, "is there, with bias \"" + config_.bias + "\" in " + kLoraConfigFile,
             "the biases that it says");
      }
      fail(key, "has no place in the model",
           "lora_A, lora_B, biases, or a module of modules_to_save");
    }
  }

  at::Tensor delta(const Merge& change) const {
    const at::Tensor a = read(change.a, change.weight), b = read(change.b, change.weight);
    switch (change.kind) {
      case Merge::Kind::kConv1d:
        return at::conv1d(a.transpose(0, 1), b).transpose(0, 1).mul(change.scaling);
      case Merge::Kind::kEmbedding:
        // PEFT rounds it before it is added, which it does not do for the others.
        return at::matmul(b, a).t().mul(change.scaling).to(change.weight.scalar_type());
      case Merge::Kind::kLinear:
        break;
    }
    return at::matmul(b, a).mul(change.scaling);
  }

  const torch::nn::Module& module_;
  const MergeLoraOptions& options_;
  const std::string base_;
  const LoraFiles files_;
  const LoraConfig config_;
  const LoraTensors tensors_;
  bool module_has_head_ = false;
  std::string base_at_;                 // what stands before the base model's names in the adapter
  std::optional<std::string> head_at_;  // and before a head's, where it has one
  std::set<std::string> left_;          // tensors of the file that have no place yet
  std::vector<Merge> merges_;
  std::vector<AddBias> biases_;
  std::vector<Replace> replacements_;
  LoraReport report_;
};

}  // namespace

LoraFiles find_lora(const std::string& path_or_id) {
  const AdapterDirectory directory = resolve_adapter(path_or_id);
  check_adapter_weights(directory.path);
  return {join_path(directory.path, kLoraConfigFile), join_path(directory.path, kLoraWeightsFile),
          directory.folder};
}

LoraReport merge_lora(torch::nn::Module& module, const std::string& path_or_id,
                      const MergeLoraOptions& options) {
  const at::NoGradGuard no_grad;
  LoraMerger merger(module, path_or_id, options);
  merger.plan();
  return merger.apply();
}

std::vector<std::string> replaced_by_lora(const torch::nn::Module& module,
                                          const std::string& path_or_id,
                                          const MergeLoraOptions& options) {
  LoraMerger merger(module, path_or_id, options);
  merger.plan();
  return merger.replaced();
}

void take_sizes_of_lora(Wav2Vec2BertConfig& config, const std::string& path_or_id) {
  const LoraTensors tensors(find_lora(path_or_id).weights);
  const auto rows_of = [&](std::string_view layer) -> std::optional<std::int64_t> {
    for (const auto& [name, key] : tensors.keys()) {
      const bool is_layer = place_of(module_of(name), {std::string(layer)}).has_value();
      const bool is_weight = name.ends_with(".weight") && name.find(".lora_") == std::string::npos;
      const Shape& shape = tensors.find(name)->shape;
      if (is_layer && is_weight && shape.size() == 2 && shape[0] > 0) return shape[0];
    }
    return std::nullopt;
  };
  if (const auto outputs = rows_of("lm_head")) config.vocab_size = outputs;
  // An x-vector model's classifier is as wide as its embeddings.
  if (rows_of("feature_extractor") || rows_of("objective")) return;
  if (const auto width = rows_of("projector")) config.classifier_proj_size = *width;
  if (const auto labels = rows_of("classifier"); labels && *labels != config.num_labels) {
    config.num_labels = *labels;
    config.id2label.clear();
    config.label2id.reset();
  }
}

}  // namespace w2vbert
