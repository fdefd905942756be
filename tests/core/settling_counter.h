// Counts the calls of settle_vector_math(): a program that links settling_counter (CMakeLists.txt)
// and includes this in one source calls the function below in its place.
#pragma once

namespace w2vbert::testing {
inline int settling_calls = 0;
}

extern "C" void __real__ZN7w2vbert18settle_vector_mathEv();
extern "C" void __wrap__ZN7w2vbert18settle_vector_mathEv() {
  ++w2vbert::testing::settling_calls;
  __real__ZN7w2vbert18settle_vector_mathEv();
}
