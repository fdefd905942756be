// The fused encoder inside the model classes.
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/checkpoint/from_pretrained.h"
#include "w2vbert/checkpoint/load.h"
#include "w2vbert/checkpoint/weight_source.h"
#include "w2vbert/engine/precision.h"
#include "w2vbert/nn/initialization.h"

namespace w2vbert {

/// Replaces the encoder and the adapter of a Wav2Vec2BertModel by fused ones. `model` is a
/// Wav2Vec2BertModel, or a module with one as a child: one of the classes with a head. The forward
/// of `model` gives the values that it gave before, to rounding, and faster. For inference on a
/// CPU: the layers' matrix products are computed in `precision`, all else in float32; bfloat16 and
/// float16 are the type of the weights alone where that is faster (docs/numerics.md). The layers'
/// weights are packed, layer by layer, and the layers leave the model: it can no longer be trained,
/// saved, moved or cloned, and gives no attentions. Its forward throws c10::ValueError in training
/// mode (call eval()), and where gradients would be recorded (use torch::NoGradGuard).
///
/// Throws c10::ValueError where `model` has no Wav2Vec2BertModel, or a parameter that is not
/// float32 on a CPU, and for a config or a precision that the fused encoder cannot run here
/// (choose_engine says why): int8 needs a processor with instructions for it. The model is then as
/// it was. If memory runs out after the first layers have left the model, its forward throws
/// c10::ValueError from then on: load it again.
void fuse(torch::nn::Module& model, Precision precision = Precision::float32);

/// The same for a model whose values are in `weights`, under the model's names; its parameters are
/// not read. So that a program with one short clip starts at once, the encoder's large matrices are
/// read from `weights` layer by layer in the first forward, and packed for good in the second, or
/// in the first one if its batch is long. Until then `weights` is kept, and its files must not
/// change: a change that is seen is a CheckpointError. The parameters that stay in the model are
/// still to be loaded afterwards (load_matched). Also throws c10::ValueError for null `weights`,
/// and CheckpointError for a weight that is missing or has another shape; then the model is as it
/// was.
void fuse(torch::nn::Module& model, Precision precision,
          const std::shared_ptr<const WeightSource>& weights);

/// load_pretrained() and fuse() in one: the encoder is built from the files, and its layers are
/// never held as parameters (but for a lenient load, or where an adapter of LoRA is merged into
/// them). Checks and warnings are load_pretrained's. On a CPU, with parameters in float32 whatever
/// LibTorch's default dtype is. Throws as load_pretrained() and fuse().
template <class ModuleHolder>
Pretrained<ModuleHolder> load_fused(const std::string& path_or_id, Precision precision,
                                    const FromPretrainedOptions& options = {}) {
  TORCH_CHECK_VALUE(options.device.is_cpu() && options.dtype == c10::ScalarType::Float,
                    "load_fused: ", options.dtype, " on ", options.device,
                    ", expected Float on cpu");
  if (options.load.lenient || options.lora) {
    Pretrained<ModuleHolder> loaded = load_pretrained<ModuleHolder>(path_or_id, options);
    fuse(*loaded.model, precision);
    return loaded;
  }
  PretrainedSource source = find_pretrained(path_or_id, options);
  auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(source.directory));
  Pretrained<ModuleHolder> result;
  {
    const SkipInitialization skip;  // names and shapes: memory that is not written costs nothing
    detail::make_of_config_file(source.directory,
                                [&] { result.model = ModuleHolder(source.config); });
  }
  detail::place_module(*result.model, options, detail::ParameterValues::unset);
  const auto weights =
      std::make_shared<const MatchedWeights>(*result.model, std::move(checkpoint), options.load);
  fuse(*result.model, precision, weights);
  result.report = load_matched(*result.model, *weights);
  result.model->eval();
  result.config = std::move(source.config);
  return result;
}

}  // namespace w2vbert
