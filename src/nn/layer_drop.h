#pragma once

namespace w2vbert {

// HF: torch.rand([]), once per layer and in evaluation too. The same draw from the same generator
// (LibTorch's default one on the CPU), without a tensor.
float draw_uniform();

}  // namespace w2vbert
