"""Parameters as training might leave them."""

import torch


def widen(model):
    """New biases are 0 and new norms 1: a missing bias or a swapped norm would not show."""
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model


@torch.no_grad()
def let_tokens_take_turns(model):
    """A small random Wav2Vec2BertForCTC says more than one token then."""
    model.lm_head.weight.normal_()
    for layer in model.wav2vec2_bert.encoder.layers:
        layer.conv_module.pointwise_conv2.weight.mul_(20)
