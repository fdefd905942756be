// How often a forward looks at its attention mask.
#include <ATen/record_function.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <tuple>

#include "support/small_config.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert::testing {
namespace {

// Counts this thread's operations that take a tensor in the memory of `mask`. The attention's view
// of it, (B, 1, T, T), is left out: each layer attends by it, as in HF.
class MaskReads {
 public:
  explicit MaskReads(const torch::Tensor& mask) : mask_(mask) {
    current() = this;
    handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&MaskReads::begin)
                                             .needsInputs(true)
                                             .scopes({at::RecordScope::FUNCTION}));
  }
  ~MaskReads() {
    at::removeCallback(handle_);
    current() = nullptr;
  }
  MaskReads(const MaskReads&) = delete;
  MaskReads& operator=(const MaskReads&) = delete;

  int count() const { return count_; }

 private:
  static MaskReads*& current() {
    static thread_local MaskReads* reads = nullptr;
    return reads;
  }
  bool is_mask(const torch::Tensor& tensor) const {
    return tensor.defined() && tensor.dim() < 4 && tensor.is_alias_of(mask_);
  }
  static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& function) {
    MaskReads& self = *current();
    for (const c10::IValue& input : function.inputs()) {
      if (input.isTensor() && self.is_mask(input.toTensor())) ++self.count_;
    }
    return nullptr;
  }

  torch::Tensor mask_;
  at::CallbackHandle handle_{};
  int count_ = 0;
};

class AttentionMask : public ::testing::TestWithParam<std::tuple<const char*, torch::Dtype>> {};

TEST_P(AttentionMask, IsLookedAtAsOftenWithFourLayersAsWithOne) {
  const torch::NoGradGuard no_grad;
  const auto [attn_implementation, dtype] = GetParam();
  for (const char* positions : {"relative_key", "relative", "rotary"}) {
    const auto reads_with = [&, attn = attn_implementation, type = dtype](std::int64_t layers) {
      auto config = small_config();
      config.hidden_size = 24;
      config.num_attention_heads = 3;
      config.num_hidden_layers = layers;
      config.num_adapter_layers = layers;
      config.adapter_stride = 1;
      config.adapter_kernel_size = 3;
      config.add_adapter = true;
      config.attn_implementation = attn;
      config.position_embeddings_type = positions;
      Wav2Vec2BertModel model(config);
      model->eval();
      auto mask = torch::ones({2, 9}, torch::kLong);
      mask[1].slice(0, 5) = 0;
      mask = mask.to(type);
      const auto input = torch::randn({2, 9, config.feature_projection_input_dim});
      const MaskReads reads(mask);
      model->forward(input, mask);
      return reads.count();
    };
    const int one = reads_with(1);
    std::cout << attn_implementation << ", " << dtype << ", " << positions << ": " << one
              << " reads with one layer\n";
    EXPECT_GT(one, 0) << positions;
    EXPECT_EQ(reads_with(4), one) << positions;
  }
}

INSTANTIATE_TEST_SUITE_P(Implementations, AttentionMask,
                         ::testing::Combine(::testing::Values("eager", "sdpa"),
                                            ::testing::Values(torch::kLong, torch::kBool,
                                                              torch::kFloat)),
                         [](const auto& instance) {
                           return std::string(std::get<0>(instance.param)) +
                                  c10::toString(std::get<1>(instance.param));
                         });

}  // namespace
}  // namespace w2vbert::testing
