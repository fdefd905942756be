// What oneDNN does in place of LibTorch's own kernels.
#pragma once

namespace w2vbert {

// Whether LibTorch gives a float16 convolution on the CPU to oneDNN: never without AVX512-FP16.
bool onednn_takes_float16();

}  // namespace w2vbert
