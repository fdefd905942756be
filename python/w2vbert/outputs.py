"""Writes what Extractor.extract() gives in the forms that datasets are kept in: WebDataset's tars, Parquet and Arrow.

    results = extractor.extract(dataset["audio"])
    w2vbert.outputs.save_to_disk(results, "states")   # datasets.load_from_disk("states")

Each function takes any iterable of Extracted and holds some of them at a time. The states keep their values: float32
and float16 as they are, bfloat16, which neither NumPy nor Arrow has, as float32."""

from __future__ import annotations

import io
import json
import os
import pathlib
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .extractor import Extracted

if TYPE_CHECKING:
    import pyarrow as pa

_MASK = "attention_mask"


def write_tars(results: Iterable[Extracted], pattern: str | os.PathLike[str], *, clips_per_tar: int = 1000,
               key: Callable[[Extracted], str] | None = None) -> list[str]:
    """Writes tars as WebDataset reads them, and returns their paths.

    `pattern`: the path of a tar, in which %d (or %06d) is its number. A clip is `<key>.<state>.npy` for each state,
    (T, C), `<key>.attention_mask.npy`, (T), and `<key>.json` with its index, path, seconds and note. `key` names a
    clip (default: the name of its file up to the first dot, or its index in eight digits); WebDataset ends keys at a
    dot. A clip that failed is `<key>.json` alone, with its `error`. A tar comes into its place when it is whole, and
    takes the place of one that is there.

    Throws ValueError: no number in the pattern, a key that is empty, has a dot or comes twice."""
    pattern = os.fspath(pattern)
    try:
        has_number = pattern % 0 != pattern % 1
    except (TypeError, ValueError):
        has_number = False
    if not has_number:
        raise ValueError(f"pattern: {pattern}, expected one %d in it")
    if clips_per_tar < 1:
        raise ValueError(f"clips_per_tar: {clips_per_tar}, expected 1 or more")
    keys: set[str] = set()
    paths: list[str] = []
    for some in _in_groups(results, clips_per_tar):
        path = pattern % len(paths)
        with _replaced(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
            for result in some:
                name = (key or _key_of)(result)
                if not name or "." in name:
                    raise ValueError(f"key: {name!r}, expected a name without dots: give another one by key=")
                if name in keys:
                    raise ValueError(f"key: {name!r} comes twice: give different ones by key=")
                keys.add(name)
                _add_clip(tar, name, result)
        paths.append(path)
    return paths


def write_parquet(results: Iterable[Extracted], path: str | os.PathLike[str], *, clips_per_group: int = 100) -> int:
    """Writes a Parquet file, which `datasets.load_dataset("parquet", data_files=...)`, pandas and Ray read, and returns
    the number of its rows.

    The columns: "index", "path" (null for samples), each state under its name, lists of T rows of C numbers;
    "attention_mask" where the extractor gives it, "seconds", "note", "error" ("" for a clip that is good; else the
    states are empty). The file comes into its place when it is whole. Needs pyarrow. Throws ValueError where no result
    has states, which tell the columns."""
    import pyarrow.parquet

    with _replaced(path) as temporary:
        return _write_rows(results, clips_per_group,
                           lambda schema: pyarrow.parquet.ParquetWriter(temporary, schema, use_dictionary=False))


def save_to_disk(results: Iterable[Extracted], folder: str | os.PathLike[str], *, clips_per_group: int = 100) -> int:
    """Writes a folder that `datasets.load_from_disk` reads, with the columns of write_parquet(), and returns the number
    of its rows. The folder must not be there yet, and comes into its place when it is whole. Needs datasets. Throws
    ValueError as write_parquet(), FileExistsError."""
    import datasets
    import pyarrow

    target = pathlib.Path(folder)
    if target.exists():
        raise FileExistsError(f"{target}: is there already, expected a new folder")
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    beside = target.absolute().parent
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".tmp", dir=beside) as temporary:
        rows = pathlib.Path(temporary) / "rows.arrow"
        count = _write_rows(results, clips_per_group, lambda schema: pyarrow.ipc.new_stream(str(rows), schema))
        whole = pathlib.Path(temporary) / "dataset"
        datasets.Dataset.from_file(str(rows)).save_to_disk(str(whole))
        whole.rename(target)
    return count


def _write_rows(results: Iterable[Extracted], clips_per_group: int, writer_of: Callable[[pa.Schema], Any]) -> int:
    if clips_per_group < 1:
        raise ValueError(f"clips_per_group: {clips_per_group}, expected 1 or more")
    writer: Any = None
    count = 0
    waiting: list[Extracted] = []  # that failed before the first good one told the columns
    names: dict[str, np.dtype] = {}
    width = 0
    try:
        for some in _in_groups(results, clips_per_group):
            good = next((result for result in some if result.error is None), None)
            if writer is None and good is None:
                waiting.extend(some)
                continue
            if writer is None:
                assert good is not None
                names = {name: _array_of(tensor).dtype for name, tensor in good.tensors.items()}
                width = next(iter(good.states.values())).shape[1]
                some, waiting = waiting + some, []
            table = _table_of(some, names, width)
            writer = writer or writer_of(table.schema)
            writer.write_table(table)
            count += len(some)
        if writer is None:
            raise ValueError("results: none has states, expected one that tells the columns"
                             + (f"; the first failed: {waiting[0].error}" if waiting else ""))
    finally:
        if writer is not None:
            writer.close()
    return count


def _table_of(results: list[Extracted], names: dict[str, np.dtype], width: int) -> pa.Table:
    import pyarrow as pa

    good = [result.error is None for result in results]
    columns: dict[str, Any] = {
        "index": pa.array([result.index for result in results], pa.int64()),
        "path": pa.array([None if result.path is None else _text(result.path) for result in results], pa.string()),
    }
    for name, dtype in names.items():
        empty = np.zeros((0, width) if name != _MASK else 0, dtype)
        rows = [_array_of(result.tensors[name]) if is_good else empty
                for result, is_good in zip(results, good, strict=True)]
        values = pa.array(np.concatenate(rows).reshape(-1))
        ends = np.cumsum([0, *map(len, rows)]).astype(np.int32)
        columns[name] = pa.ListArray.from_arrays(
            pa.array(ends), values if name == _MASK else pa.FixedSizeListArray.from_arrays(values, width))
    columns["seconds"] = pa.array([result.seconds for result in results], pa.float64())
    columns["note"] = pa.array([result.note for result in results], pa.string())
    columns["error"] = pa.array([_error_of(result) for result in results], pa.string())
    return pa.table(columns)


def _add_clip(tar: tarfile.TarFile, key: str, result: Extracted) -> None:
    about = {"index": result.index, "path": None if result.path is None else _text(result.path),
             "seconds": result.seconds, "note": result.note}
    if result.error is not None:
        about["error"] = _error_of(result)
    else:
        for name, tensor in result.tensors.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, _array_of(tensor), allow_pickle=False)
            _add_member(tar, f"{key}.{name}.npy", content.getvalue())
    _add_member(tar, f"{key}.json", json.dumps(about).encode())


def _add_member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # without a time: the same clips give the same bytes
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


class _replaced:  # noqa: N801: read as a function
    """A path beside `path`, whose file takes its place where nothing is thrown and goes where something is."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = pathlib.Path(path)

    def __enter__(self) -> str:
        self._path.absolute().parent.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.mkdtemp(prefix=f".{self._path.name}.", suffix=".tmp", dir=self._path.absolute().parent)
        return str(pathlib.Path(self._folder) / "file")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                whole = pathlib.Path(self._folder, "file")
                with whole.open("rb") as file:
                    os.fsync(file.fileno())  # a name in its place means a whole file, also behind a power cut
                whole.replace(self._path)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


def _in_groups(results: Iterable[Extracted], count: int) -> Iterator[list[Extracted]]:
    group: list[Extracted] = []
    for result in results:
        group.append(result)
        if len(group) == count:
            yield group
            group = []
    if group:
        yield group


def _key_of(result: Extracted) -> str:
    if result.path is None:
        return f"{result.index:08}"
    return pathlib.PurePath(_text(result.path)).name.partition(".")[0]


def _error_of(result: Extracted) -> str:
    return "" if result.error is None else " ".join(f"{type(result.error).__name__}: {result.error}".split())


def _text(path: str) -> str:
    """Names are bytes; text files hold UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _array_of(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.to(torch.float32) if tensor.dtype == torch.bfloat16 else tensor).numpy()
