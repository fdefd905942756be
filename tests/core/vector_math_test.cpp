// That a function's kernel is chosen before several threads call it. The race itself is lost once
// in a hundred processes, so what is tested is who calls settle_vector_math(): the linker puts the
// counter below in its place (CMakeLists.txt).
#include "w2vbert/core/vector_math.h"

#include <gtest/gtest.h>

#include "w2vbert/core/activations.h"
#include "w2vbert/nn/relative_positional_embedding.h"
#include "w2vbert/nn/rotary_positional_embedding.h"

namespace {
int calls = 0;
}

extern "C" void __real__ZN7w2vbert18settle_vector_mathEv();
extern "C" void __wrap__ZN7w2vbert18settle_vector_mathEv() {
  ++calls;
  __real__ZN7w2vbert18settle_vector_mathEv();
}

namespace w2vbert {
namespace {

class VectorMath : public ::testing::Test {
 protected:
  void SetUp() override { calls = 0; }
};

TEST_F(VectorMath, IsSettledBeforeAnActivationIsUsed) {
  activation_function("gelu_new", "hidden_act");
  EXPECT_EQ(calls, 1);
}

TEST_F(VectorMath, IsSettledBeforePositionsAreComputed) {
  const Wav2Vec2BertConfig config;
  const Wav2Vec2BertRelPositionalEmbedding relative(config);
  EXPECT_EQ(calls, 1);
  const Wav2Vec2BertRotaryPositionalEmbedding rotary(config);
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace w2vbert
