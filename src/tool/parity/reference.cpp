#include "tool/parity/reference.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "checkpoint/safetensors_header.h"
#include "core/dtype.h"
#include "core/file.h"
#include "core/padding_mask.h"
#include "core/parse_number.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::int64_t kAlignment = 64;  // of LibTorch's allocations, bytes
constexpr const char* kExpected = "a file of scripts/export_parity_fixtures.py";

// None in an empty list.
std::vector<std::string> words_of(const std::string& list) {
  if (list.empty()) return {};
  return split(list, ',');
}

template <typename Number>
Number number(const Reference& reference, const std::string& key, Number least) {
  const std::string text = reference.setting(key);
  const auto value = parse_number<Number>(text);
  if (!value || *value < least) {
    throw CheckpointError(reference.path(), key, "is " + in_quotes(text) + " in the metadata",
                          "a number from " + std::to_string(least));
  }
  return *value;
}

// "4.57.6" before 5.17; false also for another word.
bool is_before_oldest(const std::string& release) {
  constexpr int kMajor = 5;
  const auto numbers = split(release, '.');
  if (numbers.size() < 2) return false;
  const auto major = parse_number<int>(numbers[0]), minor = parse_number<int>(numbers[1]);
  if (!major || !minor) return false;
  return *major < kMajor || (*major == kMajor && *minor < static_cast<int>(kOldestHfVersion));
}

}  // namespace

Reference::Reference(Checkpoint tensors)
    : tensors_(std::make_shared<const Checkpoint>(std::move(tensors))) {
  const auto file = InputFile::open<CheckpointError>(path());
  const auto header = parse_safetensors_header(read_safetensors_head(file), file.size(), path());
  settings_.insert(header.metadata.begin(), header.metadata.end());
  modules_ = words_of(setting("order"));
  transposed_ = words_of(setting("transposed"));
  std::sort(transposed_.begin(), transposed_.end());
  for (const std::string& word : words_of(setting("misaligned"))) {
    const std::size_t equals = std::min(word.find('='), word.size() - 1);
    const auto bytes = parse_number<std::int64_t>(std::string_view(word).substr(equals + 1));
    if (!bytes || *bytes < 0 || *bytes >= kAlignment) {
      throw CheckpointError(path(), "misaligned", "holds " + quote_bytes(word), kExpected);
    }
    misaligned_[word.substr(0, equals)] = *bytes;
  }
  attn_implementation_ = setting("attn_implementation");
}

ReferencePaths reference_paths(const std::string& path) {
  if (!is_directory<CheckpointError>(path)) return {path, ""};
  const std::string model = join_path(path, "model");
  const bool has_model = exists<CheckpointError>(join_path(model, "config.json"));
  return {join_path(path, "reference.safetensors"), has_model ? model : ""};
}

Reference Reference::open(const std::string& path_or_pack) {
  const std::string path = reference_paths(path_or_pack).file;
  Reference reference(Checkpoint::open(path));
  for (const char* key : {"architecture", "dtype", "attn_implementation", "threads", "seed"}) {
    if (reference.setting(key).empty()) {
      throw CheckpointError(path, key, "is not in the metadata", kExpected);
    }
  }
  if (!reference.has("inputs/input_features")) {
    throw CheckpointError(path, "inputs/input_features", "is missing", kExpected);
  }
  reference.compute_dtype_ = reference.dtype();
  reference.threads();
  reference.seed();
  return reference;
}

void Reference::compute_in(torch::Device device, torch::ScalarType dtype,
                           const std::string& attn_implementation) {
  device_ = device;
  compute_dtype_ = dtype;
  attn_implementation_ = attn_implementation;
}

std::string setting_of(const Settings& settings, const std::string& key) {
  const auto found = settings.find(key);
  return found == settings.end() ? "" : found->second;
}

torch::ScalarType Reference::dtype() const {
  if (const auto dtype = dtype_of(setting("dtype"))) return *dtype;
  throw CheckpointError(path(), "dtype", "is " + in_quotes(setting("dtype")) + " in the metadata",
                        "float32, bfloat16, float16 or float64");
}

int Reference::threads() const { return number<int>(*this, "threads", 1); }
HfVersion Reference::hf_version() const {
  const std::string release = setting("transformers");
  return hf_version_of(release).value_or(is_before_oldest(release) ? kOldestHfVersion
                                                                   : kNewestHfVersion);
}
std::uint64_t Reference::seed() const { return number<std::uint64_t>(*this, "seed", 0); }

torch::Tensor Reference::tensor(const std::string& name) const {
  if (!has(name)) return {};
  auto value = tensors_->read(name).to(device_);
  const bool is_transposed =
      value.dim() == 3 && std::binary_search(transposed_.begin(), transposed_.end(), name);
  const auto found = misaligned_.find(name);
  if (!is_transposed && found == misaligned_.end()) return value;
  const auto laid_out = is_transposed ? value.transpose(1, 2) : value;
  const auto before = found == misaligned_.end()
                          ? 0
                          : found->second / static_cast<std::int64_t>(value.element_size());
  const auto memory = torch::empty({before + value.numel()}, value.options());
  const auto copy = memory.slice(0, before).view(laid_out.sizes()).copy_(laid_out);
  return is_transposed ? copy.transpose(1, 2) : copy;
}

torch::Tensor Reference::input(const std::string& name) const {
  auto value = tensor(name);
  if (value.defined() && value.dim() == 4 && name.ends_with("/attention_mask")) {
    auto allowed = value.scalar_type() == torch::kBool ? value : value == 0;
    if (attn_implementation_ == "sdpa") return allowed;
    const auto zero = torch::zeros({}, value.options().dtype(compute_dtype_));
    return torch::where(allowed, zero, lowest_finite(compute_dtype_));
  }
  if (!value.defined() || !value.is_floating_point()) return value;
  return value.to(compute_dtype_);
}

torch::Tensor Reference::input_of(const std::string& module, const std::string& argument) const {
  return input("modules/" + module + "/input/" + argument);
}

torch::Tensor Reference::output_of(const std::string& module, std::size_t index) const {
  return tensor("modules/" + module + "/output/" + std::to_string(index));
}

ModelInputs Reference::inputs() const {
  return {input("inputs/input_features"), input("inputs/attention_mask"),
          input("inputs/mask_time_indices"), input("inputs/labels")};
}

torch::Tensor Reference::output(const std::string& name) const { return tensor("outputs/" + name); }

std::vector<std::string> Reference::names_after(const std::string& prefix) const {
  std::vector<std::string> names;
  for (const auto& tensor : tensors_->tensors()) {
    if (tensor.name.starts_with(prefix)) names.push_back(tensor.name.substr(prefix.size()));
  }
  return names;
}

std::vector<std::string> Reference::outputs() const { return names_after("outputs/"); }
std::vector<std::string> Reference::gradients() const { return names_after("gradients/"); }

}  // namespace w2vbert::tool
