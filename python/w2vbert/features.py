"""HuggingFace's SeamlessM4TFeatureExtractor, computed by the C++ library: the same call, the same values to the last
bit, and some times as fast.

    from w2vbert.features import SeamlessM4TFeatureExtractor
    extractor = SeamlessM4TFeatureExtractor.from_pretrained("facebook/w2v-bert-2.0")"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import torch
import transformers
from transformers import BatchFeature
from transformers.utils import PaddingStrategy, TensorType, logging

from . import _w2vbert

__all__ = ["SeamlessM4TFeatureExtractor"]

_KEYS = ("feature_size", "sampling_rate", "num_mel_bins", "padding_value", "stride", "padding_side")
# transformers' own, so that what quiets it there quiets it here.
_logger = logging.get_logger("transformers.models.seamless_m4t.feature_extraction_seamless_m4t")


class SeamlessM4TFeatureExtractor(transformers.SeamlessM4TFeatureExtractor):
    """In the place of transformers' class of that name. It is one: saving, loading and settings are transformers'."""

    def __call__(self, raw_speech: Any, padding: bool | str | PaddingStrategy = True,
                 pad_to_multiple_of: int | None = 2, max_length: int | None = None, truncation: bool = False,
                 return_tensors: str | TensorType | None = None, sampling_rate: int | None = None,
                 return_attention_mask: bool | None = None, do_normalize_per_mel_bins: bool | None = True,
                 **kwargs: Any) -> BatchFeature:
        """As transformers' __call__, which also has the last word: what it would refuse, or take in another way than
        as float32 samples, goes there."""
        if sampling_rate is None:
            _logger.warning(f"It is strongly recommended to pass the `sampling_rate` argument to "
                            f"`{self.__class__.__name__}()`. Failing to do so can result in silent errors that might "
                            "be hard to debug.")
            sampling_rate = self.sampling_rate
        clips = _clips_of(raw_speech)
        if clips is not None and sampling_rate == self.sampling_rate:
            wants_mask = self.return_attention_mask if return_attention_mask is None else return_attention_mask
            with contextlib.suppress(ValueError, TypeError, RuntimeError):
                strategy = self._get_padding_strategies(padding=padding, max_length=max_length)
                features, mask = self._fast_extractor()(
                    clips, strategy.value, pad_to_multiple_of, max_length, truncation,
                    bool(do_normalize_per_mel_bins), True)
                result = BatchFeature({"input_features": features.numpy()})
                if wants_mask and mask is not None:
                    result["attention_mask"] = mask.numpy().astype(np.int32)  # NumPy's int32, as there
                return result if return_tensors is None else result.convert_to_tensors(return_tensors)
        return super().__call__(raw_speech, padding, pad_to_multiple_of, max_length, truncation, return_tensors,
                                sampling_rate, return_attention_mask, do_normalize_per_mel_bins, **kwargs)

    def _fast_extractor(self) -> _w2vbert.FeatureExtractor:
        config = {key: getattr(self, key) for key in _KEYS}
        return _w2vbert.FeatureExtractor(json.dumps({**config, "padding_value": float(self.padding_value)}))


def _clips_of(raw_speech: Any) -> list[torch.Tensor] | None:
    """Samples (S) of each clip, as HF's __call__ and _extract_fbank_features
    (feature_extraction_seamless_m4t.py) see them, or None for what they do not take as float32."""
    is_array = isinstance(raw_speech, np.ndarray)
    is_batched = (is_array and raw_speech.ndim > 1) or (
        isinstance(raw_speech, (list, tuple)) and len(raw_speech) > 0
        and isinstance(raw_speech[0], (torch.Tensor, np.ndarray, tuple, list)))
    if is_array and (raw_speech.ndim > 3 or (not is_batched and raw_speech.dtype not in (np.float32, np.float64))):
        return None
    try:
        clips = [np.asarray(clip, dtype=np.float32) for clip in (raw_speech if is_batched else [raw_speech])]
    except (ValueError, TypeError, RuntimeError):
        return None
    clips = [np.squeeze(clip[0] if clip.ndim == 2 and len(clip) > 0 else clip) for clip in clips]
    if any(clip.ndim != 1 for clip in clips):
        return None
    return [torch.from_numpy(np.array(clip)) for clip in clips]
