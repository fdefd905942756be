"""What tests of runs into a directory share: small clips, and what such a directory holds."""

import json

import numpy
import soundfile


def write_clips(folder, count, samples=4000, more=1000, seed=0):
    """Noise in folder/speaker<0 or 1>/<number>.wav, each `more` samples longer than the one before."""
    noise = numpy.random.default_rng(seed)
    for number in range(count):
        path = folder / f"speaker{number % 2}" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * noise.standard_normal(samples + more * number), 16000)


def outputs_of(directory):
    """Name -> path of each finished output."""
    return {str(path.relative_to(directory)): path for path in sorted(directory.rglob("*"))
            if path.suffix in (".safetensors", ".npy") and not path.name.startswith(".")}


def indexes_of(directory):
    return {path.name: path.read_text() for path in directory.glob("shard-*.jsonl")}


def errors_of(stderr):
    return [line for line in stderr.splitlines() if line.startswith("error: ")]


def temporaries_of(directory):
    return [path for path in directory.rglob("*") if path.name.endswith((".tmp", ".aside"))]


def stamp(path):
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def lines_of(path):
    """The lines of a file of JSON lines, of which each is whole."""
    return [json.loads(line) for line in path.read_text().splitlines()]
