"""w2vbert extract --states mean:..., weighted sums (--state-weights) and --pool mean, against NumPy and torch on the
states that w2vbert extract writes by themselves, and against transformers' heads and s3prl's featurizer.

    sums_as_numpy.py PROGRAM"""

import base64
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import numpy as np
import torch
import transcribe_as_transformers as transcription  # in this folder; takes the same PROGRAM
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_tensors
from transformers.utils import logging

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from run_directories import write_clips  # noqa: E402
from small_model import save_small_model  # noqa: E402

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
LAYERS, CHANNELS = 6, 32
# A product and a sum in float32 each, and their order: some ULPs of the largest state (measured: 2.4e-7).
TOLERANCE = 2e-6


def softmax(weights):
    return torch.softmax(torch.from_numpy(weights), 0).numpy()


class Sums(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        transcription.prepare_pytorch()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.model = cls.folder / "model"
        save_small_model(cls.model, hidden_size=CHANNELS, num_hidden_layers=LAYERS, intermediate_size=48)
        save_small_model(cls.folder / "adapter", hidden_size=CHANNELS, num_hidden_layers=LAYERS, intermediate_size=48,
                         add_adapter=True)
        write_clips(cls.folder / "clips", 5)
        cls.weights = np.random.default_rng(1).normal(size=LAYERS + 1).astype(np.float32)
        np.save(cls.folder / "weights.npy", cls.weights)
        cls.outputs = 0
        cls.every = cls.extract("--states", "all")
        cls.mirror = cls.extract("--states", "all", "--engine", "reference")

    @classmethod
    def run_program(cls, *words, command="extract", output=None, model=None, environment=None):
        cls.outputs += 1
        output = output or cls.folder / f"output{cls.outputs}"
        result = subprocess.run(
            [str(PROGRAM), command, "--manifest", str(cls.folder / "clips"), "--model", str(model or cls.model),
             "--output", str(output), *map(str, words)], capture_output=True, text=True,
            env={**os.environ, **(environment or {})})
        return result, output

    @classmethod
    def extract(cls, *words, **more):
        result, output = cls.run_program(*words, **more)
        if result.returncode != 0:
            raise AssertionError(result.stderr)
        return {str(path.relative_to(output).with_suffix("")): load_file(path)
                for path in output.rglob("*.safetensors")}

    def states(self, tensors, numbers):
        return np.stack([tensors[f"hidden_states.{number}"] for number in numbers])

    def expect_sum(self, got, key, every, made_of, tolerance=0.0):
        self.assertEqual(got.keys(), every.keys())
        for name, tensors in got.items():
            expected = made_of(every[name])
            self.assertEqual(tensors[key].dtype, np.float32)
            np.testing.assert_allclose(tensors[key], expected, rtol=0, atol=tolerance, err_msg=name)
            np.testing.assert_array_equal(tensors["attention_mask"], every[name]["attention_mask"])

    def test_means_are_numpys(self):
        for engine, every in (("fused", self.every), ("reference", self.mirror)):
            got = self.extract("--states", "4,mean:0-2,mean:6,1,3", "--engine", engine)
            for name, tensors in got.items():
                self.assertEqual(sorted(tensors), ["attention_mask", "hidden_states.4", "hidden_states.mean.0-2",
                                                   "hidden_states.mean.1,3,6"])
                np.testing.assert_array_equal(tensors["hidden_states.4"], every[name]["hidden_states.4"])
            for key, numbers in (("hidden_states.mean.0-2", (0, 1, 2)), ("hidden_states.mean.1,3,6", (1, 3, 6))):
                self.expect_sum(got, key, every, lambda one, numbers=numbers: self.states(one, numbers).mean(0))
            one = self.extract("--states", "mean:5", "--engine", engine)
            self.expect_sum(one, "hidden_states.mean.5", every, lambda one: one["hidden_states.5"])
            whole = self.extract("--states", "mean", "--engine", engine)
            self.expect_sum(whole, "hidden_states.mean.0-6", every,
                            lambda one: self.states(one, range(LAYERS + 1)).mean(0))
        ranges = self.extract("--states", "2-4")
        self.assertEqual(sorted(next(iter(ranges.values()))),
                         ["attention_mask", "hidden_states.2", "hidden_states.3", "hidden_states.4"])

    def test_weighted_sums_are_those_of_featurizers(self):
        # s3prl: Featurizer._weighted_sum; transformers: use_weighted_layer_sum
        def made_of(weights):
            def sum_of(one):
                stacked = torch.from_numpy(self.states(one, range(LAYERS + 1)))
                return (torch.from_numpy(weights)[:, None, None] * stacked).sum(0).numpy()
            return sum_of

        save_file({"layer_weights": self.weights, "classifier.bias": np.zeros(3, np.float32)},
                  self.folder / "head.safetensors")
        save_file({"anything": self.weights}, self.folder / "one.safetensors")
        np.save(self.folder / "half.npy", self.weights.astype(np.float16))
        key = "hidden_states.weighted.0-6"
        for engine, every in (("fused", self.every), ("reference", self.mirror)):
            for file in ("weights.npy", "head.safetensors", "one.safetensors"):
                got = self.extract("--state-weights", self.folder / file, "--engine", engine)
                self.expect_sum(got, key, every, made_of(softmax(self.weights)), TOLERANCE)
            factors = self.extract("--state-weights", self.folder / "weights.npy", "--no-softmax", "--engine", engine)
            self.expect_sum(factors, key, every, made_of(self.weights), TOLERANCE)
        np.save(self.folder / "three.npy", np.array([1, -2, 0.5]))
        some = self.extract("--states", "weighted:1-2,5,mean:0,1", "--state-weights", self.folder / "three.npy",
                            "--no-softmax")
        self.expect_sum(some, "hidden_states.weighted.1-2,5", self.every,
                        lambda one: (np.array([1, -2, 0.5])[:, None, None] * self.states(one, (1, 2, 5))).sum(0),
                        TOLERANCE)
        # Equal weights are the mean.
        np.save(self.folder / "equal.npy", np.full(LAYERS + 1, 0.25, np.float32))
        equal = self.extract("--state-weights", self.folder / "equal.npy")
        self.expect_sum(equal, key, self.every, lambda one: self.states(one, range(LAYERS + 1)).mean(0), TOLERANCE)

    def test_a_clips_rows_do_not_depend_on_its_batch(self):
        words = ["--states", "mean:2-6,weighted:0-6", "--state-weights", self.folder / "weights.npy"]
        wide = self.extract(*words)
        for more in (["--batch-seconds", "0.1"], ["--shard-size", "2"], ["--threads", "1"]):
            got = self.extract(*words, *more)
            if "--shard-size" in more:
                got = {f"{name}/{key}": value for shard in got.values() for name, value in
                       ((key, value) for key, value in shard.items()) for key in [""]}
                flat = {f"{name}/{key}/": value for name, one in wide.items() for key, value in one.items()}
                self.assertEqual(got.keys(), flat.keys())
                for name, value in got.items():
                    np.testing.assert_array_equal(value, flat[name])
                continue
            for name, tensors in got.items():
                for key, value in tensors.items():
                    np.testing.assert_array_equal(value, wide[name][key])

    def test_sums_are_in_the_other_types(self):
        for dtype, bits in (("bfloat16", 8), ("float16", 11)):
            for engine in ("fused", "reference"):
                words = ["--dtype", dtype, "--output-dtype", "float32", "--engine", engine]
                every = self.extract("--states", "all", *words)
                got = self.extract("--states", "mean:1-5", *words)
                for name, tensors in got.items():
                    states = self.states(every[name], range(1, 6)).astype(np.float64)
                    # One rounding of each state, and one of the sum.
                    limit = np.abs(states).max() * 2.0 ** (1 - bits)
                    np.testing.assert_allclose(tensors["hidden_states.mean.1-5"], states.mean(0), rtol=0, atol=limit)

    def test_vectors_of_clips_are_those_of_embed(self):
        for model, states, state in ((self.model, "last_hidden_state", None), (self.model, "hidden_states.3", 3),
                                     (self.folder / "adapter", "last_hidden_state", None)):
            of_state = [] if state is None else ["--state", str(state)]
            of_states = [] if state is None else ["--states", str(state)]
            rows = self.extract(*of_states, model=model)
            for pool in ("mean", "mean+std"):
                embedded = self.extract("--pool", pool, *of_state, command="embed", model=model)
                got = self.extract("--pool", pool, *of_states, model=model)
                self.assertEqual(got.keys(), embedded.keys())
                for name, tensors in got.items():
                    self.assertEqual(tensors[states].shape[0], 1)
                    np.testing.assert_array_equal(tensors["attention_mask"], [1])
                    np.testing.assert_array_equal(tensors[states][0], embedded[name]["embedding"])
                    if model == self.folder / "adapter":
                        continue
                    mask = torch.from_numpy(rows[name]["attention_mask"]).bool()
                    valid = torch.from_numpy(rows[name][states])[mask]
                    expected = valid.mean(0) if pool == "mean" else torch.cat((valid.mean(0), valid.std(0)))
                    np.testing.assert_allclose(tensors[states][0], expected.numpy(), rtol=0, atol=TOLERANCE)
        self.assertTrue(any(not one["attention_mask"].all() for one in self.every.values()))  # a frame that is left out

    def test_sums_go_on_to_the_other_steps(self):
        save_file({"mean": np.arange(CHANNELS, dtype=np.float32), "var": np.full(CHANNELS, 4, np.float32)},
                  self.folder / "stats.safetensors")
        got = self.extract("--states", "mean:1-2", "--stats", self.folder / "stats.safetensors", "--pool", "3")
        for name, tensors in got.items():
            rows = (self.states(self.every[name], (1, 2)).mean(0) - np.arange(CHANNELS)) / 2
            rows = rows[: len(rows) // 3 * 3].reshape(-1, 3, CHANNELS).mean(1)
            np.testing.assert_allclose(tensors["hidden_states.mean.1-2"], rows, rtol=0, atol=1e-5)
        centres = np.random.default_rng(2).normal(size=(7, 2 * CHANNELS))
        np.save(self.folder / "centres.npy", centres)
        vectors = self.extract("--states", "mean:1-2", "--pool", "mean+std")
        units = self.extract("--states", "mean:1-2", "--pool", "mean+std", "--kmeans", self.folder / "centres.npy")
        for name, tensors in units.items():
            distances = ((vectors[name]["hidden_states.mean.1-2"] - centres) ** 2).sum(1)
            np.testing.assert_array_equal(tensors["units"], [distances.argmin()])
        result, output = self.run_program("--states", "mean:0-6", "--output-format", "npy", "--chunk-seconds", "0.5")
        self.assertEqual(result.returncode, 0, result.stderr)
        whole = self.extract("--states", "all", "--chunk-seconds", "0.5")
        for path in output.rglob("*.npy"):
            name = str(path.relative_to(output).with_suffix(""))
            np.testing.assert_array_equal(np.load(path), self.states(whole[name], range(7)).mean(0))
        self.assertEqual(subprocess.run([str(PROGRAM), "verify", str(output), "--quiet"],
                                        capture_output=True).returncode, 0)

    def test_a_killed_run_goes_on_and_others_are_told_apart(self):
        clips = self.folder / "many"
        write_clips(clips, 60)
        words = [str(PROGRAM), "extract", "--manifest", str(clips), "--model", str(self.model), "--batch-seconds",
                 "0.01", "--states", "mean:2-5"]
        whole, output = self.folder / "whole", self.folder / "killed"
        self.assertEqual(subprocess.run([*words, "--output", str(whole), "--quiet"], capture_output=True).returncode, 0)
        process = subprocess.Popen([*words, "--output", str(output), "--quiet"], stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(output.rglob("*.safetensors"))) < 3:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        report = json.loads(subprocess.run([*words, "--output", str(output), "--json", "--quiet"], check=True,
                                           capture_output=True, text=True).stdout)
        self.assertGreaterEqual(report["finished_before"], 1)
        self.assertEqual(report["finished_before"] + report["done"], 60)
        for path in whole.rglob("*.safetensors"):
            self.assertEqual((output / path.relative_to(whole)).read_bytes(), path.read_bytes())
        self.assertEqual(subprocess.run([str(PROGRAM), "verify", str(output)], capture_output=True).returncode, 0)
        self.assertEqual(subprocess.run([*words[:-1], "mean:2,3,4-5,5", "--output", str(output)],
                                        capture_output=True).returncode, 0)  # the same, said otherwise
        for other, field in ((["mean:2-4"], "states"), (["2-5"], "states"), (["mean:2-5", "--pool", "mean"], "pool")):
            result = subprocess.run([*words[:-1], *other, "--output", str(output)], capture_output=True, text=True)
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertIn(field, result.stderr)
        weighted = self.folder / "weighted"
        self.extract("--state-weights", self.folder / "weights.npy", output=weighted)
        np.save(self.folder / "others.npy", self.weights[::-1])
        for words in ((["--state-weights", self.folder / "others.npy"]),
                      (["--state-weights", self.folder / "weights.npy", "--no-softmax"])):
            result, _ = self.run_program(*words, output=weighted)
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertIn("state_weights", result.stderr)
        # The same weights in another file, on a machine whose softmax rounds otherwise, go on.
        save_file({"weights": self.weights}, self.folder / "same.safetensors")
        result, _ = self.run_program("--state-weights", self.folder / "same.safetensors", output=weighted,
                                     environment={"ATEN_CPU_CAPABILITY": "default"})
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("5 finished before", result.stderr)

    def test_a_worker_gives_the_same(self):
        clip = next((self.folder / "clips").rglob("*.wav"))
        requests = [{"path": str(clip), "states": states} for states in ("mean:1-3", "weighted", "weighted:1-2")]
        result = subprocess.run(
            [str(PROGRAM), "worker", "--model", str(self.model), "--quiet", "--state-weights",
             str(self.folder / "weights.npy")], input="".join(json.dumps(one) + "\n" for one in requests),
            capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        answers = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual([next(iter(answer.get("tensors", {"": 0}))) for answer in answers],
                         ["hidden_states.mean.1-3", "hidden_states.weighted.0-6", ""])
        self.assertIn("has 7 weights, expected 2", answers[2]["error"]["message"])
        name = str(clip.relative_to(self.folder / "clips").with_suffix(""))
        values = np.frombuffer(base64.b64decode(answers[0]["tensors"]["hidden_states.mean.1-3"]["data"]), np.float32)
        np.testing.assert_array_equal(values.reshape(-1, CHANNELS), self.states(self.every[name], (1, 2, 3)).mean(0))

    def test_what_does_not_fit_is_refused_by_name(self):
        bad = {"short": self.weights[:-1], "wide": self.weights[None], "whole": np.arange(7), "none": self.weights[:0],
               "nan": np.where(np.arange(7) == 3, np.nan, self.weights),
               "inf": np.where(np.arange(7) == 2, np.inf, self.weights),
               "large": np.where(np.arange(7) == 1, 1e39, self.weights.astype(np.float64))}
        for name, values in bad.items():
            np.save(self.folder / f"{name}.npy", values)
        save_file({"a": self.weights, "b": self.weights}, self.folder / "two.safetensors")
        save_file({"weights": np.stack([self.weights] * 2)}, self.folder / "flat.safetensors")
        torch.save(torch.from_numpy(self.weights), self.folder / "pickle.pt")
        save_tensors({"weights": torch.ones(7).to(torch.float8_e4m3fn)}, self.folder / "small.safetensors")
        (self.folder / "cut.npy").write_bytes((self.folder / "weights.npy").read_bytes()[:-2])
        for name, said in (("short.npy", "has 6 weights, expected 7"), ("wide.npy", "the shape (1, 7)"),
                           ("whole.npy", "the type <i8"), ("none.npy", "the shape (0)"),
                           ("nan.npy", "holds nan at index 3"), ("inf.npy", "holds inf at index 2"),
                           ("large.npy", "holds 1e+39 at index 1"), ("small.safetensors", "has dtype F8_E4M3"),
                           ("two.safetensors", "has 2 tensors"), ("flat.safetensors", "weights: has the shape (2, 7)"),
                           ("pickle.pt", "is a pickle"), ("cut.npy", "bytes of values"), ("absent.npy", "absent.npy")):
            with self.subTest(name):
                result, output = self.run_program("--state-weights", self.folder / name)
                self.assertEqual(result.returncode, 2 if name == "short.npy" else 4, result.stderr)
                self.assertEqual(len(result.stderr.splitlines()), 1)
                self.assertIn(name, result.stderr)
                self.assertIn(said, result.stderr)
                self.assertFalse(output.exists() and list(output.rglob("*.safetensors")))
        weights = ["--state-weights", self.folder / "weights.npy"]
        for words, said in ((["--states", "mean:7"], "--states: 7 is not one"), (["--states", "mean:"], "no number"),
                            (["--states", "3-1"], "--states: \"3-1\" is no range"), (["--states", "1-"], "no number"),
                            (["--states", "mean:1,mean:x"], "no number"), (["--states", "sum:1"], "no number"),
                            (["--states", "weighted"], "--state-weights: is not given"),
                            (["--states", "mean:1-2", *weights], "--state-weights: is given"),
                            (["--states", "weighted:0-6,weighted:1-2", *weights], "2 weighted sums"),
                            (["--no-softmax"], "--no-softmax: is given without"),
                            (["--pool", "median"], "--pool: \"median\" is unknown"),
                            (["--pool", "0"], "--pool: \"0\""),
                            (["--preset", "xcodec2", *weights], "--state-weights: is not what the preset xcodec2"),
                            (["--states", "mean:1-2,mean:3", "--output-format", "npy"], "holds one state"),
                            (["--states", "1,mean:1-2", "--kmeans", "x.npy"], "--kmeans: is given for 2")):
            with self.subTest(said):
                result, _ = self.run_program(*words)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertIn(said, result.stderr)
        result, output = self.run_program("--state-weights", self.folder / "clips" / "x", "--states", "1")
        self.assertEqual(result.returncode, 2, result.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
