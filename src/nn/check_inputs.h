// What every public forward asks of its tensors. Each check throws c10::ValueError with the
// argument, what it is and what it should be. They do not wait for a CUDA device.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert {

// `tensor` is a tensor at all: an undefined one is "not given" where an argument may be left out.
void check_defined(const at::Tensor& tensor, const char* name);

// `tensor` is defined, dense and not quantized.
void check_dense(const at::Tensor& tensor, const char* name);

// `tensor` is a dense (B, T, width) tensor with B > 0 and T > 0.
void check_frames(const at::Tensor& tensor, const char* name, std::int64_t width);

// `tensor` has `parameter`'s dtype and is on its device.
void check_like_parameter(const at::Tensor& tensor, const char* name, const at::Tensor& parameter);

// `tensor` is such frames, and like `parameter`.
void check_hidden_states(const at::Tensor& tensor, const char* name, std::int64_t width,
                         const at::Tensor& parameter);

// `labels`, one number a row: dense, Long, `batch` of them in any shape. Their values are not
// looked at.
void check_class_labels(const at::Tensor& labels, std::int64_t batch);

// `mask` is undefined, or a dense (B, T) tensor on `hidden_states`' device (B, T, ...), boolean,
// integer or floating, of zeros and ones. The values are looked at on the CPU only, and not of a
// boolean mask. Returns the mask as booleans: what is handed on is not looked at again.
at::Tensor check_attention_mask(const at::Tensor& mask, const char* name,
                                const at::Tensor& hidden_states);

// `mask` is undefined, or what bidirectional_mask() (core/padding_mask.h) makes for `hidden_states`
// (B, T, C): (B, 1, T, T), dense, on its device, bool for sdpa and `hidden_states`' dtype for
// eager.
void check_bidirectional_mask(const at::Tensor& mask, const char* name,
                              const at::Tensor& hidden_states, bool sdpa);

// `frames` are enough for the strided convolutions of an adapter layer.
void check_adapter_frames(std::int64_t frames, const Wav2Vec2BertConfig& config);

}  // namespace w2vbert
