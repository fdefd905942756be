// The device engine with its own kernels, which the emulator runs, against the mirror and against
// LibTorch's operations.
#include "engine/device/kernel_ops.h"

#include <ATen/Parallel.h>
#include <c10/core/CPUAllocator.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/cuda/emulator/emulator.h"
#include "engine/device/device_cases.h"
#include "engine/device/device_layers.h"
#include "engine/reference_engine.h"
#include "w2vbert/nn/convolution_module.h"

namespace w2vbert::testing {
namespace {

using cuda::Element;

// How often each kernel was launched, and how often it refused.
struct Calls {
  int gated_conv = 0, relative_attention = 0, add_norm = 0, bias_swish = 0, refused = 0;

  bool operator==(const Calls&) const = default;
};
Calls calls;

void PrintTo(const Calls& of, std::ostream* stream) {
  *stream << of.gated_conv << " convolutions, " << of.relative_attention << " attentions, "
          << of.add_norm << " norms, " << of.bias_swish << " swishes, " << of.refused << " refused";
}

const char* counted(const char* refused, int& count) {
  ++(refused == nullptr ? count : calls.refused);
  return refused;
}
const char* gated_conv(const cuda::GatedConv& arguments, Element element, void* stream) {
  return counted(cuda::launch_gated_conv(arguments, element, stream), calls.gated_conv);
}
const char* attention(const cuda::RelativeAttention& arguments, Element element, void* stream) {
  return counted(cuda::launch_relative_attention(arguments, element, stream),
                 calls.relative_attention);
}
const char* add_norm(const cuda::AddNorm& arguments, Element element, void* stream) {
  return counted(cuda::launch_add_norm(arguments, element, stream), calls.add_norm);
}
const char* bias_swish(const cuda::BiasSwish& arguments, Element element, void* stream) {
  return counted(cuda::launch_bias_swish(arguments, element, stream), calls.bias_swish);
}

cuda::Launchers emulated() { return {gated_conv, attention, add_norm, bias_swish}; }

std::shared_ptr<const DeviceOps> kernels() { return std::make_shared<KernelOps>(emulated()); }

// As random_device_config(), of sizes for the emulator, half of which the kernels take.
Wav2Vec2BertConfig random_kernel_config(std::mt19937& random) {
  const auto one_of = [&](std::vector<std::int64_t> values) {
    return values[random() % values.size()];
  };
  Wav2Vec2BertConfig config = random_device_config(random);
  config.num_attention_heads = one_of({1, 2, 3});
  config.hidden_size = config.num_attention_heads * one_of({16, 18, 24, 40, 64});
  config.num_hidden_layers = one_of({1, 2});
  config.intermediate_size = one_of({24, 64, 130});
  config.left_max_position_embeddings = one_of({0, 3, 64});
  config.right_max_position_embeddings = one_of({0, 1, 8});
  config.feature_projection_input_dim = one_of({32, 36});
  return config;
}

std::vector<EngineClip> random_kernel_clips(std::mt19937& random, std::int64_t features) {
  std::vector<EngineClip> clips;
  const auto count = 1 + random() % 4;
  for (std::size_t i = 0; i < count; ++i) {
    clips.push_back(random_clip(
        random, 8 + static_cast<std::int64_t>(random() % (i == 0 ? 140 : 40)), features));
  }
  return clips;
}

// A config of which the kernels take every step.
Wav2Vec2BertConfig kernel_config() {
  Wav2Vec2BertConfig config = small_engine_config();
  config.hidden_size = 64;  // 4 heads of 16
  return config;
}

TEST(KernelOps, GiveTheMirrorsStatesForRandomConfigsAndRaggedBatches) {
  calls = {};
  double largest = 0;
  for (unsigned seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const auto config = random_kernel_config(random);
    const auto clips = random_kernel_clips(random, config.feature_projection_input_dim);
    const auto states = every_state(config);
    const std::int64_t row_multiple = random() % 2 == 0 ? 1 : 48;
    const auto mirror = ReferenceEngine(model_of(config, seed)).compute(clips, states);
    const auto aten = device_engine(model_of(config, seed)).compute(clips, states);
    const auto got =
        device_engine(model_of(config, seed), Precision::float32, kernels(), row_multiple)
            .compute(clips, states);
    for (std::size_t clip = 0; clip < clips.size(); ++clip) {
      for (std::size_t state = 0; state < states.size(); ++state) {
        const auto& states_of = got[clip].states[state];
        ASSERT_EQ(states_of.sizes(), mirror[clip].states[state].sizes());
        const double error = difference(states_of, mirror[clip].states[state]);
        EXPECT_LT(error, kTolerance) << "seed " << seed << ", clip " << clip << ", state " << state;
        EXPECT_LT(difference(states_of, aten[clip].states[state]), kTolerance) << "seed " << seed;
        largest = std::max(largest, error);
      }
    }
  }
  RecordProperty("largest_difference", ::testing::PrintToString(largest));
  RecordProperty("calls", ::testing::PrintToString(calls));
  EXPECT_GT(calls.gated_conv, 20);
  EXPECT_GT(calls.relative_attention, 40);
  EXPECT_GT(calls.add_norm, 200);
  EXPECT_GT(calls.bias_swish, 40);
  EXPECT_GT(calls.refused, 0);
}

class KernelOpsIn : public ::testing::TestWithParam<Precision> {};

TEST_P(KernelOpsIn, AreNoFurtherFromFloat32ThanTheMirrorIs) {
  double largest_ratio = 0;
  calls = {};
  for (unsigned seed = 0; seed < 16; ++seed) {
    std::mt19937 random(seed);
    auto config = random_kernel_config(random);
    config.layer_norm_eps = 1e-5;
    const auto clips = random_kernel_clips(random, config.feature_projection_input_dim);
    const auto states = every_state(config);
    const auto exact = ReferenceEngine(model_of(config, seed)).compute(clips, states);
    auto mirror = model_of(config, seed);
    mirror->to(dtype_of(GetParam()));
    auto model = model_of(config, seed);
    model->to(dtype_of(GetParam()));
    const auto of_mirror = ReferenceEngine(mirror).compute(clips, states);
    const auto got =
        device_engine(std::move(model), GetParam(), kernels(), 16).compute(clips, states);
    for (std::size_t state = 0; state < states.size(); ++state) {
      EXPECT_EQ(got[0].states[state].scalar_type(), dtype_of(GetParam()));
      const double ratio =
          relative_error(got, exact, state) / relative_error(of_mirror, exact, state);
      EXPECT_LE(ratio, 1) << "seed " << seed << ", state " << state;
      largest_ratio = std::max(largest_ratio, ratio);
    }
  }
  RecordProperty("largest_ratio", ::testing::PrintToString(largest_ratio));
  for (const int count :
       {calls.gated_conv, calls.relative_attention, calls.add_norm, calls.bias_swish}) {
    EXPECT_GT(count, 5);
  }
}

INSTANTIATE_TEST_SUITE_P(All, KernelOpsIn,
                         ::testing::Values(Precision::bfloat16, Precision::float16),
                         [](const auto& of) { return name_of(of.param); });

TEST(KernelOps, RunEveryStepOfALayer) {
  for (const Precision precision : {Precision::float32, Precision::bfloat16, Precision::float16}) {
    auto model = model_of(kernel_config(), 2);
    model->to(dtype_of(precision));
    calls = {};
    device_engine(model, precision, kernels()).compute({{torch::randn({30, 160}), {}}}, {3});
    // Before the projection and the first feed-forward, and behind each of the four modules.
    EXPECT_EQ(calls, (Calls{3, 3, 1 + 3 * 5, 3 * 2, 0})) << name_of(precision);
  }
}

TEST(KernelOps, RunTheAdapterToo) {
  for (auto config : adapter_configs()) {
    config.hidden_size = 64;
    if (config.output_hidden_size.value_or(0) == 36) config.output_hidden_size = 32;
    auto model = model_of(config, 6);
    const std::vector<EngineClip> clips = {{torch::randn({60, 160}), {}},
                                           {torch::randn({50, 160}), torch::arange(50).lt(20)}};
    const std::vector<StateId> wanted = {StateId::last_hidden_state()};
    const auto mirror = ReferenceEngine(model).compute(clips, wanted);
    calls = {};
    const auto got =
        device_engine(std::move(model), Precision::float32, kernels()).compute(clips, wanted);
    EXPECT_GT(calls.relative_attention, 3);
    EXPECT_EQ(calls.refused, 0);
    for (std::size_t clip = 0; clip < clips.size(); ++clip) {
      EXPECT_LT(difference(got[clip].states[0], mirror[clip].states[0]), kTolerance);
    }
  }
}

TEST(KernelOps, TreatEmptyMasksAsTheMirrorDoesForEachPositionTypeAndAttention) {
  for (const bool positions : {true, false}) {
    for (const char* attention : {"sdpa", "eager"}) {
      auto config = kernel_config();
      if (!positions) config.position_embeddings_type.reset();
      config.attn_implementation = attention;
      auto model = model_of(config, 5);
      const std::vector<EngineClip> clips = {
          {torch::randn({40, 160}), torch::zeros({40}, torch::kLong)},
          {torch::randn({17, 160}), {}},
          {torch::randn({70, 160}), torch::arange(70).lt(11)}};
      const std::vector<StateId> wanted = {1, 3};
      const auto mirror = ReferenceEngine(model).compute(clips, wanted);
      const auto got =
          device_engine(std::move(model), Precision::float32, kernels(), 50).compute(clips, wanted);
      for (std::size_t clip = 0; clip < clips.size(); ++clip) {
        for (std::size_t i = 0; i < wanted.size(); ++i) {
          EXPECT_LT(difference(got[clip].states[i], mirror[clip].states[i]), kTolerance)
              << attention << ", positions " << positions << ", clip " << clip << ", entry " << i;
        }
      }
    }
  }
}

TEST(KernelOps, LetNothingOutOfPaddingOrOutOfAClip) {
  DeviceEngine engine = device_engine(model_of(kernel_config(), 4), Precision::float32, kernels());
  expect_nothing_out_of_padding(engine);
  std::vector<EngineClip> clips;
  for (const std::int64_t frames : {70, 9, 33}) clips.push_back({torch::randn({frames, 160}), {}});
  const auto before = engine.compute(clips, {3});
  clips[1].input_features.fill_(std::numeric_limits<float>::quiet_NaN());
  const auto after = engine.compute(clips, {3});
  for (const std::size_t clip : {0, 2}) {
    EXPECT_TRUE(torch::equal(after[clip].states[0], before[clip].states[0]));
  }
  EXPECT_TRUE(after[1].states[0].isnan().all().item<bool>());
}

// Tensors' memory in the arena that the emulator watches.
class WatchedMemory : public c10::Allocator {
 public:
  WatchedMemory() { c10::SetCPUAllocator(this); }
  ~WatchedMemory() override { c10::SetCPUAllocator(c10::GetDefaultCPUAllocator()); }

  c10::DataPtr allocate(std::size_t bytes) override {
    void* const memory = emulator::allocate(bytes, "a tensor");
    emulator::mark_written(memory, bytes);  // by LibTorch's operations, which are not seen
    return {memory, memory, emulator::release, c10::Device(c10::kCPU)};
  }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
};

std::size_t findings_of_a_forward(std::int64_t row_multiple) {
  auto config = kernel_config();
  config.num_hidden_layers = 1;
  DeviceEngine engine =
      device_engine(model_of(config, 3), Precision::float32, kernels(), row_multiple);
  std::vector<EngineClip> clips;
  for (const std::int64_t frames : {70, 9}) clips.push_back({torch::randn({frames, 160}), {}});
  clips[1].attention_mask = torch::arange(9).lt(7);
  const WatchedMemory watched;
  (void)engine.compute(clips, {1});
  const auto findings = emulator::take_findings();
  EXPECT_EQ(findings.text().empty(), findings.total() == 0);
  return findings.total();
}

TEST(KernelOps, GiveKernelsMemoryThatIsLargeEnough) {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);  // the emulator serves one
  for (const std::int64_t row_multiple : {1, 32})
    EXPECT_EQ(findings_of_a_forward(row_multiple), 0U);
  emulator::planted_bug = emulator::Bug::conv_reads_behind_the_clip;
  EXPECT_GT(findings_of_a_forward(1), 0U);
  emulator::planted_bug = emulator::Bug::nothing;
  at::set_num_threads(threads);
}

// One step of each kind, with what it needs.
struct Steps {
  std::int64_t heads = 2, head_size = 16, kernel_size = 31, left = 5, right = 2;
  std::string act = "swish";
  c10::ScalarType dtype = torch::kFloat;
  bool sdpa = true, positions = true;

  RaggedLayout layout{{{70, {}}, {9, torch::arange(9).lt(5)}, {33, {}}},
                      torch::kCPU,
                      {.gap = kernel_size - 1, .row_multiple = 40}};

  std::int64_t width() const { return heads * head_size; }
  DeviceLayerNorm norm() const {
    torch::manual_seed(1);
    return {1 + 0.1 * torch::randn({width()}), 0.1 * torch::randn({width()}), 1e-5};
  }
  at::Tensor rows(std::int64_t columns, std::uint64_t seed) const {
    torch::manual_seed(seed);
    return torch::randn({layout.rows(), columns}).to(dtype);
  }
  at::Tensor norm_of(const DeviceOps& ops) const {
    return ops.layer_norm(rows(width(), 2).to(torch::kFloat), norm(), dtype);
  }
  // The residual and the LayerNorm of it, one behind the other.
  at::Tensor add_norm(const DeviceOps& ops, bool to_float = false) const {
    at::Tensor residual = rows(width(), 3).to(torch::kFloat);
    const at::Tensor normal = ops.add_layer_norm(residual, rows(width(), 4), 0.5, norm(),
                                                 to_float ? torch::kFloat : dtype);
    EXPECT_EQ(normal.scalar_type(), to_float ? torch::kFloat : dtype);
    return torch::cat({residual, normal.to(torch::kFloat)});
  }
  at::Tensor activated(const DeviceOps& ops) const {
    const Activation activation(act, "hidden_act");
    torch::manual_seed(5);
    const DeviceLinear linear{torch::randn({width(), 24}).to(dtype),
                              torch::randn({width()}).to(dtype)};
    return ops.activated_linear(linear, activation_of(activation, act), rows(24, 7));
  }
  DeviceConv conv_step() const {
    Wav2Vec2BertConfig config;
    config.hidden_size = width();
    config.num_attention_heads = heads;
    config.conv_depthwise_kernel_size = kernel_size;
    config.hidden_act = act;
    torch::manual_seed(8);
    Wav2Vec2BertConvolutionModule module(config);
    randomize_parameters(*module, 8);
    module->to(dtype);
    return conv_of(module, config);
  }
  at::Tensor conv(const DeviceOps& ops) const {
    return ops.gated_conv(conv_step(), rows(2 * width(), 9), layout);
  }
  DeviceAttention attention_step() const {
    torch::manual_seed(10);
    DeviceAttention step{heads, {}, left, right, sdpa};
    if (positions) {
      step.distance_embedding = torch::randn({left + 1 + right, head_size}).to(dtype);
    }
    return step;
  }
  at::Tensor attention(const DeviceOps& ops) const {
    return ops.attention(attention_step(), rows(3 * width(), 11), layout);
  }
  // All of the clips' rows; what stands behind them is checked by itself.
  std::vector<at::Tensor> all(const DeviceOps& ops) const {
    return {norm_of(ops),
            add_norm(ops),
            add_norm(ops, true),
            activated(ops),
            conv(ops).narrow(0, 0, layout.clip_rows()),
            attention(ops)};
  }
};

TEST(KernelOps, ComputeEachStepAsAtenOpsDo) {
  for (const c10::ScalarType dtype : {torch::kFloat, torch::kBFloat16, torch::kHalf}) {
    for (const std::int64_t head_size : {16, 24, 64}) {
      for (const std::int64_t kernel_size : {1, 7, 31, 63}) {
        const Steps steps{.head_size = head_size,
                          .kernel_size = kernel_size,
                          .dtype = dtype,
                          .sdpa = kernel_size != 7,
                          .positions = kernel_size != 1};
        calls = {};
        const auto got = steps.all(KernelOps(emulated()));
        EXPECT_EQ(calls, (Calls{1, 1, 3, 1, 0}));
        const auto expected = steps.all(AtenOps());
        for (std::size_t i = 0; i < got.size(); ++i) {
          EXPECT_EQ(got[i].scalar_type(), expected[i].scalar_type());
          // Both round; and LibTorch's convolution and attention do so between their operations.
          const double tolerance = dtype == torch::kFloat      ? 1e-5
                                   : dtype == torch::kBFloat16 ? 5e-2
                                                               : 6e-3;
          EXPECT_LT(difference(got[i].to(torch::kFloat), expected[i].to(torch::kFloat)), tolerance)
              << "step " << i << ", " << dtype << ", heads of " << head_size << ", kernel of "
              << kernel_size;
        }
      }
    }
  }
}

TEST(KernelOps, LeaveZerosInRowsOfNoClip) {
  for (const c10::ScalarType dtype : {torch::kFloat, torch::kBFloat16}) {
    const Steps steps{.dtype = dtype};
    ASSERT_LT(steps.layout.clip_rows(), steps.layout.rows());
    const KernelOps ops(emulated());
    // Memory that is taken next has held NaN.
    for (const bool is_conv : {true, false}) {
      torch::full({steps.layout.rows(), steps.width()}, NAN, dtype);
      const at::Tensor rows = is_conv ? steps.conv(ops) : steps.attention(ops);
      EXPECT_TRUE(rows.isfinite().all().item<bool>());
      const at::Tensor behind = rows.slice(0, steps.layout.clip_rows());
      EXPECT_TRUE(behind.eq(0).all().item<bool>()) << (is_conv ? "convolution" : "attention");
    }
  }
}

// What the kernels do not take runs as AtenOps, bit for bit.
void expect_aten(const Steps& steps, const Calls& expected, const std::string& what) {
  calls = {};
  const auto got = steps.all(KernelOps(emulated()));
  EXPECT_EQ(calls, expected) << what;
  const auto aten = steps.all(AtenOps());
  const std::vector<bool> by_kernel = {calls.add_norm > 0,   calls.add_norm > 0,
                                       calls.add_norm > 0,   calls.bias_swish > 0,
                                       calls.gated_conv > 0, calls.relative_attention > 0};
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_TRUE(by_kernel[i] || torch::equal(got[i], aten[i])) << what << ", step " << i;
    EXPECT_LT(difference(got[i], aten[i]), 1e-5) << what << ", step " << i;
  }
}

TEST(KernelOps, FallBackOnAtenOpsForWhatTheyDoNotTake) {
  expect_aten({.act = "gelu"}, {0, 1, 3, 0, 0}, "another activation");
  expect_aten({.act = "silu"}, {1, 1, 3, 1, 0}, "the same under its other name");
  expect_aten({.head_size = 18}, {0, 0, 0, 0, 5}, "36 channels, heads of 18");
  expect_aten({.heads = 2, .head_size = 12}, {1, 0, 3, 1, 1}, "heads of 12");
  expect_aten({.heads = 1, .head_size = 136}, {1, 0, 3, 1, 1}, "heads of 136");
  expect_aten({.kernel_size = 65}, {0, 1, 3, 1, 1}, "a kernel of 65 frames");
  expect_aten({.left = 400, .right = 0}, {1, 0, 3, 1, 1}, "more distances than there is room for");
}

TEST(KernelOps, FallBackOnAtenOpsForMemoryThatKernelsDoNotRead) {
  const Steps steps;
  const KernelOps ops(emulated());
  const AtenOps aten;
  // Not at a multiple of 16 bytes.
  const auto shifted = [](const at::Tensor& tensor) {
    const at::Tensor memory = torch::empty({tensor.numel() + 1}, tensor.options());
    return memory.slice(0, 1).view(tensor.sizes()).copy_(tensor);
  };
  const auto strided = [](const at::Tensor& tensor) { return tensor.t().contiguous().t(); };
  calls = {};
  for (const auto& change : std::vector<std::function<at::Tensor(const at::Tensor&)>>{
           shifted, strided, [](const at::Tensor& tensor) { return tensor.to(torch::kDouble); }}) {
    const at::Tensor qkv = change(steps.rows(3 * steps.width(), 1));
    DeviceAttention attention = steps.attention_step();
    attention.distance_embedding = attention.distance_embedding.to(qkv.dtype());
    EXPECT_TRUE(torch::equal(ops.attention(attention, qkv, steps.layout),
                             aten.attention(attention, qkv, steps.layout)));
    const at::Tensor rows = change(steps.rows(steps.width(), 2));
    if (rows.scalar_type() != torch::kFloat) continue;
    const at::Tensor gated = change(steps.rows(2 * steps.width(), 3));
    EXPECT_TRUE(torch::equal(ops.gated_conv(steps.conv_step(), gated, steps.layout),
                             aten.gated_conv(steps.conv_step(), gated, steps.layout)));
    at::Tensor residual = rows.clone(torch::MemoryFormat::Preserve), same = residual.clone();
    const at::Tensor delta = change(steps.rows(steps.width(), 4));
    EXPECT_TRUE(torch::equal(ops.add_layer_norm(residual, delta, 0.5, steps.norm(), torch::kFloat),
                             aten.add_layer_norm(same, delta, 0.5, steps.norm(), torch::kFloat)));
    EXPECT_TRUE(torch::equal(residual, same));
    EXPECT_TRUE(torch::equal(ops.layer_norm(rows, steps.norm(), torch::kFloat),
                             aten.layer_norm(rows, steps.norm(), torch::kFloat)));
  }
  EXPECT_EQ(calls, Calls());
}

TEST(KernelOps, FallBackOnAtenOpsWhereAKernelIsAbsentOrNotLaunched) {
  const Steps steps;
  const auto aten = steps.all(AtenOps());
  const auto expect_equal = [&](const cuda::Launchers& launchers) {
    const auto got = steps.all(KernelOps(launchers));
    for (std::size_t i = 0; i < got.size(); ++i) {
      EXPECT_TRUE(torch::equal(got[i], aten[i])) << "step " << i;
    }
  };
  expect_equal({});
  expect_equal({[](const cuda::GatedConv&, Element, void*) { return "no kernel image"; },
                [](const cuda::RelativeAttention&, Element, void*) { return "no kernel image"; },
                [](const cuda::AddNorm&, Element, void*) { return "no kernel image"; },
                [](const cuda::BiasSwish&, Element, void*) { return "no kernel image"; }});
}

TEST(KernelOps, LaunchOnTheStreamOfTheDevice) {
  static int stream = 0;
  static std::vector<void*> streams;
  static std::vector<int> devices;
  cuda::Launchers launchers = emulated();
  launchers.current_stream = [](std::int32_t device) -> void* {
    devices.push_back(device);
    return &stream;
  };
  launchers.add_norm = [](const cuda::AddNorm& arguments, Element element, void* on) {
    streams.push_back(on);
    return add_norm(arguments, element, nullptr);
  };
  const Steps steps;
  (void)steps.norm_of(KernelOps(launchers));
  EXPECT_THAT(streams, ::testing::ElementsAre(&stream));
  EXPECT_THAT(devices, ::testing::ElementsAre(torch::Device(torch::kCPU).index()));
}

}  // namespace
}  // namespace w2vbert::testing
