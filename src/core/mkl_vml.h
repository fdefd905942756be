// The elementwise functions that LibTorch takes from MKL on a CPU: exp, log, tanh, erf, cos, ...
#pragma once

namespace w2vbert {

// MKL chooses a function's kernel in its first call. If several threads make that call at once, one
// of them may run a kernel of low accuracy, thousands of ULPs off, for its part of that one call
// (oneMKL 2024.2, which LibTorch has; pytorch/pytorch#188792). This calls each function once, for
// float32 and float64, on this thread; from its second call on it does nothing. What computes with
// such a function calls this beforehand, in its constructor if it has one. Any thread may call it.
void warm_up_mkl_vml();

}  // namespace w2vbert
