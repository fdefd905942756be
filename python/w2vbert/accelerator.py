"""accelerate() and what belongs to it: a transformers model whose encoder the fused engine runs."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import nn

from . import _w2vbert
from ._parts import FallbackWarning, Part

__all__ = ["Explanation", "FallbackWarning", "PartReport", "accelerate", "explain", "repack", "restore"]

Model = TypeVar("Model")
_OLDEST = "5.17"  # transformers
_MAX_DEPTH = 4  # of objects inside objects, until a module is met


def accelerate(model: Model, dtype: str | torch.dtype = "float32") -> Model:
    """Lets the fused engine run the encoder, and the adapter, of each transformers Wav2Vec2BertModel in `model`.

    `model`: a Wav2Vec2BertModel, a class with a head, or anything that holds one: a module of any kind (PEFT's, a
    compiled one), a pipeline, an object with the model in an attribute. It is changed in its place, and returned.
    `dtype`: what the encoder's matrix products are computed in, "float32", "bfloat16", "float16" or "int8"; the states
    keep the type of the encoder's input.

    The model is used as before. Its parameters stay where they are; the engine's packed copy of the encoder's weights
    is made in the first calls, and made again after they have changed. What the engine cannot run, such as training,
    runs as before; explain() says what does and why, and there is one FallbackWarning for each reason.

    Throws ValueError where `model` holds no Wav2Vec2BertModel, and for a dtype that is unknown or has no fast way
    on this processor."""
    name = str(dtype).removeprefix("torch.")
    _w2vbert.check_dtype(name)
    _modules = _transformers_modules()

    replaced = [_modules.replace(found, place, name) for place, found in _models_in(model)]
    if sum(replaced) == 0:
        raise ValueError(f"accelerate: found no Wav2Vec2BertModel of transformers in this {type(model).__name__}"
                         + (" whose encoder is transformers' own" if replaced else ""))
    return model


def _transformers_modules() -> types.ModuleType:
    """Imports transformers, which takes seconds."""
    try:
        from . import _modules
    except ImportError as error:
        try:
            import transformers
        except ImportError:
            raise ImportError(f"w2vbert needs transformers {_OLDEST} or newer here, and none is installed") from None
        raise ImportError(f"w2vbert needs transformers {_OLDEST} or newer here, {transformers.__version__} is "
                          f"installed: {error}") from None
    return _modules


def restore(model: Model) -> Model:
    """Takes back what accelerate() did: the model's modules are those of transformers again. It is returned."""
    _modules = _transformers_modules()

    for _, found in _models_in(model):
        _modules.restore(found)
    return model


def repack(model: Model) -> Model:
    """Lets the next call pack the weights again, after a change that is not seen (docs/python.md). It is returned."""
    for part in _parts_in(model):
        part.repack()
    return model


@dataclasses.dataclass(frozen=True)
class PartReport:
    """One accelerated module."""

    name: str
    dtype: str  # of the engine's products
    reason: str | None  # why a call under torch.no_grad() would run transformers' code now; None: the engine runs it
    engine_calls: int  # so far
    fallback_calls: dict[str, int]  # reason -> calls so far
    packings: int  # how often the weights have been packed

    def __str__(self) -> str:
        where = f"transformers' code: {self.reason}" if self.reason else f"the fused engine in {self.dtype}"
        lines = [f"{self.name}: the next call runs on {where}",
                 f"  {self.engine_calls} calls on the engine so far, weights packed {self.packings} times"]
        lines += [f"  {count} calls on transformers' code: {reason}" for reason, count in self.fallback_calls.items()]
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What runs where. str() of it is for people."""

    parts: tuple[PartReport, ...]  # empty: nothing is accelerated
    kernels: str  # of the engine on this processor

    def __str__(self) -> str:
        if not self.parts:
            return "nothing is accelerated: transformers' code runs every call"
        return "\n".join([*map(str, self.parts), f"kernels: {self.kernels}",
                          "always on transformers' code: training mode, recorded gradients, output_attentions, tensors "
                          "that are not on the CPU, torch.export"])


def explain(model: Any) -> Explanation:
    """Says which calls of `model` the engine runs, and why not the others."""
    with torch.no_grad():
        reports = tuple(PartReport(part.name, part.dtype, _reason_now(part), part.engine_calls,
                                   dict(part.fallback_calls), part.packings) for part in _parts_in(model))
    return Explanation(reports, _w2vbert.kernels())


def _reason_now(part: Part) -> str | None:
    module = part.module()
    return "it is in training mode: call eval()" if module is not None and module.training else part.reason()


def _parts_in(model: Any) -> Iterator[Part]:
    _modules = _transformers_modules()

    for _, found in _models_in(model):
        yield from _modules.parts_of(found)


def _models_in(holder: Any) -> list[tuple[str, Any]]:
    """Each Wav2Vec2BertModel in it once, with its place."""
    found: dict[int, tuple[str, Any]] = {}
    _search(holder, "", found, set(), 0)
    return list(found.values())


def _search(holder: Any, name: str, found: dict[int, tuple[str, Any]], seen: set[int], depth: int) -> None:
    _modules = _transformers_modules()

    if id(holder) in seen:
        return
    seen.add(id(holder))
    if isinstance(holder, nn.Module):
        for place, module in holder.named_modules():
            if _modules.is_model(module):
                found.setdefault(id(module), (".".join(filter(None, (name, place))), module))
        return
    if depth == _MAX_DEPTH:
        return
    for key, value in _contents_of(holder):
        _search(value, ".".join(filter(None, (name, key))), found, seen, depth + 1)


def _contents_of(holder: Any) -> list[tuple[str, Any]]:
    if isinstance(holder, dict):
        return [(str(key), value) for key, value in holder.items()]
    if isinstance(holder, (list, tuple)):
        return [(str(index), value) for index, value in enumerate(holder)]
    if isinstance(holder, (type, types.ModuleType, types.FunctionType, types.MethodType, torch.Tensor)):
        return []
    return list(getattr(holder, "__dict__", {}).items())
