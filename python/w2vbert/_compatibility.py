"""Whether the extension fits the Python and the torch that it meets. It would not load, or crash, with others."""

from __future__ import annotations

import re
import sys

from . import _built_for

_REMEDY = "install w2vbert again beside it (pip install --no-build-isolation --no-deps --force-reinstall)"


def check_environment() -> None:
    """Throws ImportError, of one line."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python != _built_for.PYTHON:
        raise ImportError(f"w2vbert was built for Python {_built_for.PYTHON}, this is Python {python}: {_REMEDY}")
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(f"w2vbert needs torch {_built_for.TORCH}, and no torch is installed here") from None
    found = re.match(r"\d+\.\d+\.\d+", str(torch.__version__))
    if found is None or found.group() != _built_for.TORCH:
        raise ImportError(f"w2vbert was built against torch {_built_for.TORCH}, this is torch {torch.__version__}: "
                          f"{_REMEDY}")
    if bool(torch._C._GLIBCXX_USE_CXX11_ABI) != _built_for.CXX11_ABI:
        raise ImportError(f"w2vbert was built against a torch with _GLIBCXX_USE_CXX11_ABI={int(_built_for.CXX11_ABI)}, "
                          f"this one has the other: {_REMEDY}")
