#include "tool/parity/known_mistakes.h"

#include <ATen/ops/linalg_lstsq.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>

#include "tool/parity/comparison.h"
#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert::tool {
namespace {

// A mistake is found where its values are nearer to the engine's than PyTorch's are, by this
// factor: what is left is the rounding of the engine.
constexpr double kRemaining = 0.2;
// A frame's scale that is off by less is rounding.
constexpr double kMinScale = 1e-6;
constexpr std::int64_t kMinFrames = 4;

double rms(const torch::Tensor& values) {
  return values.numel() == 0 ? 0.0 : std::sqrt(values.square().mean().item<double>());
}

torch::Tensor in_double(const torch::Tensor& values) { return values.to(torch::kDouble); }

// Whether `mistaken` is nearer to `actual` than `expected` is.
bool explains(const torch::Tensor& mistaken, const torch::Tensor& expected,
              const torch::Tensor& actual) {
  const double without = rms(actual - expected);
  return std::isfinite(without) && without > 0 && rms(actual - mistaken) <= kRemaining * without;
}

// "a.b.layers.3.ffn1" -> "a.b.layers.3"; empty for other names.
std::string layer_of(const std::string& name) {
  constexpr std::string_view kLayers = "encoder.layers.";
  const std::size_t at = name.find(kLayers);
  if (at == std::string::npos) return {};
  const std::size_t digits = at + kLayers.size();
  const std::size_t end = std::min(name.find_first_not_of("0123456789", digits), name.size());
  return end > digits ? name.substr(0, end) : std::string();
}

class Mistakes {
 public:
  Mistakes(const DiagnosisInputs& inputs, const std::string& name, const OutputPair& pair,
           const torch::Tensor& frame_mask)
      : inputs_(inputs),
        name_(name),
        layer_(layer_of(name)),
        pair_{in_double(pair.expected), in_double(pair.actual)},
        frame_mask_(frame_mask),
        config_(inputs.config) {}

  std::optional<Diagnosis> find() {
    if (name_.ends_with("layer_norm")) return in_norm(name_);
    if (!layer_.empty() && name_ == layer_) return in_norm(layer_ + ".final_layer_norm");
    if (name_.ends_with(".glu")) return in_glu();
    if (name_.ends_with(".distance_embedding")) return in_distances();
    if (name_.ends_with(".self_attn")) return in_attention(name_);
    if (name_.ends_with(".self_attn.linear_out")) {
      return in_attention(name_.substr(0, name_.rfind('.')));
    }
    const std::string convolution = layer_ + ".conv_module";
    for (const char* part :
         {".depthwise_conv", ".depthwise_layer_norm", ".activation", ".pointwise_conv2", ""}) {
      if (!layer_.empty() && name_ == convolution + part) return in_convolution();
    }
    return std::nullopt;
  }

 private:
  Diagnosis found(Divergence kind, const char* cause, const std::string& text) const {
    return {kind, name_, cause, name_ + ": " + text};
  }

  torch::Tensor output(const std::string& module) const {
    const auto value = inputs_.reference.output_of(module, 0);
    return value.defined() ? in_double(value) : value;
  }
  torch::Tensor input(const std::string& module, const char* argument) const {
    return inputs_.reference.tensor("modules/" + module + "/input/" + std::string(argument));
  }

  // The rows of (B, T, C) that are frames of a clip: (R, C).
  torch::Tensor rows(const torch::Tensor& values) const {
    const auto flat = values.reshape({-1, values.size(-1)});
    const bool fits = frame_mask_.defined() && values.dim() == 3 &&
                      frame_mask_.size(0) == values.size(0) &&
                      frame_mask_.size(1) == values.size(1);
    return fits ? flat.index({frame_mask_.reshape({-1})}) : flat;
  }

  // A LayerNorm, whose scale and shift are found from what PyTorch's took and gave.
  struct Norm {
    torch::Tensor variance;  // (R, 1)
    torch::Tensor weight;    // (C)
    torch::Tensor bias;      // (C)
    double eps;

    torch::Tensor operator()(const torch::Tensor& x) const {
      const auto centred = x - x.mean(-1, /*keepdim=*/true);
      const auto scale = (centred.square().mean(-1, /*keepdim=*/true) + eps).rsqrt();
      return centred * scale * weight + bias;
    }
  };

  std::optional<Norm> norm_of(const torch::Tensor& x, const torch::Tensor& y) const {
    if (x.size(0) < kMinFrames) return std::nullopt;
    Norm norm;
    norm.eps = config_.layer_norm_eps;
    const auto centred = x - x.mean(-1, /*keepdim=*/true);
    norm.variance = centred.square().mean(-1, /*keepdim=*/true);
    const auto normal = centred * (norm.variance + norm.eps).rsqrt();
    const auto mean = normal.mean(0);
    const auto spread = normal - mean;
    norm.weight = (spread * (y - y.mean(0))).sum(0) / spread.square().sum(0).clamp_min(1e-30);
    norm.bias = y.mean(0) - norm.weight * mean;
    constexpr double kFits = 1e-2;  // of values in bfloat16
    if (!(rms(normal * norm.weight + norm.bias - y) <= kFits * rms(y))) return std::nullopt;
    return norm;
  }

  std::optional<Diagnosis> in_norm(const std::string& module) const {
    const auto taken = input(module, "input");
    if (!taken.defined() || taken.sizes() != pair_.expected.sizes()) return std::nullopt;
    const auto x = rows(in_double(taken));
    const auto expected = rows(pair_.expected);
    const auto actual = rows(pair_.actual);
    const auto norm = norm_of(x, expected);
    if (!norm) return std::nullopt;
    if (auto step = in_half_step(module, x, *norm, expected, actual)) return step;
    return in_variance(*norm, expected, actual);
  }

  // x + 0.5 * f, where f is a feed-forward module's output.
  std::optional<Diagnosis> in_half_step(const std::string& module, const torch::Tensor& x,
                                        const Norm& norm, const torch::Tensor& expected,
                                        const torch::Tensor& actual) const {
    const char* ffn = module.ends_with(".self_attn_layer_norm") ? ".ffn1"
                      : module.ends_with(".final_layer_norm")   ? ".ffn2"
                                                                : nullptr;
    if (ffn == nullptr || layer_.empty()) return std::nullopt;
    const auto step = output(layer_ + ffn);
    if (!step.defined() || step.dim() != 3 || step.size(-1) != x.size(-1)) return std::nullopt;
    const auto half = rows(step) * 0.5;
    if (half.sizes() != x.sizes() || !explains(norm(x + half), expected, actual)) {
      return std::nullopt;
    }
    return found(Divergence::operation, "half_factor",
                 "its input is x + f where it should be x + 0.5 f, f being the output of " +
                     layer_ + ffn + " (the half step is missing)");
  }

  // Each frame is scaled by another number: the variance or what is added to it.
  std::optional<Diagnosis> in_variance(const Norm& norm, const torch::Tensor& expected,
                                       const torch::Tensor& actual) const {
    const auto shape = expected - norm.bias;
    const auto difference = actual - expected;
    const auto size = shape.square().sum(-1, /*keepdim=*/true);
    const auto scale = (difference * shape).sum(-1, /*keepdim=*/true) / size.clamp_min(1e-30);
    if (!explains(expected + scale * shape, expected, actual) ||
        scale.abs().median().item<double>() < kMinScale) {
      return std::nullopt;
    }
    const double width = static_cast<double>(expected.size(-1));
    const double unbiased = std::sqrt((width - 1) / width) - 1;
    if (((scale - unbiased).abs() <= 0.02 * std::abs(unbiased)).all().item<bool>()) {
      return found(Divergence::operation, "unbiased_variance",
                   "the variance is divided by " + std::to_string(expected.size(-1) - 1) +
                       ", the number of channels less one, where it should be all of them");
    }
    const auto candidates = (norm.variance + norm.eps) / (scale + 1).square() - norm.variance;
    // The frames whose variance is smallest say most about what is added to it.
    const auto order = norm.variance.reshape({-1}).argsort();
    const auto count = std::max<std::int64_t>(1, order.numel() / 4);
    const double eps =
        candidates.reshape({-1}).index({order.slice(0, 0, count)}).median().item<double>();
    const auto predicted = ((norm.variance + norm.eps) / (norm.variance + eps)).sqrt() - 1;
    if (eps > -0.2 * norm.eps && explains(expected + predicted * shape, expected, actual)) {
      return found(Divergence::operation, "epsilon",
                   "the epsilon of the norm is about " + short_number(std::max(eps, 0.0)) +
                       " where it should be " + short_number(norm.eps));
    }
    return std::nullopt;
  }

  std::optional<Diagnosis> in_glu() const {
    const auto taken = input(name_, "input");
    if (!taken.defined() || taken.dim() != 3) return std::nullopt;
    const auto halves = in_double(taken).chunk(2, 1);
    const auto mistaken = halves[1] * halves[0].sigmoid();
    if (mistaken.sizes() != pair_.expected.sizes() ||
        !explains(mistaken, pair_.expected, pair_.actual)) {
      return std::nullopt;
    }
    return found(Divergence::operation, "glu_halves",
                 "the first half of the channels is the gate and the second is gated, where it "
                 "should be the other way round");
  }

  // The convolution and what follows it frame by frame: the output of another place.
  std::optional<Diagnosis> in_convolution() const {
    const bool channels_first = name_.ends_with("_conv") || name_.ends_with("pointwise_conv2");
    const std::int64_t axis = channels_first ? 2 : 1;
    if (pair_.expected.dim() != 3) return std::nullopt;
    const auto frames = pair_.expected.size(axis);
    const auto kernel = config_.conv_depthwise_kernel_size;
    std::int64_t best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (std::int64_t shift = 1 - kernel; shift < kernel; ++shift) {
      const auto overlap = frames - std::abs(shift);
      if (shift == 0 || overlap < kMinFrames) continue;
      const auto expected = pair_.expected.narrow(axis, std::max<std::int64_t>(shift, 0), overlap);
      const auto at = std::max<std::int64_t>(-shift, 0);
      const auto actual = pair_.actual.narrow(axis, at, overlap);
      const double left = rms(actual - expected);
      const double without = rms(actual - pair_.expected.narrow(axis, at, overlap));
      if (without > 0 && left <= kRemaining * without && left < least) {
        best = shift;
        least = left;
      }
    }
    if (best == 0) return std::nullopt;
    if (best == (kernel - 1) / 2) {
      return found(Divergence::operation, "symmetric_padding",
                   "the convolution is padded by " + std::to_string(best) +
                       " frames on both sides where it should be " + std::to_string(kernel - 1) +
                       " on the left alone (each frame has the value of the one " +
                       std::to_string(best) + " later)");
    }
    return found(Divergence::operation, "padding",
                 "each frame has the value of the one " + std::to_string(std::abs(best)) +
                     (best > 0 ? " later" : " earlier") +
                     ": the convolution is padded by another " +
                     "number of frames on the left than " + std::to_string(kernel - 1));
  }

  // PyTorch's embeddings of all distances j - i, as (2T - 1, D) from 1 - T on.
  static torch::Tensor table_of(const torch::Tensor& embeddings) {
    const auto past = embeddings.select(1, 0).flip(0);  // (T, D): distances 1 - T to 0
    const auto future = embeddings.select(0, 0).slice(0, 1);
    return torch::cat({past, future});
  }

  struct Distances {
    const char* text;
    torch::Tensor embeddings;  // (T, T, D)
  };

  // Embeddings for distances that are off by one, before or after they are clipped.
  std::vector<Distances> mistaken_distances(const torch::Tensor& embeddings) const {
    const auto frames = embeddings.size(0);
    const auto table = table_of(embeddings);
    const auto places = torch::arange(frames);
    const auto distance = places.unsqueeze(0) - places.unsqueeze(1);
    const auto left = -config_.left_max_position_embeddings;
    const auto right = config_.right_max_position_embeddings;
    const auto of = [&](const torch::Tensor& distances) {
      const auto known = distances.clamp(left, right).clamp(1 - frames, frames - 1);
      return table.index({known + (frames - 1)});
    };
    const auto clipped = distance.clamp(left, right);
    return {{"distances are one too small", of(distance - 1)},
            {"distances are one too large", of(distance + 1)},
            {"distances are one too small after they are clipped", of(clipped - 1)},
            {"distances are one too large after they are clipped", of(clipped + 1)},
            {"distances are those from the key to the query, not from the query to the key",
             of(distance.neg())}};
  }

  std::optional<Diagnosis> in_distances() const {
    const auto& expected = pair_.expected;
    if (expected.dim() != 3 || expected.size(0) != expected.size(1)) return std::nullopt;
    for (const auto& [text, embeddings] : mistaken_distances(expected)) {
      if (explains(embeddings, expected, pair_.actual)) {
        return found(Divergence::position, "distance", text);
      }
    }
    return std::nullopt;
  }

  // (B, heads, T, D) of (B, T, H).
  torch::Tensor split(const torch::Tensor& values) const {
    return values.unflatten(-1, {config_.num_attention_heads, -1}).transpose(1, 2);
  }

  // What goes into linear_out: (B, T, H).
  struct Attention {
    torch::Tensor query, key, value;  // (B, heads, T, D)
    torch::Tensor embeddings;         // (T, T, D), or undefined
    torch::Tensor allowed;            // (B, 1, T, T), or undefined

    torch::Tensor operator()() const {
      auto scores = query.matmul(key.transpose(-2, -1));
      if (embeddings.defined())
        scores = scores + torch::einsum("bhld,lrd->bhlr", {query, embeddings});
      scores = scores / std::sqrt(static_cast<double>(query.size(-1)));
      if (allowed.defined()) {
        scores = scores.masked_fill(allowed.logical_not(), std::numeric_limits<double>::lowest());
      }
      return scores.softmax(-1).matmul(value).transpose(1, 2).flatten(-2);
    }
  };

  // linear_out, from the model or from what it took and gave. (B, T, H) -> (B, T, H).
  std::function<torch::Tensor(const torch::Tensor&)> projection_of(
      const std::string& module) const {
    auto weight = inputs_.parameter ? inputs_.parameter(module + ".weight") : torch::Tensor();
    auto bias = inputs_.parameter ? inputs_.parameter(module + ".bias") : torch::Tensor();
    if (weight.defined() && bias.defined()) {
      return [weight = in_double(weight), bias = in_double(bias)](const torch::Tensor& x) {
        return x.matmul(weight.t()) + bias;
      };
    }
    const auto taken = in_double(input(module, "input")).flatten(0, 1);
    const auto given = output(module).flatten(0, 1);
    const auto width = taken.size(1);
    if (taken.size(0) < width + kMinFrames) return {};
    const auto ones = torch::ones({taken.size(0), 1}, taken.options());
    const auto map = std::get<0>(at::linalg_lstsq(torch::cat({taken, ones}, 1), given));
    return [map, width](const torch::Tensor& x) {
      return x.matmul(map.slice(0, 0, width)) + map.select(0, width);
    };
  }

  std::optional<Diagnosis> in_attention(const std::string& module) const {
    const auto query = output(module + ".linear_q"), key = output(module + ".linear_k"),
               value = output(module + ".linear_v");
    const auto context = input(module + ".linear_out", "input");
    if (!query.defined() || !key.defined() || !value.defined() || !context.defined() ||
        query.dim() != 3 || query.size(-1) % config_.num_attention_heads != 0) {
      return std::nullopt;
    }
    Attention right{split(query), split(key), split(value), output(module + ".distance_embedding"),
                    input(module, "attention_mask")};
    if (right.allowed.defined() && right.allowed.scalar_type() != torch::kBool) {
      right.allowed = right.allowed == 0;
    }
    constexpr double kFits = 2e-2;  // of values in bfloat16
    const auto is_right = [&] {
      const auto known = rows(in_double(context));
      return rms(rows(right()) - known) <= kFits * rms(known);
    };
    if (!is_right()) return std::nullopt;  // another position type
    const auto project = projection_of(module + ".linear_out");
    if (!project) return std::nullopt;
    const auto is = [&](const torch::Tensor& mistaken) {
      return explains(rows(project(mistaken)), rows(pair_.expected), rows(pair_.actual));
    };
    if (right.allowed.defined()) {
      Attention without = right;
      without.allowed = torch::Tensor();
      if (is(without())) {
        return found(Divergence::padding, "mask",
                     "padded frames are attended to: the mask is missing");
      }
    }
    if (right.embeddings.defined()) {
      Attention other = right;
      other.embeddings = torch::Tensor();
      if (is(other())) {
        return found(Divergence::position, "distance",
                     "the embeddings of the distances are missing");
      }
      for (const auto& [text, embeddings] : mistaken_distances(right.embeddings)) {
        other.embeddings = embeddings;
        if (is(other())) return found(Divergence::position, "distance", text);
      }
    }
    return in_head_split(right, query, key, value, is);
  }

  // H = heads x D read as D x heads, or without exchanging heads and frames.
  template <typename Is>
  std::optional<Diagnosis> in_head_split(const Attention& right, const torch::Tensor& query,
                                         const torch::Tensor& key, const torch::Tensor& value,
                                         const Is& is) const {
    const auto heads = config_.num_attention_heads;
    const auto interleaved = [&](const torch::Tensor& values) {
      return values.unflatten(-1, {-1, heads}).permute({0, 3, 1, 2});
    };
    const auto unexchanged = [&](const torch::Tensor& values) {
      return values.contiguous().view({values.size(0), heads, values.size(1), -1});
    };
    const char* text = "the channels are divided among the heads in another order";
    Attention wrong = right;
    wrong.query = interleaved(query);
    wrong.key = interleaved(key);
    wrong.value = interleaved(value);
    const auto joined = wrong();  // heads outside
    const auto alike = joined.unflatten(-1, {heads, -1}).transpose(-2, -1).flatten(-2);
    if (is(joined) || is(alike)) {
      return found(Divergence::operation, "head_split",
                   std::string(text) + ": (D, heads) where it should be (heads, D)");
    }
    wrong.query = unexchanged(query);
    wrong.key = unexchanged(key);
    wrong.value = unexchanged(value);
    const auto swapped = wrong();
    const auto viewed =
        swapped.unflatten(-1, {heads, -1}).transpose(1, 2).contiguous().view(swapped.sizes());
    if (is(swapped) || is(viewed)) {
      return found(Divergence::operation, "head_split",
                   std::string(text) + ": heads and frames are not exchanged");
    }
    return std::nullopt;
  }

  const DiagnosisInputs& inputs_;
  const std::string& name_;
  std::string layer_;
  OutputPair pair_;
  torch::Tensor frame_mask_;
  const Wav2Vec2BertConfig& config_;
};

}  // namespace

std::optional<Diagnosis> known_mistake(const DiagnosisInputs& inputs, const std::string& name,
                                       const OutputPair& pair, const torch::Tensor& frame_mask) {
  const torch::NoGradGuard no_grad;
  return Mistakes(inputs, name, pair, frame_mask).find();
}

std::int64_t frame_axis(const torch::Tensor& output, std::int64_t frames) {
  if (output.dim() == 3 && output.size(1) == frames) return 1;
  return output.dim() >= 3 && output.size(2) == frames ? 2 : 0;
}

torch::Tensor by_frames(const torch::Tensor& output, std::int64_t frames) {
  const std::int64_t axis = frame_axis(output, frames);
  if (axis == 0) return {};
  return axis == 1 ? output : output.transpose(1, 2).flatten(2);
}

}  // namespace w2vbert::tool
