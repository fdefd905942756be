// Counts the calls of warm_up_mkl_vml(): a program that links warm_up_counter (CMakeLists.txt)
// and includes this in one source calls the function below in its place.
#pragma once

namespace w2vbert::testing {
inline int warm_up_calls = 0;
}

// NOLINTBEGIN(bugprone-reserved-identifier): the names that the linker's --wrap gives
extern "C" void __real__ZN7w2vbert15warm_up_mkl_vmlEv();
extern "C" void __wrap__ZN7w2vbert15warm_up_mkl_vmlEv() {
  ++w2vbert::testing::warm_up_calls;
  __real__ZN7w2vbert15warm_up_mkl_vmlEv();
}
// NOLINTEND(bugprone-reserved-identifier)
