// How new modules get their values: as HF initialises them, or not at all.
#pragma once

#include <torch/nn/module.h>

#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert {

/// While one of these lives, modules built on this thread get parameters of the right shapes whose
/// values are not set: for a checkpoint that fills them all. Filling 580 M parameters with random
/// numbers first would take longer than reading the checkpoint.
class SkipInitialization {
 public:
  SkipInitialization();
  ~SkipInitialization();
  SkipInitialization(const SkipInitialization&) = delete;
  SkipInitialization& operator=(const SkipInitialization&) = delete;

  static bool active();

 private:
  bool before_;
};

/// HF's initialize_weights (transformers/modeling_utils.py) with
/// Wav2Vec2BertPreTrainedModel._init_weights (modeling_wav2vec2_bert.py): children first, in
/// registration order, then the module itself. After torch::manual_seed(s) a model's constructor
/// and this draw the same random numbers as Python's Wav2Vec2BertModel(config) after
/// torch.manual_seed(s).
void init_weights(torch::nn::Module& module, const Wav2Vec2BertConfig& config);

}  // namespace w2vbert
