// The device engine against the mirror, which is its oracle, on tensors of the CPU; and on meta,
// where nothing can wait for a value.
#include <ATen/record_function.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/library.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/device/aten_ops.h"
#include "engine/device/device_cases.h"
#include "engine/device/device_engine.h"
#include "engine/device/device_model.h"
#include "engine/device/kernel_ops.h"
#include "engine/reference_engine.h"
#include "support/engine_cases.h"
#include "support/random_parameters.h"
#include "support/value_error.h"
#include "w2vbert/core/error.h"
#include "w2vbert/models/wav2vec2_bert_for_ctc.h"

namespace w2vbert::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(DeviceEngine, GivesTheMirrorsStatesForRandomConfigsAndRaggedBatches) {
  double largest = 0;
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const auto config = random_device_config(random);
    auto model = model_of(config, seed);
    const auto clips = random_device_clips(random, config.feature_projection_input_dim);
    const auto states = every_state(config);
    const auto mirror = ReferenceEngine(model).compute(clips, states);
    DeviceEngine engine = device_engine(std::move(model));
    const auto got = engine.compute(clips, states);
    ASSERT_THAT(got, SizeIs(clips.size()));
    for (std::size_t clip = 0; clip < clips.size(); ++clip) {
      for (std::size_t state = 0; state < states.size(); ++state) {
        ASSERT_EQ(got[clip].states[state].sizes(), mirror[clip].states[state].sizes());
        const double error = difference(got[clip].states[state], mirror[clip].states[state]);
        EXPECT_LT(error, kTolerance) << "seed " << seed << ", clip " << clip << ", state " << state;
        largest = std::max(largest, error);
      }
    }
  }
  RecordProperty("largest_difference", ::testing::PrintToString(largest));
}

TEST(DeviceEngine, AddsStatesUpAsTheyPass) {
  for (unsigned seed = 0; seed < 8; ++seed) {
    std::mt19937 random(seed);
    auto config = random_device_config(random);
    config.num_hidden_layers = 3;
    auto model = model_of(config, seed);
    const auto clips = random_device_clips(random, config.feature_projection_input_dim);
    const std::vector<StateSum> sums = {{{2}, {}}, {{0, 1, 3}, {}}, {{1, 2}, {0.5, -2}}};
    const auto mirror = ReferenceEngine(model).compute_sums(clips, sums);
    DeviceEngine engine = device_engine(std::move(model));
    const auto got = engine.compute_sums(clips, sums);
    const auto states = engine.compute(clips, {0, 1, 2, 3});
    ASSERT_THAT(got, SizeIs(clips.size()));
    for (std::size_t clip = 0; clip < clips.size(); ++clip) {
      const auto& of = states[clip].states;
      EXPECT_TRUE(torch::equal(got[clip].states[0], of[2]));
      EXPECT_TRUE(torch::equal(got[clip].states[1], (of[0] + of[1] + of[3]) / 3));
      EXPECT_TRUE(torch::equal(got[clip].states[2], of[1] * 0.5 + of[2] * -2));
      for (std::size_t i = 0; i < sums.size(); ++i) {
        EXPECT_LT(difference(got[clip].states[i], mirror[clip].states[i]), 4 * kTolerance)
            << "seed " << seed << ", clip " << clip << ", sum " << i;
      }
    }
  }
}

class DeviceEngineIn : public ::testing::TestWithParam<Precision> {};

TEST_P(DeviceEngineIn, IsNoFurtherFromFloat32ThanTheMirrorIs) {
  double largest_ratio = 0;
  for (unsigned seed = 0; seed < 24; ++seed) {
    std::mt19937 random(seed);
    auto config = random_device_config(random);
    config.layer_norm_eps = 1e-5;
    const auto clips = random_device_clips(random, config.feature_projection_input_dim);
    const auto states = every_state(config);
    const auto exact = ReferenceEngine(model_of(config, seed)).compute(clips, states);
    auto mirror = model_of(config, seed);
    mirror->to(dtype_of(GetParam()));
    auto model = model_of(config, seed);
    model->to(dtype_of(GetParam()));
    const auto of_mirror = ReferenceEngine(mirror).compute(clips, states);
    const auto got = device_engine(std::move(model), GetParam()).compute(clips, states);
    for (std::size_t state = 0; state < states.size(); ++state) {
      EXPECT_EQ(got[0].states[state].scalar_type(), dtype_of(GetParam()));
      const double ratio =
          relative_error(got, exact, state) / relative_error(of_mirror, exact, state);
      EXPECT_LE(ratio, 1) << "seed " << seed << ", state " << state;
      largest_ratio = std::max(largest_ratio, ratio);
    }
  }
  RecordProperty("largest_ratio", ::testing::PrintToString(largest_ratio));
}

INSTANTIATE_TEST_SUITE_P(All, DeviceEngineIn,
                         ::testing::Values(Precision::bfloat16, Precision::float16),
                         [](const auto& of) { return name_of(of.param); });

TEST(DeviceEngine, KeepsNanAndInfinityInTheirClip) {
  const auto config = small_engine_config();
  DeviceEngine engine = device_engine(model_of(config, 3));
  for (const float poison :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<EngineClip> clips;
    for (const std::int64_t frames : {70, 9, 33}) {
      clips.push_back({torch::randn({frames, 160}), torch::ones({frames}, torch::kLong)});
    }
    const auto before = engine.compute(clips, {0, 3});
    clips[1].input_features = torch::full_like(clips[1].input_features, poison);
    const auto after = engine.compute(clips, {0, 3});
    for (const std::size_t clip : {0, 2}) {
      EXPECT_TRUE(torch::equal(after[clip].states[1], before[clip].states[1])) << poison;
    }
    EXPECT_TRUE(after[1].states[1].isnan().all().item<bool>());
  }
}

TEST(DeviceEngine, LetsNothingOutOfPadding) {
  DeviceEngine engine = device_engine(model_of(small_engine_config(), 4));
  expect_nothing_out_of_padding(engine);
}

TEST(DeviceEngine, TreatsEmptyMasksAsTheMirrorDoesForEachPositionTypeAndAttention) {
  for (const bool positions : {true, false}) {
    for (const char* attention : {"sdpa", "eager"}) {
      for (const bool adapter : {false, true}) {
        auto config = small_engine_config();
        if (!positions) config.position_embeddings_type.reset();
        config.attn_implementation = attention;
        config.add_adapter = adapter;
        auto model = model_of(config, 5);
        const std::vector<EngineClip> clips = {
            {torch::randn({40, 160}), torch::zeros({40}, torch::kLong)},
            {torch::randn({17, 160}), {}},
            {torch::randn({30, 160}), torch::zeros({30}, torch::kBool)},
            {torch::randn({30, 160}), torch::arange(30).lt(11)}};
        const std::vector<StateId> wanted = {1, 3, StateId::last_hidden_state()};
        const auto mirror = ReferenceEngine(model).compute(clips, wanted);
        const auto got = device_engine(std::move(model)).compute(clips, wanted);
        for (std::size_t clip = 0; clip < clips.size(); ++clip) {
          for (std::size_t i = 0; i < wanted.size(); ++i) {
            EXPECT_LT(difference(got[clip].states[i], mirror[clip].states[i]), kTolerance)
                << attention << ", positions " << positions << ", clip " << clip << ", entry " << i;
          }
        }
      }
    }
  }
}

TEST(DeviceEngine, RunsTheAdapterBehindTheEncoder) {
  for (const auto& config : adapter_configs()) {
    auto model = model_of(config, 6);
    const auto mask_of = [](std::int64_t frames, std::int64_t valid) {
      return torch::arange(frames).lt(valid).to(torch::kLong);
    };
    const std::vector<EngineClip> clips = {{torch::randn({60, 160}), {}},
                                           {torch::randn({31, 160}), mask_of(31, 31)},
                                           {torch::randn({50, 160}), mask_of(50, 20)},
                                           {torch::randn({12, 160}), mask_of(12, 0)},
                                           {torch::randn({60, 160}), mask_of(60, 44)},
                                           {torch::randn({200, 160}), {}}};
    const std::vector<StateId> wanted = {StateId::last_hidden_state(), 3, 1};
    const auto mirror = ReferenceEngine(model).compute(clips, wanted);
    const auto got = device_engine(std::move(model)).compute(clips, wanted);
    for (std::size_t clip = 0; clip < clips.size(); ++clip) {
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        ASSERT_EQ(got[clip].states[i].sizes(), mirror[clip].states[i].sizes());
        EXPECT_LT(difference(got[clip].states[i], mirror[clip].states[i]), kTolerance)
            << "kernel " << config.adapter_kernel_size << ", clip " << clip << ", entry " << i;
      }
    }
  }
}

TEST(DeviceEngine, RefusesAClipThatIsTooShortForTheAdapterBeforeAnyWork) {
  DeviceEngine engine = device_engine(model_of(adapter_configs()[3], 6));
  const std::vector<EngineClip> clips = {{torch::randn({40, 160}), {}},
                                         {torch::randn({7, 160}), {}}};
  int steps = 0;
  engine.interrupt_when([&] { return ++steps < 0; });
  EXPECT_THROW(engine.compute(clips, {StateId::last_hidden_state()}), c10::ValueError);
  EXPECT_EQ(steps, 0);
  EXPECT_THAT(engine.compute(clips, {3}), SizeIs(2));
}

TEST(DeviceEngine, ComputesNoLayerThatNobodyAsksFor) {
  DeviceEngine engine = device_engine(model_with_a_bad_last_layer());
  expect_no_last_layer_unless_asked_for(engine);
}

TEST(DeviceEngine, StopsInTheMiddleOfALayerWhenAskedAndGoesOnAfterwards) {
  DeviceEngine engine = device_engine(model_of(small_engine_config(), 5));
  expect_stops_when_asked(engine, /*steps_of_a_layer=*/3);
}

TEST(DeviceEngine, GivesEqualResultsToTwoThreadsAtOnce) {
  DeviceEngine engine = device_engine(model_of(small_engine_config(), 9));
  const std::vector<std::vector<EngineClip>> batches = {{{torch::randn({200, 160}), {}}},
                                                        {{torch::randn({70, 160}), {}}}};
  std::vector<torch::Tensor> expected;
  for (const auto& batch : batches) {
    expected.push_back(engine.compute(batch, {3}).front().states.front());
  }
  std::vector<int> wrong(batches.size(), 0);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < batches.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 20; ++round) {
        const auto got = engine.compute(batches[i], {3}).front().states.front();
        wrong[i] += torch::allclose(got, expected[i], 0, 1e-6) ? 0 : 1;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(wrong, ElementsAre(0, 0));
}

TEST(DeviceEngine, NamesWhatIsWrongWithAnInput) {
  DeviceEngine engine = device_engine(model_of(small_engine_config(), 10));
  EXPECT_THAT(value_error_of([&] {
                engine.compute({{torch::randn({5, 80}), {}}}, {3});
              }),
              HasSubstr("shape [5, 80], expected (T, 160)"));
  EXPECT_THAT(engine.compute({}, {3}), IsEmpty());
  EXPECT_THAT(engine.compute({{torch::randn({5, 160}), {}}}, {}).front().states, IsEmpty());
}

TEST(DeviceEngine, SaysWhatItDoesNotRun) {
  auto rotary = small_engine_config();
  rotary.position_embeddings_type = "rotary";
  auto model = model_of(rotary, 1);
  EXPECT_THAT(value_error_of([&] { put_on_device_engine(*model, Precision::float32); }),
              HasSubstr("\"rotary\""));
  model = model_of(small_engine_config(), 1);
  EXPECT_THAT(value_error_of([&] { put_on_device_engine(*model, Precision::int8); }),
              HasSubstr("int8"));
  EXPECT_THAT(value_error_of([&] { put_on_device_engine(*model, Precision::bfloat16); }),
              HasSubstr("parameters of Float, expected BFloat16"));
  model->encoder->layers[1]->to(torch::kBFloat16);
  EXPECT_THAT(value_error_of([&] { put_on_device_engine(*model, Precision::float32); }),
              HasSubstr("encoder.layers.1.ffn1_layer_norm.weight: BFloat16"));
  EXPECT_EQ(model->encoder->layers->size(), 3U);  // as it was
}

// Restores the variable at its end.
class WantsDeviceEngine {
 public:
  WantsDeviceEngine() { ::setenv("W2VBERT_DEVICE_ENGINE", "1", 1); }
  ~WantsDeviceEngine() { ::unsetenv("W2VBERT_DEVICE_ENGINE"); }
  WantsDeviceEngine(const WantsDeviceEngine&) = delete;
  WantsDeviceEngine& operator=(const WantsDeviceEngine&) = delete;
};

TEST(DeviceEngine, IsChosenWhereTheEnvironmentSaysSo) {
  const auto config = small_engine_config();
  EXPECT_EQ(choose_engine(EngineKind::fused, config, torch::kCPU, Precision::float32).kind,
            EngineKind::fused);
  const WantsDeviceEngine wants;
  for (const torch::Device device : {torch::Device(torch::kCPU), torch::Device(torch::kCUDA)}) {
    const auto choice = choose_engine(EngineKind::fused, config, device, Precision::bfloat16);
    EXPECT_EQ(choice.kind, EngineKind::device);
    EXPECT_EQ(choice.parameter_dtype(), torch::kBFloat16);
  }
  EXPECT_EQ(choose_engine(EngineKind::reference, config, torch::kCPU, Precision::float32).kind,
            EngineKind::reference);
  EXPECT_THROW(choose_engine(EngineKind::fused, config, torch::kCPU, Precision::int8), UsageError);
  auto rotary = config;
  rotary.position_embeddings_type = "rotary";
  const auto choice = choose_engine(EngineKind::fused, rotary, torch::kCPU, Precision::float32);
  EXPECT_EQ(choice.kind, EngineKind::reference);
  EXPECT_THAT(choice.reason, HasSubstr("\"rotary\""));
  const auto engine =
      make_engine({EngineKind::device, Precision::float32, ""}, model_of(config, 2));
  EXPECT_EQ(engine->kind(), EngineKind::device);
}

TEST(DeviceEngine, GivesTheSameWithRowsBehindTheClips) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    const auto config = random_device_config(random);
    const auto clips = random_device_clips(random, config.feature_projection_input_dim);
    const auto states = every_state(config);
    const auto expected = device_engine(model_of(config, seed)).compute(clips, states);
    auto model = model_of(config, seed);
    put_on_device_engine(*model, Precision::float32);
    device_encoder_of(*model)->set_row_multiple(256);
    const auto got = DeviceEngine(model).compute(clips, states);
    for (std::size_t clip = 0; clip < clips.size(); ++clip) {
      for (std::size_t state = 0; state < states.size(); ++state) {
        EXPECT_LT(difference(got[clip].states[state], expected[clip].states[state]), kTolerance)
            << "seed " << seed << ", clip " << clip << ", state " << state;
      }
    }
  }
}

TEST(DeviceEngine, IsNotTakenForAnotherEngine) {
  auto model = model_of(small_engine_config(), 1);
  put_on_device_engine(*model, Precision::float32);
  const auto refuses = [&](EngineKind kind, Precision precision, const std::string& text) {
    EXPECT_THAT(value_error_of([&] {
                  make_engine({kind, precision, ""}, model);
                }),
                HasSubstr(text));
  };
  refuses(EngineKind::reference, Precision::float32, "is on the device engine, expected one");
  refuses(EngineKind::fused, Precision::float32, "is on the device engine, expected one");
  refuses(EngineKind::device, Precision::bfloat16, "in Float, expected BFloat16");
  EXPECT_EQ(make_engine({EngineKind::device, Precision::float32, ""}, model)->kind(),
            EngineKind::device);
}

TEST(DeviceEngine, SaysThatItsAdapterWasConverted) {
  auto model = model_of(adapter_configs()[0], 1);
  DeviceEngine engine = device_engine(model);
  const std::vector<EngineClip> clips = {{torch::randn({40, 160}), {}}};
  (void)engine.compute(clips, {StateId::last_hidden_state()});
  model->to(torch::kHalf);
  EXPECT_THAT(value_error_of([&] { engine.compute(clips, {StateId::last_hidden_state()}); }),
              HasSubstr("the adapter is Half on cpu now, expected Float on cpu"));
}

class DeviceEngineHead : public ::testing::TestWithParam<std::int64_t> {};

TEST_P(DeviceEngineHead, ComputesUnderAHeadAsTheMirrorDoes) {
  for (const auto& config : {small_engine_config(), adapter_configs()[0], adapter_configs()[2]}) {
    torch::manual_seed(11);
    Wav2Vec2BertForCTC mirror(config);
    randomize_parameters(*mirror, 11);
    mirror->eval();
    auto fused = std::dynamic_pointer_cast<Wav2Vec2BertForCTCImpl>(mirror->clone());
    put_on_device_engine(*fused, Precision::float32);
    device_encoder_of(*fused->wav2vec2_bert)->set_row_multiple(GetParam());
    const torch::NoGradGuard no_grad;
    const auto features = torch::randn({2, 40, 160});
    auto mask = torch::ones({2, 40}, torch::kLong);
    mask[1].slice(0, 25).zero_();
    ForwardOptions options;
    options.output_hidden_states = true;
    const auto expected = mirror->forward(features, mask, {}, options);
    const auto got = fused->forward(features, mask, {}, options);
    ASSERT_EQ(got.logits.sizes(), expected.logits.sizes());
    EXPECT_LT(difference(got.logits, expected.logits), kTolerance);
    ASSERT_THAT(*got.hidden_states, SizeIs(expected.hidden_states->size()));
    for (std::size_t i = 0; i < got.hidden_states->size(); ++i) {
      EXPECT_LT(difference((*got.hidden_states)[i], (*expected.hidden_states)[i]), kTolerance);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, DeviceEngineHead, ::testing::Values(1, 64));  // rows' multiples

// LibTorch has these without values in Python only.
std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> native_layer_norm_on_meta(
    const torch::Tensor& input, c10::SymIntArrayRef, const std::optional<torch::Tensor>&,
    const std::optional<torch::Tensor>&, double) {
  auto statistics = input.sizes().vec();
  statistics.back() = 1;
  const auto empty = torch::empty(statistics, input.options());
  return {torch::empty_like(input), empty, empty};
}

torch::Tensor convolution_on_meta(
    const torch::Tensor& input, const torch::Tensor& weight, const std::optional<torch::Tensor>&,
    c10::SymIntArrayRef stride, c10::SymIntArrayRef padding, c10::SymIntArrayRef, bool,
    c10::SymIntArrayRef,
    c10::SymInt) {  // NOLINT(performance-unnecessary-value-param): the schema's
  const auto number = [](c10::SymIntArrayRef values) { return values[0].expect_int(); };
  const std::int64_t frames =
      (input.size(2) + 2 * number(padding) - weight.size(2)) / number(stride) + 1;
  return torch::empty({input.size(0), weight.size(0), frames}, input.options());
}

torch::Tensor attention_on_meta(const torch::Tensor& query, const torch::Tensor&,
                                const torch::Tensor& value, const std::optional<torch::Tensor>&,
                                double, bool, std::optional<double>, bool) {
  auto sizes = query.sizes().vec();
  sizes.back() = value.size(3);
  return torch::empty(sizes, query.options());
}

torch::Tensor index_select_on_meta(const torch::Tensor& self, std::int64_t dim,
                                   const torch::Tensor& index) {
  auto sizes = self.sizes().vec();
  sizes[static_cast<std::size_t>(dim)] = index.size(0);
  return torch::empty(sizes, self.options());
}

torch::Tensor relu_on_meta(const torch::Tensor& self) { return torch::empty_like(self); }

TORCH_LIBRARY_IMPL(aten, Meta, library) {
  library.impl("relu", relu_on_meta);
  library.impl("index_select", index_select_on_meta);
  library.impl("scaled_dot_product_attention", attention_on_meta);
  library.impl("native_layer_norm", native_layer_norm_on_meta);
  library.impl("convolution", convolution_on_meta);
}

// What the operations of this thread do that a GPU would be waited for.
class WaitsForTheDevice {
 public:
  WaitsForTheDevice() {
    current = this;
    handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&WaitsForTheDevice::look)
                                             .needsInputs(true)
                                             .scopes({at::RecordScope::FUNCTION}));
  }
  ~WaitsForTheDevice() { at::removeCallback(handle_); }
  WaitsForTheDevice(const WaitsForTheDevice&) = delete;
  WaitsForTheDevice& operator=(const WaitsForTheDevice&) = delete;

  std::set<std::string> operations;  // that wait, and those with a tensor that is not on meta
  int seen = 0;

 private:
  static std::unique_ptr<at::ObserverContext> look(const at::RecordFunction& function) {
    static const std::set<std::string> waiting = {
        "aten::item",       "aten::_local_scalar_dense", "aten::nonzero",
        "aten::is_nonzero", "aten::masked_select",       "aten::equal",
        "aten::unique_dim"};
    ++current->seen;
    const std::string name = function.name();
    if (waiting.contains(name)) current->operations.insert(name);
    const auto check = [&](const at::Tensor& tensor) {
      if (tensor.defined() && !tensor.is_meta() && tensor.dim() > 0) {
        current->operations.insert(name + " of " + tensor.device().str());
      }
    };
    for (const c10::IValue& value : function.inputs()) {
      if (value.isTensor()) check(value.toTensor());
      if (!value.isTensorList()) continue;
      for (const at::Tensor& tensor : value.toTensorVector()) check(tensor);
    }
    return nullptr;
  }

  static thread_local WaitsForTheDevice* current;
  at::CallbackHandle handle_;
};
thread_local WaitsForTheDevice* WaitsForTheDevice::current = nullptr;

// Launchers that take everything and do nothing, as there is no memory on meta.
template <class Arguments>
const char* take(const Arguments&, cuda::Element, void*) {
  return nullptr;
}

class DeviceEngineWith : public ::testing::TestWithParam<bool> {};

TEST_P(DeviceEngineWith, NeverWaitsForTheDeviceInAForward) {
  std::shared_ptr<const DeviceOps> ops = std::make_shared<AtenOps>();
  if (GetParam()) {
    ops = std::make_shared<KernelOps>(cuda::Launchers{take<cuda::GatedConv>,
                                                      take<cuda::RelativeAttention>,
                                                      take<cuda::AddNorm>, take<cuda::BiasSwish>});
  }
  for (unsigned seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    const auto config = random_device_config(random);
    const auto model = std::dynamic_pointer_cast<Wav2Vec2BertModelImpl>(
        model_of(config, seed)->clone(torch::Device(torch::kMeta)));
    DeviceEncoder encoder(*model);
    encoder.set_ops(ops);
    const DeviceAdapter adapter(*model, ops);
    std::vector<RaggedLength> lengths;
    for (const EngineClip& clip :
         random_device_clips(random, config.feature_projection_input_dim)) {
      lengths.push_back({clip.input_features.size(0), clip.attention_mask});
    }
    const RaggedLayout layout = encoder.layout_of(lengths);
    const auto plan = adapter.plan(lengths, layout);
    const auto input = torch::empty({layout.rows(), config.feature_projection_input_dim},
                                    torch::TensorOptions(torch::kMeta));
    const WaitsForTheDevice waits;
    const auto rows = encoder.forward(input, layout, {0, config.num_hidden_layers},
                                      DeviceEncoder::Input::features);
    const auto last = adapter.forward(rows.back(), layout, plan);
    EXPECT_THAT(waits.operations, IsEmpty()) << "seed " << seed;
    EXPECT_GT(waits.seen, 12 * config.num_hidden_layers);
    EXPECT_THAT(last, SizeIs(lengths.size()));
    EXPECT_TRUE(last.front().is_meta());
  }
}

INSTANTIATE_TEST_SUITE_P(All, DeviceEngineWith, ::testing::Values(false, true),
                         [](const auto& of) { return of.param ? "Kernels" : "AtenOps"; });

TEST(AtenOps, AttendInBlocksOfQueriesAsAtOnce) {
  std::mt19937 random(3);
  for (const std::int64_t frames : {1, 15, 16, 17, 100, 333}) {
    for (const auto& [left, right] : std::vector<std::pair<int, int>>{{4, 2}, {64, 8}, {400, 0}}) {
      const std::int64_t heads = 2, width = 24;
      const DeviceAttention attention{heads, torch::randn({left + 1 + right, width / heads}), left,
                                      right};
      const RaggedLayout layout({{frames, torch::rand({frames}).gt(0.2)}}, torch::kCPU, {});
      const auto qkv = torch::randn({frames, 3 * width});
      const auto whole = AtenOps().attention(attention, qkv, layout);
      const auto blocks = AtenOps(heads * 23 * (frames + 23)).attention(attention, qkv, layout);
      EXPECT_LT(difference(blocks, whole), 1e-5) << frames << " frames, " << left;
    }
  }
}

TEST(RaggedLayout, LaysTheLongestClipFirstAndThoseOfAboutOneLengthTogether) {
  const RaggedLayout layout({{10, {}}, {600, {}}, {450, {}}, {200, {}}, {600, {}}, {128, {}}},
                            torch::kCPU, {.row_multiple = 256});
  EXPECT_THAT(layout.order(), ElementsAre(1, 4, 2, 3, 5, 0));
  EXPECT_EQ(layout.clip_rows(), 1988);
  EXPECT_EQ(layout.rows(), 2048);
  std::vector<std::vector<std::size_t>> groups;
  for (const ClipGroup& group : layout.groups()) groups.push_back(group.numbers);
  EXPECT_THAT(groups, ElementsAre(ElementsAre(1, 4, 2), ElementsAre(3), ElementsAre(5, 0)));
  EXPECT_EQ(layout.begin_of(4), 600);
  EXPECT_EQ(layout.groups()[2].begin, 1850);
  EXPECT_FALSE(layout.groups()[1].places.defined());  // one length
  EXPECT_FALSE(layout.padded_rows().defined());
}

TEST(RaggedLayout, EndsAGroupWhereItsScoresWouldBeTooMany) {
  const std::vector<RaggedLength> clips(5, RaggedLength{100, {}});
  const RaggedLayout layout(clips, torch::kCPU, {.max_scores = 2 * 100 * 100});
  EXPECT_THAT(layout.groups(), SizeIs(3));
  const RaggedLayout alone(clips, torch::kCPU, {.max_scores = 1});
  EXPECT_THAT(alone.groups(), SizeIs(5));
}

TEST(RaggedLayout, SpreadsAndPacksTheRowsOfAGroup) {
  const RaggedLayout layout({{3, {}}, {5, {}}}, torch::kCPU, {});
  const auto rows = torch::randn({8, 2});
  const ClipGroup& group = layout.groups().front();
  const auto spread = group.spread(rows);
  ASSERT_EQ(spread.sizes(), at::IntArrayRef({2, 5, 2}));
  EXPECT_TRUE(torch::equal(spread[0], rows.slice(0, 0, 5)));
  EXPECT_TRUE(torch::equal(spread[1].slice(0, 0, 3), rows.slice(0, 5)));
  EXPECT_TRUE(spread[1].slice(0, 3).eq(0).all().item<bool>());
  EXPECT_TRUE(torch::equal(group.pack(spread), rows));
  EXPECT_TRUE(torch::equal(
      group.absent, torch::tensor({0, 0, 0, 0, 0, 0, 0, 0, 1, 1}).view({2, 5}).to(torch::kBool)));
}

TEST(RaggedLayout, PutsZerosBeforeEachClipOfAConvolution) {
  const RaggedLayout layout({{3, {}}, {2, {}}}, torch::kCPU, {.gap = 2, .row_multiple = 4});
  const auto rows = torch::arange(1.0, 9.0).view({8, 1});
  const auto gapped = layout.with_gaps(rows);
  EXPECT_TRUE(torch::equal(
      gapped.flatten(),
      torch::tensor({0., 0., 1., 2., 3., 0., 0., 4., 5., 0., 0., 6., 7., 8.}).to(torch::kFloat)));
  // A kernel of three frames that takes the last one.
  EXPECT_TRUE(torch::equal(layout.without_gaps(gapped.slice(0, 2)), rows));
}

TEST(RaggedLayout, HasTilesOfItsClipsAndTheirValidFramesForKernels) {
  const RaggedLayout layout({{3, {}}, {70, torch::arange(70).lt(68)}}, torch::kCPU,
                            {.row_multiple = 16});
  EXPECT_TRUE(torch::equal(
      layout.row_tiles(),
      torch::tensor({0, 70, 0, 64, 0, 70, 64, 70, 70, 73, 70, 73}, torch::kInt).view({3, 4})));
  const auto valid = torch::ones({80}, torch::kByte);
  valid.slice(0, 68, 70).zero_();
  EXPECT_TRUE(torch::equal(layout.valid_rows(), valid));
  const RaggedLayout whole({{3, torch::ones({3})}}, torch::kCPU, {});
  EXPECT_FALSE(whole.valid_rows().defined());
}

}  // namespace
}  // namespace w2vbert::testing
