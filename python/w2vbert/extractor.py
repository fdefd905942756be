"""Audio in, states out: what the command `w2vbert extract` does, as an iterator."""

from __future__ import annotations

import dataclasses
import os
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, Union

import numpy as np
import torch
from torch import Tensor

from . import _w2vbert


class AudioDecoder(Protocol):
    """What torchcodec's AudioDecoder has, and what the columns of datasets give."""

    def get_all_samples(self) -> Any: ...


Audio = Union[str, "os.PathLike[str]", np.ndarray, Tensor, Mapping[str, Any], AudioDecoder]

_BYTES_PER_FRAME = 640  # of a file that is in memory already: at 16 kHz in 16 bits
_MAX_AHEAD = 256  # clips that are asked for before their turn
_FRAMES_PER_SECOND = 50
_CORES_PER_READER = 8  # decoding and features take one core for about a hundred times real time
_MAX_READERS = 4


@dataclasses.dataclass
class Extracted:
    """What became of one input."""

    index: int  # among the inputs, from 0
    path: str | None  # None for samples
    tensors: dict[str, Tensor] = dataclasses.field(default_factory=dict)  # as `w2vbert extract` names them
    seconds: float = 0.0  # of audio, after resampling
    note: str = ""  # what was odd about the file or its states, or lost of it; mostly ""
    error: Exception | None = None  # then there are no tensors

    @property
    def states(self) -> dict[str, Tensor]:
        """Those that were asked for, (T, C), by their names: "last_hidden_state" or "hidden_states.<n>". Throws
        the error, where there is one."""
        self.check()
        return {name: tensor for name, tensor in self.tensors.items() if name != "attention_mask"}

    @property
    def state(self) -> Tensor:
        """The only one that was asked for. Throws ValueError where there are several."""
        states = self.states
        if len(states) != 1:
            raise ValueError(f"state: there are {len(states)}, expected one: take it from `states` by its name")
        return next(iter(states.values()))

    @property
    def attention_mask(self) -> Tensor:
        """(T) int64: which rows count."""
        self.check()
        return self.tensors["attention_mask"]

    def check(self) -> None:
        if self.error is not None:
            raise self.error


class Extractor:
    """A model that makes hidden states of audio, on the C++ library alone: it reads the files, makes HuggingFace's
    features of them and runs the encoder in batches. The values are those of `w2vbert extract`, to the last bit."""

    def __init__(self, extraction: _w2vbert.Extraction, readers: int) -> None:
        """For from_pretrained()."""
        self._extraction = extraction
        self._readers = readers

    @classmethod
    def from_pretrained(
        cls, model: str | os.PathLike[str], *, states: int | Sequence[int | str] | str | None = None,
        state_weights: str | os.PathLike[str] | None = None, softmax: bool = True, dtype: str = "float32",
        output_dtype: str | None = None, engine: str = "fused", device: str = "cpu", threads: int | None = None,
        readers: int | None = None, batch_seconds: float | None = None, chunk_seconds: float | None = None,
        overlap_seconds: float | None = None, stats: str | os.PathLike[str] | None = None, preset: str | None = None,
        pool: int | str | None = None, resampler: str | None = None, channels: str | int | None = None,
        salvage: bool = False, max_seconds: float | None = None, attn_implementation: str | None = None,
        revision: str | None = None, prefix: str | None = None, lora: str | os.PathLike[str] | None = None,
        lora_prefix: str | None = None, lenient: bool = False,
    ) -> Extractor:
        """Loads a model directory, or a Hub id that is in the local cache; never the network.

        The arguments are the options of `w2vbert extract`, with underscores (docs/commands.md, docs/corpus.md).
        `states`: a number, several, or "all", as HuggingFace numbers hidden_states, or what `--states` takes, as
        "mean:12-18"; None: last_hidden_state. `state_weights`: a file with the weights of a weighted sum, "weighted"
        among the states, which is what is given where `states` are None; `softmax`: whether their softmax is taken.
        `pool`: frames whose mean is one row, "mean" or "mean+std": one row a clip. `resampler` and `channels`: "soxr"
        and "first", or the preset's.
        `threads`: of LibTorch, which the whole process shares; None: as they are. `readers`: threads that read audio.

        Throws CheckpointError, ConfigError or UsageError, which say what is wrong with which file or setting."""
        settings = _w2vbert.ExtractionSettings()
        settings.model = os.fsencode(model)
        settings.states = _text_of_states(states)
        settings.dtype, settings.engine, settings.device = _name_of_dtype(dtype), engine, device
        settings.output_dtype = None if output_dtype is None else _name_of_dtype(output_dtype)
        settings.batch_seconds = batch_seconds
        settings.chunk_seconds, settings.overlap_seconds = chunk_seconds, overlap_seconds
        settings.state_weights, settings.softmax = _path(state_weights), softmax
        settings.stats, settings.preset = _path(stats), _text(preset)
        settings.pool = None if pool is None else str(pool)
        settings.resampler, settings.channels = resampler, None if channels is None else str(channels)
        settings.salvage, settings.max_seconds = salvage, max_seconds
        settings.attn_implementation, settings.revision, settings.prefix = (
            attn_implementation, _text(revision), _text(prefix))
        settings.lora, settings.lora_prefix, settings.lenient = _path(lora), _text(lora_prefix), lenient
        for name, seconds in (("batch_seconds", batch_seconds), ("chunk_seconds", chunk_seconds),
                              ("max_seconds", max_seconds)):
            if seconds is not None and not 0 < seconds < float("inf"):
                raise _w2vbert.UsageError(f"{name}: {seconds}, expected a number above 0")
        if overlap_seconds is not None and not 0 <= overlap_seconds < float("inf"):
            raise _w2vbert.UsageError(f"overlap_seconds: {overlap_seconds}, expected a number from 0 on")
        if not softmax and state_weights is None:
            raise _w2vbert.UsageError("softmax: is False without state_weights, expected both or neither")
        for name, count in (("threads", threads), ("readers", readers)):
            if count is not None and count < 1:
                raise _w2vbert.UsageError(f"{name}: {count}, expected 1 or more")
        if threads is not None:
            torch.set_num_threads(threads)
        if readers is None:
            readers = max(1, min(_MAX_READERS, torch.get_num_threads() // _CORES_PER_READER))
        return cls(_w2vbert.Extraction(settings), readers)

    @property
    def sampling_rate(self) -> int:
        """Hz that the model's features are made at; files of other rates are resampled."""
        return self._extraction.features.sampling_rate

    @property
    def engine(self) -> str:
        """Which engine runs: "fused", "device" or "reference"."""
        return self._extraction.engine

    @property
    def engine_reason(self) -> str:
        """Why it is not the fused one although that was asked for; else ""."""
        return self._extraction.engine_reason

    @property
    def state_names(self) -> list[str]:
        """Of the states that extract() gives: "last_hidden_state", "hidden_states.<n>" or "hidden_states.mean.<n>-<n>"
        (docs/corpus.md)."""
        return [name for name in self._extraction.tensor_names if name != "attention_mask"]

    @property
    def dtype(self) -> torch.dtype:
        """That the states have."""
        return getattr(torch, self._extraction.output_dtype)

    @property
    def width(self) -> int:
        """How many numbers a row of a state has: C of (T, C)."""
        return self._extraction.output_width

    @property
    def warnings(self) -> list[str]:
        """What was unusual about the model's files, and was accepted."""
        return self._extraction.warnings

    def extract(self, inputs: Audio | Iterable[Audio], *, sampling_rate: int | None = None) -> Iterator[Extracted]:
        """What the model gives for each input, in their order, as soon as it is there.

        `inputs`: paths, or samples (S) in -1..1 as NumPy arrays or tensors, which are at `sampling_rate` (default: the
        model's), or what an Audio column of HuggingFace's datasets holds; or one of these. Such a column holds
        {"bytes": those of a file or None, "path": of it} where it is not decoded, which gives the bits of the file;
        decoded, {"array": samples (S) or (channels, S), "sampling_rate": Hz} or torchcodec's AudioDecoder, with a
        rate of its own, whose channels are reduced as the extractor's `channels` say. They may be endless: only some
        are read ahead of the model, as many as make two batches, and at most 256 are asked for before their turn (an
        iterable that waits for an earlier result waits for ever). An input that cannot be read or computed gives an
        Extracted with an `error`, and the others go on; what the iterable `inputs` itself throws ends the iteration.
        Several iterations may run at once."""
        if isinstance(inputs, (str, os.PathLike, np.ndarray, Tensor, Mapping)) or _is_decoder(inputs):
            inputs = [inputs]
        rate = self.sampling_rate if sampling_rate is None else sampling_rate
        if rate < 1:
            raise ValueError(f"sampling_rate: {rate}, expected Hz above 0")
        return self._run(iter(inputs), rate)

    def _run(self, inputs: Iterator[Audio], rate: int) -> Iterator[Extracted]:
        reading = _Reading(self._extraction.features, rate, self._readers, 2 * self._extraction.batch_frames)
        try:
            while True:
                batch = reading.next_batch(inputs, self._extraction.batch_frames)
                if not batch:
                    return
                yield from self._compute(batch)
        finally:
            reading.close()

    def _compute(self, batch: list[_Read]) -> Iterator[Extracted]:
        clips = [read.clip for read in batch if read.clip is not None]
        results = iter(self._extraction.run(clips)) if clips else iter(())
        for read in batch:
            extracted = Extracted(read.index, read.path)
            if read.clip is None:
                extracted.error = read.error
            else:
                extracted.seconds = read.clip.seconds
                notes = [read.clip.note]
                result = next(results)
                if isinstance(result, Exception):
                    extracted.error = result
                else:
                    extracted.tensors, note = result
                    notes.append(note)
                extracted.note = "; ".join(filter(None, notes))
            yield extracted


@dataclasses.dataclass
class _Read:
    index: int
    path: str | None
    clip: _w2vbert.Clip | None = None
    error: Exception | None = None

    @property
    def frames(self) -> int:
        return 0 if self.clip is None else self.clip.frames


class _Reading:
    """Threads that read clips ahead of the model: until those that wait have `max_frames` frames, and one more for
    each thread. The caller's own thread takes the inputs from their iterable."""

    def __init__(self, features: _w2vbert.ClipFeatures, rate: int, threads: int, max_frames: int) -> None:
        self._features = features
        self._rate = rate
        self._max_frames = max_frames
        self._tasks: queue.SimpleQueue[tuple[int, Any, int] | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._read: dict[int, _Read] = {}
        self._frames = 0  # of those, and of samples that wait to be read
        self._next = 0  # the index that is to be given next
        self._given = 0  # tasks
        self._is_exhausted = False
        self._is_closed = False
        self._threads = [threading.Thread(target=self._work, name=f"w2vbert reader {number}", daemon=True)
                         for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def next_batch(self, inputs: Iterator[Audio], max_frames: int) -> list[_Read]:
        """Waits for the next clip and takes what else is there behind it, up to `max_frames` in all. Empty: no more."""
        self._give_tasks(inputs)
        batch: list[_Read] = []
        frames = 0
        with self._changed:
            if self._next == self._given:
                return batch
            self._changed.wait_for(lambda: self._next in self._read)
            while self._next in self._read:
                read = self._read[self._next]
                if batch and frames + read.frames > max_frames:
                    break
                del self._read[self._next]
                batch.append(read)
                frames += read.frames
                self._next += 1
            self._frames -= frames
            self._changed.notify_all()
        return batch

    def _give_tasks(self, inputs: Iterator[Audio]) -> None:
        while not self._is_exhausted and self._given - self._next < _MAX_AHEAD:
            with self._changed:
                if self._given > self._next and self._frames >= self._max_frames:
                    return
            try:
                one = next(inputs)
            except StopIteration:
                self._is_exhausted = True
                return
            waiting = self._frames_of(one)
            with self._changed:
                self._frames += waiting
            self._tasks.put((self._given, one, waiting))
            self._given += 1

    def _frames_of(self, one: Any) -> int:
        """That samples will have, which are in memory before they are read; 0 for a file."""
        rate = self._rate
        if isinstance(one, Mapping):
            if isinstance(one.get("bytes"), bytes):
                return len(one["bytes"]) // _BYTES_PER_FRAME
            if isinstance(one.get("sampling_rate"), int) and one["sampling_rate"] > 0:
                rate = one["sampling_rate"]
            one = one.get("array")
        if not isinstance(one, (np.ndarray, Tensor)) or not one.ndim:
            return 0
        return one.shape[-1] * _FRAMES_PER_SECOND // rate

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            index, one, waiting = task
            with self._changed:
                # The clip that is waited for is never held up.
                self._changed.wait_for(
                    lambda index=index: self._is_closed or self._frames < self._max_frames or index == self._next)
                if self._is_closed:
                    return
            read = self._read_one(index, one)
            with self._changed:
                self._read[index] = read
                self._frames += read.frames - waiting
                self._changed.notify_all()

    def _read_one(self, index: int, one: Any) -> _Read:
        read = _Read(index, None)
        try:
            if isinstance(one, (str, os.PathLike)):
                read.path = os.fspath(one)
                read.clip = self._features.read_file(os.fsencode(one))
            elif isinstance(one, Mapping):
                self._read_row(read, one)
            elif _is_decoder(one):
                samples = one.get_all_samples()
                read.clip = self._take(read, samples.data, samples.sample_rate)
            else:
                samples = _samples_of(one)
                if samples.dim() != 1:
                    raise ValueError(f"samples: shape {tuple(samples.shape)}, expected (S), of one channel")
                read.clip = self._features.take_samples(samples, self._rate, f"input {index}")
        except Exception as error:
            read.error = error
        return read

    def _read_row(self, read: _Read, row: Mapping[str, Any]) -> None:
        """What a row of an Audio column of datasets holds."""
        path = row.get("path")
        if path is not None:
            if not isinstance(path, (str, os.PathLike)):
                raise TypeError(f"path: a {type(path).__name__}, expected a string or None")
            read.path = os.fspath(path)
        if row.get("array") is not None:
            read.clip = self._take(read, row["array"], row.get("sampling_rate"))
        elif row.get("bytes") is not None:
            if not isinstance(row["bytes"], (bytes, bytearray, memoryview)):
                raise TypeError(f"bytes: a {type(row['bytes']).__name__}, expected the bytes of a file")
            read.clip = self._features.read_bytes(bytes(row["bytes"]), self._name_of(read))
        elif read.path is not None:
            read.clip = self._features.read_file(os.fsencode(read.path))
        else:
            keys = ", ".join(sorted(map(str, row)))
            raise ValueError(f"an input has {keys or 'nothing'}, expected array and sampling_rate, bytes or path")

    def _take(self, read: _Read, values: Any, rate: Any) -> _w2vbert.Clip:
        if isinstance(rate, bool) or not isinstance(rate, (int, np.integer)):
            raise TypeError(f"sampling_rate: {rate!r}, expected Hz")
        samples = _samples_of(np.asarray(values, dtype=np.float32) if isinstance(values, list) else values)
        if samples.dim() not in (1, 2):
            raise ValueError(f"samples: shape {tuple(samples.shape)}, expected (S) or (channels, S)")
        return self._features.take_samples(samples, int(rate), self._name_of(read))

    @staticmethod
    def _name_of(read: _Read) -> bytes:
        return os.fsencode(f"input {read.index}" if read.path is None else read.path)


def _is_decoder(one: Any) -> bool:
    return callable(getattr(one, "get_all_samples", None))


def _samples_of(one: Any) -> Tensor:
    if isinstance(one, np.ndarray):
        if one.dtype.kind != "f":
            raise TypeError(f"samples: {one.dtype}, expected floats in -1..1")
        samples = torch.from_numpy(np.ascontiguousarray(one, dtype=np.float32))
    elif isinstance(one, Tensor):
        if not one.is_floating_point():
            raise TypeError(f"samples: {one.dtype}, expected floats in -1..1")
        samples = one.detach().cpu()
    else:
        raise TypeError(f"an input is a {type(one).__name__}, expected a path, a NumPy array, a tensor or what an "
                        "Audio column of datasets holds")
    return samples


def _text_of_states(states: int | Sequence[int | str] | str | None) -> str:
    if states is None:
        return ""
    if isinstance(states, (str, int)):
        return str(states)
    if not states:
        raise _w2vbert.UsageError("states: is empty, expected numbers, \"all\", or None for last_hidden_state")
    # Behind "mean:" and "weighted:" all belongs to the sum.
    return ",".join(sorted(map(str, states), key=lambda one: one.startswith(("mean", "weighted"))))


def _name_of_dtype(dtype: str | torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _text(value: str | None) -> str:
    return "" if value is None else value


def _path(value: str | os.PathLike[str] | None) -> bytes:
    """Names are bytes: not all of them are UTF-8."""
    return b"" if value is None else os.fsencode(value)
