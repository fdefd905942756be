#include "engine/fused_parts.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "engine/kernels/vector_kernels.h"
#include "engine/parallel_tasks.h"

namespace w2vbert {

PackedLayerNorm::PackedLayerNorm(const WeightScope& weights, double epsilon)
    : width(weights.shape_of("weight")[0]), eps(static_cast<float>(epsilon)) {
  const auto copy = [&](const char* name, ScratchBuffer& to) {
    const at::Tensor values = weights.read(name);
    std::copy_n(values.const_data_ptr<float>(), width, to.reserve(width));
  };
  copy("weight", weight);
  copy("bias", bias);
}

void PackedLayerNorm::rows(const float* x, std::int64_t rows, float* y) const {
  vector_kernels().layer_norm(x, rows, width, weight.data(), bias.data(), eps, y);
}

void PackedLayerNorm::forward(const float* x, std::int64_t rows_of_x, float* y) const {
  parallel_rows(rows_of_x, [&](std::int64_t first, std::int64_t count) {
    rows(x + first * width, count, y + first * width);
  });
}

void PackedLayerNorm::forward(const float* x, std::int64_t rows_of_x, Precision precision,
                              PackedRows& y) const {
  y.resize(precision, rows_of_x, width);
  parallel_rows(rows_of_x, [&](std::int64_t first, std::int64_t count) {
    float* normal = y.staging(first, count);
    rows(x + first * width, count, normal);
    y.commit(first, count, normal);
  });
}

LinearWeights qkv_weights(std::int64_t head_size) {
  const float scaling = 1.0f / std::sqrt(static_cast<float>(head_size));
  return {
      .parts = {{"self_attn.linear_q", scaling}, {"self_attn.linear_k"}, {"self_attn.linear_v"}},
      .panel_width = head_size};
}

}  // namespace w2vbert
