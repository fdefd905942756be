"""How an encoder or adapter of transformers is put together, and whether the engine computes the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as nn_module

# What the forward of HuggingFace's modules and of PyTorch's looks at beside the parameters.
_SETTINGS = ("num_heads", "head_size", "scaling", "position_embeddings_type", "left_max_position_embeddings",
             "right_max_position_embeddings", "kernel_size", "stride", "is_causal")
_WITH_WEIGHTS = (nn.Linear, nn.Conv1d, nn.LayerNorm, nn.Embedding)
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_HOOKS_OF_TRANSFORMERS = "transformers.utils.output_capturing"  # they record hidden states and attentions


class Unsupported(Exception):
    """Why the engine cannot run a module."""


class Layout:
    """The modules and parameters below `module` at one time. Throws Unsupported where they are not those of `expected`:
    `module` itself may have other children, which are not looked at."""

    def __init__(self, module: nn.Module, expected: dict[str, nn.Module | None]) -> None:
        self.names: list[str] = []  # of the weights
        self._slots: list[tuple[dict[str, Any], str]] = []
        self._links: list[tuple[dict[str, Any], str, nn.Module]] = []
        self._lists: list[tuple[dict[str, Any], int]] = []
        self._places: dict[nn.Module, str] = {}
        self._tuners: list[nn.Module] = []
        for name, child in expected.items():
            self._add_child(module, name, child, name)

    def _add_child(self, parent: nn.Module, key: str, expected: nn.Module | None, name: str) -> None:
        child = parent._modules.get(key)
        if (child is None) != (expected is None):
            raise Unsupported(f"{name} is {'missing' if child is None else 'not expected'}")
        if child is not None and expected is not None:
            self._links.append((parent._modules, key, child))
            self._add(child, expected, name)

    def _add(self, module: nn.Module, expected: nn.Module, name: str) -> None:
        self._places[module] = name
        if hasattr(type(module), "merged") and "base_layer" in module._modules:  # PEFT's BaseTunerLayer
            self._tuners.append(module)
            self._add_child(module, "base_layer", expected, name)
            return
        if type(module) is not type(expected):
            raise Unsupported(f"{name} is a {type(module).__name__}, not a {type(expected).__name__}")
        missing = object()
        for setting in _SETTINGS:
            value = getattr(module, setting, missing)
            if value != getattr(expected, setting, missing):
                raise Unsupported(f"{name}.{setting} is {value!r}, not the config's")
        if isinstance(module, _WITH_WEIGHTS) and module.extra_repr() != expected.extra_repr():
            raise Unsupported(f"{name} is not as its config says: {module.extra_repr()}")
        if set(module._parameters) != set(expected._parameters):
            raise Unsupported(f"{name} has other parameters than a {type(expected).__name__}")
        for key, parameter in expected._parameters.items():
            if (module._parameters[key] is None) != (parameter is None):
                raise Unsupported(f"{name}.{key} is {'missing' if parameter is not None else 'not expected'}")
            if parameter is not None:
                self._slots.append((module._parameters, key))
                self.names.append(f"{name}.{key}")
        if set(module._modules) != set(expected._modules):
            raise Unsupported(f"{name} has other modules than a {type(expected).__name__}")
        if isinstance(module, nn.ModuleList):
            self._lists.append((module._modules, len(module)))
        for key, child in expected._modules.items():
            self._add_child(module, key, child, f"{name}.{key}")

    def is_current(self) -> bool:
        """Whether the same modules are still in the same places."""
        return (all(modules.get(key) is child for modules, key, child in self._links)
                and all(len(modules) == count for modules, count in self._lists))

    def reason(self) -> str | None:
        """Why a call of these modules would not be what the engine computes."""
        if nn_module._global_forward_hooks or nn_module._global_forward_pre_hooks:
            return "there are hooks on all modules (register_module_forward_hook)"
        for _, _, child in self._links:
            own = child.__dict__
            if own["training"] or own["_forward_hooks"] or own["_forward_pre_hooks"] or "forward" in own:
                unusual = self._unusual(child)
                if unusual is not None:
                    return unusual
        for tuner in self._tuners:
            unusual = _reason_of_tuner(tuner)
            if unusual is not None:
                return f"{self._places[tuner]}: {unusual}"
        return None

    def _unusual(self, module: nn.Module) -> str | None:
        name = self._places[module]
        if module.training and not isinstance(module, nn.ModuleList):  # a slice of a list is a new one
            return f"{name} is in training mode: call eval()"
        if "forward" in module.__dict__:
            return f"{name} has a forward of its own"
        if module._forward_pre_hooks:
            return f"{name} has a forward hook"
        for hook in module._forward_hooks.values():
            if getattr(hook, "__module__", "") != _HOOKS_OF_TRANSFORMERS:
                return f"{name} has a forward hook"
        return None

    def tensors(self) -> list[Tensor]:
        """The parameters that are in their places now, as `names` has them."""
        return [parameters.get(key) for parameters, key in self._slots]

    def check_tensors(self, tensors: list[Tensor], expected: dict[str, torch.Size]) -> None:
        """Throws Unsupported for what cannot be read as a weight."""
        for name, tensor in zip(self.names, tensors, strict=True):
            if not isinstance(tensor, Tensor) or type(tensor) not in (Tensor, nn.Parameter):
                raise Unsupported(f"{name} is a {type(tensor).__name__}, not a plain parameter")
            if tensor.device.type != "cpu":
                raise Unsupported(f"the weights are on {tensor.device}, the engine runs on the CPU")
            if tensor.layout != torch.strided or tensor.dtype not in _DTYPES:
                raise Unsupported(f"{name} is {tensor.dtype} ({tensor.layout}), expected dense float32, bfloat16 or "
                                  "float16")
            if tensor.shape != expected[name]:
                raise Unsupported(f"{name} has the shape {tuple(tensor.shape)}, its config asks for "
                                  f"{tuple(expected[name])}")


def _reason_of_tuner(tuner: Any) -> str | None:
    merged = bool(tuner.merged)
    if tuner.disable_adapters:
        return "its adapter is merged and disabled" if merged else None
    if merged or not tuner.active_adapters:
        return None
    return "an adapter of PEFT is not merged into it: call merge_adapter() or merge_and_unload()"
