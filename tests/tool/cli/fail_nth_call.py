"""Fails the Nth call of each function by which the program reaches files, threads and memory, in first runs and in
runs that go on, with each errno that fits. After each: no finished output is gone or changed, every other one is
the undisturbed run's, the exit status is the contract's, with one error line, and the same command then completes
the rest, byte for byte, and leaves no temporary.

    fail_nth_call.py PROGRAM FAULT_LIBRARY [--trials N [--seed S] | --all] [--only REGEX] [--known]

A trial is "<run>: <place>: <call> <number> <errno>", which --only selects by: `--only 'npy.*readdir'`. A sample
of --trials has all runs, places and calls alike. With --all, each number of a call is tried with each errno, where
it is called at most 24 times a run; beyond that each number with one errno, in turn, but for the calls of which a
run makes thousands (malloc): the first 200, and 200 spread over the rest. --known tries what is known to be wrong,
too."""

import argparse
import collections
import dataclasses
import errno
import itertools
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from safetensors import SafetensorError  # noqa: E402
from safetensors.torch import load, save_file  # noqa: E402

from run_directories import errors_of, indexes_of, lines_of, outputs_of, stamp, temporaries_of, write_clips  # noqa: E402
from small_model import save_small_ctc_model, save_small_model  # noqa: E402

CLIPS = 5
HIDDEN_SIZE = 32
TIME_LIMIT = 120  # seconds that no run of these takes; a run that hangs is a finding
FEW, SAMPLED = 24, 200
NPY_MAGIC = b"\x93NUMPY"
CRASHES = ("terminate called", "what():", "Sanitizer", "runtime error:", "Assertion", "std::")

# What is known to be wrong: a pattern of trials -> what is wrong. --known tries it all the same; what is mended goes.
KNOWN = {}

DISK_READ = ("EIO", "ESTALE", "ENOMEM")
DISK_FULL = ("ENOSPC", "EDQUOT", "EIO", "EROFS")
ERRORS = {
    "open": ("EIO", "EMFILE", "ENFILE", "EACCES", "ENOMEM", "ESTALE", "EINTR"),
    "create": ("EMFILE", "ENFILE", "EACCES", "ENOSPC", "EDQUOT", "EROFS", "EIO"),
    "read": (*DISK_READ, "EINTR", "short"),
    "pread": (*DISK_READ, "EINTR", "short"),
    "fstat": DISK_READ,
    "stat": (*DISK_READ, "EACCES"),
    "write": (*DISK_FULL, "EFBIG", "EINTR", "short"),
    "pwrite": (*DISK_FULL, "EINTR"),
    "fsync": ("EIO", "ENOSPC", "EDQUOT"),
    "fdatasync": ("EIO", "ENOSPC", "EDQUOT"),
    "close": ("EIO", "ENOSPC", "EDQUOT"),
    "ftruncate": ("EIO", "ENOSPC", "EROFS"),
    "link": (*DISK_FULL, "EPERM", "EMLINK", "EACCES"),
    "rename": (*DISK_FULL, "EACCES"),
    "renameat2": (*DISK_FULL, "EACCES", "EINVAL", "ENOSYS"),
    "unlink": ("EIO", "EROFS", "EACCES"),
    "mkdir": (*DISK_FULL, "EACCES", "EMLINK"),
    "rmdir": ("EIO", "EROFS", "EACCES"),
    "opendir": ("EIO", "EMFILE", "ENFILE", "EACCES", "ENOMEM"),
    "readdir": ("EIO", "ESTALE"),
    "flock": ("ENOLCK", "EIO", "EINTR", "EOPNOTSUPP"),
    "fcntl": ("ENOLCK", "EIO", "EINTR", "ENOSYS"),
    "dup": ("EMFILE", "EINTR"),
    "mmap": ("ENOMEM", "EACCES", "ENODEV"),
    "pthread_create": ("EAGAIN",),
    "malloc": ("ENOMEM",),
    "malloc_large": ("ENOMEM",),
}
# A disk that stays broken or full, a process that stays out of descriptors: all calls from the Nth on.
LASTING = {"EIO", "ENOSPC", "EROFS", "EMFILE", "ENOMEM", "EAGAIN", "ESTALE", "EACCES"}
MEMORY = ("malloc", "malloc_large", "mmap")

# Place -> its number for FAULT_ROOT, and the exit statuses of a fault there beside that of the undisturbed run.
# A directory of clips is a list, too; a cache of digests is not needed, and neither is what the system tells.
PLACES = {
    "cache": (0, set()),
    "output": (1, {5}),
    "model": (2, {4}),
    "clips": (3, {2, 3}),
    "lists": (4, {2}),
    "proc": (5, set()),
    "cgroups": (6, set()),
    "process": (-1, {3, 4, 5}),
}

parser = argparse.ArgumentParser()
parser.add_argument("program", type=pathlib.Path)
parser.add_argument("library", type=pathlib.Path)
parser.add_argument("--trials", type=int, default=100, help="how many of all are tried")
parser.add_argument("--seed", type=int, default=0, help="which ones")
parser.add_argument("--all", action="store_true")
parser.add_argument("--only", type=re.compile, default=re.compile(""))
parser.add_argument("--known", action="store_true")
parser.add_argument("--at-once", type=int, default=2)


class Wrong(Exception):
    """What came is not what was expected."""


def expect(holds, problem):
    if not holds:
        raise Wrong(problem)


@dataclasses.dataclass(frozen=True)
class Run:
    """A command, and what its output directory holds before."""

    name: str
    words: tuple
    goes_on: bool = False  # from half of the outputs, a damaged one and a temporary of a dead process
    reads_only: bool = False  # everything is there, and stays
    damaged: bool = False  # (of reads_only) one output is damaged

    @property
    def is_first(self):
        return not self.goes_on and not self.reads_only


EXTRACT = ("extract", "--manifest", "{clips}", "--model", "{model}", "--output", "{output}", "--threads", "1",
           "--batch-seconds", "0.5")
NPY = ("extract", "--manifest", "{lists}/list.txt", *EXTRACT[3:], "--output-format", "npy")
SHARDS = (*EXTRACT, "--shard-size", "2", "--stats", "{model}/stats.safetensors")
FEATURES = ("features", "--manifest", "{clips}", "--output", "{output}", "--model", "{model}", "--threads", "1")
SHARDED_FEATURES = (*FEATURES, "--shard-size", "2", "--output-format", "safetensors")
TRANSCRIBE = ("transcribe", "--manifest", "{clips}", "--model", "{ctc}", "--output", "{output}/text.jsonl", "--threads",
              "1")
DOCUMENTS = ("transcribe", "--manifest", "{clips}", "--model", "{ctc}", "--format", "srt", "--output", "{output}",
             "--threads", "1")
WRITERS = {"extract": EXTRACT, "extract npy": NPY, "extract shards": SHARDS, "features": FEATURES,
           "features shards": SHARDED_FEATURES}
RUNS = [
    *(Run(name, words) for name, words in WRITERS.items()),
    *(Run(f"{name} goes on", words, goes_on=True) for name, words in WRITERS.items()),
    Run("extract --verify goes on", (*EXTRACT, "--verify"), goes_on=True),
    Run("extract npy --verify goes on", (*NPY, "--verify"), goes_on=True),
    Run("transcribe", TRANSCRIBE),
    Run("transcribe again", TRANSCRIBE, reads_only=True),
    Run("documents", DOCUMENTS),
    *(Run(f"verify {name}{' damaged' * damaged}", ("verify", "{output}"), reads_only=True, damaged=damaged)
      for name in ("extract", "extract npy", "extract shards") for damaged in (False, True)),
    Run("status", ("status", "{output}"), reads_only=True),
]


@dataclasses.dataclass(frozen=True)
class Trial:
    run: Run
    place: str
    call: str
    number: int
    error: str
    lasting: bool = False

    def __str__(self):
        return f"{self.run.name}: {self.place}: {self.call} {self.number} {self.error}{' on' * self.lasting}"


@dataclasses.dataclass
class Undisturbed:
    """What a run gives when nothing fails."""

    before: pathlib.Path | None  # what the directory holds at its begin
    status: int
    errors: int
    names: set
    outputs: dict
    indexes: dict
    counts: dict  # (place, call) -> calls


class Harness:
    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.folder = folder
        self.shared = folder / "shared"
        self.numbers = itertools.count()
        self.lock = threading.Lock()
        self.tried = collections.Counter()
        self.unreached = collections.Counter()
        self.wrong = []
        write_clips(self.shared / "clips", CLIPS)
        save_small_model(self.shared / "model", hidden_size=HIDDEN_SIZE)
        save_small_ctc_model(self.shared / "model" / "ctc")
        torch.manual_seed(0)
        save_file({"mean": torch.randn(HIDDEN_SIZE), "var": torch.rand(HIDDEN_SIZE) + 0.5},
                  self.shared / "model" / "stats.safetensors")
        (self.shared / "lists").mkdir()
        clips = sorted((self.shared / "clips").rglob("*.wav"))
        (self.shared / "lists" / "list.txt").write_text("".join(f"{clip}\n" for clip in clips))
        self.undisturbed = {}

    # --- running ---------------------------------------------------------------------------------
    def places(self, room):
        return {"clips": self.shared / "clips", "model": self.shared / "model", "ctc": self.shared / "model" / "ctc",
                "lists": self.shared / "lists", "output": room / "output"}

    def start(self, run, room, **faults):
        words = [word.format(**self.places(room)) for word in run.words]
        environment = dict(os.environ, XDG_CACHE_HOME=str(room / "cache"), OMP_WAIT_POLICY="PASSIVE")
        if faults:
            # Whichever comes first has a file; the room itself is the output's parent, which is synchronised.
            roots = [room / "cache", room, self.shared / "model", self.shared / "clips", self.shared / "lists",
                     "/proc/self", "/sys/fs/cgroup"]
            environment.update(faults, LD_PRELOAD=str(self.arguments.library.resolve()),
                               FAULT_BELOW=":".join(map(str, roots)))
        try:
            return subprocess.run([str(self.arguments.program.resolve()), *words], capture_output=True, text=True,
                                  errors="backslashreplace", env=environment, timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired as timeout:
            raise Wrong(f"hangs ({timeout.timeout:.0f} s)") from timeout

    def new_room(self, before):
        room = self.folder / f"room{next(self.numbers)}"
        room.mkdir()
        if before:
            shutil.copytree(before, room / "output", symlinks=True)
        return room

    # --- what is there before --------------------------------------------------------------------
    def prepare(self, run):
        """The output directory at the begin of `run`, or None."""
        if run.is_first and run.words is not TRANSCRIBE:
            return None
        room = self.new_room(None)
        output = room / "output"
        if run.words is TRANSCRIBE:
            output.mkdir()
            if run.reads_only:
                self.start(run, room)
            return output
        writer = next(name for name in sorted(WRITERS, key=len, reverse=True) if name in run.name or name == "extract")
        first = Run(writer, WRITERS[writer])
        result = self.start(first, room)
        expect(result.returncode == 0, result.stderr)
        outputs = [path for name, path in sorted(outputs_of(output).items())]
        if run.goes_on or run.damaged:
            outputs[1].write_bytes(outputs[1].read_bytes()[:-40])
        if run.goes_on:
            outputs[-1].unlink()
            if len(outputs) > 3:
                outputs[2].unlink()
            killed = self.new_room(None)
            result = self.start(first, killed, FAULT_CALL="link", FAULT_AT="2", FAULT_ERROR="kill",
                                FAULT_ROOT=str(PLACES["output"][0]))
            expect(result.returncode == -signal.SIGKILL, result.stderr)
            for path in (killed / "output").rglob(".*"):
                if path.is_file():
                    shutil.copy2(path, output / path.relative_to(killed / "output"))
        return output

    def run_undisturbed(self, run):
        before = self.prepare(run)
        room = self.new_room(before)
        count = room / "count"
        result = self.start(run, room, FAULT_COUNT=str(count))
        status = 5 if run.damaged else 0
        expect(result.returncode == status, f"undisturbed: exit {result.returncode}, {result.stderr}")
        counts = {}
        names = {number: place for place, (number, _) in PLACES.items()}
        for line in count.read_text().splitlines():
            root, call, calls = line.split()
            counts[names[int(root)], call] = int(calls)
        output = room / "output"
        self.undisturbed[run] = Undisturbed(
            before, result.returncode, len(errors_of(result.stderr)), self.names_in(output), self.contents(output),
            indexes_of(output), counts)
        # The records must not depend on anything but the run.
        again = self.new_room(before)
        expect(self.start(run, again).returncode == result.returncode, "another result the second time")
        expect(self.contents(again / "output") == self.undisturbed[run].outputs, "other outputs the second time")

    @staticmethod
    def names_in(output):
        return {str(path.relative_to(output)) for path in output.rglob("*")}

    @staticmethod
    def contents(output):
        found = {name: path.read_bytes() for name, path in outputs_of(output).items()}
        for path in (*output.rglob("text.jsonl"), *output.rglob("*.srt")):
            found[str(path.relative_to(output))] = path.read_bytes()
        return found

    # --- a trial ---------------------------------------------------------------------------------
    def trials(self):
        for run in RUNS:
            if run not in self.undisturbed:
                continue
            for (place, call), calls in self.undisturbed[run].counts.items():
                errors = ERRORS[call]
                many = calls > 2000
                numbers = range(1, calls + 1)
                if many:
                    spread = (calls - SAMPLED) / SAMPLED
                    numbers = sorted({*range(1, SAMPLED + 1),
                                      *(SAMPLED + round(spread * step) for step in range(1, SAMPLED + 1))})
                for number in numbers:
                    chosen = errors if calls <= FEW else errors[number % len(errors):][:1]
                    for error in chosen:
                        yield Trial(run, place, call, number, error)
                for error in errors:
                    if error in LASTING and not many:
                        for number in sorted({1, 2, (calls + 1) // 2}):
                            if number <= calls:
                                yield Trial(run, place, call, number, error, lasting=True)

    def judge(self, trial, room, result, log):
        run, expected = trial.run, self.undisturbed[trial.run]
        output = room / "output"
        for crash in CRASHES:
            expect(crash not in result.stderr, f"{crash!r} on stderr")
        allowed = {expected.status, *PLACES[trial.place][1]}
        if not trial.lasting and trial.error in ("EINTR", "short") and trial.call not in ("flock", "fcntl", "dup"):
            allowed = {expected.status}
        if trial.place == "model" and re.search("cannot be (examined|opened|read)", result.stderr):
            allowed |= {5}  # what cannot be read, says docs/commands.md
        if trial.call == "pthread_create":
            allowed |= {1}
        if trial.call in MEMORY and re.search("not enough memory|Cannot allocate memory", result.stderr):
            allowed |= {1, 2}  # 2: a list that cannot be listed
        expect(result.returncode in allowed, f"exit {result.returncode}, expected one of {sorted(allowed)}")
        errors = errors_of(result.stderr)
        if result.returncode == expected.status == 0:
            expect(len(errors) == expected.errors, f"{len(errors)} error lines, expected {expected.errors}")
        elif result.returncode != 3:
            # verify goes on behind what it cannot read, and names each.
            most = 1 + expected.errors + (100 if trial.run.name.startswith("verify") else 0)
            expect(1 <= len(errors) <= most, f"{len(errors)} error lines, expected 1")
        if result.returncode == 5 and trial.place == "output" and not run.damaged:
            expect(str(output) in errors[0], "the error does not name the output")
        if result.returncode == 3 and run.words is not TRANSCRIBE:
            failures = output / (".srt.failures.jsonl" if run.words is DOCUMENTS else "failures.jsonl")
            expect(failures.exists() and len(lines_of(failures)) == len(errors), "failures.jsonl has other lines")
            failed = {pathlib.Path(line["path"]) for line in lines_of(failures)}
            whole = self.clips_in(output) - self.left_in(output, expected)
            both = failed & {self.shared / "clips" / f"{clip}.wav" for clip in whole}
            expect(not both, f"{sorted(map(str, both))} failed and has an output")
        return self.check_contents(trial, room, result, log)

    @staticmethod
    def clips_in(output):
        """The names of the clips that have an output."""
        names = set()
        documents = {str(path.relative_to(output)): path for path in output.rglob("*.srt")}
        for name, path in {**outputs_of(output), **documents}.items():
            whole = name.removesuffix(path.suffix)
            try:
                is_shard = re.fullmatch(r"shard-\d+", whole)
                names |= {key.rsplit("/", 1)[0] for key in load(path.read_bytes())} if is_shard else {whole}
            except Exception:  # a damaged one, which check_contents() judges
                continue
        return names

    def left_in(self, output, expected):
        """The names of the clips whose output is damaged or of an earlier file, and as it was: it stays until
        another takes its place."""
        return {name.removesuffix(pathlib.Path(name).suffix) for name, now in self.contents(output).items()
                if now != expected.outputs.get(name) and expected.before
                and (expected.before / name).exists() and now == (expected.before / name).read_bytes()}

    @staticmethod
    def is_part_of(shard, whole):
        """Whether a shard, or a text, lacks but clips that have failed; they come with the next run."""
        if whole is None or shard.startswith(NPY_MAGIC):
            return False
        if whole.startswith(b"{"):  # text
            return set(shard.splitlines()) < set(whole.splitlines())
        try:
            there, expected = load(shard), load(whole)
        except SafetensorError:
            return False
        return 0 < len(there) < len(expected) and all(torch.equal(expected[name], there[name]) for name in there)

    def check_contents(self, trial, room, result, log):
        """Nothing finished is gone or changed; what is new is whole. Returns the stamps of what is finished."""
        run, expected = trial.run, self.undisturbed[trial.run]
        output = room / "output"
        finished = {}
        found = self.contents(output) if output.exists() else {}
        # Weights are packed while the first clips are computed: these stay where later weights cannot be read.
        may_end_early = result.returncode == 3 or trial.place == "model"
        for name, bytes_now in found.items():
            if bytes_now == expected.outputs.get(name):
                finished[name] = stamp(output / name)
            elif not (may_end_early and self.is_part_of(bytes_now, expected.outputs.get(name))):
                old = expected.before / name if expected.before else None
                unchanged = old is not None and old.exists() and old.read_bytes() == bytes_now
                expect(unchanged, f"{name} is neither old nor new (exit {result.returncode})")
        for name, before in log["before"].items():
            if run.words is TRANSCRIBE:
                # It was whole: every line is still there, also of a clip that cannot be read now.
                expect(name in found, f"{name} is gone")
                lost = set(expected.outputs[name].splitlines()) - set(found[name].splitlines())
                expect(not lost, f"{name} has lost {len(lost)} lines that were finished")
            else:
                now = "another" if name in found else "gone"
                expect(finished.get(name) == before, f"{name}, which was finished, is {now}")
        if run.reads_only and run.words is not TRANSCRIBE:
            expect(self.names_in(output) == expected.names, "other files than before")
        return finished

    def try_one(self, trial):
        expected = self.undisturbed[trial.run]
        room = self.new_room(expected.before)
        struck = room / "struck"
        output = room / "output"
        found = self.contents(output) if output.exists() else {}
        before = {name: stamp(output / name) for name in found if found[name] == expected.outputs.get(name)}
        log = {"before": before}
        error = trial.error if trial.error == "short" else str(getattr(errno, trial.error))
        result = None
        try:
            result = self.start(
                trial.run, room, FAULT_CALL=trial.call, FAULT_AT=str(trial.number), FAULT_ERROR=error,
                FAULT_ROOT=str(PLACES[trial.place][0]), FAULT_STRUCK=str(struck),
                FAULT_TIMES="0" if trial.lasting else "1")
            if not struck.exists():
                with self.lock:
                    self.unreached[trial.call, trial.run.is_first] += 1
                return
            finished = self.judge(trial, room, result, log)
            first, result = result, self.start(trial.run, room)
            log["first"] = first.stderr
            self.check_completed(trial, room, result, finished)
        except Wrong as problem:
            self.report(trial, str(problem), struck, result, log)
        except Exception:
            self.report(trial, traceback.format_exc(), struck, result, log)
        finally:
            with self.lock:
                self.tried[trial.call, trial.run.is_first] += 1
            shutil.rmtree(room, ignore_errors=True)

    def check_completed(self, trial, room, result, finished):
        run, expected = trial.run, self.undisturbed[trial.run]
        output = room / "output"
        expect(result.returncode == expected.status, f"the same command then ends with {result.returncode}")
        contents = self.contents(output)
        expect(set(contents) == set(expected.outputs), f"then has {sorted(contents)}")
        for name, content in contents.items():
            expect(content == expected.outputs[name], f"then {name} has other bytes")
        if run.words is not TRANSCRIBE:
            for name, made in finished.items():
                expect(stamp(output / name) == made, f"then {name} is written twice")
        expect(indexes_of(output) == expected.indexes, "then the indexes differ")
        expect(not temporaries_of(output), f"then there is {temporaries_of(output)}")
        expect(self.names_in(output) == expected.names,
               f"then there are other files: {sorted(self.names_in(output) ^ expected.names)}")
        for journal in output.glob("journal*.jsonl"):
            lines_of(journal)

    def report(self, trial, problem, struck, result, log):
        hit = struck.read_text().splitlines()[0].replace(str(self.folder), "") if struck.exists() else "not reached"
        text = [f"{trial}: {problem}", f"    struck: {hit}"]
        for which in (log.get("first"), result.stderr if result else None):
            for line in (which or "").splitlines()[:4]:
                text.append("    | " + line.replace(str(self.folder), "")[:300])
        with self.lock:
            self.wrong.append("\n".join(text))
            print(self.wrong[-1], flush=True)


def choose(trials, count, seed):
    """`count` of them, of each run, place and call as many as of another."""
    chance = random.Random(seed)
    groups = collections.defaultdict(list)
    for trial in trials:
        groups[trial.run, trial.place, trial.call].append(trial)
    chosen = []
    groups = list(groups.values())
    while groups and len(chosen) < count:
        chance.shuffle(groups)
        for group in groups:
            chosen.append(group.pop(chance.randrange(len(group))))
        groups = [group for group in groups if group]
    return chosen[:count]


def main():
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(arguments.at_once) as pool:
        harness = Harness(arguments, pathlib.Path(scratch))
        list(pool.map(harness.run_undisturbed, RUNS))
        trials = [trial for trial in harness.trials() if arguments.only.search(str(trial))]
        known = collections.Counter()
        if not arguments.known:
            for pattern in KNOWN:
                known[pattern] = sum(1 for trial in trials if re.search(pattern, str(trial)))
                trials = [trial for trial in trials if not re.search(pattern, str(trial))]
        total = len(trials)
        if not arguments.all:
            trials = choose(trials, arguments.trials, arguments.seed)
        print(f"{len(trials)} of {total} trials" + ("" if arguments.all else f", seed {arguments.seed}"), flush=True)
        list(pool.map(harness.try_one, trials))
    print(f"{'call':16}{'first runs':>12}{'others':>12}{'not reached':>14}")
    for call in ERRORS:
        first, others = harness.tried[call, True], harness.tried[call, False]
        missed = harness.unreached[call, True] + harness.unreached[call, False]
        if first + others:
            print(f"{call:16}{first:12}{others:12}{missed:14}")
    for pattern, count in known.items():
        print(f"left out as known: {count} trials of {pattern!r}: {KNOWN[pattern]}")
    print(f"{len(harness.wrong)} of {sum(harness.tried.values())} trials went wrong")
    return 1 if harness.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
