"""What the accelerated modules have the engine do: packed weights, whether they still are the model's, and the
operators that torch.compile sees."""

import collections
import contextlib
import dataclasses
import itertools
import json
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from . import _w2vbert
from ._layout import Layout, Unsupported

# What the encoder and the adapter look at in a config.
_KEYS = ("hidden_size", "num_attention_heads", "intermediate_size", "hidden_act", "layer_norm_eps",
         "left_max_position_embeddings", "right_max_position_embeddings", "conv_depthwise_kernel_size",
         "position_embeddings_type", "add_adapter", "adapter_kernel_size", "adapter_stride", "num_adapter_layers",
         "adapter_act", "output_hidden_size")


class FallbackWarning(UserWarning):
    """Calls of an accelerated model run transformers' own code; the text says which and why."""


@dataclasses.dataclass(frozen=True)
class Expected:
    """The modules that a part has below it, as its config makes them: on the device meta."""

    modules: dict[str, nn.Module | None]

    def shapes(self) -> dict[str, torch.Size]:
        return {f"{name}.{key}": parameter.shape for name, module in self.modules.items() if module is not None
                for key, parameter in module.named_parameters(remove_duplicate=False)}


class Part:
    """One accelerated module. `expect(module)` makes what it should have below it, `engine_class` runs its weights."""

    def __init__(self, module: nn.Module, name: str, config: Any, dtype: str, engine_class: type,
                 expect: Callable[[nn.Module], Expected]) -> None:
        self.name = name
        self.dtype = dtype
        self.config = config
        self.handle = f"{name}#{next(_numbers)}"
        self.engine_calls = 0
        self.fallback_calls: collections.Counter[str] = collections.Counter()
        self.packings = 0
        self._module = weakref.ref(module)
        self._engine_class = engine_class
        self._expect = expect
        self._lock = threading.RLock()
        self._layout: Layout | None = None
        self._unsupported: str | None = None  # of the layout
        self._shapes: dict[str, torch.Size] = {}
        self._expected: tuple[str, Expected] | None = None  # of a config
        self._forget()
        _parts[self.handle] = self

    def _forget(self) -> None:
        self._engine: Any = None
        self._watch: Any = None
        self._attention: str | None = None

    def repack(self) -> None:
        with self._lock:
            self._layout = None
            self._forget()

    @property
    def attn_implementation(self) -> str:
        return getattr(self.config, "_attn_implementation", None) or "eager"

    def module(self) -> nn.Module | None:
        return self._module()

    def layers(self) -> int:
        module = self._module()
        return len(module.layers) if module is not None else 0

    def config_text(self) -> str:
        values = {key: getattr(self.config, key) for key in _KEYS if hasattr(self.config, key)}
        return json.dumps({**values, "num_hidden_layers": max(1, self._hidden_layers())})

    def _hidden_layers(self) -> int:
        return self.layers() if self._engine_class is _w2vbert.Encoder else self.config.num_hidden_layers

    def reason(self, module: nn.Module | None = None) -> str | None:
        """Why the engine cannot compute what a call of the module would now, apart from the call's own arguments."""
        own = self._module()
        if own is None or (module is not None and module is not own):
            return "the module is a copy that shares its parts with another one"
        with self._lock:
            if self._layout is None or not self._layout.is_current():
                self._read_layout(own)
            if self._layout is None:
                return self._unsupported
            reason = self._layout.reason()
            if reason is not None:
                return reason
            tensors = self._layout.tensors()
            if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors if tensor is not None):
                return "gradients of the weights are recorded: use torch.inference_mode() or torch.no_grad()"
            if self._attention != self.attn_implementation or not self._sees_no_change(tensors):
                self._forget()
                try:
                    self._layout.check_tensors(tensors, self._shapes)
                except Unsupported as error:
                    return str(error)
        return None

    def _sees_no_change(self, tensors: list[Tensor]) -> bool:
        return (self._watch is not None and all(tensor is not None for tensor in tensors)
                and self._watch.sees_no_change(tensors))

    def _read_layout(self, module: nn.Module) -> None:
        self._layout = None
        self._forget()
        try:
            if self.layers() == 0 and self._engine_class is _w2vbert.Encoder:
                raise Unsupported("it has no layers")
            if self.attn_implementation not in ("sdpa", "eager"):
                raise Unsupported(f"its attention is {self.attn_implementation}, not sdpa or eager")
            text = self.config_text()
            reason = _w2vbert.unsupported_reason(text, self.attn_implementation)
            if reason is not None:
                raise Unsupported(reason)
            if self._expected is None or self._expected[0] != text:
                self._expected = (text, self._expect(module))
            expected = self._expected[1]
            self._layout = Layout(module, expected.modules)
            self._shapes = expected.shapes()
        except (Unsupported, _w2vbert.Error) as error:
            self._unsupported = str(error)

    def engine(self, is_checked: bool) -> Any:
        """The engine with the weights that the module has now: `is_checked` says that reason() has just been called and
        had none. Throws RuntimeError where it has one."""
        with self._lock:
            reason = None if is_checked and self._layout is not None else self.reason()
            if reason is not None or self._layout is None:
                raise RuntimeError(f"w2vbert: {self.name} cannot be run by the engine any more: {reason}. Compile the "
                                   "model again (torch.compiler.reset())")
            if self._engine is None:
                tensors = self._layout.tensors()
                # First: what changes while the weights are read is a change then.
                watch = _w2vbert.WeightWatch(tensors)
                attention = self.attn_implementation
                weights = list(zip(self._layout.names, (tensor.detach() for tensor in tensors), strict=True))
                assert self._expected is not None
                # The config that the modules were compared with: they keep what they were built with.
                self._engine = self._engine_class(self._expected[0], attention, self.dtype, weights)
                self._watch, self._attention = watch, attention
                self.packings += 1
            self.engine_calls += 1
            return self._engine

    def note(self, reason: str) -> None:
        """Counts a call that does not run here, and warns of the first one for a reason."""
        with self._lock:
            self.fallback_calls[reason] += 1
            is_first = self.fallback_calls[reason] == 1
        if is_first:
            warnings.warn(f"w2vbert: {self.name} runs transformers' own code: {reason}", FallbackWarning, stacklevel=2)


_numbers = itertools.count(1)
_parts: weakref.WeakValueDictionary[str, Part] = weakref.WeakValueDictionary()


def part_of(handle: str) -> Part:
    part = _parts.get(handle)
    if part is None:
        raise RuntimeError(f"w2vbert: {handle.partition('#')[0]} is not accelerated any more: compile the model again "
                           "(torch.compiler.reset())")
    return part


def call_reason(module: nn.Module, hidden_states: Any, attention_mask: Any) -> str | None:
    """Why the engine cannot run a call with these arguments. torch.compile can trace it."""
    if module.training:
        return "it is in training mode: call eval()"
    if torch.compiler.is_exporting():
        return "torch.export: the exported program has transformers' operations"
    if not torch.compiler.is_compiling():
        unusual = _mode_reason(hidden_states)
        if unusual is not None:
            return unusual
    if hidden_states.device.type != "cpu":
        return f"hidden_states are on {hidden_states.device}, the engine runs on the CPU"
    if hidden_states.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"hidden_states are {hidden_states.dtype}, expected float32, bfloat16 or float16"
    if hidden_states.dim() != 3 or hidden_states.shape[0] == 0 or hidden_states.shape[1] == 0:
        return "hidden_states are not (B, T, C) with at least one row and one frame"
    if torch.is_grad_enabled() and hidden_states.requires_grad:
        return "gradients are recorded: use torch.inference_mode() or torch.no_grad()"
    if attention_mask is not None and (
            attention_mask.dim() != 2 or attention_mask.shape[0] != hidden_states.shape[0]
            or attention_mask.shape[1] != hidden_states.shape[1] or attention_mask.device.type != "cpu"):
        return "attention_mask is not (B, T) on the CPU"
    return None


def _mode_reason(hidden_states: Any) -> str | None:
    if torch.jit.is_tracing() or torch.jit.is_scripting():
        return "torch.jit: the traced program has transformers' operations"
    if type(hidden_states) not in (Tensor, nn.Parameter):
        return f"hidden_states are a {type(hidden_states).__name__}, not a plain tensor"
    if hidden_states.layout != torch.strided:
        return "hidden_states are not dense"
    with contextlib.suppress(AttributeError):  # not part of PyTorch's public interface
        if torch._C._functorch.peek_interpreter_stack() is not None:
            return "torch.func: its transforms do not reach the engine"
    with contextlib.suppress(AttributeError):
        if torch.autograd.forward_ad._current_level >= 0:
            return "forward-mode gradients are recorded"
    return None


def run_encoder(part: Part, hidden_states: Tensor, attention_mask: Tensor | None, states: int, *,
                is_checked: bool) -> list[Tensor]:
    """hidden_states[0 ... layers] for `states` = layers + 1, the last one alone for 1."""
    mask = None if attention_mask is None else attention_mask.bool()  # as HuggingFace's encoder takes it
    return part.engine(is_checked).forward(hidden_states, mask, states > 1)


def run_adapter(part: Part, hidden_states: Tensor, attention_mask: Tensor | None, *, is_checked: bool) -> Tensor:
    return part.engine(is_checked).forward(hidden_states, attention_mask)


@torch.library.custom_op("w2vbert::encoder", mutates_args=(), device_types="cpu",
                         schema="(str handle, Tensor hidden_states, Tensor? attention_mask, int states) -> Tensor[]")
def encoder_op(handle, hidden_states, attention_mask, states):
    return run_encoder(part_of(handle), hidden_states, attention_mask, states, is_checked=False)


@encoder_op.register_fake
def _(handle, hidden_states, attention_mask, states):
    return [torch.empty(hidden_states.shape, dtype=hidden_states.dtype, device=hidden_states.device)
            for _ in range(states)]


@torch.library.custom_op("w2vbert::adapter", mutates_args=(), device_types="cpu",
                         schema="(str handle, Tensor hidden_states, Tensor? attention_mask) -> Tensor")
def adapter_op(handle, hidden_states, attention_mask):
    return run_adapter(part_of(handle), hidden_states, attention_mask, is_checked=False)


@adapter_op.register_fake
def _(handle, hidden_states, attention_mask):
    config = part_of(handle).config
    frames = hidden_states.shape[1]
    for _ in range(part_of(handle).layers()):
        frames = (frames + 2 * (config.adapter_stride // 2) - config.adapter_kernel_size) // config.adapter_stride + 1
    return torch.empty((hidden_states.shape[0], frames, config.output_hidden_size), dtype=hidden_states.dtype,
                       device=hidden_states.device)


@torch.compiler.assume_constant_result
def traced_reason(handle: str) -> str | None:
    """Part.reason() while torch.compile traces: the graph is made for it, and its operators check it again."""
    return part_of(handle).reason()


@torch.compiler.assume_constant_result
def note_while_tracing(handle: str, reason: str) -> None:
    part_of(handle).note(reason)
