"""The speed of this program beside that of its Python peers: every contestant loads the model once and
they take turns, length by length, on the same clips and threads. docs/benchmarks.md has the rules."""

import argparse
import datetime
import functools
import importlib.metadata
import json
import math
import multiprocessing
import os
import pathlib
import platform
import random
import re
import shlex
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import demo  # noqa: E402
import report as reporting  # noqa: E402
from cold_start import cold_start  # noqa: E402
from interleaved import (  # noqa: E402
    FRAMES_PER_SECOND,
    Group,
    Setting,
    added_contestant,
    available_memory,
    gemm_roofline_fractions,
    group_contestants,
    known_contestants,
    select_contestants,
)

FRAMES = [250, 500, 1500, 3000]
CLIPS, BATCH, SHORTEST, LONGEST = 64, 16, 1.0, 30.0
CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "neon", "bf16")
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.3, "float16": 0.3, "int8": 1.0}  # of values around 1


def parse_arguments():
    parser = argparse.ArgumentParser(prog="scripts/benchmark", description=__doc__)
    parser.add_argument("--model", type=pathlib.Path,
                        help="a model directory; default: the full-size one of scripts/demo --full")
    parser.add_argument("--contestants", metavar="NAME,...", type=names, default=[],
                        help="only these; * and ? match: 'w2vbert-*,hf-sdpa-float32'")
    parser.add_argument("--skip", metavar="NAME,...", type=names, default=[], help="all but these")
    parser.add_argument("--add", metavar="NAME:DTYPE=COMMAND", type=added_contestant, action="append",
                        default=[], help="one more contestant, which speaks the protocol of the docs")
    parser.add_argument("--list", action="store_true", help="print the contestants' names and stop")
    parser.add_argument("--frames", metavar="N,...", type=positive_integers, default=FRAMES,
                        help=f"lengths of the clips, {FRAMES_PER_SECOND} frames a second; "
                             f"default: {','.join(map(str, FRAMES))}")
    parser.add_argument("--threads", metavar="N,...", type=positive_integers,
                        help="default: all cores, then 1")
    parser.add_argument("--rounds", type=positive_integer, default=5, help="default: %(default)s")
    parser.add_argument("--tasks", metavar="TASK,...", type=tasks, default=["single", "ragged"],
                        help="single: one clip of each length; ragged: clips of many lengths, with the "
                             "first number of threads only; default: single,ragged")
    parser.add_argument("--clips", type=positive_integer, default=CLIPS,
                        help="of the ragged task; default: %(default)s")
    parser.add_argument("--ragged-rounds", type=positive_integer, default=3,
                        help="each is a pass over all clips; default: %(default)s")
    parser.add_argument("--patience", metavar="SECONDS", type=float, default=math.inf,
                        help="a contestant that takes longer for a request has no further round of it")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=3600,
                        help="a contestant that takes longer for an answer is out; default: %(default)s")
    parser.add_argument("--memory", metavar="GIB", type=float,
                        help="what may be used; default: nine tenths of what is available")
    parser.add_argument("--output", type=pathlib.Path, metavar="JSON",
                        help="default: benchmarks/results/<cpu>-<date>.json, with --cold-start "
                             "<cpu>-<date>-cold-start.json")
    parser.add_argument("--cold-start", action="store_true",
                        help="instead: whole processes, from their start to the result of a 5 s clip")
    parser.add_argument("--table", type=pathlib.Path, metavar="JSON", help="only print an earlier run")
    parser.add_argument("--chart", type=pathlib.Path, metavar="JSON", help="only draw an earlier run")
    parser.add_argument("--chart-output", type=pathlib.Path, metavar="FILE",
                        default=ROOT / "docs/benchmark.svg", help="default: docs/benchmark.svg")
    parser.add_argument("--program", default=str(ROOT / "build/bin/w2vbert"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    arguments.threads = arguments.threads or list(dict.fromkeys([cores, 1]))
    if max(arguments.threads) > cores:
        parser.error(f"--threads {max(arguments.threads)}: this process may use {cores} cores")
    known = known_contestants() + arguments.add
    try:
        arguments.contestants = select_contestants(known, arguments.contestants, arguments.skip)
    except ValueError as error:
        parser.error(str(error))
    return arguments


def names(text):
    return text.split(",")


def positive_integer(text):
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def positive_integers(text):
    return [positive_integer(part) for part in text.split(",")]


def tasks(text):
    chosen = text.split(",")
    if set(chosen) - {"single", "ragged"}:
        raise argparse.ArgumentTypeError(f"{text}: expected single, ragged or both")
    return chosen


def say(text=""):
    print(text, file=sys.stderr, flush=True)


# ---- what is measured where ------------------------------------------------------------------------

def machine():
    fields = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": fields.get("model name") or platform.machine(), "cores": len(os.sched_getaffinity(0)),
            "instructions": [flag for flag in CPU_FLAGS if flag in flags],
            "memory_gib": round(memory / 2**30, 1), "kernel": platform.release(),
            "load_before": round(os.getloadavg()[0], 2)}


def own_version():
    describe = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    run = subprocess.run(describe, capture_output=True, text=True)
    return f"w2vbert {run.stdout.strip() or 'without git'}"


def describe_model(directory):
    config = json.loads((directory / "config.json").read_text())
    parameters = 0
    for path in directory.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        parameters += sum(math.prod(entry["shape"]) for name, entry in header.items()
                          if name != "__metadata__")
    return {"name": directory.resolve().name, "layers": config.get("num_hidden_layers"),
            "parameters": parameters}


def ragged_lengths(clips):
    """Frames of clips whose lengths are spread as those of LibriSpeech's test sets are: half of them
    under 6 s, a long tail, none over 30 s."""
    generator = random.Random(0)
    seconds = [min(max(generator.lognormvariate(math.log(6), 0.65), SHORTEST), LONGEST)
               for _ in range(clips)]
    return [round(value * FRAMES_PER_SECOND) for value in seconds]


def real_share(lengths):
    padded = sum(max(batch) * len(batch) for batch in
                 (lengths[start:start + BATCH] for start in range(0, len(lengths), BATCH)))
    return sum(lengths) / padded


# ---- the run ---------------------------------------------------------------------------------------

class Run:
    def __init__(self, arguments, model):
        self.arguments = arguments
        self.model = model
        day = datetime.date.today().isoformat()
        where = machine()
        slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((R|TM)\)", "", where["cpu"]).lower()).strip("-")
        suffix = "-cold-start" if arguments.cold_start else ""
        self.output = arguments.output or ROOT / "benchmarks/results" / f"{slug}-{day}{suffix}.json"
        self.parameters = 0
        self.report = {
            "date": day, "command": command_line(), "machine": where,
            "versions": [own_version(), f"Python {platform.python_version()}"],
            "model": None, "rounds": arguments.rounds,
            "contestants": {contestant.name: {"dtype": contestant.dtype}
                            for contestant in arguments.contestants},
            "groups": [], "results": [], "memory": [], "gemm_floor": [], "disagreements": [], "skipped": [],
        }
        if model is not None:
            self.report["model"] = describe_model(model)
            self.parameters = self.report["model"]["parameters"]

    def save(self):
        self.output.parent.mkdir(parents=True, exist_ok=True)
        partial = self.output.with_name(self.output.name + ".partial")
        partial.write_text(json.dumps(self.report, indent=1) + "\n")
        partial.replace(self.output)

    def skip(self, threads, name, reason):
        for place, short in ((f"{ROOT}/", ""), (str(self.model), "MODEL"), (str(pathlib.Path.home()), "~")):
            reason = reason.replace(place, short)  # the JSON goes into the repository
        say(f"skipped: {name}, {reporting.count(threads)}: {reason}")
        self.report["skipped"].append({"contestant": name, "threads": threads, "reason": reason})

    def setting(self, threads):
        return Setting(self.model, threads, self.arguments.program, demo.cache_folder(),
                       self.arguments.timeout)

    def groups(self, contestants, frames):
        limit = self.arguments.memory
        available = limit * 2**30 if limit else 0.9 * available_memory()
        return group_contestants(contestants, self.parameters, frames, available)

    def run(self):
        arguments = self.arguments
        if "single" in arguments.tasks:
            for threads in arguments.threads:
                for contestant in arguments.contestants:
                    if contestant.kind == "program" and contestant.dtype == "float32":  # the floor's dtype
                        self.floor(contestant, threads)
                for group in self.groups(arguments.contestants, max(arguments.frames)):
                    self.run_group(group, threads, self.single)
        if "ragged" in arguments.tasks:
            members = [contestant for contestant in arguments.contestants if contestant.takes_ragged]
            # A padded batch of 16 takes about what one clip of 2.5 times its length takes.
            longest = round(2.5 * LONGEST * FRAMES_PER_SECOND)
            for group in self.groups(members, longest):
                self.run_group(group, arguments.threads[0], self.ragged)
        self.save()

    def floor(self, contestant, threads):
        fractions = gemm_roofline_fractions(contestant, self.setting(threads), self.arguments.frames)
        self.report["gemm_floor"] += [
            {"threads": threads, "contestant": contestant.name, "frames": frames, "fraction": fraction}
            for frames, fraction in fractions.items()]

    def run_group(self, contestants, threads, task):
        names_ = [contestant.name for contestant in contestants]
        say(f"\n== {reporting.count(threads)}: {', '.join(names_)}")
        index = len(self.report["groups"])
        self.report["groups"].append(names_)
        group = Group(contestants, self.setting(threads), functools.partial(self.skip, threads))
        with group:
            for versions in group.versions.values():
                self.report["versions"] += [version for version in versions
                                            if version not in self.report["versions"]]
            task(group, index, threads)
        self.report["memory"] += [{"threads": threads, "group": index, "contestant": name,
                                   "peak_bytes": peak} for name, peak in group.peaks.items()]
        self.save()

    def single(self, group, index, threads):
        for frames in self.arguments.frames:
            seconds_of_audio = frames / FRAMES_PER_SECOND
            requests = {name: (name, {"frames": frames}) for name in group.workers}
            warm_ups = {name: {"frames": frames, "check": True} for name in requests}
            measured = group.measure(requests, warm_ups, self.arguments.rounds, self.arguments.patience)
            for name, (warm, seconds) in measured.items():
                result = {"task": "single", "threads": threads, "group": index, "frames": frames,
                          "contestant": name, "warm_up_seconds": warm["seconds"],
                          **reporting.summary(seconds, seconds_of_audio)}
                self.report["results"].append(result)
                say(f"{seconds_of_audio:6g} s  {name:<32}{result['seconds_min']:9.3f} s min"
                    f"{result['seconds_median']:9.3f} s median   RTF {result['rtf']:.4f}")
            self.compare_values({name: warm.get("check") for name, (warm, _) in measured.items()}, frames)
            self.save()

    def compare_values(self, values, frames):
        """Peers that compute something else than the first one would make a race of nothing."""
        known = self.__dict__.setdefault("values", {})
        for name, check in values.items():
            if check is None:
                continue
            reference, expected = known.setdefault(frames, (name, check))
            difference = max(abs(a - b) for a, b in zip(check, expected, strict=True))
            dtype = self.report["contestants"][name]["dtype"]
            if difference > TOLERANCE.get(dtype, 1) or math.isnan(difference):
                self.report["disagreements"].append({"contestant": name, "reference": reference,
                                                     "frames": frames, "difference": difference})
                say(f"warning: {name}: its values differ from {reference}'s by {difference:.2g}")

    def ragged(self, group, index, threads):
        arrival = ragged_lengths(self.arguments.clips)
        requests, shares = {}, {}
        for name, worker in group.workers.items():
            variants = {"arrival order": arrival}
            if worker.contestant.kind == "peer":
                variants["sorted by length"] = sorted(arrival)
            for variant, lengths in variants.items():
                requests[name, variant] = (name, {"lengths": lengths, "padded_batch": BATCH})
                shares[name, variant] = real_share(lengths) if worker.contestant.kind == "peer" else 1.0
        warm_ups = {key: {"lengths": request["lengths"][:BATCH], "padded_batch": BATCH}
                    for key, (_, request) in requests.items()}
        seconds_of_audio = sum(arrival) / FRAMES_PER_SECOND
        measured = group.measure(requests, warm_ups, self.arguments.ragged_rounds, self.arguments.patience)
        for (name, variant), (warm, seconds) in measured.items():
            result = {"task": "ragged", "threads": threads, "group": index, "clips": len(arrival),
                      "batch": BATCH, "audio_seconds": seconds_of_audio, "contestant": name,
                      "variant": variant, "real_share": shares[name, variant],
                      "warm_up_seconds": warm["seconds"], **reporting.summary(seconds, seconds_of_audio)}
            self.report["results"].append(result)
            say(f"ragged    {name + ', ' + variant:<50}{result['seconds_median']:9.3f} s median"
                f"   RTF {result['rtf']:.4f}")

    def cold_start(self):
        threads = self.arguments.threads[0]
        self.report["versions"] += [f"{package} {importlib.metadata.version(package)}"
                                    for package in ("torch", "transformers")]
        self.report["cold_start"] = cold_start(self.model, self.arguments.program, threads,
                                               self.arguments.rounds, functools.partial(self.skip, threads))
        self.save()


def command_line():
    """As it was typed, without what scripts/benchmark puts in."""
    words = sys.argv[1:]
    if "--program" in words:
        place = words.index("--program")
        del words[place:place + 2]
    return shlex.join(["scripts/benchmark", *words])


def model_directory(arguments):
    """None where no contestant needs one."""
    if arguments.model is not None:
        if not (arguments.model / "config.json").exists():
            sys.exit(f"error: {arguments.model}: not found, expected a directory with config.json")
        return arguments.model
    if not arguments.cold_start and all(one.kind == "added" for one in arguments.contestants):
        return None
    # A process of its own, which takes its memory along.
    maker = multiprocessing.get_context("spawn").Process(target=demo.make_full_model)
    maker.start()
    maker.join()
    if maker.exitcode != 0:
        sys.exit("error: could not make the model, see above")
    return demo.full_model_directory()


def main():
    arguments = parse_arguments()
    if arguments.list:
        print("\n".join(contestant.name for contestant in arguments.contestants))
        return
    for path in (arguments.table, arguments.chart):
        if path and not path.exists():
            sys.exit(f"error: {path}: not found, expected the JSON of an earlier run")
    if arguments.table:
        print(reporting.table(json.loads(arguments.table.read_text())))
    if arguments.chart:
        reporting.chart(json.loads(arguments.chart.read_text()), arguments.chart_output)
        say(f"{arguments.chart_output}")
    if arguments.table or arguments.chart:
        return

    # Leaving by SystemExit ends the workers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    run = Run(arguments, model_directory(arguments))
    if arguments.cold_start:
        run.cold_start()
    else:
        run.run()
    print(reporting.table(run.report))
    say(f"\n{run.output}")
    measured = run.report["results"] or run.report.get("cold_start", {}).get("results")
    if not measured:
        sys.exit("error: no contestant could be measured, see above")


if __name__ == "__main__":
    main()
