"""Python packages that a test needs, on machines that have them and on those that do not."""

import importlib.util
import sys

SKIPPED = 77  # the exit status that CTest shows as such
OPTIONAL = ("datasets", "joblib", "julius", "kenlm", "peft", "praatio", "pyannote", "pyarrow", "pyctcdecode", "pysubs2",
            "ray", "safetensors", "sklearn", "torch", "torchaudio", "torchcodec", "transformers", "webdataset")


def skip_where_absent(error):
    """Ends the test as skipped where `error`, an ImportError, says that an optional package is not installed. One that
    is there and cannot be imported is a failure: raises the error."""
    if error.name not in OPTIONAL or importlib.util.find_spec(error.name) is not None:
        raise error
    print(f"SKIPPED: {error}")
    sys.exit(SKIPPED)
