#include "w2vbert/checkpoint/lora.h"

#include <ATen/ATen.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "checkpoint/state_dict.h"
#include "checkpoint/tensor_dtype.h"
#include "config/lora_config.h"
#include "core/file.h"
#include "core/text.h"
#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr const char* kLoraConfigFile = "adapter_config.json";
constexpr const char* kWeightsFile = "adapter_model.safetensors";
constexpr const char* kPickleFile = "adapter_model.bin";
constexpr std::string_view kPeftPrefix = "base_model.model.";
constexpr std::size_t kMaxUnusedListed = 5;

using Shape = std::vector<std::int64_t>;

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
  at::Tensor tensor;
  std::string with;
};

bool starts_with_module(const std::string& name, const std::string& module) {
  return name.size() > module.size() && name.starts_with(module) && name[module.size()] == '.';
}

class LoraMerger {
 public:
  LoraMerger(const torch::nn::Module& module, const std::string& directory,
             const MergeLoraOptions& options)
      : module_(module),
        options_(options),
        base_(options.base_model_prefix + "."),
        files_(find_lora(directory)),
        config_(LoraConfig::from_pretrained(directory)),
        file_(Checkpoint::open(files_.weights)) {
    for (const CheckpointTensor& tensor : file_.tensors()) {
      if (!tensor.name.starts_with(kPeftPrefix)) {
        fail(tensor.name, "is no tensor of an adapter", "a name with " + std::string(kPeftPrefix));
      }
      if (!is_weight_dtype(tensor.dtype_name)) {
        fail(tensor.name, "has dtype " + tensor.dtype_name, kWeightDtypes);
      }
      left_.insert(tensor.name);
      file_has_head_ = file_has_head_ ||
                       std::string_view(tensor.name).substr(kPeftPrefix.size()).starts_with(base_);
    }
    const auto children = module.named_children();
    module_has_head_ = children.contains(options.base_model_prefix);
    if (!module_has_head_) return;
    // An adapter may be for nothing but the head.
    for (const std::string& name : left_) {
      const std::string rest = name.substr(kPeftPrefix.size());
      file_has_head_ = file_has_head_ || children.contains(rest.substr(0, rest.find('.')));
    }
  }

  void plan() {
    std::string saved_whole;  // the module that the adapter replaces and that the walk is in
    for (const auto& item : module_.named_modules(/*name_prefix=*/"", /*include_self=*/false)) {
      const auto name = name_in_adapter(item.key());
      if (!name) continue;
      if (!saved_whole.empty() && starts_with_module(*name, saved_whole)) continue;
      if (config_.saves(*name)) {
        saved_whole = *name;
        plan_replacement(*name, *item.value());
        continue;
      }
      const at::Tensor bias = own_parameter(*item.value(), "bias");
      if (config_.targets(*name)) {
        plan_merge(*name, *item.value());
        if (config_.bias != "none" && bias.defined()) {
          replace(bias, std::string(kPeftPrefix) + *name + ".base_layer.bias");
        }
      } else if (config_.bias == "all" && bias.defined()) {
        replace(bias, std::string(kPeftPrefix) + *name + ".bias");
      }
    }
    check_left();
    if (merges_.empty() && replacements_.empty()) {
      fail("", "has nothing for this model", "an adapter of a model of its class");
    }
  }

  LoraReport apply() {
    for (const Replace& change : replacements_) {
      file_.read(change.with, change.tensor.detach());
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
      std::string list;
      for (std::size_t i = 0; i < std::min(report_.unused.size(), kMaxUnusedListed); ++i) {
        list += (i == 0 ? "" : ", ") + quote_bytes(report_.unused[i]);
      }
      if (report_.unused.size() > kMaxUnusedListed) list += ", ...";
      report_.warnings.push_back(quote_bytes(files_.weights) + ": " +
                                 std::to_string(report_.unused.size()) +
                                 " tensors are for parts that this model does not have: " + list);
    }
    return std::move(report_);
  }

 private:
  [[noreturn]] void fail(std::string_view key, std::string_view problem,
                         std::string_view expected = {}) const {
    throw CheckpointError(files_.weights, key, problem, expected);
  }

  // What the adapter calls a module of this model; nothing for a head that its model does not have.
  std::optional<std::string> name_in_adapter(const std::string& name) const {
    if (module_has_head_ == file_has_head_) return name;
    if (file_has_head_) return base_ + name;
    if (name.starts_with(base_)) return name.substr(base_.size());
    return std::nullopt;
  }

  static at::Tensor own_parameter(const torch::nn::Module& module, const std::string& name) {
    for (const auto& item : module.named_parameters(/*recurse=*/false)) {
      if (item.key() == name) return item.value();
    }
    return {};
  }

  // The tensor is there, has this shape, and is taken.
  void take(const std::string& name, const Shape& shape, const std::string& why = "") {
    const CheckpointTensor* tensor = file_.find(name);
    if (!tensor) fail(name, "is missing", "shape " + shape_text(shape) + why);
    if (tensor->shape != shape) {
      fail(name, "has shape " + shape_text(tensor->shape), shape_text(shape) + why);
    }
    left_.erase(name);
  }

  void replace(const at::Tensor& tensor, const std::string& with) {
    take(with, tensor.sizes().vec());
    replacements_.push_back({tensor, with});
  }

  // In the dtype that PEFT gives to an adapter's matrices: the weight's, and float32 for the narrow
  // ones (autocast_adapter_dtype).
  at::Tensor read(const std::string& name, const at::Tensor& weight) const {
    const bool wide = weight.scalar_type() == at::kDouble;
    return file_.read(name).to(weight.device(), wide ? at::kDouble : at::kFloat);
  }

  void plan_merge(const std::string& name, const torch::nn::Module& module) {
    const std::string prefix = std::string(kPeftPrefix) + name;
    const std::int64_t rank = config_.rank_of(name);
    const std::string why = " (rank " + std::to_string(rank) + " of " + kLoraConfigFile + ")";
    const double scaling = config_.scaling_of(name);
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

  void plan_replacement(const std::string& name, const torch::nn::Module& module) {
    const std::string prefix = std::string(kPeftPrefix) + name + ".";
    for (const auto& [tensor_name, tensor] : state_dict_of(module)) {
      replace(tensor, prefix + tensor_name);
      if (config_.bias != "all") continue;
      // With bias "all" PEFT saves a module's biases three times over: those of the module that it
      // replaces, which it drops, and the trained ones under two names.
      const std::string original = prefix + "original_module." + tensor_name;
      if (file_.find(original)) take(original, tensor.sizes().vec());
      const std::string again = prefix + "modules_to_save.";
      for (const std::string& copy : std::set<std::string>(left_)) {
        // In a module with children the adapter's own name, such as "default", stands between.
        const bool is_copy = copy == again + tensor_name ||
                             (copy.starts_with(again) && is_named_copy(copy, again, tensor_name));
        if (!is_copy) continue;
        take(copy, tensor.sizes().vec());
        if (!at::equal(file_.read(copy), file_.read(prefix + tensor_name))) {
          fail(copy, "has other values than " + quote_bytes(prefix + tensor_name), "the same");
        }
      }
    }
  }
  static bool is_named_copy(const std::string& copy, const std::string& again,
                            const std::string& tensor_name) {
    const std::string rest = copy.substr(again.size());
    const auto dot = rest.find('.');
    return dot != std::string::npos && rest.substr(dot + 1) == tensor_name;
  }

  // The adapter's number of the layer that the name leads into.
  std::optional<std::int64_t> layer_of(std::string_view name) const {
    constexpr std::string_view kLayers = "encoder.layers.";
    if (name.starts_with(base_)) name.remove_prefix(base_.size());
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
    for (const std::string& key : left_) {
      const std::string name = key.substr(kPeftPrefix.size());
      const bool of_head = file_has_head_ && !module_has_head_ && !name.starts_with(base_);
      const auto layer = layer_of(name);
      if (of_head || (options_.fewer_layers && layer && *layer >= layers)) {
        report_.unused.push_back(key);
        continue;
      }
      // Say what is wrong with it.
      const auto lora = name.find(".lora_");
      const std::string module = name.substr(0, lora == std::string::npos ? name.rfind('.') : lora);
      if (lora != std::string::npos && !modules.contains(module)) {
        fail(key, "belongs to no module of the model", "one of the model's names");
      }
      if (lora != std::string::npos && !config_.targets(module)) {
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
  const Checkpoint file_;
  bool file_has_head_ = false;
  bool module_has_head_ = false;
  std::set<std::string> left_;  // tensors of the file that have no place yet
  std::vector<Merge> merges_;
  std::vector<AddBias> biases_;
  std::vector<Replace> replacements_;
  LoraReport report_;
};

}  // namespace

LoraFiles find_lora(const std::string& directory) {
  if (!is_directory<CheckpointError>(directory)) {
    throw CheckpointError(
        directory, "", exists<CheckpointError>(directory) ? "is no directory" : "does not exist",
        "a directory with " + std::string(kLoraConfigFile) + " and " + kWeightsFile);
  }
  LoraFiles files{join_path(directory, kLoraConfigFile), join_path(directory, kWeightsFile)};
  if (!exists<CheckpointError>(files.config)) {
    throw CheckpointError(directory, "", std::string("has no ") + kLoraConfigFile,
                          "the directory of a PEFT adapter");
  }
  if (!exists<CheckpointError>(files.weights)) {
    const std::string pickle = join_path(directory, kPickleFile);
    if (exists<CheckpointError>(pickle)) {
      throw CheckpointError(pickle, "", "is a pickle, which is never read",
                            std::string(kWeightsFile) + ", as PEFT's save_pretrained writes it");
    }
    throw CheckpointError(directory, "", std::string("has no ") + kWeightsFile,
                          "the directory of a PEFT adapter");
  }
  return files;
}

LoraReport merge_lora(torch::nn::Module& module, const std::string& directory,
                      const MergeLoraOptions& options) {
  const at::NoGradGuard no_grad;
  LoraMerger merger(module, directory, options);
  merger.plan();
  return merger.apply();
}

}  // namespace w2vbert
