"""A whole corpus from disk to disk: `w2vbert extract` beside its engine alone on the same clips, and beside the
loop that a person would write in Python (soundfile, transformers' extractor and model, padded batches in
the order of arrival, numpy.save). docs/benchmarks.md explains the figures.

    build/venv/bin/python benchmarks/corpus.py --program build/bin/w2vbert --model DIR --clips 64 --threads 2"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy
import soundfile

from interleaved import bind_to, environment_of

PYTHON = """
import pathlib, sys, time
model, clips, output, threads = sys.argv[1:]
import numpy, soundfile, torch
from transformers import AutoFeatureExtractor, Wav2Vec2BertModel
torch.set_num_threads(int(threads))
extractor = AutoFeatureExtractor.from_pretrained(model, local_files_only=True)
encoder = Wav2Vec2BertModel.from_pretrained(model, dtype=torch.float32, local_files_only=True).eval()
paths = sorted(pathlib.Path(clips).glob("*.flac"))
start = time.perf_counter()
with torch.no_grad():
    for begin in range(0, len(paths), 16):
        batch = paths[begin:begin + 16]
        samples = [soundfile.read(path, dtype="float32")[0] for path in batch]
        inputs = extractor(samples, sampling_rate=16000, return_tensors="pt")
        states = encoder(**inputs).last_hidden_state
        frames = inputs["attention_mask"].sum(1)
        for path, rows, count in zip(batch, states, frames):
            numpy.save(f"{output}/{path.stem}.npy", rows[:count].numpy())
print(time.perf_counter() - start)
"""


def lengths_of(clips):
    """Seconds of clips, 1 to 30, spread as those of LibriSpeech's test sets are (seeded)."""
    random = numpy.random.default_rng(0)
    return numpy.clip(random.lognormal(numpy.log(6), 0.65, clips), 1, 30)


def make_clips(folder, seconds):
    random = numpy.random.default_rng(1)
    for number, length in enumerate(seconds):
        noise = 0.1 * random.standard_normal(int(length * 16000))
        soundfile.write(folder / f"{number:05}.flac", noise, 16000)


def run(command, threads):
    result = subprocess.run(command, capture_output=True, text=True, env=environment_of(threads),
                            preexec_fn=bind_to(threads))
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {result.stderr[-2000:]}")
    return result.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--python", action="store_true", help="the loop in Python, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        clips, output = folder / "clips", folder / "output"
        clips.mkdir()
        seconds = lengths_of(arguments.clips)
        make_clips(clips, seconds)
        audio = float(seconds.sum())
        best = {}
        for _ in range(arguments.rounds):
            shutil.rmtree(output, ignore_errors=True)
            report = json.loads(run([arguments.program, "extract", "--manifest", clips, "--model", arguments.model,
                                     "--output", output, "--threads", str(arguments.threads), "--json",
                                     "--quiet"], arguments.threads))
            # The engine alone, in a process that does nothing else, on clips of the same lengths in batches
            # of a minute.
            frames = [clip["frames"] for clip in report["clips"]]
            batches, batch = [], []
            for length in frames:
                if batch and sum(batch) + length > 3000:
                    batches.append(batch)
                    batch = []
                batch.append(length)
            batches.append(batch)
            lines = "".join(",".join(map(str, batch)) + "\n" for batch in [[100], [100], *batches])
            engine = subprocess.run([arguments.program, "bench", "--model", arguments.model, "--frames", "-",
                                     "--threads", str(arguments.threads), "--json"], input=lines,
                                    capture_output=True, text=True, env=environment_of(arguments.threads),
                                    preexec_fn=bind_to(arguments.threads), check=True).stdout
            alone = sum(json.loads(line)["seconds"] for line in engine.splitlines()[2:])
            times = {"extract": report["elapsed_seconds"], "extract, in the engine": report["model_seconds"],
                     "engine alone": alone}
            if arguments.python:
                states = folder / "states"
                shutil.rmtree(states, ignore_errors=True)
                states.mkdir()
                times["Python"] = float(run([sys.executable, "-c", PYTHON, arguments.model, clips, states,
                                             str(arguments.threads)], arguments.threads))
            for name, value in times.items():
                best[name] = min(best.get(name, value), value)
                print(f"{name:24} {value:8.2f} s  {audio / value:6.2f} x real time", flush=True)
        print(f"\n{arguments.clips} clips, {audio:.0f} s of audio, {arguments.threads} threads; minima")
        print(f"extract / engine alone: {best['engine alone'] / best['extract']:.3f} of its throughput")
        if "Python" in best:
            print(f"extract / Python: {best['Python'] / best['extract']:.2f} times as fast")


if __name__ == "__main__":
    main()
