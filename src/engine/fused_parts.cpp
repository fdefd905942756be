#include "engine/fused_parts.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "engine/kernels/vector_kernels.h"
#include "engine/parallel_tasks.h"

namespace w2vbert {

PackedLayerNorm::PackedLayerNorm(const torch::nn::LayerNorm& module)
    : width(module->weight.size(0)), eps(static_cast<float>(module->options.eps())) {
  const auto copy = [&](const at::Tensor& from, ScratchBuffer& to) {
    const at::Tensor values = from.to(at::kFloat).contiguous();
    std::copy_n(values.const_data_ptr<float>(), width, to.reserve(width));
  };
  copy(module->weight, weight);
  copy(module->bias, bias);
}

void PackedLayerNorm::rows(const float* x, std::int64_t rows, float* y) const {
  vector_kernels().layer_norm(x, rows, width, weight.data(), bias.data(), eps, y);
}

void PackedLayerNorm::forward(const float* x, std::int64_t rows_of_x, float* y) const {
  parallel_rows(rows_of_x, [&](std::int64_t first, std::int64_t count) {
    rows(x + first * width, count, y + first * width);
  });
}

void PackedLayerNorm::forward(const float* x, std::int64_t rows_of_x, c10::ScalarType precision,
                              PackedRows& y) const {
  y.resize(precision, rows_of_x, width);
  parallel_rows(rows_of_x, [&](std::int64_t first, std::int64_t count) {
    float* normal = y.staging(first, count);
    rows(x + first * width, count, normal);
    y.commit(first, count, normal);
  });
}

WeightRows WeightPacker::rows(const at::Tensor& weight) const {
  WeightRows rows = rows_of(weight);
  if (!reader) return rows;
  if (auto read = reader(weight)) {
    rows.read = std::move(read);
    rows.in_file = true;
  }
  return rows;
}

PackedLinear WeightPacker::pack(const at::Tensor& weight, const at::Tensor& bias,
                                c10::ScalarType type, float scale) const {
  PackedLinear packed(rows(weight), bias, type, scale);
  release(weight);
  return packed;
}

void WeightPacker::release(const at::Tensor& parameter) const {
  if (release_weights) parameter.set_data(at::empty({0}, parameter.options()));
}

PackedLinear WeightPacker::pack_qkv(const Wav2Vec2BertSelfAttention& module, std::int64_t head_size,
                                    c10::ScalarType type) const {
  const float scaling = 1.0f / std::sqrt(static_cast<float>(head_size));
  const std::array<WeightRows, 3> parts = {rows(module->linear_q->weight),
                                           rows(module->linear_k->weight),
                                           rows(module->linear_v->weight)};
  const std::int64_t part_rows = parts[0].rows, width = parts[0].width;
  const auto read = [parts, part_rows, width, scaling](std::int64_t first, std::int64_t count,
                                                       float* to) {
    parts[static_cast<std::size_t>(first / part_rows)].read(first % part_rows, count, to);
    if (first < part_rows) vector_kernels().scale(to, count * width, scaling, to);
  };
  const bool in_file = parts[0].in_file && parts[1].in_file && parts[2].in_file;
  const at::Tensor bias =
      at::cat({module->linear_q->bias.to(at::kFloat) * scaling,
               module->linear_k->bias.to(at::kFloat), module->linear_v->bias.to(at::kFloat)});
  PackedLinear packed({3 * part_rows, width, read, in_file}, bias, type, 1.0f, head_size);
  for (const auto& linear : {module->linear_q, module->linear_k, module->linear_v}) {
    release(linear->weight);
  }
  return packed;
}

}  // namespace w2vbert
