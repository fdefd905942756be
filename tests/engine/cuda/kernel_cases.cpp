#include "engine/cuda/kernel_cases.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "engine/device/cuda/row_tiles.h"

namespace w2vbert::cuda {
namespace {

using emulator::Buffer;
using Bytes = std::vector<std::uint8_t>;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::size_t size_of(Element element) { return element == Element::float32 ? 4 : 2; }

Bytes encode(const std::vector<float>& values, Element element) {
  Bytes bytes(values.size() * size_of(element));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (element == Element::float32) {
      std::memcpy(&bytes[i * 4], &values[i], 4);
    } else {
      const auto bits = element == Element::bfloat16 ? __float2bfloat16_rn(values[i]).bits
                                                     : __float2half_rn(values[i]).bits;
      std::memcpy(&bytes[i * 2], &bits, 2);
    }
  }
  return bytes;
}

std::vector<double> decode(const Bytes& bytes, Element element) {
  std::vector<double> values(bytes.size() / size_of(element));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (element == Element::float32) {
      float value;
      std::memcpy(&value, &bytes[i * 4], 4);
      values[i] = static_cast<double>(value);
    } else {
      std::uint16_t bits;
      std::memcpy(&bits, &bytes[i * 2], 2);
      values[i] = static_cast<double>(element == Element::bfloat16 ? __bfloat162float({bits})
                                                                   : __half2float({bits}));
    }
  }
  return values;
}

class Random {
 public:
  explicit Random(unsigned seed) : generator_(seed) {}
  std::vector<float> normal(std::size_t size, float scale = 1.0f, float mean = 0.0f) {
    std::normal_distribution<float> distribution(mean, scale);
    std::vector<float> values(size);
    for (auto& value : values) value = distribution(generator_);
    return values;
  }
  std::size_t below(std::size_t size) {
    return std::uniform_int_distribution<std::size_t>(0, size - 1)(generator_);
  }
  void put(Hostile hostile, std::vector<float>& values, Element element) {
    if (hostile == Hostile::nothing) return;
    for (std::size_t i = 0; i < 1 + values.size() / 50; ++i) {
      auto& value = values[below(values.size())];
      const float sign = value < 0 ? -1.0f : 1.0f;
      switch (hostile) {
        case Hostile::nothing:
          break;
        case Hostile::infinity:
          value = sign * std::numeric_limits<float>::infinity();
          break;
        case Hostile::not_a_number:
          value = std::numeric_limits<float>::quiet_NaN();
          break;
        case Hostile::large:
          value = sign * (element == Element::float16 ? 6e4f : 1e9f);
          break;
      }
    }
  }

 private:
  std::mt19937 generator_;
};

// As the kernels' float32 has it: 0 where the exponential is infinite there.
double sigmoid(double x) {
  return static_cast<double>(static_cast<float>(1.0 / (1.0 + std::exp(-x))));
}

void normalise(double* row, std::size_t channels, const std::vector<float>& weight,
               const std::vector<float>& bias, double epsilon) {
  double mean = 0.0, variance = 0.0;
  for (std::size_t c = 0; c < channels; ++c) mean += row[c];
  mean /= static_cast<double>(channels);
  for (std::size_t c = 0; c < channels; ++c) variance += (row[c] - mean) * (row[c] - mean);
  variance /= static_cast<double>(channels);
  for (std::size_t c = 0; c < channels; ++c) {
    row[c] = (row[c] - mean) / std::sqrt(variance + epsilon) * static_cast<double>(weight[c]) +
             static_cast<double>(bias[c]);
  }
}

// Half a unit in the last place of a narrow element is at most 2^-8 or 2^-11 of it; `float32` is
// for sums of float32.
double tolerance_for(Element element, double float32) {
  switch (element) {
    case Element::float32:
      return float32;
    case Element::bfloat16:
      return 0x1p-8 + float32;
    case Element::float16:
      return 0x1p-11 + float32;
  }
  return 0.0;
}

void compare(Outcome& outcome, const std::vector<double>& y, const std::vector<double>& reference,
             double tolerance, const char* of) {
  for (std::size_t i = 0; i < reference.size(); ++i) {
    bool right;
    if (std::isfinite(reference[i]) && std::isfinite(y[i])) {
      const double error = std::abs(y[i] - reference[i]) / (1.0 + std::abs(reference[i]));
      outcome.worst_error = std::max(outcome.worst_error, error);
      right = error <= tolerance;
    } else {
      right = std::isnan(reference[i]) ? std::isnan(y[i]) : y[i] == reference[i];
    }
    if (!right && outcome.wrong++ == 0) {
      outcome.first_wrong = std::string(of) + "[" + std::to_string(i) +
                            "]: " + std::to_string(y[i]) + ", expected " +
                            std::to_string(reference[i]);
    }
  }
}

// A value that rounding makes infinite in float16 is infinite in the reference, too.
void round_range(std::vector<double>& reference, Element element) {
  if (element != Element::float16) return;
  for (auto& value : reference) {
    if (std::abs(value) >= 65520.0) value = std::copysign(kInfinity, value);
  }
}

std::vector<std::int32_t> offsets_of(const std::vector<std::int32_t>& lengths) {
  std::vector<std::int32_t> begin{0};
  for (const auto length : lengths) begin.push_back(begin.back() + length);
  return begin;
}

}  // namespace

std::string Outcome::checks() const {
  std::string text;
  const auto add = [&](bool found, const char* name) {
    if (found) text += (text.empty() ? "" : " ") + std::string(name);
  };
  add(wrong > 0, "reference");
  add(unwritten > 0, "unwritten");
  add(findings.bounds > 0, "bounds");
  add(findings.uninitialised > 0, "uninitialised");
  add(findings.race > 0, "race");
  add(findings.barrier > 0, "barrier");
  return text;
}

std::string Outcome::text() const {
  std::string text = checks() + ", worst error " + std::to_string(worst_error);
  if (refused != nullptr) text += std::string(", refused: ") + refused;
  if (wrong > 0) text += ", " + std::to_string(wrong) + " wrong, first " + first_wrong;
  return text + "\n" + findings.text();
}

const char* name_of(Element element) {
  return element == Element::float32    ? "float32"
         : element == Element::bfloat16 ? "bfloat16"
                                        : "float16";
}

std::vector<std::int32_t> random_lengths(unsigned seed, int clips, int longest) {
  Random random(seed);
  std::vector<std::int32_t> lengths;
  for (int i = 0; i < clips; ++i) {
    const auto kind = random.below(5);
    const auto length = static_cast<std::int32_t>(random.below(static_cast<std::size_t>(longest)));
    lengths.push_back(kind == 0 ? 1 : kind == 1 ? (length + 63) / 64 * 64 : length);
  }
  return lengths;
}

Outcome run(const GatedConvCase& of, Element element) {
  Random random(of.seed);
  const auto begin = offsets_of(of.lengths);
  const auto rows = static_cast<std::size_t>(begin.back()),
             channels = static_cast<std::size_t>(of.channels),
             kernel = static_cast<std::size_t>(of.kernel_size);
  auto x_values = random.normal(rows * 2 * channels);
  random.put(of.hostile, x_values, element);
  const auto x_bytes = encode(x_values, element);
  const auto weight_bytes = encode(random.normal(kernel * channels, 0.3f), element);
  const auto norm_weight = random.normal(channels, 0.1f, 1.0f),
             norm_bias = random.normal(channels, 0.1f);
  const auto tiles = make_row_tiles(begin, of.tile_rows);

  Buffer<std::uint8_t> x(x_bytes, "x"), weight(weight_bytes, "weight"),
      y(rows * channels * size_of(element), "y");
  Buffer<float> norm_w(norm_weight, "norm_weight"), norm_b(norm_bias, "norm_bias");
  Buffer<RowTile> tile_table(tiles, "tiles");
  GatedConv arguments;
  arguments.x = x.data();
  arguments.weight = weight.data();
  arguments.norm_weight = norm_w.data();
  arguments.norm_bias = norm_b.data();
  arguments.epsilon = of.epsilon;
  arguments.y = y.data();
  arguments.tiles = tile_table.data();
  arguments.tile_count = static_cast<std::int32_t>(tiles.size());
  arguments.channels = of.channels;
  arguments.kernel_size = of.kernel_size;
  Outcome outcome;
  outcome.refused = launch_gated_conv(arguments, element, nullptr);
  outcome.findings = emulator::take_findings();
  outcome.unwritten = y.unwritten();

  const auto in = decode(x_bytes, element), w = decode(weight_bytes, element);
  std::vector<double> gated(rows * channels), reference(rows * channels);
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t c = 0; c < channels; ++c) {
      gated[row * channels + c] =
          in[row * 2 * channels + c] * sigmoid(in[row * 2 * channels + channels + c]);
    }
  }
  for (std::size_t clip = 0; clip + 1 < begin.size(); ++clip) {
    const auto first = static_cast<std::size_t>(begin[clip]),
               end = static_cast<std::size_t>(begin[clip + 1]);
    for (auto row = first; row < end; ++row) {
      auto* out = &reference[row * channels];
      for (std::size_t k = 0; k < kernel; ++k) {
        if (row + k + 1 < first + kernel) continue;
        const auto from = row + k + 1 - kernel;
        for (std::size_t c = 0; c < channels; ++c)
          out[c] += w[k * channels + c] * gated[from * channels + c];
      }
      normalise(out, channels, norm_weight, norm_bias, static_cast<double>(of.epsilon));
      for (std::size_t c = 0; c < channels; ++c) out[c] *= sigmoid(out[c]);
    }
  }
  compare(outcome, decode(y.values(), element), reference, tolerance_for(element, 2e-5), "y");
  return outcome;
}

Outcome run(const AddNormCase& of, Element element) {
  Random random(of.seed);
  const auto rows = static_cast<std::size_t>(of.rows),
             channels = static_cast<std::size_t>(of.channels);
  auto residual_values = random.normal(rows * channels, 2.0f, 3.0f);
  random.put(of.hostile, residual_values, Element::float32);
  const auto delta_bytes = encode(random.normal(rows * channels), element);
  const Element output = of.float32_output ? Element::float32 : element;
  const auto norm_weight = random.normal(channels, 0.1f, 1.0f),
             norm_bias = random.normal(channels, 0.1f);

  Buffer<float> residual(residual_values, "residual"), norm_w(norm_weight, "norm_weight"),
      norm_b(norm_bias, "norm_bias");
  Buffer<std::uint8_t> delta(delta_bytes, "delta"), y(rows * channels * size_of(output), "y");
  AddNorm arguments;
  arguments.residual = residual.data();
  arguments.delta = of.delta ? delta.data() : nullptr;
  arguments.scale = of.scale;
  arguments.float32_output = of.float32_output;
  arguments.norm_weight = norm_w.data();
  arguments.norm_bias = norm_b.data();
  arguments.y = y.data();
  arguments.rows = of.rows;
  arguments.channels = of.channels;
  Outcome outcome;
  outcome.refused = launch_add_norm(arguments, element, nullptr);
  outcome.findings = emulator::take_findings();
  outcome.unwritten = y.unwritten();

  const auto d = decode(delta_bytes, element);
  std::vector<double> sums(rows * channels);
  for (std::size_t i = 0; i < sums.size(); ++i) {
    sums[i] = static_cast<double>(residual_values[i]) +
              (of.delta ? static_cast<double>(of.scale) * d[i] : 0.0);
  }
  std::vector<double> written;
  for (const auto value : residual.values()) written.push_back(static_cast<double>(value));
  compare(outcome, written, sums, 1e-7, "residual");
  for (std::size_t row = 0; row < rows; ++row) {
    normalise(&sums[row * channels], channels, norm_weight, norm_bias,
              static_cast<double>(arguments.epsilon));
  }
  compare(outcome, decode(y.values(), output), sums, tolerance_for(output, 2e-5), "y");
  return outcome;
}

Outcome run(const BiasSwishCase& of, Element element) {
  Random random(of.seed);
  const auto rows = static_cast<std::size_t>(of.rows),
             channels = static_cast<std::size_t>(of.channels);
  auto x_values = random.normal(rows * channels, 3.0f);
  random.put(of.hostile, x_values, element);
  const auto x_bytes = encode(x_values, element),
             bias_bytes = encode(random.normal(channels), element);
  Buffer<std::uint8_t> x(x_bytes, "x"), bias(bias_bytes, "bias"), y(x_bytes.size(), "y");
  BiasSwish arguments;
  arguments.x = x.data();
  arguments.bias = of.bias ? bias.data() : nullptr;
  arguments.y = of.in_place ? x.data() : y.data();
  arguments.rows = of.rows;
  arguments.channels = of.channels;
  Outcome outcome;
  outcome.refused = launch_bias_swish(arguments, element, nullptr);
  outcome.findings = emulator::take_findings();
  outcome.unwritten = of.in_place ? 0 : y.unwritten();

  const auto in = decode(x_bytes, element), b = decode(bias_bytes, element);
  std::vector<double> reference(in.size());
  for (std::size_t i = 0; i < in.size(); ++i) {
    const double value = in[i] + (of.bias ? b[i % channels] : 0.0);
    reference[i] = value * sigmoid(value);
  }
  round_range(reference, element);
  compare(outcome, decode((of.in_place ? x : y).values(), element), reference,
          tolerance_for(element, 1e-6), "y");
  return outcome;
}

Outcome run(const AttentionCase& of, Element element) {
  Random random(of.seed);
  const auto begin = offsets_of(of.lengths);
  const auto rows = static_cast<std::size_t>(begin.back()),
             heads = static_cast<std::size_t>(of.heads),
             size = static_cast<std::size_t>(of.head_size);
  const auto distances = static_cast<std::size_t>(of.left) + 1 + static_cast<std::size_t>(of.right);
  auto qkv_values = random.normal(rows * 3 * heads * size);
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t i = 0; i < heads * size; ++i)
      qkv_values[row * 3 * heads * size + i] *= of.scale;
  }
  if (of.hostile ==
      Hostile::large) {  // among the values alone: scores of 1e9 leave no digits to a softmax
    std::vector<float> large(rows * heads * size, 0.0f);
    random.put(of.hostile, large, element);
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t i = 0; i < heads * size; ++i) {
        qkv_values[(row * 3 + 2) * heads * size + i] += large[row * heads * size + i];
      }
    }
  } else {
    random.put(of.hostile, qkv_values, element);
  }
  const auto qkv_bytes = encode(qkv_values, element);
  const auto e_bytes = encode(random.normal(distances * size, 0.5f), element);
  std::vector<std::uint8_t> valid(rows, 1);
  for (std::size_t clip = 0; clip + 1 < begin.size(); ++clip) {
    for (auto row = begin[clip]; row < begin[clip + 1]; ++row) {
      const bool masked = of.mask == Mask::all_of_each_clip ||
                          (of.mask == Mask::random && random.below(3) == 0) ||
                          (of.mask == Mask::every_second_clip && clip % 2 == 0);
      valid[static_cast<std::size_t>(row)] = masked ? 0 : 1;
    }
  }
  const auto tiles = make_row_tiles(begin, kAttentionTileRows);

  Buffer<std::uint8_t> qkv(qkv_bytes, "qkv"), e(e_bytes, "distance_embedding"),
      mask(valid, "valid"), y(rows * heads * size * size_of(element), "y");
  Buffer<RowTile> tile_table(tiles, "tiles");
  RelativeAttention arguments;
  arguments.qkv = qkv.data();
  arguments.distance_embedding = of.positions ? e.data() : nullptr;
  arguments.valid = of.mask == Mask::nothing ? nullptr : mask.data();
  arguments.y = y.data();
  arguments.tiles = tile_table.data();
  arguments.tile_count = static_cast<std::int32_t>(tiles.size());
  arguments.heads = of.heads;
  arguments.head_size = of.head_size;
  arguments.left = of.left;
  arguments.right = of.right;
  arguments.sdpa = of.sdpa;
  arguments.scale = of.score_scale;
  Outcome outcome;
  outcome.refused = launch_relative_attention(arguments, element, nullptr);
  outcome.findings = emulator::take_findings();
  outcome.unwritten = y.unwritten();

  const auto in = decode(qkv_bytes, element), embedding = decode(e_bytes, element);
  const auto at = [&](std::size_t row, std::size_t which, std::size_t head) {
    return &in[((row * 3 + which) * heads + head) * size];
  };
  const double masked_score = of.positions || !of.sdpa
                                  ? static_cast<double>(std::numeric_limits<float>::lowest())
                                  : -kInfinity;
  std::vector<double> reference(rows * heads * size);
  std::vector<double> scores;
  for (std::size_t clip = 0; clip + 1 < begin.size(); ++clip) {
    const auto first = static_cast<std::size_t>(begin[clip]),
               end = static_cast<std::size_t>(begin[clip + 1]);
    for (auto t = first; t < end; ++t) {
      for (std::size_t head = 0; head < heads; ++head) {
        scores.assign(end - first, 0.0);
        double most = -kInfinity, sum = 0.0;
        const auto* q = at(t, 0, head);
        for (auto j = first; j < end; ++j) {
          const auto distance =
              std::clamp(static_cast<std::int64_t>(j) - static_cast<std::int64_t>(t),
                         -static_cast<std::int64_t>(of.left), static_cast<std::int64_t>(of.right));
          const auto* k = at(j, 1, head);
          const auto* p = &embedding[static_cast<std::size_t>(distance + of.left) * size];
          double score = 0.0;
          for (std::size_t d = 0; d < size; ++d)
            score += q[d] * k[d] + (of.positions ? q[d] * p[d] : 0.0);
          score *= static_cast<double>(of.score_scale);
          if (of.mask != Mask::nothing && valid[j] == 0) score = masked_score;
          scores[j - first] = score;
          most = std::isnan(score) ? score : std::max(most, score);
        }
        const bool none = most == -kInfinity && of.sdpa;
        for (auto& score : scores) sum += score = none ? 0.0 : std::exp(score - most);
        auto* out = &reference[(t * heads + head) * size];
        for (auto j = first; j < end; ++j) {
          for (std::size_t d = 0; d < size; ++d) out[d] += scores[j - first] * at(j, 2, head)[d];
        }
        for (std::size_t d = 0; d < size; ++d) out[d] = none ? 0.0 : out[d] / sum;
      }
    }
  }
  // In the narrow types the exponentials are rounded as well, to 2^-8 and 2^-11 of each.
  const double tolerance = element == Element::float32 ? 2e-5 : 2.0 * tolerance_for(element, 1e-4);
  compare(outcome, decode(y.values(), element), reference, tolerance, "y");
  return outcome;
}

}  // namespace w2vbert::cuda
