#include "tool/parity/parity.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/utils.h>
#include <torch/version.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <unordered_map>

#include "core/dtype.h"
#include "core/text.h"
#include "tool/parity/replay.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

// Another machine, thread count, attention or device rounds otherwise; docs/parity.md has the
// measurements.
struct Worth {
  const char* dtype;
  double module;
  double chain;
};
constexpr std::array<Worth, 3> kDefaultTolerances = {
    {{"float32", 2e-5, 1e-4}, {"float16", 1e-2, 5e-2}, {"bfloat16", 8e-2, 4e-1}}};

// "2.11.0+cu130" -> "2.11.0": the arithmetic on a CPU is the same in every build of a version.
std::string release(const std::string& version) { return version.substr(0, version.find('+')); }

Settings settings_here(const Reference& reference, const FromPretrainedOptions& load,
                       const std::string& attn_implementation) {
  return {{"architecture", reference.setting("architecture")},
          {"attn_implementation", attn_implementation},
          {"cpu_capability", at::get_cpu_capability()},
          {"device", load.device.str()},
          {"dtype", dtype_name(load.dtype)},
          {"grad", reference.setting("grad")},
          {"hf_version", name_of(load.hf_version)},
          {"threads", std::to_string(at::get_num_threads())},
          {"torch", TORCH_VERSION},
          {"train", reference.setting("train")}};
}

ParityRow failed(const std::string& name, const std::exception& error) {
  const std::string text = error.what();
  return {name, {}, false, quote_bytes(text.substr(0, text.find('\n')), 400)};
}

void compare_modules(const AnyModel& model, const Reference& reference, ParityResult& result,
                     const std::function<void(std::size_t, std::size_t)>& progress) {
  std::unordered_map<std::string, std::shared_ptr<torch::nn::Module>> ours;
  for (const auto& item : model->named_modules("", /*include_self=*/false)) {
    ours.emplace(item.key(), item.value());
  }
  std::size_t done = 0;
  for (const std::string& name : reference.modules()) {
    const auto found = ours.find(name);
    if (found == ours.end()) {
      result.missing.push_back(name);
      continue;
    }
    try {
      const auto outputs = replay(*found->second, reference, name);
      if (outputs.empty()) result.not_compared.push_back(name);
      for (std::size_t i = 0; i < outputs.size(); ++i) {
        // eager attention returns its weights, sdpa does not
        if (i > 0 && !reference.has("modules/" + name + "/output/" + std::to_string(i))) continue;
        result.modules.push_back(row_of(i == 0 ? name : name + "[" + std::to_string(i) + "]",
                                        outputs[i], reference.output_of(name, i),
                                        result.tolerance.module));
      }
    } catch (const c10::Error& error) {
      result.modules.push_back(failed(name, error));
    }
    if (progress) progress(++done, reference.modules().size());
  }
}

// The whole chain, fed from the start.
ModelOutputs compare_chain(AnyModel& model, const Reference& reference, ParityResult& result) {
  ModelOutputs outputs;
  const std::string raises = reference.setting("raises");  // PyTorch's error: it is expected here
  try {
    outputs = replay(model, reference);
  } catch (const c10::Error& error) {
    result.chain.push_back(failed("the whole model", error));
    result.chain.back().within = !raises.empty();
    return outputs;
  }
  if (!raises.empty()) {
    result.chain.push_back(
        {"the whole model", {}, false, "gives outputs; PyTorch: " + quote_bytes(raises)});
    return outputs;
  }
  const bool other_attention =
      result.ours.at("attn_implementation") != reference.setting("attn_implementation");
  const auto is_left_out = [&](const std::string& name) {
    return other_attention && name.starts_with("attentions.");
  };
  std::set<std::string> given;
  for (const auto& [name, output] : outputs) {
    given.insert(name);
    if (is_left_out(name)) continue;
    result.chain.push_back(
        row_of(name, output.detach(), reference.output(name), result.tolerance.chain));
  }
  for (const std::string& name : reference.outputs()) {
    if (!given.contains(name) && !is_left_out(name)) {
      result.chain.push_back({name, {}, false, "is not among this model's outputs"});
    }
  }
  // hidden_states.0, .1, ..., then what follows from them.
  std::stable_partition(result.chain.begin(), result.chain.end(), [](const ParityRow& row) {
    return row.name.starts_with("hidden_states.");
  });
  return outputs;
}

void compare_gradients(const AnyModel& model, const Reference& reference,
                       const ModelOutputs& outputs, ParityResult& result) {
  for (const auto& [name, output] : outputs) {
    const auto sent = reference.tensor("backward/" + name);
    if (!sent.defined()) continue;
    output.backward(sent.to(output.scalar_type()));
  }
  // In the order of the backward pass: what lies last comes first.
  const auto with_gradient = reference.gradients();
  const std::set<std::string> expected(with_gradient.begin(), with_gradient.end());
  auto parameters = model->named_parameters().pairs();
  std::reverse(parameters.begin(), parameters.end());
  for (const auto& [name, parameter] : parameters) {
    const auto ours = parameter.grad();
    if (!ours.defined() && !expected.contains(name)) continue;
    result.gradients.push_back(
        row_of(name, ours.defined() ? ours : torch::zeros({0}, parameter.options()),
               reference.tensor("gradients/" + name), result.tolerance.chain));
  }
}

}  // namespace

ParityRow row_of(const std::string& name, const torch::Tensor& ours, const torch::Tensor& theirs,
                 double tolerance) {
  ParityRow row;
  row.name = name;
  row.comparison = compare(ours, theirs);
  const Comparison& found = row.comparison;
  row.within = found.same_shape &&
               (found.differing == 0 || (tolerance > 0 && found.largest_scaled <= tolerance &&
                                         std::isfinite(found.largest_scaled)));
  return row;
}

const ParityRow* ParityResult::first_outside() const {
  const ParityRow* first = nullptr;
  for_each_row([&](const ParityRow& row) {
    if (!row.within && !first) first = &row;
  });
  return first;
}

double ParityResult::tolerance_of(const ParityRow& row) const {
  const bool is_module = std::any_of(modules.begin(), modules.end(),
                                     [&](const ParityRow& module) { return &module == &row; });
  return is_module ? tolerance.module : tolerance.chain;
}

std::int64_t ParityResult::values() const {
  std::int64_t count = 0;
  for_each_row([&](const ParityRow& row) { count += row.comparison.values; });
  return count;
}

std::int64_t ParityResult::differing() const {
  std::int64_t count = 0;
  for_each_row([&](const ParityRow& row) {
    count += row.comparison.same_shape ? row.comparison.differing : row.comparison.values;
  });
  return count;
}

double ParityResult::largest() const {
  double largest = 0.0;
  for_each_row([&](const ParityRow& row) { largest = std::max(largest, row.comparison.largest); });
  return largest;
}

ParityTolerance default_tolerance(const Settings& theirs, const Settings& ours) {
  std::string differences;
  for (const char* key :
       {"torch", "cpu_capability", "threads", "device", "dtype", "attn_implementation"}) {
    std::string there = setting_of(theirs, key), here = setting_of(ours, key);
    if (std::string(key) == "torch") {
      there = release(there);
      here = release(here);
    }
    if (there == here) continue;
    differences += (differences.empty() ? "" : ", ") + std::string(key) + " " + there +
                   " there and " + here + " here";
  }
  if (differences.empty()) return {0.0, 0.0, "the same LibTorch, CPU kernels, threads and dtype"};
  const auto worth = std::find_if(kDefaultTolerances.begin(), kDefaultTolerances.end(),
                                  [&](const Worth& candidate) {
                                    return setting_of(ours, "dtype") == candidate.dtype &&
                                           setting_of(theirs, "dtype") == candidate.dtype;
                                  });
  if (worth != kDefaultTolerances.end()) return {worth->module, worth->chain, differences};
  constexpr double kAnything = std::numeric_limits<double>::infinity();
  return {kAnything, kAnything, differences};
}

ParityTolerance default_dump_tolerance(const Settings& theirs, const Settings& ours) {
  const std::string there = setting_of(theirs, "dtype"), here = setting_of(ours, "dtype");
  double tolerance = kDefaultTolerances[0].chain;
  for (const Worth& candidate : kDefaultTolerances) {
    if (there == candidate.dtype || here == candidate.dtype) {
      tolerance = std::max(tolerance, candidate.chain);
    }
  }
  const std::string dtypes = there == here ? here : there + " there and " + here + " here";
  return {tolerance, tolerance, "another engine, " + dtypes};
}

ParityResult check_parity(const std::string& model_path, Reference reference,
                          const ParityOptions& options,
                          const std::function<void(std::size_t, std::size_t)>& progress) {
  FromPretrainedOptions load = options.load;
  load.architecture = reference.setting("architecture");
  load.hf_version = options.hf_version.value_or(reference.hf_version());
  auto loaded = load_pretrained<AnyModel>(model_path, load);
  reference.compute_in(load.device, load.dtype, loaded.config.attn_implementation);
  AnyModel& model = loaded.model;

  ParityResult result;
  result.theirs = reference.settings();
  result.ours = settings_here(reference, load, loaded.config.attn_implementation);
  result.tolerance = default_tolerance(result.theirs, result.ours);
  if (options.tolerance) {
    result.tolerance = {*options.tolerance, *options.tolerance, "as asked for"};
  }
  if (options.modules) {
    const torch::AutoGradMode grad(reference.flag("grad"));
    compare_modules(model, reference, result, progress);
  }
  if (!options.chain) return result;
  const auto outputs = compare_chain(model, reference, result);
  if (reference.flag("grad")) compare_gradients(model, reference, outputs, result);
  return result;
}

}  // namespace w2vbert::tool
