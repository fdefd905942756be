// What would hurt on a GPU, seen without one: LibTorch's meta device has shapes and no data, so a
// forward on it fails where a value is asked for, and its operations can be watched.
#include <ATen/ExpandUtils.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/record_function.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/library.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <set>

#include "support/small_config.h"
#include "w2vbert/models/semantic_encoder.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert::testing {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;

// Collects the operations of this thread that gave a CPU tensor with dimensions, or that wait for
// the device whatever it is. (A CPU scalar becomes a kernel's argument and costs nothing.)
class Watch {
 public:
  Watch() {
    current() = this;
    handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(nullptr, &Watch::end)
                                             .needsOutputs(true)
                                             .scopes({at::RecordScope::FUNCTION}));
  }
  ~Watch() {
    at::removeCallback(handle_);
    current() = nullptr;
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  const std::set<std::string>& offences() const { return offences_; }
  int operations() const { return operations_; }

 private:
  static Watch*& current() {
    static Watch* watch = nullptr;
    return watch;
  }
  static void end(const at::RecordFunction& function, at::ObserverContext* /*context*/) {
    Watch& self = *current();
    ++self.operations_;
    const std::string name = function.name();
    static const std::set<std::string> kWaiting = {"aten::item",       "aten::_local_scalar_dense",
                                                   "aten::nonzero",    "aten::masked_select",
                                                   "aten::is_nonzero", "aten::equal"};
    if (kWaiting.contains(name)) self.offences_.insert(name);
    for (const auto& output : function.outputs()) {
      if (output.isTensor() && output.toTensor().defined() && output.toTensor().is_cpu() &&
          output.toTensor().dim() > 0) {
        self.offences_.insert(name);
      }
    }
  }

  at::CallbackHandle handle_{};
  int operations_ = 0;
  std::set<std::string> offences_;
};

// While one of these lives, this thread's new tensors are on the meta device whatever they ask for:
// torch::nn::Module::to cannot move a module there.
class EverythingIsMeta {
 public:
  static constexpr auto kKey = c10::DispatchKey::TESTING_ONLY_GenericMode;

 private:
  c10::impl::IncludeDispatchKeyGuard include_{kKey};
};

void call_on_meta(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& arguments = op.schema().arguments();
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i].name() == "device") {
      (*stack)[stack->size() - arguments.size() + i] = c10::Device(c10::kMeta);
    }
  }
  const c10::impl::ExcludeDispatchKeyGuard once(EverythingIsMeta::kKey);
  op.callBoxed(stack);
}

TORCH_LIBRARY_IMPL(_, TESTING_ONLY_GenericMode, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&call_on_meta>());
}

// Operations whose shapes PyTorch only knows in Python.
std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> meta_native_layer_norm(
    const torch::Tensor& input, at::IntArrayRef /*normalized_shape*/,
    const std::optional<torch::Tensor>& /*weight*/, const std::optional<torch::Tensor>& /*bias*/,
    double /*eps*/) {
  const auto statistics = at::empty({input.size(0), input.size(1), 1}, input.options());
  return {at::empty_like(input), statistics, statistics};
}

torch::Tensor meta_convolution(const torch::Tensor& input, const torch::Tensor& weight,
                               const std::optional<torch::Tensor>& /*bias*/, at::IntArrayRef stride,
                               at::IntArrayRef padding, at::IntArrayRef dilation,
                               bool /*transposed*/, at::IntArrayRef /*output_padding*/,
                               std::int64_t /*groups*/) {
  const auto reach = dilation[0] * (weight.size(2) - 1);
  const auto frames = (input.size(2) + 2 * padding[0] - reach - 1) / stride[0] + 1;
  return at::empty({input.size(0), weight.size(0), frames}, input.options());
}

torch::Tensor meta_where(const torch::Tensor& condition, const torch::Tensor& a,
                         const torch::Tensor& b) {
  const auto sizes = at::infer_size(condition.sizes(), at::infer_size(a.sizes(), b.sizes()));
  return at::empty(sizes, condition.options().dtype(at::result_type(a, b)));
}

torch::Tensor& meta_where_out(const torch::Tensor& condition, const torch::Tensor& a,
                              const torch::Tensor& b, torch::Tensor& out) {
  out.resize_(meta_where(condition, a, b).sizes());
  return out;
}

torch::Tensor meta_index_select(const torch::Tensor& self, std::int64_t dim,
                                const torch::Tensor& index) {
  auto sizes = self.sizes().vec();
  sizes.at(static_cast<std::size_t>(dim)) = index.numel();
  return at::empty(sizes, self.options());
}

TORCH_LIBRARY_IMPL(aten, Meta, library) {
  library.impl("index_select", &meta_index_select);
  library.impl("where.self", &meta_where);
  library.impl("where.self_out", &meta_where_out);
  library.impl("native_layer_norm", &meta_native_layer_norm);
  library.impl("convolution", &meta_convolution);
}

Wav2Vec2BertModel make_on_meta(const Wav2Vec2BertConfig& config) {
  const EverythingIsMeta everything_is_meta;
  return Wav2Vec2BertModel(config);
}

class MetaDevice : public ::testing::TestWithParam<const char*> {};

TEST_P(MetaDevice, AForwardMakesNoCpuTensorAndWaitsForNothing) {
  const torch::NoGradGuard no_grad;
  auto config = small_config();
  config.attn_implementation = GetParam();
  auto model = make_on_meta(config);
  model->eval();
  const auto width = config.feature_projection_input_dim;
  const auto input = torch::empty({2, 9, width}, torch::kMeta);
  const auto mask = torch::empty({2, 9}, torch::TensorOptions(torch::kMeta).dtype(torch::kLong));
  const auto marked = mask.to(torch::kBool);
  ForwardOptions options;
  options.output_hidden_states = true;
  options.output_attentions = true;
  const Watch watch;
  EXPECT_TRUE(model->forward(input, mask, marked, options).last_hidden_state.is_meta());
  EXPECT_TRUE(model->forward(input).last_hidden_state.is_meta());
  SemanticEncoder encoder(model, torch::empty({config.hidden_size}, torch::kMeta),
                          torch::empty({config.hidden_size}, torch::kMeta), 2);
  EXPECT_TRUE(encoder->encode(input, mask).is_meta());
  EXPECT_THAT(watch.offences(), IsEmpty());
  EXPECT_GT(watch.operations(), 100);
}

TEST(MetaDeviceWatch, SeesACpuTensorAndAWait) {
  const Watch watch;
  const auto tensor = torch::ones({3});
  (void)tensor.sum().item<float>();
  EXPECT_THAT(watch.offences(), Contains("aten::ones"));
  EXPECT_THAT(watch.offences(), Contains("aten::item"));
}

INSTANTIATE_TEST_SUITE_P(Implementations, MetaDevice, ::testing::Values("eager", "sdpa"),
                         [](const auto& instance) { return std::string(instance.param); });

}  // namespace
}  // namespace w2vbert::testing
