"""Many short clips, and among them a bad file of each kind: all others are done, each bad one is named, the
exit status is 3, memory and descriptors stay flat.

    survive_corpus.py PROGRAM HEAP_IN_USE [--clips N]"""

import argparse
import json
import os
import pathlib
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import numpy
import soundfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from small_model import save_small_model  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("program", type=pathlib.Path)
parser.add_argument("heap_in_use", type=pathlib.Path, help="the preloaded library of that name")
parser.add_argument("--clips", type=int, default=9000)
ARGUMENTS = parser.parse_args()


def bad_files(folder):
    """Path -> the kind that failures.jsonl gives it."""
    noise = 0.1 * numpy.random.default_rng(2).standard_normal(8000)
    whole, flac = folder / "whole.wav", folder / "whole.flac"
    soundfile.write(whole, noise, 16000)
    soundfile.write(flac, noise, 16000)
    wav, packed = whole.read_bytes(), bytearray(flac.read_bytes())
    whole.unlink()
    flac.unlink()
    flipped = bytearray(packed)
    flipped[len(flipped) // 2] ^= 0xFF
    contents = {
        "text.wav": b"this is no audio\n",
        "empty.wav": b"",
        "cut.wav": wav[:9000],
        "half.flac": bytes(packed[: len(packed) // 2]),
        "flipped.flac": bytes(flipped),
        "nodata.wav": wav[:40] + struct.pack("<I", 0) + wav[44:],
        "pointer.wav": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
        "zeros.wav": bytes(4096),
    }
    kinds = {}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        kinds[folder / name] = "audio"
    broken = noise.copy()
    broken[5] = numpy.nan
    soundfile.write(folder / "nan.wav", broken, 16000, subtype="FLOAT")
    soundfile.write(folder / "brief.wav", noise[:559], 16000)
    soundfile.write(folder / "slow.wav", noise, 1000)
    for name in ("nan.wav", "brief.wav", "slow.wav"):
        kinds[folder / name] = "audio"
    (folder / "folder.wav").mkdir()
    os.mkfifo(folder / "fifo.wav")
    kinds[folder / "folder.wav"] = kinds[folder / "fifo.wav"] = "not_a_file"
    kinds[folder / "missing.wav"] = "not_found"
    (folder / "dangling.wav").symlink_to("nowhere")
    kinds[folder / "dangling.wav"] = "not_found"
    return kinds


class Corpus(unittest.TestCase):
    def test_all_but_the_bad_files_are_done(self):
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(scratch)
            save_small_model(folder / "model")
            clips, bad = folder / "clips", folder / "bad"
            clips.mkdir()
            bad.mkdir()
            generator = numpy.random.default_rng(0)
            paths = []
            for number in range(ARGUMENTS.clips):
                path = clips / f"{number:05}.wav"
                soundfile.write(path, 0.1 * generator.standard_normal(1600 + number % 700), 16000)
                paths.append(path)
            kinds = bad_files(bad)
            rows = [*paths, *kinds]
            random.Random(0).shuffle(rows)
            (folder / "list.txt").write_text("".join(f"{path}\n" for path in rows))
            output, heap = folder / "out", folder / "heap.txt"
            process = subprocess.Popen(
                [str(ARGUMENTS.program.resolve()), "extract", "--manifest", str(folder / "list.txt"), "--model",
                 str(folder / "model"), "--output", str(output), "--threads", "2", "--quiet"],
                stderr=subprocess.PIPE, text=True,
                env={**os.environ, "LD_PRELOAD": str(ARGUMENTS.heap_in_use.resolve()), "HEAP_IN_USE": str(heap)})
            descriptors = 0
            while process.poll() is None:
                try:
                    opened = sum(1 for _ in pathlib.Path(f"/proc/{process.pid}/fd").iterdir())
                    descriptors = max(descriptors, opened)
                except OSError:
                    break  # it has just ended
                time.sleep(0.02)
            errors = process.communicate()[1].splitlines()
            self.assertEqual(process.returncode, 3, errors[:5])
            done = {path.stem for path in output.rglob("*.safetensors")}
            self.assertEqual(done, {path.stem for path in paths})
            failures = [json.loads(line) for line in (output / "failures.jsonl").read_text().splitlines()]
            self.assertEqual({failure["path"]: failure["kind"] for failure in failures},
                             {str(path): kind for path, kind in kinds.items()})
            self.assertEqual(len(errors), len(kinds))
            for path in kinds:
                self.assertEqual(sum(f"{path}: " in error for error in errors), 1, path)
            # What is in use in the last quarter of the run, beside what was in the second one. Outputs that wait to be
            # written come and go: a thousand of them at most, of some 14 MB.
            sizes = [int(line) for line in heap.read_text().splitlines()]
            quarter = len(sizes) // 4
            self.assertGreater(quarter, 5)
            growth = (statistics.median(sizes[-quarter:]) - statistics.median(sizes[quarter:2 * quarter])) / 2**20
            print(f"{len(sizes)} looks: {max(sizes) / 2**20:.0f} MB at most, {growth:.1f} MB more in the last quarter "
                  f"than in the second; {descriptors} descriptors at most")
            # The waveform of a clip alone has 8 KB, of which a half of the clips would lose 35 MB.
            self.assertLess(growth, 16)
            self.assertGreater(descriptors, 3)
            self.assertLess(descriptors, 30)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
