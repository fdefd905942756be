"""What a script has to do before it computes a reference with PyTorch on a CPU. The library does the same
(src/core/mkl_vml.cpp, src/nn/conv1d.cpp); docs/parity.md says why."""

import faulthandler
import os

import torch

# Those that ATen/cpu/vml.h hands to MKL.
FUNCTIONS = (torch.acos, torch.asin, torch.atan, torch.cos, torch.erf, torch.erfc, torch.erfinv, torch.exp,
             torch.log, torch.log10, torch.log2, torch.sin, torch.sqrt, torch.tan, torch.tanh, torch.trunc)


def prepare_pytorch():
    """To be called before the first model is made. W2VBERT_TIME_LIMIT (seconds): the process then ends, and
    says where it was; the tests set it."""
    if limit := os.environ.get("W2VBERT_TIME_LIMIT"):
        faulthandler.dump_traceback_later(float(limit), exit=True)
    warm_up_mkl_vml()
    avoid_endless_convolutions()


def warm_up_mkl_vml():
    """Calls each function once, on this thread: the first call of a process can be thousands of ULPs off
    where two threads make it at once, and a reference with it."""
    for dtype in (torch.float32, torch.float64):
        for function in FUNCTIONS:
            function(torch.full((1,), 0.5, dtype=dtype))


def into_own_memory(model):
    """Moves the parameters out of the mapped file in which from_pretrained leaves them, at any offset: alignment
    changes the bits of some products. Returns the model."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model


class RoundedDepthwiseConv1d(torch.autograd.Function):
    """A float16 depthwise convolution without oneDNN's float16 kernel, which LibTorch may build for ever."""

    @staticmethod
    def forward(context, x, weight):
        context.save_for_backward(x, weight)
        return torch.nn.functional.conv1d(x.float(), weight.float(), groups=x.shape[1]).half()

    @staticmethod
    def backward(context, gradient):
        x, weight = context.saved_tensors
        return torch.ops.aten.convolution_backward(gradient, x, weight, None, [1], [0], [1], False, [0], x.shape[1],
                                                   [*context.needs_input_grad, False])[:2]


def avoid_endless_convolutions():
    """Makes torch.nn.Conv1d compute float16 depthwise convolutions in float32 where oneDNN would take them."""
    original = torch.nn.Conv1d._conv_forward

    def conv_forward(self, x, weight, bias):
        plain = (self.groups == 1 or self.groups != self.in_channels or bias is not None or self.padding != (0,)
                 or self.stride != (1,) or self.dilation != (1,) or self.padding_mode != "zeros")
        if plain or x.device.type != "cpu" or x.dtype != torch.float16 or not onednn_takes_float16():
            return original(self, x, weight, bias)
        return RoundedDepthwiseConv1d.apply(x, weight)

    torch.nn.Conv1d._conv_forward = conv_forward


def onednn_takes_float16():
    # torch.backends.mkldnn.enabled would import more than is needed here.
    return torch._C._get_mkldnn_enabled() and torch.ops.mkldnn._is_mkldnn_fp16_supported()
