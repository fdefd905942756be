"""Kills `w2vbert extract` at every call that touches its output directory, lets every such call fail, and
kills it at random moments. Whatever happens: no partial output, no output lost or written twice, the
right exit status, and the same command again gives the files of an undisturbed run, byte for byte.

    survive_faults.py PROGRAM FAULT_LIBRARY [--random N]"""

import argparse
import errno
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from run_directories import errors_of, indexes_of, outputs_of, stamp, temporaries_of, write_clips  # noqa: E402
from small_model import save_small_model  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("program", type=pathlib.Path)
parser.add_argument("library", type=pathlib.Path)
parser.add_argument("--random", type=int, default=12, help="kills at random moments")
ARGUMENTS = parser.parse_args()
CLIPS = 3
READ_ERRORS = (errno.EIO, errno.EMFILE, errno.EACCES, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT)
AT_ONCE = 2


# The calls by which a run writes; each of them may be the last one.
WRITING = ("open", "create", "write", "pwrite", "fsync", "close", "ftruncate", "link", "rename", "renameat2", "unlink",
           "mkdir")
# Those by which it looks at what is there.
READING = ("open", "read", "pread", "fstat", "stat", "opendir", "readdir")


class Files:
    """A run into a directory, and what may happen to it; SHAPE says in which files."""

    SHAPE = ()
    EVERY = 1  # which of the calls that write are tried
    EVERY_READ = 5  # of those that read, for fail_nth_call.py tries them in turn, too

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        save_small_model(cls.folder / "model")
        write_clips(cls.folder / "clips", CLIPS)
        count = cls.folder / "count"
        cls.undisturbed = cls.folder / "undisturbed"
        result = cls.extract(cls.undisturbed, FAULT_COUNT=str(count))
        assert result.returncode == 0, result.stderr
        calls = {call: int(times) for _, call, times in map(str.split, count.read_text().splitlines())}
        cls.calls = sum(calls.get(call, 0) for call in WRITING)
        cls.expected = {name: path.read_bytes() for name, path in outputs_of(cls.undisturbed).items()}
        cls.indexes = indexes_of(cls.undisturbed)
        assert len(cls.expected) == (2 if cls.SHAPE else CLIPS)

    @classmethod
    def command(cls, output, inputs="clips", threads="1"):
        return [str(ARGUMENTS.program.resolve()), "extract", "--manifest", str(cls.folder / inputs), "--model",
                str(cls.folder / "model"), "--output", str(output), "--threads", threads, "--batch-seconds", "0.5",
                *cls.SHAPE]

    @classmethod
    def extract(cls, output, *words, **faults):
        environment = dict(os.environ, **faults)
        if faults:
            environment.setdefault("FAULT_CALL", ",".join(WRITING))
            environment.update(LD_PRELOAD=str(ARGUMENTS.library.resolve()), FAULT_BELOW=str(output))
        return subprocess.run([*cls.command(output), *words], capture_output=True, text=True, env=environment)

    def check_whole(self, output):
        """Every output that is there is one of the undisturbed run's."""
        for name, path in outputs_of(output).items():
            self.assertEqual(path.read_bytes(), self.expected[name], name)

    def check_resume(self, output):
        before = {name: stamp(path) for name, path in outputs_of(output).items()}
        result = self.extract(output)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(set(outputs_of(output)), set(self.expected))
        self.check_whole(output)
        self.assertEqual(temporaries_of(output), [])
        for name, made in before.items():
            self.assertEqual(stamp(outputs_of(output)[name]), made, f"{name} was written twice")
        for line in (output / "journal.jsonl").read_text().splitlines():
            json.loads(line)
        self.assertEqual((output / "run.json").read_bytes(), (self.undisturbed / "run.json").read_bytes())
        self.assertEqual(indexes_of(output), self.indexes)

    def each_call(self, check):
        def problem_of(number):
            try:
                check(number)
            except AssertionError as error:
                return f"call {number} of {self.calls}: {error}"
            return None

        with ThreadPoolExecutor(AT_ONCE) as pool:
            problems = [problem for problem in pool.map(problem_of, range(1, self.calls + 1, self.EVERY)) if problem]
        self.assertEqual(problems, [])

    def test_killed_at_every_call(self):
        def check(number):
            output = self.folder / f"killed{number}"
            result = self.extract(output, FAULT_AT=str(number), FAULT_ERROR="kill")
            self.assertEqual(result.returncode, -signal.SIGKILL, result.stderr)
            self.check_whole(output)
            self.check_resume(output)

        self.each_call(check)

    def test_every_call_fails(self):
        def check(number):
            output = self.folder / f"failed{number}"
            result = self.extract(output, FAULT_AT=str(number), FAULT_ERROR="usual")
            errors = errors_of(result.stderr)
            # 0: what cannot be cleaned or synchronised but is not needed.
            self.assertIn(result.returncode, (0, 5), result.stderr)
            self.assertEqual(len(errors), 1 if result.returncode == 5 else 0, result.stderr)
            self.assertTrue(all(str(output) in line for line in errors), errors)
            self.check_whole(output)
            if result.returncode == 0:
                self.assertEqual(set(outputs_of(output)), set(self.expected))
            self.check_resume(output)

        self.each_call(check)

    def test_every_call_of_a_resume_fails(self):
        """What could not be read says nothing of what it holds: it is not removed and not computed anew."""
        output = self.folder / "finished"
        self.assertEqual(self.extract(output).returncode, 0)
        for words in ((), ("--verify",)):
            count = self.folder / "reads"
            result = self.extract(output, *words, FAULT_COUNT=str(count))
            self.assertEqual(result.returncode, 0, result.stderr)
            calls = {call: int(times) for _, call, times in map(str.split, count.read_text().splitlines())}
            before = {name: stamp(path) for name, path in outputs_of(output).items()}
            self.assertEqual(set(before), set(self.expected))
            for number in range(1, sum(calls.get(call, 0) for call in READING) + 1, self.EVERY_READ):
                error = READ_ERRORS[number % len(READ_ERRORS)]
                result = self.extract(output, *words, FAULT_AT=str(number), FAULT_ERROR=str(error),
                                      FAULT_CALL=",".join(READING))
                place = f"call {number}, {os.strerror(error)}: {result.stderr}"
                self.assertIn(result.returncode, (0, 5), place)
                self.assertEqual(len(errors_of(result.stderr)), 1 if result.returncode == 5 else 0, place)
                after = {name: stamp(path) for name, path in outputs_of(output).items()}
                self.assertEqual(after, before, place)
                self.assertEqual(temporaries_of(output), [], place)
            self.check_resume(output)

    def test_eight_racers_for_the_same_outputs(self):
        output = self.folder / "racers"
        racers = [subprocess.Popen(self.command(output), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   text=True) for _ in range(8)]
        for racer in racers:
            errors = racer.communicate()[1]
            self.assertEqual(racer.returncode, 0, errors)
        self.assertEqual(set(outputs_of(output)), set(self.expected))
        self.check_whole(output)
        self.assertEqual(indexes_of(output), self.indexes)
        self.assertEqual(temporaries_of(output), [])


class FaultsInShards(Files, unittest.TestCase):
    SHAPE = ("--shard-size", "2")
    EVERY = 2  # most are those of single files


class Faults(Files, unittest.TestCase):
    def test_workers_are_lost_and_come_back_in_another_number(self):
        output = self.folder / "workers"
        moments = random.Random(2)
        longest = 1.0
        for workers in (4, 2, 3, 1):
            processes = []
            for rank in range(workers):
                environment = dict(os.environ, RANK=str(rank), WORLD_SIZE=str(workers))
                processes.append(subprocess.Popen(self.command(output), stdout=subprocess.DEVNULL,
                                                  stderr=subprocess.PIPE, text=True, env=environment))
            if workers > 1:
                time.sleep(longest * moments.random())
                processes[0].kill()
            for process in processes:
                errors = process.communicate()[1]
                self.assertIn(process.returncode, (0, -signal.SIGKILL), errors)
            self.check_whole(output)
        self.assertEqual(set(outputs_of(output)), set(self.expected))
        self.assertEqual(temporaries_of(output), [])

    def test_torchrun_loses_a_worker_and_comes_back_with_fewer(self):
        output = self.folder / "torchrun"
        write_clips(self.folder / "more", 40, samples=32000, more=0, seed=1)
        command = self.command(output, "more")

        def torchrun(workers):
            return subprocess.Popen(
                [sys.executable, "-m", "torch.distributed.run", "--no-python", "--standalone", "--max-restarts", "2",
                 "--nproc-per-node", str(workers), *command],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

        workers = torchrun(4)
        killed = None
        while killed is None and workers.poll() is None:
            for journal in output.glob("journal.*-of-4.jsonl"):
                lines = journal.read_text().splitlines()
                if len(lines) >= 2 and killed is None:  # has begun, and written something
                    killed = json.loads(lines[0])["pid"]
                    os.kill(killed, signal.SIGKILL)
            time.sleep(0.002)
        errors = workers.communicate()[1]
        self.assertEqual(workers.returncode, 0, errors)
        self.assertIn("exitcode: -9", errors)  # torchrun saw it and began again
        names = {f"speaker{number % 2}/{number}.safetensors" for number in range(40)}
        self.assertEqual(set(outputs_of(output)), names)

        lost = [path for path in outputs_of(output).values()][::3]
        kept = {path: stamp(path) for path in outputs_of(output).values() if path not in lost}
        for path in lost:
            path.unlink()
        fewer = torchrun(2)
        errors = fewer.communicate()[1]
        self.assertEqual(fewer.returncode, 0, errors)
        self.assertEqual(set(outputs_of(output)), names)
        self.assertEqual({path: stamp(path) for path in kept}, kept)
        self.assertEqual(temporaries_of(output), [])

    def test_the_directory_is_taken_away(self):
        output = self.folder / "taken"
        write_clips(self.folder / "many", 300, samples=32000, more=0, seed=2)
        command = self.command(output, "many")
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while not outputs_of(output):
            time.sleep(0.001)
        process.send_signal(signal.SIGSTOP)  # however busy the machine is
        output.rename(self.folder / "elsewhere")
        process.send_signal(signal.SIGCONT)
        errors = errors_of(process.communicate()[1])
        self.assertEqual(process.returncode, 5)
        self.assertEqual(len(errors), 1, errors)
        self.assertIn(str(output), errors[0])
        (self.folder / "elsewhere").rename(output)
        result = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len(outputs_of(output)), 300)
        self.assertEqual(temporaries_of(output), [])

    def test_a_disk_that_does_not_answer_costs_one_file(self):
        output = self.folder / "hanging"
        hanging = self.folder / "clips" / "speaker1" / "1.wav"
        environment = dict(os.environ, LD_PRELOAD=str(ARGUMENTS.library.resolve()), FAULT_HANGS=str(hanging))
        result = subprocess.run([*self.command(output), "--read-timeout", "0.5"], capture_output=True, text=True,
                                env=environment, timeout=60)
        self.assertEqual(result.returncode, 3, result.stderr)
        errors = errors_of(result.stderr)
        self.assertEqual(len(errors), 1, errors)
        self.assertIn("speaker1/1.wav", errors[0])
        self.assertIn("0.5 seconds", errors[0])
        self.assertEqual(len(outputs_of(output)), CLIPS - 1)
        self.check_whole(output)
        self.check_resume(output)

    def test_a_run_that_ends_does_not_wait_for_such_a_disk(self):
        hanging = self.folder / "clips" / "speaker1" / "1.wav"
        bad = self.folder / "bad.wav"
        bad.write_text("no audio")
        (self.folder / "listed.txt").write_text(f"{hanging}\n{bad}\n")
        command = self.command(self.folder / "ends", "listed.txt")
        environment = dict(os.environ, LD_PRELOAD=str(ARGUMENTS.library.resolve()), FAULT_HANGS=str(hanging))
        result = subprocess.run([*command, "--readers", "2", "--read-timeout", "2", "--max-failures", "0"],
                                capture_output=True, text=True, env=environment, timeout=60)
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertIn("--max-failures", result.stderr)

    def test_threads_that_cannot_be_started_end_the_run_with_one_line(self):
        output = self.folder / "threads"
        program, model = str(ARGUMENTS.program.resolve()), str(self.folder / "model")
        clips = str(self.folder / "clips")
        features = ["features", "--manifest", clips, "--output", str(self.folder / "features")]
        verify = ["verify", str(self.undisturbed)]
        bench = ["bench", "--model", model, "--frames", "10", "--rounds", "1"]
        for threads in ("1", "2", "4"):
            extract = self.command(output, threads=threads)[1:]
            commands = [extract, [*features, "--threads", threads], [*bench, "--threads", threads]]
            for command in [*commands, verify] if threads == "1" else commands:
                for first in range(1, 3 * int(threads) + 6):
                    environment = dict(os.environ, LD_PRELOAD=str(ARGUMENTS.library.resolve()),
                                       FAULT_CALL="pthread_create", FAULT_AT=str(first), FAULT_TIMES="0",
                                       FAULT_ERROR=str(errno.EAGAIN))
                    result = subprocess.run([program, *command], capture_output=True, text=True, env=environment,
                                            timeout=60)
                    case = f"{command[0]} with {threads} threads, from thread {first} on: {result.stderr}"
                    self.assertIn(result.returncode, (0, 1), case)
                    errors = errors_of(result.stderr)
                    self.assertEqual(len(errors), result.returncode, case)
                    self.assertTrue(all("a thread cannot be started" in line for line in errors), case)
                    self.check_whole(output)
        self.check_resume(output)

    def test_killed_at_random(self):
        moments = random.Random(1)
        start = time.perf_counter()
        self.extract(self.folder / "timed")
        longest = 1.2 * (time.perf_counter() - start)
        output = self.folder / "random"
        for number in range(ARGUMENTS.random):
            process = subprocess.Popen(self.command(output), stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            try:
                process.wait(timeout=longest * moments.random())
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self.check_whole(output)
            if number % 4 == 3:
                self.check_resume(output)
                for path in [*outputs_of(output).values()][: 1 + number % CLIPS]:
                    path.unlink()
        self.check_resume(output)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
