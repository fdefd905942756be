"""A whole process, from its start to the hidden states of one 5 s clip in a file: this program against
a Python script that does the same with transformers, in turns. scripts/benchmark --cold-start runs it."""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import wave

from interleaved import bind_to, environment_of
from report import summary

SECONDS = 5
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


def noise(path):
    import random

    random.seed(0)
    samples = [int(min(max(random.gauss(0, 3000), -32768), 32767)) for _ in range(SECONDS * 16000)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples))


def cold_start(model, program, threads, rounds, on_skip):
    """The page cache is warm: one untimed round goes before. `on_skip(name, reason)` hears of a command
    that fails."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        clip, output = folder / "clip.wav", folder / "output"
        noise(clip)
        commands = {
            "transformers": [sys.executable, "-c", PYTHON, str(model), str(clip), str(folder / "states.npy"),
                             str(threads)],
            "w2vbert": [program, "extract", str(clip), "--model", str(model), "--output", str(output),
                        "--threads", str(threads), "--quiet"],
        }
        times = {name: [] for name in commands}
        for number in range(rounds + 1):
            for name, command in list(commands.items()):
                shutil.rmtree(output, ignore_errors=True)
                start = time.perf_counter()
                try:
                    run = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                         env=environment_of(threads), preexec_fn=bind_to(threads))
                    seconds = time.perf_counter() - start
                    words = run.stderr.decode(errors="replace").strip().split("\n")[-1][:300]
                    problem = f"exit status {run.returncode}: {words}" if run.returncode else None
                except OSError as error:
                    problem = f"{error.filename}: {error.strerror}"
                if problem:
                    on_skip(name, problem)
                    del commands[name]
                elif number > 0:
                    times[name].append(seconds)
    return {"audio_seconds": SECONDS, "threads": threads,
            "results": {name: summary(seconds, SECONDS) for name, seconds in times.items() if seconds}}
