#!/usr/bin/env python3
"""Times a whole process, from its start to the hidden states of one 5 s clip in a file: this program
against a Python script that does the same with transformers, in turns.

  scripts/demo --full        # makes the model, 2.3 GB, once
  build/venv/bin/python benchmarks/cold_start.py [--model DIR] [--threads 2] [--rounds 5]

The page cache is warm: one untimed round goes before. Prints minimum and median of each, and the
ratio of the medians."""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

PYTHON = """
import sys
model, clip, output, threads = sys.argv[1:]
import numpy, soundfile, torch
from transformers import AutoFeatureExtractor, Wav2Vec2BertModel
torch.set_num_threads(int(threads))
samples, rate = soundfile.read(clip, dtype="float32")
extractor = AutoFeatureExtractor.from_pretrained(model, local_files_only=True)
encoder = Wav2Vec2BertModel.from_pretrained(model, dtype=torch.float32, local_files_only=True).eval()
with torch.no_grad():
    states = encoder(**extractor(samples, sampling_rate=rate, return_tensors="pt")).last_hidden_state
numpy.save(output, states[0].numpy())
"""


def default_model():
    cache = os.environ.get("W2VBERT_CACHE") or pathlib.Path(
        os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "w2vbert"
    return max(pathlib.Path(cache).glob("demo-full-*"), default=None)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=default_model(), help="default: that of scripts/demo --full")
    parser.add_argument("--program", default="build/bin/w2vbert")
    parser.add_argument("--threads", default=str(len(os.sched_getaffinity(0))))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.model is None:
        sys.exit("error: no model, run scripts/demo --full once or give --model")

    import numpy as np
    import soundfile

    with tempfile.TemporaryDirectory() as scratch:
        clip = f"{scratch}/clip.wav"
        soundfile.write(clip, np.random.default_rng(0).standard_normal(80000) * 0.1, 16000, subtype="PCM_16")
        output = f"{scratch}/output"
        commands = {
            "transformers": [sys.executable, "-c", PYTHON, str(arguments.model), clip, f"{scratch}/states.npy",
                             arguments.threads],
            "w2vbert": [arguments.program, "extract", clip, "--model", str(arguments.model), "--output", output,
                        "--threads", arguments.threads, "--quiet"],
        }
        times = {name: [] for name in commands}
        for round_number in range(arguments.rounds + 1):
            for name, command in commands.items():
                shutil.rmtree(output, ignore_errors=True)
                start = time.perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                if round_number > 0:
                    times[name].append(time.perf_counter() - start)
    for name, seconds in times.items():
        print(f"{name:13}{arguments.threads} threads: min {min(seconds):6.2f} s, "
              f"median {statistics.median(seconds):6.2f} s")
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    print(f"ratio        {medians['transformers'] / medians['w2vbert']:.2f}")


if __name__ == "__main__":
    main()
