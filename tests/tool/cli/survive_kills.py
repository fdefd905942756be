"""Kills workers of one directory at random moments, again and again: four at once, two of them in PID namespaces of
their own, as in containers, where no process number means anything to the others. No output is ever partial, lost,
written twice or foreign, and nothing that is not the run's is touched.

    survive_kills.py PROGRAM [--kills N] [--seed S]"""

import argparse
import collections
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from run_directories import indexes_of, lines_of, outputs_of, stamp, temporaries_of, write_clips  # noqa: E402
from small_model import save_small_model  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("program", type=pathlib.Path)
parser.add_argument("--kills", type=int, default=20)
parser.add_argument("--seed", type=int, default=0)
ARGUMENTS = parser.parse_args()
CLIPS = 16
WORKERS = 4
ROUND = 10  # kills after which all are let come to an end, and the next directory is begun
# Name -> options, and whether each worker does a partition (else all of them everything).
SHAPES = {
    "clips": ((), True),
    "the same clips": ((), False),
    "npy": (("--output-format", "npy"), True),
    "shards": (("--shard-size", "2"), True),
    "the same npy": (("--output-format", "npy"), False),
}


def namespace_of_its_own():
    """The words before a command that put it into another PID namespace."""
    for flags in ("-pf", "-Urpf"):
        words = ["unshare", flags, "--mount-proc", "--kill-child"]
        if subprocess.run([*words, "true"], capture_output=True).returncode == 0:
            return words
    return None


NAMESPACE = namespace_of_its_own()


class Kills(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        save_small_model(self.folder / "model")
        write_clips(self.folder / "clips", CLIPS, more=200)

    def command(self, output, options):
        return [str(ARGUMENTS.program.resolve()), "extract", "--manifest", str(self.folder / "clips"), "--model",
                str(self.folder / "model"), "--output", str(output), "--threads", "1", "--batch-seconds", "0.5",
                *options]

    def start(self, worker, output, shape):
        options, partitioned = SHAPES[shape]
        environment = dict(os.environ, XDG_CACHE_HOME=str(self.folder / "cache"))
        if partitioned:
            environment.update(RANK=str(worker), WORLD_SIZE=str(WORKERS))
        # Half of them elsewhere. A kill of `unshare` kills the program; its stderr ends when it is dead.
        before = NAMESPACE if worker % 2 else []
        return subprocess.Popen([*before, *self.command(output, options)], stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True, env=environment)

    def look(self, output, expected, seen):
        """Whatever is there is whole, and what was there once is there still."""
        there = outputs_of(output)
        for name, path in there.items():
            self.assertIn(name, expected, "a foreign output")
            if name not in seen:
                self.assertEqual(path.read_bytes(), expected[name], f"{name} is partial")
                seen[name] = stamp(path)
        for name, made in seen.items():
            self.assertIn(name, there, f"{name} is lost")
            self.assertEqual(stamp(there[name]), made, f"{name} is written twice")

    def test_four_workers_in_three_namespaces(self):
        if NAMESPACE is None:
            self.skipTest("no PID namespaces here")
        chance = random.Random(ARGUMENTS.seed)
        expected, longest = {}, 0
        for shape, (options, _) in SHAPES.items():
            undisturbed = self.folder / "undisturbed" / shape.split()[-1]
            start = time.perf_counter()
            result = subprocess.run(self.command(undisturbed, options), capture_output=True, text=True)
            longest = max(longest, time.perf_counter() - start)
            self.assertEqual(result.returncode, 0, result.stderr)
            expected[shape] = {name: path.read_bytes() for name, path in outputs_of(undisturbed).items()}
        done = collections.Counter()
        for round_number in range(-(-ARGUMENTS.kills // ROUND)):
            shape = list(SHAPES)[round_number % len(SHAPES)]
            with self.subTest(round=round_number, shape=shape, seed=ARGUMENTS.seed):
                done += self.one_round(self.folder / f"round{round_number}", shape, expected[shape], chance, longest)
        print(f"{done['kills']} kills (and {done['in time']} workers that had ended before theirs), "
              f"{done['outputs']} outputs, all of them whole")

    def one_round(self, output, shape, expected, chance, longest):
        done = collections.Counter()
        output.mkdir()
        foreign = {"notes.txt": "mine", ".notes.0.tmp": "mine too"}
        for name, text in foreign.items():
            (output / name).write_text(text)
        seen = {}
        workers = [self.start(worker, output, shape) for worker in range(WORKERS)]
        for _ in range(ROUND):
            time.sleep(longest * chance.random())
            worker = chance.randrange(WORKERS)
            workers[worker].kill()
            stderr = workers[worker].communicate()[1]
            if workers[worker].returncode == -signal.SIGKILL:
                done["kills"] += 1
            else:
                self.assertEqual(workers[worker].returncode, 0, stderr)
                done["in time"] += 1
            self.look(output, expected, seen)
            workers[worker] = self.start(worker, output, shape)
        for worker in workers:
            stderr = worker.communicate()[1]
            self.assertEqual(worker.returncode, 0, stderr)
        self.look(output, expected, seen)
        self.assertEqual(set(seen), set(expected), "outputs are lost")
        # One more of each, in its own time: leaves nothing, and changes nothing.
        for worker in range(WORKERS):
            process = self.start(worker, output, shape)
            stderr = process.communicate()[1]
            self.assertEqual(process.returncode, 0, stderr)
        self.look(output, expected, seen)
        for name, text in foreign.items():
            self.assertEqual((output / name).read_text(), text)
        self.assertEqual([path.name for path in temporaries_of(output)], [".notes.0.tmp"])
        for journal in output.glob("journal*.jsonl"):
            lines_of(journal)
        for index in indexes_of(output):
            self.assertEqual(len(lines_of(output / index)), 2)
        done["outputs"] = len(seen)
        return done


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
