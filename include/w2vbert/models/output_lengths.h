// Length formulas of HF's Wav2Vec2BertPreTrainedModel (modeling_wav2vec2_bert.py).
#pragma once

#include <torch/types.h>

#include <optional>

#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert {

/// HF: _get_feat_extract_output_lengths. Frames after the adapter for `input_lengths` (B) frames
/// before it, in a tensor of the same whole-number type. Throws nothing: a length that is too short
/// gives 0 or less. HF: counts kernel / 2 of padding where the convolutions have stride / 2.
torch::Tensor get_feat_extract_output_lengths(const Wav2Vec2BertConfig& config,
                                              const torch::Tensor& input_lengths,
                                              std::optional<bool> add_adapter = {});

/// HF: _get_feature_vector_attention_mask. `attention_mask` (B, T) -> bool (B,
/// feature_vector_length), true for the first n frames of a row with n valid ones. HF: all frames
/// where n is 0.
torch::Tensor get_feature_vector_attention_mask(const Wav2Vec2BertConfig& config,
                                                std::int64_t feature_vector_length,
                                                const torch::Tensor& attention_mask,
                                                std::optional<bool> add_adapter = {});

/// HF: Wav2Vec2BertForXVector._get_tdnn_output_lengths, which counts no dilation.
/// Frames behind the TDNN layers for `input_lengths` (B), in a tensor of the same whole-number
/// type; 0 or less for lengths that are too short.
torch::Tensor get_tdnn_output_lengths(const Wav2Vec2BertConfig& config,
                                      torch::Tensor input_lengths);

}  // namespace w2vbert
