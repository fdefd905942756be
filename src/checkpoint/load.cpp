#include "w2vbert/checkpoint/load.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>

#include "checkpoint/state_dict.h"
#include "checkpoint/tensor_dtype.h"
#include "checkpoint/wrapped_names.h"
#include "core/file.h"
#include "core/text.h"
#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr std::size_t kMaxListed = 20;
// Error keeps 1,200 bytes of a problem; the count at the end must be among them.
constexpr std::size_t kMaxListBytes = 900;
constexpr std::string_view kWarningMark = "[Wav2Vec-BERT] ";

// HF's parameter that SpecAugment puts in the place of frames.
constexpr std::string_view kTrainingParameter = "masked_spec_embed";

bool is_of_training(std::string_view name) {
  return name == kTrainingParameter || name.ends_with("." + std::string(kTrainingParameter));
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// As a model of PEFT's is saved without merge_and_unload().
bool is_of_unmerged_adapter(std::string_view name) {
  return name.find(".base_layer.") != std::string_view::npos ||
         name.find(".lora_") != std::string_view::npos;
}

// The dtypes that the target can be loaded from, where `dtype_name` is not among them; else "".
std::string_view expected_dtypes(const at::Tensor& target, std::string_view dtype_name) {
  if (target.is_floating_point()) return is_weight_dtype(dtype_name) ? "" : kWeightDtypes;
  // A copy would cut the fraction off.
  if (!target.is_complex()) return is_integer_dtype(dtype_name) ? "" : kIntegerDtypes;
  return "";
}

// " in <file>" for a tensor of one of several files; report.path says which directory.
std::string in_shard(const WeightSource& source, const std::string& name) {
  const auto* checkpoint = dynamic_cast<const Checkpoint*>(&source);
  if (checkpoint == nullptr || checkpoint->files().size() == 1) return "";
  return " in " + quote_bytes(file_name(checkpoint->find(name)->file));
}

struct Match {
  std::string name;    // the module's
  std::string source;  // the source's
};

struct Plan {
  LoadReport report;
  std::vector<Match> matches;  // in the source's order
};

// The prefix that stands before most of the missing names in the file, or "".
std::string find_prefix(const LoadReport& report, const std::string& base) {
  // By the last part of the name first: a comparison of every pair would take a minute on a file
  // with many thousand foreign tensors.
  const auto last_part = [](std::string_view name) { return name.substr(name.rfind('.') + 1); };
  constexpr std::size_t kEnoughNames = 64;
  std::unordered_map<std::string_view, std::vector<std::string_view>> wanted;
  for (std::size_t i = 0; i < std::min(report.missing.size(), kEnoughNames); ++i) {
    const std::string& name = report.missing[i];
    wanted[last_part(name)].push_back(name);
    // The base's name without its prefix is the same tensor.
    if (name.starts_with(base)) {
      wanted[last_part(name)].push_back(std::string_view(name).substr(base.size()));
    }
  }
  std::map<std::string, std::size_t> counts;
  for (const std::string& key : report.unexpected) {
    const auto names = wanted.find(last_part(key));
    if (names == wanted.end()) continue;
    for (const std::string_view name : names->second) {
      if (key.size() <= name.size() || !key.ends_with(name)) continue;
      const std::string prefix = key.substr(0, key.size() - name.size());
      if (prefix.ends_with('.')) ++counts[prefix];
    }
  }
  std::string best;
  std::size_t most = 0;
  for (const auto& [prefix, count] : counts) {
    // The shortest of equals, which the map gives first: "a.", not "a.wav2vec2_bert.", for the
    // base's own prefix is seen to anyway.
    if (count > most) {
      best = prefix;
      most = count;
    }
  }
  const std::size_t looked_for = std::min(report.missing.size(), kEnoughNames);
  return 2 * most >= looked_for ? best : "";
}

Plan make_plan(const torch::nn::Module& module, const WeightSource& source,
               const LoadOptions& options) {
  Plan plan;
  LoadReport& report = plan.report;
  report.path = source.path();
  report.warnings = source.warnings();

  constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  struct Wanted {
    at::Tensor target;
    std::size_t source = kNone;  // among the source's names
    bool in_doubt = false;
  };
  const NamedTensors own = state_dict_of(module);
  std::unordered_map<std::string, Wanted> wanted;
  bool has_wrappers = false;  // in the module's own names, which then say what is meant
  for (const auto& [name, tensor] : own) {
    wanted[name].target = tensor;
    has_wrappers = has_wrappers || without_wrappers(name) != name;
    if (contains(options.replaced, name)) report.replaced.push_back(name);
  }
  const auto unwrapped = [&](const std::string& name) {
    return has_wrappers ? name : without_wrappers(name);
  };

  const std::string prefix = unwrapped(with_dot(options.prefix));
  const std::string base = with_dot(options.base_model_prefix);
  // A prefix that ends inside of the base model does not stand before a head.
  const std::size_t base_at = find_base(prefix, base);
  const bool is_in_base = base_at != std::string::npos;
  const std::string head_prefix = is_in_base ? prefix.substr(0, base_at) : "";
  const std::vector<std::string> names = source.names();
  std::vector<const std::string*> module_names(names.size());  // of what fits
  for (std::size_t i = 0; i < names.size(); ++i) {
    report.has_unmerged_adapter = report.has_unmerged_adapter || is_of_unmerged_adapter(names[i]);
    std::string name = unwrapped(names[i]);
    const bool is_of_head =
        is_in_base && name.starts_with(head_prefix) && !name.starts_with(head_prefix + base);
    if (!name.starts_with(prefix) && !is_of_head) {
      report.unexpected.push_back(names[i]);
      continue;
    }
    name.erase(0, is_of_head ? head_prefix.size() : prefix.size());
    if (!base.empty() && name.starts_with(base) && wanted.contains(name.substr(base.size()))) {
      name.erase(0, base.size());
    } else if (!base.empty() && wanted.contains(base + name)) {
      name.insert(0, base);
    }
    const auto place = wanted.find(name);
    if (place == wanted.end()) {
      report.unexpected.push_back(names[i]);
      continue;
    }
    Wanted& want = place->second;
    if (const WeightInfo& info = *source.find(names[i]); contains(report.replaced, name)) {
      if (want.target.sizes() != at::IntArrayRef(info.shape)) {
        report.warnings.push_back(quote_bytes(report.path) + ": " + quote_bytes(name) +
                                  " has shape " + shape_text(info.shape) + "; the adapter's, of " +
                                  shape_text(want.target.sizes()) + ", is taken");
      }
      continue;
    }
    if (want.source != kNone) {
      // HF lets the last one win.
      report.mismatched.push_back({name,
                                   "is in the file twice, as " + quote_bytes(names[want.source]) +
                                       " and " + quote_bytes(names[i]),
                                   "one of them"});
      want.in_doubt = true;
      continue;
    }
    want.source = i;
    module_names[i] = &place->first;
    const WeightInfo& tensor = *source.find(names[i]);
    if (want.target.sizes() != at::IntArrayRef(tensor.shape)) {
      report.mismatched.push_back(
          {name, "has shape " + shape_text(tensor.shape) + in_shard(source, names[i]),
           shape_text(want.target.sizes())});
      want.in_doubt = true;
    } else if (const std::string_view expected = expected_dtypes(want.target, tensor.dtype_name);
               !expected.empty()) {
      report.mismatched.push_back({name,
                                   "has dtype " + tensor.dtype_name + in_shard(source, names[i]),
                                   std::string(expected)});
      want.in_doubt = true;
    }
  }

  for (const auto& [name, tensor] : own) {
    if (wanted[name].source != kNone || contains(report.replaced, name)) continue;
    const bool may_be_missing = !options.lenient && is_of_training(name);
    (may_be_missing ? report.initialized : report.missing).push_back(name);
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (module_names[i] == nullptr || wanted[*module_names[i]].in_doubt) continue;
    plan.matches.push_back({*module_names[i], names[i]});
  }
  report.loaded = static_cast<std::int64_t>(plan.matches.size());
  if (!report.missing.empty()) report.prefix_found = find_prefix(report, base);
  return plan;
}

// A plan to act upon: throws where the tensors do not fit, and warns of what is accepted.
Plan make_accepted_plan(const torch::nn::Module& module, const WeightSource& source,
                        const LoadOptions& options) {
  Plan plan = make_plan(module, source, options);
  LoadReport& report = plan.report;
  if (!report.complete() && (!options.lenient || report.loaded == 0)) {
    const bool wrong_prefix = report.loaded == 0 && !options.prefix.empty();
    std::string setting = wrong_prefix ? "prefix" : "";
    if (report.has_unmerged_adapter)
      setting = "lora";
    else if (!report.prefix_found.empty())
      setting = "prefix " + report.prefix_found;
    const char* expected = report.mismatched.empty() ? "every tensor of the model" : "";
    if (wrong_prefix) expected = "names that begin with the prefix given, or another prefix";
    throw CheckpointError(report.path, "", "the tensors do not fit the model: " + report.summary(),
                          expected, setting);
  }
  for (const std::string& name : report.initialized) {
    report.warnings.push_back(std::string(kWarningMark) + quote_bytes(name) +
                              ": is missing and is initialised; only training uses it");
  }
  for (const std::string& name : report.missing) {
    report.warnings.push_back(std::string(kWarningMark) + quote_bytes(report.path) + ": " +
                              quote_bytes(name) + ": is missing and keeps its initial values");
  }
  for (const auto& mismatch : report.mismatched) {
    report.warnings.push_back(std::string(kWarningMark) + quote_bytes(report.path) + ": " +
                              quote_bytes(mismatch.name) + ": " + quote_bytes(mismatch.problem) +
                              ", expected " + mismatch.expected + "; it keeps its initial values");
  }
  return plan;
}

// The first value decides for nearly every tensor there is.
bool is_nan_throughout(const at::Tensor& tensor) {
  if (tensor.numel() == 0 || !tensor.is_floating_point()) return false;
  if (!at::isnan(tensor.flatten().narrow(0, 0, 1)).item<bool>()) return false;
  return at::isnan(tensor).all().item<bool>();
}

bool is_nan_throughout(const WeightSource& source, const std::string& name) {
  const WeightInfo& info = *source.find(name);
  if (info.shape.empty() || c10::multiply_integers(info.shape) == 0) return false;
  // read_rows gives float32; LibTorch's default dtype may be another.
  const at::Tensor row = at::empty(c10::multiply_integers(info.shape) / info.shape[0], at::kFloat);
  source.read_rows(name, 0, 1, row.mutable_data_ptr<float>());
  if (!at::isnan(row[0]).item<bool>()) return false;
  const at::Tensor all = at::empty(info.shape, at::kFloat);
  source.read(name, all);
  return is_nan_throughout(all);
}

std::string counted(std::size_t count, const char* what) {
  return std::to_string(count) + " " + what;
}

// The first problems one by one, the rest as a number.
std::string list_problems(const LoadReport& report) {
  std::string list;
  std::size_t listed = 0;
  const std::size_t total = report.missing.size() + report.mismatched.size();
  const auto add = [&](const std::string& problem) {
    if (listed == kMaxListed || list.size() + problem.size() > kMaxListBytes) return false;
    list += (list.empty() ? "" : "; ") + problem;
    ++listed;
    return true;
  };
  // A wrong shape says more about what the file is than the fortieth missing name.
  bool room = true;
  for (const auto& mismatch : report.mismatched) {
    room = room && add(quote_bytes(mismatch.name) + " " + quote_bytes(mismatch.problem) +
                       ", expected " + mismatch.expected);
  }
  for (const std::string& name : report.missing) {
    room = room && add(quote_bytes(name) + " is missing");
  }
  if (listed < total) list += "; and " + counted(total - listed, "more");
  return list;
}

}  // namespace

std::string LoadReport::summary() const {
  std::string text = counted(static_cast<std::size_t>(loaded), "loaded") + ", " +
                     counted(missing.size(), "missing") + ", " +
                     counted(mismatched.size(), "of another shape or dtype") + ", " +
                     counted(unexpected.size(), "unexpected");
  if (has_unmerged_adapter && !complete()) {
    text +=
        "; a LoRA adapter of PEFT's is in it, unmerged: save it after merge_and_unload(), or load "
        "the base model with the adapter's own directory";
  } else if (!prefix_found.empty()) {
    text += "; the names are there with the prefix " + quote_bytes(prefix_found, 100);
  }
  if (!complete()) text += ": " + list_problems(*this);
  return text;
}

LoadReport compare_state_dict(const torch::nn::Module& module, const WeightSource& source,
                              const LoadOptions& options) {
  return make_plan(module, source, options).report;
}

MatchedWeights::MatchedWeights(const torch::nn::Module& module,
                               std::shared_ptr<const WeightSource> source,
                               const LoadOptions& options)
    : source_(std::move(source)) {
  Plan plan = make_accepted_plan(module, *source_, options);
  report_ = std::move(plan.report);
  names_.reserve(plan.matches.size());
  for (Match& match : plan.matches) {
    names_.push_back(match.name);
    matches_.emplace(std::move(match.name), std::move(match.source));
  }
}

const WeightInfo* MatchedWeights::find(std::string_view name) const {
  const auto found = matches_.find(std::string(name));
  return found == matches_.end() ? nullptr : source_->find(found->second);
}

const std::string& MatchedWeights::name_in_source(std::string_view name) const {
  const auto found = matches_.find(std::string(name));
  if (found == matches_.end()) {
    throw CheckpointError(path(), name, "is not among the weights of the model");
  }
  return found->second;
}

void MatchedWeights::read(std::string_view name, const at::Tensor& destination) const {
  source_->read(name_in_source(name), destination);
}

void MatchedWeights::read_rows(std::string_view name, std::int64_t first, std::int64_t count,
                               float* to) const {
  source_->read_rows(name_in_source(name), first, count, to);
}

LoadReport load_matched(torch::nn::Module& module, const MatchedWeights& weights) {
  LoadReport report = weights.report();
  std::unordered_map<std::string, at::Tensor> own;
  for (const auto& [name, tensor] : state_dict_of(module)) {
    const bool is_initialized = contains(report.initialized, name);
    TORCH_CHECK_VALUE(weights.find(name) != nullptr || !report.complete() || is_initialized ||
                          contains(report.replaced, name),
                      quote_bytes(name), " is not among the weights of the model that was matched");
    if (is_initialized) {
      const at::NoGradGuard no_grad;
      tensor.detach().uniform_();  // HF: _init_weights
    }
    own.emplace(name, tensor);
  }
  for (const std::string& name : weights.names()) {
    const auto target = own.find(name);
    if (target != own.end()) weights.read(name, target->second);
    if (target != own.end() ? is_nan_throughout(target->second.detach())
                            : is_nan_throughout(weights, name)) {
      report.warnings.push_back(quote_bytes(weights.path()) + ": " +
                                quote_bytes(weights.name_in_source(name)) + ": every value is NaN");
    }
  }
  return report;
}

LoadReport load_state_dict(torch::nn::Module& module, const WeightSource& source,
                           const LoadOptions& options) {
  // Does not own the source, which outlives this call.
  const std::shared_ptr<const WeightSource> borrowed(std::shared_ptr<void>(), &source);
  return load_matched(module, MatchedWeights(module, borrowed, options));
}

}  // namespace w2vbert
