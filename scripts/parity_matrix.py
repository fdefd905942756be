#!/usr/bin/env python3
"""The parity suites against many versions of transformers and of LibTorch.

  scripts/parity_matrix                                      every pair that has no result yet
  scripts/parity_matrix --transformers 4.37,5.24 --torch 2.11,2.15    some of them
  scripts/parity_matrix --list                               the pairs, and what is known of them
  scripts/parity_matrix --prepare                            installs and compiles, measures nothing

For each LibTorch: an environment with that PyTorch (1.5 GB, without CUDA's libraries) and the program
parity_replay, compiled against it. For each transformers: an environment with it and what it asks for. A pair is
measured with transformers on that PyTorch, which writes the cases of the test suite (fewer of the largest) and
random ones, and the program, which replays them. What a release does not have is left out and counted.

Environments are kept in the cache folder of scripts/setup (W2VBERT_CACHE), programs and results in the build
folder, below matrix/. A run that was ended goes on where it was. A result counts until the sources of the mirror or
of the suites change. The table of all results that count is written into docs/parity.md. Exit status 1: a pair
could not be measured, or values differ for a reason that is not among those known here; 2: wrong options, no such
version, no network.

The version X.Y is the newest X.Y.Z there is; X.Y.Z is itself."""

import argparse
import collections
import collections.abc
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

from demo import cache_folder

ROOT = pathlib.Path(__file__).resolve().parent.parent
TRANSFORMERS = ("4.37", "4.44", "4.57", "5.0", "5.17", "5.24")
TORCH = ("2.8", "2.9", "2.10", "2.11", "2.12", "2.13", "2.14", "2.15")
PAGE = ROOT / "docs" / "parity.md"
BEGIN, END = "<!-- parity_matrix: begin -->", "<!-- parity_matrix: end -->"
TIME_LIMIT_S = 3600  # of one step; oneDNN has been seen not to return (docs/parity.md)
NEEDED_BYTES = 6 << 30
# What the values depend on.
SOURCES = ("include", "src/core", "src/config", "src/nn", "src/models", "src/checkpoint",
           "src/tool/parity/comparison.cpp", "src/tool/parity/parity.cpp", "src/tool/parity/reference.cpp",
           "src/tool/parity/replay.cpp", "tests/tool/parity", "tests/support/random_parameters.py",
           "scripts/export_parity_fixtures.py", "scripts/fuzz_parity.py", "scripts/pytorch_setup.py")
# Random cases: first seed and how many; a step that 480, the number of kinds, has no factor of.
RANDOM = {"any": (0, []), "published": (100_000, ["--head-sizes", "4", "16"])}
STEP = 7


class Failure(Exception):
    """One line for the user; `status` ends the program."""

    def __init__(self, text, status=1):
        super().__init__(text)
        self.status = status


def say(text):
    print(f"== {text}", file=sys.stderr, flush=True)


def numbers(version):
    return tuple(int(part) for part in re.findall(r"\d+", version))


# ---- reasons --------------------------------------------------------------------------------------------

@dataclasses.dataclass
class Case:
    """What reasons ask about one of a pair's cases."""
    is_xvector: bool
    train: bool
    checkpointing: bool
    layerdrop: float
    weighted: bool
    head_sizes: list

    @classmethod
    def of(cls, settings):
        """From the metadata of a reference."""
        config = settings["config"]  # without what is the default
        width, heads = config.get("hidden_size", 1024), config.get("num_attention_heads", 16)
        widths = [width, config.get("output_hidden_size") or width] if config.get("add_adapter") else [width]
        return cls(is_xvector=settings["architecture"] == "Wav2Vec2BertForXVector", train=settings["train"] == "1",
                   checkpointing=settings.get("gradient_checkpointing") == "1",
                   layerdrop=config.get("layerdrop", 0.1), weighted=config.get("use_weighted_layer_sum", False),
                   head_sizes=[one // heads for one in widths])


def is_power_of_four(number):
    return number & (number - 1) == 0 and number.bit_length() % 2 == 1


@dataclasses.dataclass
class Reason:
    """What releases of transformers before `since` do otherwise, and in which cases it shows."""
    key: str
    since: tuple
    shows: collections.abc.Callable
    text: str


REASONS = [
    Reason("A", (5, 16), lambda case: not all(map(is_power_of_four, case.head_sizes)),
           "up to 5.15 eager attention divides the scores by the root of the head's size, with `relative` positions "
           "after their sum; since 5.16 it multiplies by the inverse. Both round alike where the head's size is a "
           "power of 4, as the published 64 is."),
    Reason("B", (5, 16), lambda case: case.train and case.layerdrop > 0,
           "up to 5.15 a dropped layer leaves its input among the `hidden_states`, and nothing at its place among the "
           "`attentions`; since 5.16 the later ones move up. Outputs and gradients are equal."),
    Reason("C", (5, 0), lambda case: case.train and case.checkpointing and case.weighted,
           "4.x checkpoints layers with a backward pass of their own (`use_reentrant`), which adds the gradients of a "
           "state that is also part of a weighted sum in another order."),
    Reason("D", (4, 38), lambda case: case.is_xvector,
           "4.37 computes a layer of the TDNN as a matrix product of unfolded frames; since 4.38 it is a convolution."),
    Reason("E", (5, 16), lambda case: 1 in case.head_sizes,
           "up to 5.15 `linear_out` takes the heads' outputs as a view where a head has one channel, since 5.16 as a "
           "copy: the product may round otherwise."),
]


def reasons_of(result):
    """The keys of the reasons for which cases of a pair differ, with how many do; and the cases without a reason."""
    release = numbers(result["transformers"])
    found, unexplained = collections.Counter(), []
    for one in result["differing"]:
        case = Case(**one["facts"])
        keys = [reason.key for reason in REASONS if release < reason.since and reason.shows(case)]
        found.update(keys)
        if not keys:
            unexplained.append(one)
    return found, unexplained


# ---- environments ---------------------------------------------------------------------------------------

def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["no message"])[-1].removeprefix("ERROR: ")


class Environments:
    def __init__(self, cache):
        self.folder = cache / f"matrix-{sys.version_info.major}.{sys.version_info.minor}"
        self.python = self.folder / "python" / "bin" / "python"

    def make_python(self):
        """An interpreter that sees no packages but those it is shown."""
        if self.python.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        made = subprocess.run([sys.executable, "-m", "venv", self.python.parents[1]], capture_output=True, text=True)
        if made.returncode:
            shutil.rmtree(self.python.parents[1], ignore_errors=True)
            raise Failure(f"{self.python.parents[1]}: cannot make a Python environment: "
                          f"{last_line(made.stdout + made.stderr)}", 2)

    def pip(self, *words):
        return subprocess.run([self.python, "-m", "pip", "--disable-pip-version-check", *words],
                              capture_output=True, text=True)

    def packages(self, name, version):
        return self.folder / f"{name}-{version}" / "packages"

    def is_installed(self, name, version):
        return (self.folder / f"{name}-{version}" / "complete").exists()

    def newest(self, name, wanted):
        """The version to take for `wanted`."""
        if not re.fullmatch(r"\d+\.\d+(\.\d+)?", wanted):
            raise Failure(f"{wanted}: is not a version of {name}, expected X.Y or X.Y.Z", 2)
        if wanted.count(".") == 2 and self.is_installed(name, wanted):
            return wanted
        self.make_python()
        asked = self.pip("index", "versions", "--retries", "1", name)
        found = re.search(r"^Available versions: (.*)$", asked.stdout, re.MULTILINE)
        if not found:
            installed = [path.parent.name.removeprefix(f"{name}-") for path in self.folder.glob(f"{name}-*/complete")]
            fitting = [one for one in installed if numbers(one)[:2] == numbers(wanted)]
            if wanted.count(".") == 1 and fitting:
                version = max(fitting, key=numbers)
                say(f"{name} {wanted}: the package index does not answer; {version} is installed")
                return version
            raise Failure(f"{name} {wanted}: the package index does not answer: "
                          f"{last_line(asked.stdout + asked.stderr)}. What is installed already can be named as X.Y.Z: "
                          f"{', '.join(sorted(installed, key=numbers)) or 'nothing'}", 2)
        versions = [one for one in found[1].split(", ") if re.fullmatch(r"[\d.]+", one)]
        fitting = [one for one in versions if one == wanted or numbers(one)[:2] == numbers(wanted)
                   and wanted.count(".") == 1]
        if not fitting:
            patches = sorted((one for one in versions if numbers(one)[:2] == numbers(wanted)[:2]), key=numbers)
            minors = sorted({numbers(one)[:2] for one in versions})[-12:]
            there = patches or [f"{major}.{minor}" for major, minor in minors]
            raise Failure(f"{name} {wanted}: there is no such version; there are {'' if patches else '..., '}"
                          f"{', '.join(there)}", 2)
        return max(fitting, key=numbers)

    @contextlib.contextmanager
    def lock(self):
        """Two runs at once: one installs or compiles, one waits."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def install(self, name, version):
        with self.lock():
            self.make_python()
            if self.is_installed(name, version):
                return
            folder = self.folder / f"{name}-{version}"
            free = shutil.disk_usage(self.folder).free
            if free < NEEDED_BYTES:
                raise Failure(f"{self.folder}: has {free >> 30} GiB free, expected {NEEDED_BYTES >> 30} or more", 2)
            say(f"installing {name} {version} into {folder} (once)")
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was ended
            packages = folder / "packages"
            if name == "torch":
                self.install_torch(version, packages)
            else:
                self.pip_install(packages, f"{name}=={version}")
            (folder / "complete").touch()

    def pip_install(self, packages, *words):
        done = self.pip("install", "--quiet", "--no-cache-dir", "--upgrade", "--target", packages, *words)
        if done.returncode:
            raise Failure(f"{' '.join(map(str, words))}: cannot be installed: {last_line(done.stdout + done.stderr)}")

    def install_torch(self, version, packages):
        """Without CUDA's libraries, as scripts/setup --cpu does it: of them only the two small ones that PyTorch's CPU
        part loads, and stand-ins for the others."""
        self.pip_install(packages, "--no-deps", f"torch=={version}")
        metadata = next(packages.glob("torch-*.dist-info/METADATA")).read_text(errors="replace")
        wanted = []
        for line in re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE):
            requirement, _, marker = (part.strip() for part in line.partition(";"))
            if requirement.startswith("cuda-toolkit["):  # since 2.11
                wanted.append(re.sub(r"\[.*\]", "[cudart,cupti]", requirement))
            elif re.match(r"nvidia-cuda-(runtime|cupti)\b", requirement) or not marker:
                wanted.append(requirement)
        self.pip_install(packages, *wanted)
        written = subprocess.run([sys.executable, ROOT / "scripts" / "cuda_stand_ins.py", packages],
                                 capture_output=True, text=True)
        if written.returncode:
            raise Failure(f"torch {version}: {last_line(written.stderr)}")

    def variables(self, torch, transformers=None):
        """For a process that is to see these two."""
        paths = [self.packages("torch", torch)]
        if transformers:
            paths.insert(0, self.packages("transformers", transformers))
        return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONWARNINGS": "ignore",
                "HF_HUB_OFFLINE": "1",
                # Threads that wait must not keep a core busy that another process needs.
                "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}

    def check(self, torch, transformers):
        """That both load, and are what they are called."""
        code = ("import torch, transformers; from transformers import Wav2Vec2BertModel; "
                "print(torch.__version__.partition('+')[0], transformers.__version__)")
        found = subprocess.run([self.python, "-c", code], env=self.variables(torch, transformers),
                               capture_output=True, text=True)
        if found.returncode:
            raise Failure(f"transformers {transformers} on torch {torch} does not load: {last_line(found.stderr)}. "
                          f"Where an environment is broken, remove it from {self.folder} and run this again")
        if found.stdout.split() != [torch, transformers]:
            raise Failure(f"{self.folder}: torch-{torch} or transformers-{transformers} holds another version: "
                          f"{found.stdout.strip()}; remove it and run this again")


# ---- measuring ------------------------------------------------------------------------------------------

class Matrix:
    def __init__(self, environments, build, count):
        self.environments = environments
        self.folder = build / "matrix"
        self.count = count
        self.digest = self.digest_of_sources()

    def digest_of_sources(self):
        digest = hashlib.sha256(json.dumps([self.count, RANDOM, STEP]).encode())
        for name in SOURCES:
            path = ROOT / name
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.suffix in (".h", ".cpp", ".py"):
                    digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
        return digest.hexdigest()[:16]

    def program(self, torch):
        return self.folder / f"torch-{torch}" / "bin" / "parity_replay"

    def compile(self, torch):
        """The library's modules and what replays cases; nothing else of this repository."""
        build = self.folder / f"torch-{torch}"
        log = build.with_name(f"{build.name}.log")
        build.mkdir(parents=True, exist_ok=True)
        off = [f"-DW2VBERT_{option}=OFF" for option in ("BUILD_AUDIO", "BUILD_TESTS", "BUILD_EXAMPLES", "INSTALL")]
        root = self.environments.packages("torch", torch) / "torch" / "share" / "cmake" / "Torch"
        commands = (["cmake", "-S", ROOT, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                     f"-DTorch_DIR={root}", *off, "-DW2VBERT_BUILD_PARITY_REPLAY=ON"],
                    [ROOT / "scripts" / "build", "parity_replay"])
        say(f"compiling parity_replay against LibTorch {torch} in {build}")
        with self.environments.lock(), log.open("w") as file:
            for command in commands:
                if subprocess.run(command, stdout=file, stderr=file, cwd=ROOT,
                                  env={**os.environ, "W2VBERT_BUILD_DIR": str(build)}).returncode:
                    raise Failure(f"LibTorch {torch}: parity_replay does not compile, see {log}")

    def prepare(self, torch, transformers):
        """Everything that the pairs of these versions need; returns why a version cannot be used, by version."""
        broken = {}
        for name, versions in (("transformers", transformers), ("torch", torch)):
            for version in versions:
                try:
                    self.environments.install(name, version)
                    if name == "torch":
                        self.compile(version)
                except Failure as failure:
                    broken[name, version] = str(failure)
                    print(f"error: {failure}", file=sys.stderr)
        return broken

    def result_file(self, torch, transformers):
        return self.folder / "results" / f"transformers-{transformers}-torch-{torch}.json"

    def result(self, torch, transformers):
        """What was measured with these sources; None."""
        file = self.result_file(torch, transformers)
        content = json.loads(file.read_text()) if file.exists() else {}
        return content if content.get("digest") == self.digest else None

    def results(self):
        """All that count."""
        read = [json.loads(file.read_text()) for file in (self.folder / "results").glob("*.json")]
        return [one for one in read if one["digest"] == self.digest]

    def measure(self, torch, transformers):
        self.environments.check(torch, transformers)
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="parity_matrix_") as work:
            cases = self.replay(pathlib.Path(work), torch, transformers)
        result = {"torch": torch, "transformers": transformers, "digest": self.digest, **cases,
                  "seconds": round(time.monotonic() - start)}
        file = self.result_file(torch, transformers)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(result, indent=2) + "\n")
        partial.replace(file)
        return result

    def replay(self, work, torch, transformers):
        variables = self.environments.variables(torch, transformers)

        def run(*command):
            try:
                done = subprocess.run([str(word) for word in command], env=variables, capture_output=True, text=True,
                                      timeout=TIME_LIMIT_S, cwd=work)
            except subprocess.TimeoutExpired:
                raise Failure(f"{pathlib.Path(command[1]).name} is not done after {TIME_LIMIT_S} s") from None
            return done

        lacking = {}
        python = self.environments.python
        counted = work / "lacking.json"
        commands = [(python, ROOT / "tests/tool/parity/export_suite.py", work, "--brief")]
        commands += [(python, ROOT / "scripts/fuzz_parity.py", "--export", work, "--seed", first,
                      "--count", self.count // len(RANDOM), "--step", STEP, *options)
                     for first, options in RANDOM.values()]
        for command in commands:
            done = run(*command, "--lacking", counted)
            if done.returncode:
                raise Failure(f"{command[1].name} failed: {last_line(done.stderr)}")
            for what, count in json.loads(counted.read_text()).items():
                lacking[what] = lacking.get(what, 0) + count
        report = work / "report.json"
        done = run(self.program(torch), work, "cpu", report)
        if not report.exists():
            raise Failure(f"parity_replay ended with {done.returncode}: {last_line(done.stderr + done.stdout)}")
        return {"lacking": lacking, **self.judge(json.loads(report.read_text())["cases"], work)}

    def judge(self, cases, work):
        differing, settings = [], {}
        for case in cases:
            settings = settings_of(work / "cases" / f"{case['name']}.safetensors")
            if case["first_difference"]:
                differing.append({"case": case["name"], "first": case["first_difference"], "values": case["values"],
                                  "differing": case["differing"], "largest": case["largest"],
                                  "facts": dataclasses.asdict(Case.of(settings))})
        return {"cases": len(cases), "values": sum(case["values"] for case in cases), "differing": differing,
                "cpu": settings["cpu_capability"], "threads": settings["threads"]}


def settings_of(path):
    """The metadata of a reference, with its config as a dict."""
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        metadata = json.loads(file.read(size))["__metadata__"]
    return {**metadata, "config": json.loads(metadata.get("config", "{}"))}


# ---- the table ------------------------------------------------------------------------------------------

def cell(result):
    if result is None:
        return ""
    if not result["differing"]:
        return f"all {result['cases']} equal"
    found, unexplained = reasons_of(result)
    parts = [f"{key} {count}" for key, count in sorted(found.items())]
    if unexplained:
        parts.append(f"unexplained {len(unexplained)}")
    return f"{result['cases'] - len(result['differing'])} of {result['cases']} equal; {', '.join(parts)}"


def table(results):
    torch = sorted({one["torch"] for one in results}, key=numbers)
    transformers = sorted({one["transformers"] for one in results}, key=numbers)
    by_pair = {(one["torch"], one["transformers"]): one for one in results}
    lines = ["| transformers | " + " | ".join(f"LibTorch {version}" for version in torch) + " |",
             "| --- |" + " --- |" * len(torch)]
    lines += [f"| {row} | " + " | ".join(cell(by_pair.get((column, row))) for column in torch) + " |"
              for row in transformers]
    lacking = {}
    for row in transformers:
        one = next(one for one in results if one["transformers"] == row)
        if one["lacking"]:
            words = ", ".join(f"{what} ({count})" for what, count in sorted(one["lacking"].items(),
                                                                           key=lambda item: (-item[1], item[0])))
            lacking.setdefault(words, []).append(row)
    lines += ["", "Cases that a release cannot make, and that are left out:", ""] if lacking else []
    lines += [f"- {', '.join(rows)}: {words}" for words, rows in lacking.items()]
    keys = {key for one in results for key in reasons_of(one)[0]}
    lines += ["", "Where bits differ:", ""] if keys else []
    lines += [f"- {reason.key}: {reason.text}" for reason in REASONS if reason.key in keys]
    settings = sorted({f"{one['cpu']}, {one['threads']} threads" for one in results})
    values = sum(one["values"] for one in results)
    lines += ["", f"{len(results)} pairs, {values:,} values; CPU kernels: {'; '.join(settings)}."]
    return "\n".join(lines)


def write_table(results):
    text = PAGE.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise Failure(f"{PAGE}: has no lines {BEGIN} and {END} for the table")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(results)}\n\n{END}{after}")


def words_of(result):
    unexplained = "".join(f"\n  unexplained: {one['case']}: {one['first']}, {one['differing']} of {one['values']} "
                          f"values, by up to {one['largest']:.2g}" for one in reasons_of(result)[1][:20])
    return f"{cell(result)}; {result['values']:,} values, {result['seconds']} s{unexplained}"


def versions(text):
    return tuple(word.strip() for word in text.split(",") if word.strip())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transformers", type=versions, default=TRANSFORMERS, metavar="X.Y,...",
                        help=f"default: {','.join(TRANSFORMERS)}")
    parser.add_argument("--torch", type=versions, default=TORCH, metavar="X.Y,...", help=f"default: {','.join(TORCH)}")
    parser.add_argument("--count", type=int, default=120, help="random cases of a pair; default: %(default)s")
    parser.add_argument("--list", action="store_true", help="show the pairs and what is known of them, and end")
    parser.add_argument("--prepare", action="store_true", help="install and compile, measure nothing")
    parser.add_argument("--again", action="store_true", help="measure pairs that have a result, too")
    arguments = parser.parse_args()
    build = pathlib.Path(os.environ.get("W2VBERT_BUILD_DIR") or ROOT / "build").resolve()
    matrix = Matrix(Environments(cache_folder()), build, arguments.count)
    transformers, torch = ([matrix.environments.newest(name, one) for one in wanted] for name, wanted in
                           (("transformers", arguments.transformers), ("torch", arguments.torch)))
    pairs = [(one, other) for one in torch for other in transformers]
    if arguments.list:
        for pair in pairs:
            result = matrix.result(*pair)
            print(f"transformers {pair[1]:8} LibTorch {pair[0]:8} {words_of(result) if result else 'not measured'}")
        return 0
    open_pairs = [pair for pair in pairs if arguments.again or matrix.result(*pair) is None]
    used = open_pairs if not arguments.prepare else pairs
    broken = matrix.prepare(dict.fromkeys(pair[0] for pair in used), dict.fromkeys(pair[1] for pair in used))
    status = 1 if broken else 0
    if arguments.prepare:
        return status
    for number, pair in enumerate(open_pairs, 1):
        name = f"transformers {pair[1]}, LibTorch {pair[0]}"
        if ("torch", pair[0]) in broken or ("transformers", pair[1]) in broken:
            continue
        say(f"{number} of {len(open_pairs)}: {name}")
        try:
            print(f"{name}: {words_of(matrix.measure(*pair))}", flush=True)
        except Failure as failure:
            print(f"error: {name}: {failure}", file=sys.stderr)
            status = 1
    results = matrix.results()
    if results:
        write_table(results)
        say(f"{PAGE.relative_to(ROOT)}: {len(results)} pairs")
    measured = [result for result in (matrix.result(*pair) for pair in pairs) if result]
    return 1 if any(reasons_of(result)[1] for result in measured) else status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        sys.exit(failure.status)
    except KeyboardInterrupt:
        sys.exit("interrupted; the next run goes on with the pairs that are open")
