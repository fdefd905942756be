#include "engine/device/aten_ops.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "core/padding_mask.h"
#include "engine/row_blocks.h"

namespace w2vbert {
namespace {

// The fused attention of a GPU reads biases in pieces of so many elements.
constexpr std::int64_t kBiasAlignment = 16;

std::optional<at::Tensor> optional_of(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional<at::Tensor>(tensor) : std::nullopt;
}

// bool (B, T) -> (B, 1, 1, T)
at::Tensor for_keys(const at::Tensor& frames) { return frames.unsqueeze(1).unsqueeze(1); }

// bool (B) -> (B, 1, 1, 1)
at::Tensor for_clips(const at::Tensor& clips) { return clips.view({-1, 1, 1, 1}); }

// HF: eager_attention_forward. `bias` may be undefined.
at::Tensor eager_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                           const at::Tensor& bias, double scale) {
  at::Tensor scores = at::matmul(query, key.transpose(2, 3)) * scale;
  if (bias.defined()) scores = scores + bias;
  return at::matmul(at::softmax(scores, -1), value);
}

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// The biases of scores, for `query` (B, H, Q, D), those from the clips' frame `first` on, and T
// keys: (B, H, Q, T), without HF's (T, T, D) tensor of positions. q.e[clip(j - i)] depends on the
// diagonal alone, so all of q.e, spread out to one column for each diagonal, is a matrix that holds
// the biases when its rows are read one element less far apart. (Known from Transformer-XL as the
// relative shift.)
at::Tensor position_bias(const DeviceAttention& attention, const at::Tensor& query,
                         std::int64_t first, std::int64_t frames) {
  const std::int64_t left = attention.left, right = attention.right;
  const std::int64_t queries = query.size(2);
  const double scale = std::pow(static_cast<double>(query.size(3)), -0.5);
  const at::Tensor by_distance =
      at::matmul(query, attention.distance_embedding.t()) * scale;  // (B, H, Q, W)
  // Row r has a column for each distance from -offset - first on, so that key j of query first + r
  // stands in column j - r + offset. Read with a row stride of columns - 1, that is column j of
  // all.
  const std::int64_t offset = round_up(queries, kBiasAlignment);
  const std::int64_t columns = round_up(offset + frames - 1, kBiasAlignment) + 1;
  const std::int64_t lowest = -offset - first;
  const std::int64_t before = std::clamp<std::int64_t>(-left - lowest, 0, columns);
  const std::int64_t begin = std::max(-left, lowest);
  const std::int64_t end = std::min(right + 1, lowest + columns);
  const std::int64_t within = std::max<std::int64_t>(end - begin, 0);
  const std::int64_t after = columns - before - within;
  const auto repeated = [&](std::int64_t distance, std::int64_t times) {
    return by_distance.narrow(3, distance + left, 1).expand({-1, -1, -1, times});
  };
  // Every stride but the last is a multiple of the alignment, or all would be copied once more.
  const at::Tensor all =  // as many rows as `offset`: the queries, rounded up
      at::empty({query.size(0), query.size(1), offset, columns}, by_distance.options());
  const auto put = [&](std::int64_t first_column, const at::Tensor& part) {
    all.narrow(2, 0, queries).narrow(3, first_column, part.size(3)).copy_(part);
  };
  if (before > 0) put(0, repeated(-left, before));
  if (within > 0) put(before, by_distance.narrow(3, begin + left, within));
  if (after > 0) put(before + within, repeated(right, after));
  return all.as_strided({all.size(0), all.size(1), queries, frames},
                        {all.stride(0), all.stride(1), columns - 1, 1}, offset);
}

// (B, T, 3C) -> (B, T, C)
at::Tensor attend(const DeviceAttention& attention, const at::Tensor& qkv, const ClipGroup& group,
                  std::int64_t max_biases) {
  const std::int64_t frames = group.frames;
  const at::Tensor by_head =  // (B, T, 3C) -> (3, B, H, T, D)
      qkv.view({group.clips(), frames, 3, attention.heads, -1}).permute({2, 0, 3, 1, 4});
  const at::Tensor query = by_head[0], key = by_head[1], value = by_head[2];
  const double scale = std::pow(static_cast<double>(query.size(3)), -0.5);
  const bool positions = attention.distance_embedding.defined();
  const double lowest = lowest_finite(qkv.scalar_type());

  // Where no frame of a clip is valid: HF's fused attention without positions gives zeros, every
  // other way lets all keys count alike. Softmax of nothing but minus infinity would be NaN.
  const bool zeros_without_keys = attention.sdpa && !positions && group.keyless.defined();
  at::Tensor padded = group.padded.defined() ? for_keys(group.padded) : group.padded;
  if (zeros_without_keys) padded = padded.logical_and(for_clips(group.keyless).logical_not());
  const double of_padding = attention.sdpa && !positions ? kMinusInfinity : lowest;
  const auto mask = [&](at::Tensor& bias) {
    if (padded.defined()) bias.masked_fill_(padded, of_padding);
    if (group.absent.defined()) bias.masked_fill_(for_keys(group.absent), kMinusInfinity);
  };
  at::Tensor key_bias;  // of all queries
  if (!positions && (padded.defined() || group.absent.defined())) {
    key_bias = at::zeros({group.clips(), 1, 1, frames}, qkv.options());
    mask(key_bias);
  }

  const auto elements_of = [&](std::int64_t queries) {
    return group.clips() * attention.heads * queries * (frames + queries);
  };
  std::int64_t block = frames;
  while (positions && block > kBiasAlignment && elements_of(block) > max_biases) {
    block = round_up(block / 2, kBiasAlignment);
  }
  std::vector<at::Tensor> attended;
  for (std::int64_t first = 0; first < frames; first += block) {
    const at::Tensor queries = query.narrow(2, first, std::min(block, frames - first));
    at::Tensor bias = key_bias;
    if (positions) {
      bias = position_bias(attention, queries, first, frames);
      mask(bias);
    }
    attended.push_back(attention.sdpa
                           ? at::scaled_dot_product_attention(queries, key, value,
                                                              optional_of(bias), /*dropout_p=*/0.0,
                                                              /*is_causal=*/false, scale)
                           : eager_attention(queries, key, value, bias, scale));
  }
  at::Tensor output = attended.size() == 1 ? attended.front() : at::cat(attended, 2);
  if (zeros_without_keys) {
    output = output.masked_fill(for_clips(group.keyless), 0.0);
  }
  return output.transpose(1, 2).reshape({group.clips(), frames, -1});  // (B, H, T, D) -> (B, T, C)
}

}  // namespace

at::Tensor DeviceLinear::operator()(const at::Tensor& rows) const {
  return at::linear(rows, weight, optional_of(bias));
}

at::Tensor AtenOps::layer_norm(const at::Tensor& rows, const DeviceLayerNorm& norm,
                               c10::ScalarType dtype) const {
  return at::layer_norm(rows, {rows.size(1)}, norm.weight, norm.bias, norm.eps).to(dtype);
}

at::Tensor AtenOps::add_layer_norm(at::Tensor& residual, const at::Tensor& delta, double scale,
                                   const DeviceLayerNorm& norm, c10::ScalarType dtype) const {
  residual.add_(delta, scale);
  return layer_norm(residual, norm, dtype);
}

at::Tensor AtenOps::activated_linear(const DeviceLinear& linear, const DeviceActivation& activation,
                                     const at::Tensor& rows) const {
  return activation(linear(rows));
}

at::Tensor AtenOps::gated_conv(const DeviceConv& conv, const at::Tensor& rows,
                               const RaggedLayout& layout) const {
  at::Tensor states = layout.with_gaps(at::glu(rows, 1));
  states = conv.depthwise_conv->forward(states.t().unsqueeze(0)).squeeze(0).t();  // (1, C, rows)
  const DeviceLayerNorm& norm = conv.depthwise_layer_norm;
  states = layer_norm(layout.without_gaps(states).to(at::kFloat), norm, rows.scalar_type());
  return conv.activation(states);
}

at::Tensor AtenOps::attention(const DeviceAttention& attention, const at::Tensor& qkv,
                              const RaggedLayout& layout) const {
  std::vector<at::Tensor> rows;
  for (const ClipGroup& group : layout.groups()) {
    const at::Tensor spread = group.spread(qkv.narrow(0, group.begin, group.rows));
    rows.push_back(group.pack(attend(attention, spread, group, max_biases_)));
  }
  const std::int64_t more = layout.rows() - layout.clip_rows();
  if (more > 0) rows.push_back(at::zeros({more, qkv.size(1) / 3}, qkv.options()));
  return rows.size() == 1 ? rows.front() : at::cat(rows, 0);
}

}  // namespace w2vbert
