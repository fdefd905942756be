"""What PyTorch takes from MKL on a CPU, before several threads use it (include/w2vbert/core/vector_math.h)."""

import torch

# Those that ATen/cpu/vml.h hands to MKL.
FUNCTIONS = (torch.acos, torch.asin, torch.atan, torch.cos, torch.erf, torch.erfc, torch.erfinv, torch.exp,
             torch.log, torch.log10, torch.log2, torch.sin, torch.sqrt, torch.tan, torch.tanh, torch.trunc)


def settle_vector_math():
    """Calls each function once, on this thread; to be called before the first model is made, whose table of
    positions may be computed with them. Without it, the first call of a process can be thousands of ULPs off
    where two threads make it at once, and a reference with it."""
    for dtype in (torch.float32, torch.float64):
        for function in FUNCTIONS:
            function(torch.full((1,), 0.5, dtype=dtype))
