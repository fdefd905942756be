from torch import Tensor

version: str

class Error(Exception): ...
class ConfigError(Error, ValueError): ...
class CheckpointError(Error): ...
class AudioError(Error): ...
class StorageError(Error): ...
class UsageError(Error, ValueError): ...

def check_dtype(dtype: str) -> None: ...
def unsupported_reason(config: str, attn_implementation: str) -> str | None: ...
def kernels() -> str: ...
def usable_cores() -> int: ...
def libav_version() -> str: ...

class WeightWatch:
    def __init__(self, tensors: list[Tensor]) -> None: ...
    def sees_no_change(self, tensors: list[Tensor]) -> bool: ...

class Encoder:
    def __init__(self, config: str, attn_implementation: str, dtype: str,
                 weights: list[tuple[str, Tensor]]) -> None: ...
    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None, all_states: bool) -> list[Tensor]: ...

class Adapter:
    def __init__(self, config: str, attn_implementation: str, dtype: str,
                 weights: list[tuple[str, Tensor]]) -> None: ...
    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor: ...

class Clip:
    frames: int
    seconds: float
    note: str

class ClipFeatures:
    sampling_rate: int
    def read_file(self, path: str | bytes) -> Clip: ...
    def read_bytes(self, content: bytes, name: str | bytes) -> Clip: ...
    def take_samples(self, samples: Tensor, sample_rate_hz: int, name: str | bytes) -> Clip: ...

class ExtractionSettings:
    model: str | bytes
    revision: str
    device: str
    dtype: str
    engine: str
    states: str
    state_weights: str | bytes
    softmax: bool
    stats: str | bytes
    preset: str
    resampler: str | None
    channels: str | None
    prefix: str
    lora: str | bytes
    lora_prefix: str
    attn_implementation: str | None
    output_dtype: str | None
    lenient: bool
    salvage: bool
    max_seconds: float | None
    batch_seconds: float | None
    chunk_seconds: float | None
    overlap_seconds: float | None
    pool: str | None

class Extraction:
    features: ClipFeatures
    warnings: list[str]
    engine: str
    engine_reason: str
    tensor_names: list[str]
    batch_frames: int
    output_dtype: str
    output_width: int
    def __init__(self, settings: ExtractionSettings) -> None: ...
    def run(self, clips: list[Clip]) -> list[tuple[dict[str, Tensor], str] | Exception]: ...

class FeatureExtractor:
    def __init__(self, config: str) -> None: ...
    def __call__(self, clips: list[Tensor], padding: str, pad_to_multiple_of: int | None, max_length: int | None,
                 truncation: bool, do_normalize_per_mel_bins: bool,
                 return_attention_mask: bool) -> tuple[Tensor, Tensor | None]: ...

