"""Hidden states of a Ray dataset's audio: an actor class for `ray.data.Dataset.map_batches`.

    stage = dict(fn_constructor_kwargs={"model": "facebook/w2v-bert-2.0", "states": 17}, concurrency=2, batch_size=32)
    todo = w2vbert.ray.unfinished(ray.data.from_items([{"path": path} for path in paths]), "out", key="path")
    todo.map_batches(w2vbert.ray.W2VBertStage, **stage).write_parquet("out")

docs/cluster.md of the repository describes it."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .extractor import Extracted, Extractor

if TYPE_CHECKING:
    from ray.data import Dataset

Batch = dict[str, np.ndarray]


class W2VBertStage:
    """Adds a model's states to each row. An actor loads the model once; the clips of a call go through it in batches
    of as many frames as `extract` takes, so that a call's `batch_size` of rows says nothing about memory but that of
    its states.

    A row that cannot be read or computed stays, with the reason in `error_column` and no rows of states. All others
    have "" there, and the values of `w2vbert extract`, to the last bit."""

    def __init__(self, model: str | os.PathLike[str], *, path_column: str = "path", audio_column: str | None = None,
                 rate_column: str | None = None, error_column: str = "error", drop_audio: bool = True,
                 **options: Any) -> None:
        """`path_column`: paths that every node can read. `audio_column`, instead: samples (S) in -1..1, float, of one
        channel, at the rates of `rate_column`, or at the model's without one; the samples leave the rows unless
        `drop_audio` is False. `options`: those of Extractor.from_pretrained(), such as states, dtype and threads; a
        stage with num_cpus=N wants threads=N.

        Columns that are added: each state under its name ("last_hidden_state" or "hidden_states.<n>"), float (T, C);
        "attention_mask", int64 (T); "seconds" of audio; `error_column`."""
        self._extractor = Extractor.from_pretrained(model, **options)
        self._path_column = path_column
        self._audio_column = audio_column
        self._rate_column = rate_column
        self._error_column = error_column
        self._drop_audio = drop_audio

    def __call__(self, batch: Batch) -> Batch:
        """`batch` and the columns that are added. Throws ValueError for a column that is missing, or one that would
        be added and is there."""
        columns = dict(batch)
        if self._audio_column and self._drop_audio:
            columns.pop(self._audio_column, None)
        for name in (*self._extractor.state_names, "attention_mask", "seconds", self._error_column):
            if name in columns:
                raise ValueError(f"column {name!r}: is there already, expected one to be added")
        results = self._audio_results(batch) if self._audio_column else self._path_results(batch)
        no_rows = _array_of(torch.empty((0, self._extractor.width), dtype=self._extractor.dtype))
        no_mask = np.zeros(0, dtype=np.int64)
        good = [result.error is None for result in results]
        added = {name: _ragged([_array_of(result.tensors[name]) if is_good else no_rows
                                for result, is_good in zip(results, good, strict=True)])
                 for name in self._extractor.state_names}
        added["attention_mask"] = _ragged([result.attention_mask.numpy() if is_good else no_mask
                                           for result, is_good in zip(results, good, strict=True)])
        added["seconds"] = np.array([result.seconds for result in results], dtype=np.float64)
        added[self._error_column] = np.array(["" if result.error is None else _line_of(result.error)
                                              for result in results], dtype=object)
        return columns | added

    def _path_results(self, columns: Batch) -> list[Extracted]:
        paths = _column(columns, self._path_column)
        return list(self._extractor.extract(list(paths)))

    def _audio_results(self, columns: Batch) -> list[Extracted]:
        assert self._audio_column is not None
        samples = _column(columns, self._audio_column)
        rates = None if self._rate_column is None else _column(columns, self._rate_column)
        if rates is None:
            return list(self._extractor.extract(list(samples)))
        results: list[Extracted] = []
        begin = 0
        while begin < len(samples):  # those of one rate that follow each other
            end = begin + 1
            while end < len(samples) and rates[end] == rates[begin]:
                end += 1
            some = list(samples[begin:end])
            try:
                results.extend(self._extractor.extract(some, sampling_rate=_rate_of(rates[begin])))
            except ValueError as error:  # the rate alone: what is wrong with a clip is in its result
                results.extend(Extracted(index, None, error=error) for index in range(len(some)))
            begin = end
        return results


def unfinished(dataset: Dataset, output: str | os.PathLike[str], key: str | Sequence[str] = "path", *,
               error_column: str = "error", failed: bool = True) -> Dataset:
    """The rows of `dataset` that the Parquet files in the folder `output` do not hold yet, by the columns `key`: with
    them a run that was ended goes on. Rows that failed count as unfinished, unless `failed` is False. A folder that is
    not there holds nothing; files that are no whole Parquet files, which a killed writer may leave, neither.

    Throws ValueError for files that lack one of the columns, and for an `output` that is an address."""
    if "://" in os.fspath(output):
        raise ValueError(f"output: {os.fspath(output)} is an address, expected a folder that this process can read")
    keys = [key] if isinstance(key, str) else list(key)
    finished = _finished_keys(os.fspath(output), keys, error_column, failed)
    if not finished:
        return dataset

    def is_left(row: dict[str, Any]) -> bool:
        return tuple(_plain(row[name]) for name in keys) not in finished

    return dataset.filter(is_left)


def _finished_keys(output: str, keys: list[str], error_column: str, failed: bool) -> set[tuple[Any, ...]]:
    import pyarrow
    import pyarrow.parquet

    finished: set[tuple[Any, ...]] = set()
    for path in sorted(pathlib.Path(output).rglob("*.parquet")):
        try:
            file = pyarrow.parquet.ParquetFile(path)
        except (pyarrow.ArrowInvalid, OSError):
            continue
        with file:
            for column in (*keys, error_column):
                if column not in file.schema_arrow.names:
                    raise ValueError(f"{path}: has no column {column!r}, expected the output of a W2VBertStage")
            table = file.read(columns=[*keys, error_column])
        errors = table[error_column].to_pylist()
        for *values, error in zip(*(table[column].to_pylist() for column in keys), errors, strict=True):
            if not (failed and error):
                finished.add(tuple(values))
    return finished


def _rate_of(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):  # None, NaN
        raise ValueError(f"sampling rate: {value}, expected Hz above 0") from None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _column(columns: Batch, name: str) -> np.ndarray:
    if name not in columns:
        raise ValueError(f"column {name!r}: is missing, there are {', '.join(sorted(columns))}")
    return columns[name]


def _array_of(tensor: torch.Tensor) -> np.ndarray:
    """NumPy has no bfloat16; float32 holds its values."""
    return (tensor.to(torch.float32) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _ragged(rows: list[np.ndarray]) -> np.ndarray:
    column = np.empty(len(rows), dtype=object)
    for index, one in enumerate(rows):
        column[index] = one
    return column


def _line_of(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
