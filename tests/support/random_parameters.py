"""Parameters as training might leave them."""

import torch


def widen(model):
    """New biases are 0 and new norms 1: a missing bias or a swapped norm would not show."""
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model
