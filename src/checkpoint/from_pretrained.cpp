#include "w2vbert/checkpoint/from_pretrained.h"

#include <ATen/ATen.h>

#include "checkpoint/missing_weights.h"
#include "core/file.h"
#include "core/text.h"
#include "w2vbert/checkpoint/lora.h"
#include "w2vbert/checkpoint/model_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

MergeLoraOptions merge_options_of(const FromPretrainedOptions& options) {
  MergeLoraOptions merge;
  merge.base_model_prefix = options.load.base_model_prefix;
  merge.fewer_layers = options.num_hidden_layers.has_value();
  merge.prefix = options.lora_prefix;
  return merge;
}

}  // namespace

PretrainedSource find_pretrained(const std::string& path_or_id,
                                 const FromPretrainedOptions& options) {
  PretrainedSource source;
  source.directory = resolve_model(path_or_id, options.revision.value_or("")).path;
  check_config(source.directory);
  source.config = Wav2Vec2BertConfig::from_pretrained(source.directory, options.hf_version,
                                                      options.attn_implementation);
  if (options.num_hidden_layers) source.config.num_hidden_layers = *options.num_hidden_layers;
  if (options.architecture) source.config.architectures = {*options.architecture};
  if (options.lora) take_sizes_of_lora(source.config, *options.lora);
  source.config.validate(join_path(source.directory, "config.json"));
  return source;
}

namespace detail {

void make_of_config_file(const std::string& directory, const std::function<void()>& make) try {
  make();
} catch (const ConfigError& error) {
  constexpr std::string_view kConfig = "config";  // what the classes call it
  if (error.path() != kConfig) throw;
  std::string_view text = error.what();
  text.remove_prefix(kConfig.size() + 2);
  if (!error.key().empty()) text.remove_prefix(quote_bytes(error.key()).size() + 2);
  throw ConfigError(join_path(directory, "config.json"), error.key(), text, "", error.setting());
}

void place_module(torch::nn::Module& module, const FromPretrainedOptions& options,
                  ParameterValues values) {
  const at::NoGradGuard no_grad;
  for (at::Tensor& parameter : module.parameters()) {
    const bool stays =
        parameter.scalar_type() == options.dtype && parameter.device() == options.device;
    if (stays) continue;
    parameter.set_data(
        values == ParameterValues::unset
            ? at::empty(parameter.sizes(),
                        parameter.options().dtype(options.dtype).device(options.device))
            : parameter.to(options.device, options.dtype));
  }
  for (at::Tensor& buffer : module.buffers()) {
    if (buffer.device() != options.device) buffer.set_data(buffer.to(options.device));
  }
}

LoadOptions load_options_of(const FromPretrainedOptions& options, const torch::nn::Module& module) {
  LoadOptions load = options.load;
  if (!options.lora) return load;
  const std::vector<std::string> replaced =
      replaced_by_lora(module, *options.lora, merge_options_of(options));
  load.replaced.insert(load.replaced.end(), replaced.begin(), replaced.end());
  return load;
}

void merge_lora_of(const FromPretrainedOptions& options, torch::nn::Module& module,
                   LoadReport& report) {
  if (!options.lora) return;
  const LoraReport merged = merge_lora(module, *options.lora, merge_options_of(options));
  report.warnings.insert(report.warnings.end(), merged.warnings.begin(), merged.warnings.end());
}

}  // namespace detail
}  // namespace w2vbert
