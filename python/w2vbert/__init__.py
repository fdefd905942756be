"""HuggingFace's Wav2Vec2-BERT on CPUs, run by the fused engine of the C++ library w2vbert.

    import w2vbert
    w2vbert.accelerate(model)  # a Wav2Vec2BertModel of transformers, or anything that holds one

    extractor = w2vbert.Extractor.from_pretrained("facebook/w2v-bert-2.0", states=17)
    for clip in extractor.extract(paths):
        ...

docs/python.md of the repository describes it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._compatibility import check_environment

check_environment()  # imports torch, whose libraries the extension needs

from . import outputs  # noqa: E402
from ._w2vbert import (  # noqa: E402
    AudioError,
    CheckpointError,
    ConfigError,
    Error,
    StorageError,
    UsageError,
)
from ._w2vbert import version as __version__  # noqa: E402
from .accelerator import Explanation, FallbackWarning, PartReport, accelerate, explain, repack, restore  # noqa: E402
from .extractor import Extracted, Extractor  # noqa: E402

if TYPE_CHECKING:
    from . import features

__all__ = ["AudioError", "CheckpointError", "ConfigError", "Error", "Explanation", "Extracted", "Extractor",
           "FallbackWarning", "PartReport", "StorageError", "UsageError", "__version__", "accelerate", "explain",
           "features", "outputs", "repack", "restore"]


def __getattr__(name: str) -> Any:
    if name == "features":  # imports transformers, which takes seconds
        return importlib.import_module(".features", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
