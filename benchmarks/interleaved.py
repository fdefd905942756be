"""Long-lived worker processes that take turns: what scripts/benchmark measures with.

Each worker loads its model once and then answers one request at a time. While another one has its
turn it is stopped (SIGSTOP): it cannot spin, whatever its thread pool does while it waits, and in its
own turn it runs with the settings its users have."""

import contextlib
import ctypes
import dataclasses
import fnmatch
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import tempfile

FRAMES_PER_SECOND = 50
PEERS = pathlib.Path(__file__).with_name("peers.py")
PR_SET_PDEATHSIG = 1


class Skipped(Exception):
    """Why a contestant cannot take part, or no longer."""


@dataclasses.dataclass(frozen=True)
class Contestant:
    name: str
    dtype: str
    kind: str  # "program", "peer" or "added"
    what: str  # the engine, the peer's name, or a command

    @property
    def takes_ragged(self):
        return self.kind != "peer" or self.what == "hf-sdpa"


def known_contestants():
    both = "float32", "bfloat16"
    known = [Contestant(f"w2vbert-{dtype}", dtype, "program", "fused") for dtype in (*both, "float16", "int8")]
    for peer in ("hf-eager", "hf-sdpa", "hf-compile", "hf-compile-freezing"):
        known += [Contestant(f"{peer}-{dtype}", dtype, "peer", peer) for dtype in both]
    known += [Contestant(f"hf-accelerated-{dtype}", dtype, "peer", "hf-accelerated") for dtype in both]
    known.append(Contestant("onnxruntime-float32", "float32", "peer", "onnxruntime"))
    known += [Contestant(f"ctranslate2-{dtype}", dtype, "peer", "ctranslate2")
              for dtype in ("float32", "int8")]
    return known


def added_contestant(text):
    """NAME:DTYPE=COMMAND"""
    head, separator, command = text.partition("=")
    name, colon, dtype = head.partition(":")
    if not (separator and colon and name and dtype and command):
        raise ValueError(f"{text}: expected NAME:DTYPE=COMMAND")
    return Contestant(name, dtype, "added", command)


def select_contestants(known, wanted, unwanted):
    for pattern in [*wanted, *unwanted]:
        if not any(fnmatch.fnmatchcase(contestant.name, pattern) for contestant in known):
            names = ", ".join(contestant.name for contestant in known)
            raise ValueError(f"{pattern}: no such contestant, expected one of {names}")

    def matches(contestant, patterns):
        return any(fnmatch.fnmatchcase(contestant.name, pattern) for pattern in patterns)

    return [contestant for contestant in known
            if (not wanted or matches(contestant, wanted)) and not matches(contestant, unwanted)]


# ---- which of them fit into memory at once ---------------------------------------------------------

# Times the weights in the contestant's own type: frozen and packed copies stand beside the plain ones.
COPIES = {"fused": 1.3, "hf-compile-freezing": 2.2, "hf-accelerated": 2.2}
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}
PROCESS_BYTES = 0.8e9
FUSED_TURN_BYTES = 1.5e9
PEER_TURN_BYTES = 600  # for each pair of frames: (T, T, 64) distances, (16, T, T) scores, several of each
ONNX_TURN_BYTES = 1200
ONNX_ARENA_BYTES = 3500  # what its arena takes and keeps
ONNX_LONGEST_IN_ARENA = 1500  # frames; longer clips run without it


def memory_needs(contestant, parameters, frames):
    """Estimates: (bytes it holds between its turns, bytes it takes in its turn besides)."""
    if contestant.kind == "added":
        return 0, 0
    size = DTYPE_BYTES[contestant.dtype]
    held = parameters * size * COPIES.get(contestant.what, 1) + PROCESS_BYTES
    if contestant.kind == "program":
        return held, FUSED_TURN_BYTES
    if contestant.what == "onnxruntime":
        held += ONNX_ARENA_BYTES * min(frames, ONNX_LONGEST_IN_ARENA) ** 2
        return held, ONNX_TURN_BYTES * frames**2 if frames > ONNX_LONGEST_IN_ARENA else 0
    return held, PEER_TURN_BYTES * frames**2 * max(size, 2) / 4


def total_memory(contestants, parameters, frames):
    needs = [memory_needs(contestant, parameters, frames) for contestant in contestants]
    return sum(held for held, _ in needs) + max((turn for _, turn in needs), default=0)


def group_contestants(contestants, parameters, frames, available):
    """Lists that fit into `available` bytes, or hold one peer. The program stands in each one of its
    type, so that every ratio comes from one interleaved run."""
    families = {"float32": [], "bfloat16": []}
    for contestant in contestants:
        # int8 and float16 have no peers in their own type.
        family = "bfloat16" if contestant.dtype == "bfloat16" else "float32"
        families[family].append(contestant)
    groups = []
    for members in families.values():
        references = [contestant for contestant in members if contestant.kind == "program"]
        peers = [contestant for contestant in members if contestant.kind != "program"]
        own = [list(references)] if references and not peers else []
        for peer in peers:
            for group in own:
                if total_memory([*group, peer], parameters, frames) <= available:
                    group.append(peer)
                    break
            else:
                own.append([*references, peer])
        groups += own
    return groups


def available_memory():
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo: no MemAvailable")


# ---- one process -----------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Setting:
    """What all workers of a group share."""

    model: pathlib.Path
    threads: int
    program: str
    cache: pathlib.Path  # converted models
    timeout: float  # seconds for one answer


def environment_of(threads):
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    return {**os.environ, **counts}


def bind_to(threads):
    """For preexec_fn: as many cores as threads, so that no helper thread makes a second one of them;
    and the process ends with this one, as a stopped one would never notice."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    parent = os.getpid()

    def bind():
        os.sched_setaffinity(0, cores)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return bind


class Worker:
    """A process that speaks the protocol of docs/benchmarks.md."""

    def __init__(self, contestant, setting):
        self.contestant = contestant
        self.setting = setting
        self.pending = b""
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
        try:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=self.log, bufsize=0, start_new_session=True,
                env=environment_of(setting.threads), preexec_fn=bind_to(setting.threads))
        except OSError as error:
            raise Skipped(f"{error.filename}: {error.strerror}") from None
        try:
            self.versions = self.greet()
            self.pause()
        except BaseException:
            self.kill()
            raise

    def command(self):
        if self.contestant.kind == "added":
            return ["/bin/sh", "-c", f"exec {self.contestant.what}"]
        return [sys.executable, str(PEERS), self.contestant.what, "--dtype", self.contestant.dtype,
                "--model", str(self.setting.model), "--threads", str(self.setting.threads),
                "--cache", str(self.setting.cache)]

    def greet(self):
        return self.read()["ready"]

    def ask(self, request):
        """The answer to one request; the worker runs only for as long as this takes."""
        self.resume()
        answer = self.converse(request)
        self.pause()
        return answer

    def converse(self, request):
        return self.exchange(json.dumps(request))

    def exchange(self, line):
        try:
            self.process.stdin.write(line.encode() + b"\n")
        except BrokenPipeError:
            raise Skipped(self.last_words()) from None
        return self.read()

    def read(self):
        while b"\n" not in self.pending:
            readable, _, _ = select.select([self.process.stdout], [], [], self.setting.timeout)
            if not readable:
                raise Skipped(f"no answer within {self.setting.timeout:g} s")
            chunk = self.process.stdout.read(65536)
            if not chunk:
                raise Skipped(self.last_words())
            self.pending += chunk
        line, self.pending = self.pending.split(b"\n", 1)
        try:
            answer = json.loads(line)
        except ValueError:
            raise Skipped(f"{line[:200]!r} is no JSON") from None
        if "skipped" in answer:
            raise Skipped(answer["skipped"])
        return answer

    def last_words(self):
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            status = None
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").split("\n")
        lines = [line.strip() for line in lines if line.strip()]
        errors = [line for line in lines if line.startswith("error:")]
        text = (errors or lines or [""])[-1][:300]
        end = f"ended by signal {-status}" if status is not None and status < 0 else f"exit status {status}"
        return f"{end}: {text}" if text else end

    def pause(self):
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGCONT)

    def peak_bytes(self):
        try:
            status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return None
        return next((int(line.split()[1]) * 1024 for line in status.splitlines()
                     if line.startswith("VmHWM:")), None)

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.log.close()

    def close(self):
        """Ends the process; its peak memory in bytes."""
        peak = self.peak_bytes()
        self.resume()
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self.kill()
        return peak


class Program(Worker):
    """`w2vbert bench --frames -`: a number of frames a line, or those of a ragged batch."""

    def command(self):
        return [*bench_command(self.contestant, self.setting), "--frames", "-"]

    def greet(self):
        engine = self.exchange("10")["engine"]
        if engine != self.contestant.what:
            raise Skipped(f"runs on the {engine} engine: {self.last_words()}")
        return []

    def converse(self, request):
        if "frames" in request:
            return self.exchange(str(request["frames"]))
        lengths, size = request["lengths"], request["padded_batch"]
        batches = [lengths[start:start + size] for start in range(0, len(lengths), size)]
        return {"seconds": sum(self.exchange(",".join(map(str, batch)))["seconds"] for batch in batches)}


def bench_command(contestant, setting):
    return [setting.program, "bench", "--model", str(setting.model), "--dtype", contestant.dtype,
            "--engine", contestant.what, "--threads", str(setting.threads), "--json"]


def gemm_roofline_fractions(contestant, setting, frames):
    """{frames: fraction of the time that the matrix products alone would take}, as the program says."""
    command = [*bench_command(contestant, setting), "--frames", ",".join(map(str, frames)),
               "--rounds", "2"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True,
                             env=environment_of(setting.threads), preexec_fn=bind_to(setting.threads))
        return {result["frames"]: result.get("gemm_floor_fraction")
                for result in json.loads(run.stdout)["results"]}
    except (OSError, subprocess.CalledProcessError, ValueError, KeyError):
        return {}  # a contestant that cannot run says so itself


# ---- turns -----------------------------------------------------------------------------------------

class Group:
    """Workers that are alive at the same time. `on_skip(name, reason)` hears of those that are not."""

    def __init__(self, contestants, setting, on_skip):
        self.on_skip = on_skip
        self.workers = {}
        self.peaks = {}
        self.versions = {}
        try:
            for contestant in contestants:
                try:
                    worker = (Program if contestant.kind == "program" else Worker)(contestant, setting)
                except Skipped as reason:
                    on_skip(contestant.name, str(reason))
                else:
                    self.workers[contestant.name] = worker
                    self.versions[contestant.name] = worker.versions
        except BaseException as error:
            self.__exit__(type(error))
            raise

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        for name in list(self.workers):
            worker = self.workers.pop(name)
            if error is None:
                self.peaks[name] = worker.close()
            else:
                worker.kill()

    def ask(self, name, request):
        """None where the worker does not survive it."""
        worker = self.workers[name]
        try:
            return worker.ask(request)
        except Skipped as reason:
            self.peaks[name] = worker.peak_bytes()
            worker.kill()
            del self.workers[name]
            self.on_skip(name, str(reason))
            return None

    def measure(self, requests, warm_ups, rounds, patience=float("inf")):
        """{key: (warm-up answer, [seconds])} of requests {key: (contestant's name, request)}. One
        untimed warm-up each, then rounds in which each has one turn, another one first each time. After
        a turn longer than `patience` a contestant has no further one."""
        warm = {}
        for key, (name, _) in requests.items():
            if name in self.workers:
                warm[key] = self.ask(name, warm_ups[key])
        times = {key: [] for key in requests}
        keys = list(requests)
        for number in range(rounds):
            first = number % len(keys) if keys else 0
            for key in keys[first:] + keys[:first]:
                name, request = requests[key]
                if name not in self.workers or (times[key] and max(times[key]) > patience):
                    continue
                answer = self.ask(name, request)
                if answer is not None:
                    times[key].append(answer["seconds"])
        return {key: (warm[key], seconds) for key, seconds in times.items() if seconds}
