"""scripts/benchmark.py with contestants that only pretend: who takes turns when, who is left out and why,
and what table, JSON and chart say of it. No times are measured."""

import dataclasses
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import interleaved  # noqa: E402
from interleaved import Contestant, Group, Setting, group_contestants, known_contestants  # noqa: E402

try:
    import matplotlib
except ImportError:
    matplotlib = None


def fake(*words):
    return shlex.join([sys.executable, str(HERE / "fake_worker.py"), *words])


def contestant(name, *words):
    return Contestant(name, "float32", "added", fake(*words))


def run_driver(*words):
    return subprocess.run([sys.executable, str(ROOT / "scripts/benchmark.py"), *map(str, words)],
                          capture_output=True, text=True)


class Driver(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        self.model = self.folder / "model"
        self.model.mkdir()
        (self.model / "config.json").write_text('{"num_hidden_layers": 3}')
        self.program = self.folder / "w2vbert"
        self.program.write_text(f"#!/bin/sh\nexec {sys.executable} {HERE / 'fake_program.py'} \"$@\"\n")
        self.program.chmod(0o755)
        self.json = self.folder / "results" / "run.json"

    def run_all(self, *words, program=None):
        fakes = {"peer": fake("answers", "0.5"), "slow": fake("answers"), "dies": fake("dies", "2"),
                 "skips": fake("skips"), "babbles": fake("babbles"), "absent": "/no/such/command"}
        adds = [word for name, command in fakes.items() for word in ("--add", f"{name}:float32={command}")]
        return run_driver("--program", program or self.program, "--model", self.model, *adds,
                          "--contestants", ",".join(["w2vbert-*", *fakes]), "--frames", "100,400",
                          "--threads", "1", "--rounds", "3", "--clips", "20", "--ragged-rounds", "2",
                          "--output", self.json, *words)

    def test_a_whole_run(self):
        run = self.run_all()
        self.assertEqual(run.returncode, 0, run.stderr)
        report = json.loads(self.json.read_text())

        def results(name, task="single"):
            return [result for result in report["results"]
                    if result["contestant"] == name and result["task"] == task]

        for name, factor in (("w2vbert-float32", 0.25), ("peer", 0.5), ("slow", 1)):
            self.assertEqual([result["frames"] for result in results(name)], [100, 400])
            for result in results(name):
                seconds = result["frames"] / 1000 * factor
                self.assertEqual(result["seconds"], [seconds] * 3)
                self.assertAlmostEqual(result["rtf"], seconds / (result["frames"] / 50))
            ragged, = results(name, "ragged")
            self.assertAlmostEqual(ragged["seconds_median"], ragged["audio_seconds"] * 50 / 1000 * factor, 5)
            self.assertEqual(len(ragged["seconds"]), 2)
        # It answered the warm-up and one round, and what it did is kept.
        self.assertEqual([len(result["seconds"]) for result in results("dies")], [1])

        reasons = {entry["contestant"]: entry["reason"] for entry in report["skipped"]}
        self.assertEqual(reasons["dies"], "exit status 7: error: out of luck")
        self.assertEqual(reasons["skips"], "not on a day like this")
        self.assertIn("is no JSON", reasons["babbles"])
        self.assertIn("exit status 127", reasons["absent"])
        self.assertIn("this CPU has no bfloat16 instructions", reasons["w2vbert-bfloat16"])
        self.assertEqual(set(reasons), {"dies", "skips", "babbles", "absent", "w2vbert-bfloat16"})
        for name in reasons:
            self.assertIn(f"skipped: {name}", run.stderr)
            self.assertIn(f"- {name}: ", run.stdout)

        self.assertTrue(report["command"].startswith("scripts/benchmark --model"))
        self.assertIn("fake answers", report["versions"])
        self.assertEqual(report["model"]["layers"], 3)
        self.assertEqual({floor["frames"]: floor["fraction"] for floor in report["gemm_floor"]},
                         {100: 0.75, 400: 0.75})
        peaks = {entry["contestant"]: entry["peak_bytes"] for entry in report["memory"]}
        self.assertGreater(peaks["peer"], 2**20)

        self.assertIn("one clip of 2 s, 1 thread", run.stdout)
        row, = [line for line in run.stdout.splitlines() if line.startswith("| slow ") and "0.400 " in line]
        self.assertEqual([cell.strip() for cell in row.strip("|").split("|")],
                         ["slow", "0.400", "0.400", "3", "0.0500", "0.0500", "", "4.00"])
        self.assertIn("2.00 x peer", run.stdout)

        again = run_driver("--table", self.json)
        self.assertEqual((again.returncode, again.stdout), (0, run.stdout))
        if matplotlib:
            picture = self.folder / "chart.svg"
            drawn = run_driver("--chart", self.json, "--chart-output", picture)
            self.assertEqual(drawn.returncode, 0, drawn.stderr)
            self.assertIn("<svg", picture.read_text())

    def test_a_missing_program_is_skipped_and_the_rest_goes_on(self):
        run = self.run_all("--tasks", "single", program=self.folder / "nothing")
        self.assertEqual(run.returncode, 0, run.stderr)
        report = json.loads(self.json.read_text())
        self.assertEqual({result["contestant"] for result in report["results"]}, {"peer", "slow", "dies"})
        self.assertIn("No such file", [entry["reason"] for entry in report["skipped"]
                                       if entry["contestant"] == "w2vbert-float32"][0])

    def test_patience_ends_after_one_round(self):
        run = self.run_all("--tasks", "single", "--patience", "0.3")
        self.assertEqual(run.returncode, 0, run.stderr)
        runs = {(result["contestant"], result["frames"]): len(result["seconds"])
                for result in json.loads(self.json.read_text())["results"]}
        self.assertEqual(runs["slow", 400], 1)
        self.assertEqual(runs["slow", 100], 3)
        self.assertEqual(runs["peer", 400], 3)

    def test_nothing_measured_is_an_error(self):
        run = run_driver("--add", f"skips:float32={fake('skips')}", "--contestants", "skips",
                         "--output", self.json)
        self.assertEqual(run.returncode, 1)
        self.assertIn("error: no contestant could be measured", run.stderr)

    def test_names_are_checked(self):
        for words in (["--skip", "nobody"], ["--add", "nodtype=true"], ["--tasks", "all"],
                      ["--frames", "0"], ["--table", self.folder / "nothing.json"]):
            run = run_driver(*words)
            self.assertNotEqual(run.returncode, 0)
            self.assertIn("error: ", run.stderr)
            self.assertNotIn("Traceback", run.stderr)


class Turns(unittest.TestCase):
    setting = Setting(pathlib.Path("model"), 1, "w2vbert", pathlib.Path("cache"), 60)

    def state(self, pid):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]

    def test_who_is_not_asked_is_stopped(self):
        workers = [contestant("a", "answers"), contestant("b", "answers")]
        with Group(workers, self.setting, self.fail) as group:
            pids = [worker.process.pid for worker in group.workers.values()]
            group.ask("a", {"frames": 10})
            for pid in pids:
                for _ in range(1000):
                    if self.state(pid) == "T":
                        break
                    time.sleep(0.01)
                self.assertEqual(self.state(pid), "T")
        for pid in pids:
            self.assertFalse(pathlib.Path(f"/proc/{pid}").exists())

    def test_rounds_go_round(self):
        asked = []
        workers = [contestant("a", "answers"), contestant("b", "answers")]
        with Group(workers, self.setting, self.fail) as group:
            ask = group.ask
            group.ask = lambda name, request: asked.append(name) or ask(name, request)
            requests = {name: (name, {"frames": 10}) for name in "ab"}
            group.measure(requests, {name: {"frames": 10} for name in "ab"}, 3)
        self.assertEqual("".join(asked), "ab" + "ab" + "ba" + "ab")

    def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_told(self):
        heard = {}
        setting = dataclasses.replace(self.setting, timeout=0.2)
        Group([Contestant("silent", "float32", "added", "sleep 60")], setting, heard.__setitem__)
        self.assertEqual(heard, {"silent": "no answer within 0.2 s"})


class Groups(unittest.TestCase):
    def test_all_fit_where_there_is_room(self):
        groups = group_contestants(known_contestants(), 580e6, 3000, 1e12)
        self.assertEqual([len(group) for group in groups], [11, 6])

    def test_the_program_stands_in_each(self):
        groups = group_contestants(known_contestants(), 580e6, 3000, 20e9)
        self.assertGreater(len(groups), 2)
        names = [one.name for group in groups for one in group]
        self.assertEqual(set(names), {one.name for one in known_contestants()})
        for group in groups:
            self.assertEqual(group[0].kind, "program")
            self.assertGreater(len(group), 1)
            if sum(one.kind == "peer" for one in group) > 1:
                self.assertLessEqual(interleaved.total_memory(group, 580e6, 3000), 20e9)


if __name__ == "__main__":
    unittest.main()
