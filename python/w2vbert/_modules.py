"""HuggingFace's encoder and adapter with a forward that the engine runs where it can."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.wav2vec2_bert import modeling_wav2vec2_bert as hf
from transformers.utils import output_capturing

from . import _w2vbert
from ._parts import (
    Expected,
    Part,
    adapter_op,
    call_reason,
    encoder_op,
    note_while_tracing,
    run_adapter,
    run_encoder,
    traced_reason,
)

_PART = "_w2vbert_part"


class _Accelerated:
    """A copy or pickle is one of HuggingFace's module: without the engine, and without this package."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        state = {key: value for key, value in self.__dict__.items() if key != _PART}
        return object.__new__, (_PLAIN[type(self)],), state


class AcceleratedEncoder(_Accelerated, hf.Wav2Vec2BertEncoder):
    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> BaseModelOutput:
        part = self._w2vbert_part
        collected = output_capturing._active_collector.get()
        reason = call_reason(self, hidden_states, attention_mask)
        if reason is None and collected is not None and "attentions" in collected:
            reason = "output_attentions: the engine keeps none"
        compiling = torch.compiler.is_compiling()
        if reason is None:
            reason = traced_reason(part.handle) if compiling else part.reason(self)
        if reason is not None:
            _note(part, reason, compiling)
            return hf.Wav2Vec2BertEncoder.forward(self, hidden_states, attention_mask=attention_mask, **kwargs)
        wants_all = collected is not None and "hidden_states" in collected
        count = len(self.layers) + 1 if wants_all else 1
        if compiling:
            states = encoder_op(part.handle, hidden_states, attention_mask, count)
        else:
            states = run_encoder(part, hidden_states, attention_mask, count, is_checked=True)
        if wants_all:
            _give_to_hooks(self.layers, states)
        return BaseModelOutput(last_hidden_state=states[-1])


class AcceleratedAdapter(_Accelerated, hf.Wav2Vec2BertAdapter):
    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor:
        part = self._w2vbert_part
        compiling = torch.compiler.is_compiling()
        reason = call_reason(self, hidden_states, attention_mask)
        if reason is None:
            reason = traced_reason(part.handle) if compiling else part.reason(self)
        if reason is None and not compiling and attention_mask is not None and not _is_binary(attention_mask):
            reason = "attention_mask holds other values than zeros and ones"
        if reason is not None:
            _note(part, reason, compiling)
            return hf.Wav2Vec2BertAdapter.forward(self, hidden_states, attention_mask=attention_mask, **kwargs)
        if compiling:
            return adapter_op(part.handle, hidden_states, attention_mask)
        return run_adapter(part, hidden_states, attention_mask, is_checked=True)


_PLAIN: dict[type, type] = {AcceleratedEncoder: hf.Wav2Vec2BertEncoder, AcceleratedAdapter: hf.Wav2Vec2BertAdapter}


def _note(part: Part, reason: str, compiling: bool) -> None:
    if compiling:
        note_while_tracing(part.handle, reason)
    else:
        part.note(reason)


def _is_binary(mask: Tensor) -> bool:
    return mask.dtype == torch.bool or bool(((mask == 0) | (mask == 1)).all())


def _give_to_hooks(layers: nn.ModuleList, states: list[Tensor]) -> None:
    """HuggingFace's hooks on the layers record hidden_states: what they are called with is what a layer's call would
    give them."""
    for number, layer in enumerate(layers):
        for hook in layer._forward_hooks.values():
            hook(layer, (states[number],), states[number + 1])


def _on_meta(make: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return make().eval()


def expected_encoder(encoder: Any) -> Expected:
    config = encoder.config
    layer = _on_meta(lambda: hf.Wav2Vec2BertEncoderLayer(config))
    layers = nn.ModuleList([layer] * len(encoder.layers))
    return Expected({"layers": layers, "embed_positions": None})


def expected_adapter(config: Any) -> Any:
    def expect(_: Any) -> Expected:
        adapter = _on_meta(lambda: hf.Wav2Vec2BertAdapter(config))
        return Expected(dict(adapter.named_children()) | {key: child for key, child in adapter._modules.items()
                                                          if child is None})

    return expect


def is_model(module: nn.Module) -> bool:
    return isinstance(module, hf.Wav2Vec2BertModel)


def parts_of(model: Any) -> list[Part]:
    """Those of a Wav2Vec2BertModel."""
    modules = (model.encoder, model.adapter)
    return [module.__dict__[_PART] for module in modules if isinstance(module, _Accelerated)]


def replace(model: Any, name: str, dtype: str) -> int:
    """Accelerates a Wav2Vec2BertModel; how many of its modules that were."""
    restore(model)
    prefix = f"{name}." if name else ""
    count = 0
    if type(model.encoder) is hf.Wav2Vec2BertEncoder:
        part = Part(model.encoder, f"{prefix}encoder", model.encoder.config, dtype, _w2vbert.Encoder, expected_encoder)
        count += _accelerate(model.encoder, AcceleratedEncoder, part)
    if type(model.adapter) is hf.Wav2Vec2BertAdapter:
        part = Part(model.adapter, f"{prefix}adapter", model.config, dtype, _w2vbert.Adapter,
                    expected_adapter(model.config))
        count += _accelerate(model.adapter, AcceleratedAdapter, part)
    return count


def _accelerate(module: nn.Module, accelerated: type, part: Part) -> int:
    module.__dict__[_PART] = part
    module.__class__ = accelerated
    return 1


def restore(model: Any) -> None:
    for module in (model.encoder, model.adapter):
        if isinstance(module, _Accelerated):
            module.__class__ = _PLAIN[type(module)]
            del module.__dict__[_PART]
