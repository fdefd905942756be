"""How many clips a second w2vbert.ray's stage does beside `w2vbert extract`, with as many threads and the same clips,
in turns. Both write what they compute; neither's start counts (a process, a Ray, the loading of the model).

    PYTHONPATH=build/python:build/ray build/venv/bin/python benchmarks/ray_against_extract.py build/bin/w2vbert"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import numpy as np  # noqa: E402
import ray  # noqa: E402
import soundfile  # noqa: E402

import w2vbert.ray  # noqa: E402
from small_model import save_small_model  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program", type=pathlib.Path)
parser.add_argument("--layers", type=int, default=24, help="of the published model's sizes; fewer show more of what is "
                    "beside the model")
parser.add_argument("--clips", type=int, default=64)
parser.add_argument("--seconds", type=float, default=10, help="of each clip, more or less by a tenth")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--batch-size", type=int, default=32, help="rows of a call of the stage")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--json", action="store_true")


class TimedStage(w2vbert.ray.W2VBertStage):
    """Notes when the first call begins: the model is loaded."""

    def __init__(self, *, begun: str, **options: object) -> None:
        super().__init__(**options)
        self.begun = pathlib.Path(begun)

    def __call__(self, batch: w2vbert.ray.Batch) -> w2vbert.ray.Batch:
        if not self.begun.exists():
            self.begun.write_text(str(time.time()))
        return super().__call__(batch)


def write_clips(folder: pathlib.Path, count: int, seconds: float) -> list[pathlib.Path]:
    chance = np.random.default_rng(0)
    paths = []
    for number in range(count):
        path = folder / f"{number:04}.flac"
        samples = int(16000 * seconds * chance.uniform(0.9, 1.1))
        soundfile.write(path, 0.1 * chance.standard_normal(samples), 16000)
        paths.append(path)
    return paths


def extract(options: argparse.Namespace, folder: pathlib.Path, output: pathlib.Path) -> float:
    """Seconds."""
    command = [options.program.resolve(), "extract", "--manifest", folder / "clips", "--model", folder / "model",
               "--output", output, "--threads", options.threads, "--json"]
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
    return json.loads(result.stdout)["elapsed_seconds"]


def run_on_ray(options: argparse.Namespace, folder: pathlib.Path, paths: list[pathlib.Path],
               output: pathlib.Path) -> float:
    """Seconds."""
    begun = output.with_suffix(".begun")
    dataset = ray.data.from_items([{"path": str(path)} for path in paths])
    stage = {"model": str(folder / "model"), "threads": options.threads, "begun": str(begun)}
    dataset.map_batches(
        TimedStage, fn_constructor_kwargs=stage,
        num_cpus=options.threads, compute=ray.data.ActorPoolStrategy(size=1), batch_size=options.batch_size,
    ).write_parquet(str(output))
    return time.time() - float(begun.read_text())


def main() -> None:
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        save_small_model(folder / "model", hidden_size=1024, num_attention_heads=16, intermediate_size=4096,
                         num_hidden_layers=options.layers)
        (folder / "clips").mkdir()
        paths = write_clips(folder / "clips", options.clips, options.seconds)
        ray.init(num_cpus=options.threads + 2, include_dashboard=False, log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        seconds: dict[str, list[float]] = {"extract": [], "ray": []}
        for number in range(options.rounds):
            seconds["extract"].append(extract(options, folder, folder / f"extract{number}"))
            seconds["ray"].append(run_on_ray(options, folder, paths, folder / f"ray{number}"))
            print(f"round {number}: " + ", ".join(f"{who} {options.clips / took[-1]:.2f} clips/s"
                                                  for who, took in seconds.items())
                  + f", load {os.getloadavg()[0]:.1f}", file=sys.stderr)
        ray.shutdown()
    ratios = [one / other for one, other in zip(seconds["extract"], seconds["ray"], strict=True)]
    report = {"clips": options.clips, "threads": options.threads, "layers": options.layers, **{
        f"{who}_clips_per_second": options.clips / min(took) for who, took in seconds.items()},
        "ratio_median": statistics.median(ratios), "ratio_of_fastest": min(seconds["extract"]) / min(seconds["ray"])}
    if options.json:
        print(json.dumps(report))
    else:
        print("\n".join(f"{key}: {value:.3f}" if isinstance(value, float) else f"{key}: {value}"
                        for key, value in report.items()))


if __name__ == "__main__":
    main()
