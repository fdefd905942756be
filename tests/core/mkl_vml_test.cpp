// That a function's kernel is chosen before several threads call it. The race itself is lost once
// in a hundred processes, so what is tested is who calls warm_up_mkl_vml().
#include "core/mkl_vml.h"

#include <gtest/gtest.h>

#include "core/activations.h"
#include "support/warm_up_counter.h"
#include "w2vbert/nn/relative_positional_embedding.h"
#include "w2vbert/nn/rotary_positional_embedding.h"

namespace w2vbert::testing {
namespace {

class VectorMath : public ::testing::Test {
 protected:
  void SetUp() override { warm_up_calls = 0; }
};

TEST_F(VectorMath, IsWarmedUpBeforeAnActivationIsUsed) {
  activation_function("gelu_new", "hidden_act");
  EXPECT_EQ(warm_up_calls, 1);
}

TEST_F(VectorMath, IsWarmedUpBeforePositionsAreComputed) {
  const Wav2Vec2BertConfig config;
  const Wav2Vec2BertRelPositionalEmbedding relative(config);
  EXPECT_EQ(warm_up_calls, 1);
  const Wav2Vec2BertRotaryPositionalEmbedding rotary(config);
  EXPECT_EQ(warm_up_calls, 2);
}

}  // namespace
}  // namespace w2vbert::testing
