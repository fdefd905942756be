"""w2vbert extract --kmeans: the units must be those that scikit-learn's KMeans.predict gives for the states that
w2vbert extract writes, but where two centres are as near as float32 can tell; runs, formats, converted models, and what
is refused.

    units_as_sklearn.py PROGRAM CONVERT_KMEANS   (exit 77: scikit-learn is not installed)"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[2] / "support")]
from absent_packages import skip_where_absent  # noqa: E402

try:
    import joblib
    import numpy as np
    from sklearn.cluster import KMeans, MiniBatchKMeans
except ImportError as error:
    skip_where_absent(error)
import torch  # noqa: E402
import transcribe_as_transformers as transcription  # noqa: E402  in this folder; takes the same PROGRAM
from safetensors.numpy import load_file  # noqa: E402
from transformers.utils import logging  # noqa: E402

CONVERT = pathlib.Path(sys.argv[2]).resolve()
CENTRES = 64
# How much nearer our centre may be, in float32's ULPs of its squared length, with which scikit-learn's sum begins.
# Measured: 3 of a million units differ (500 centres of 80 values), by 2.0, 3.2 and 4.3.
ULPS = 8


class Units(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        transcription.prepare_pytorch()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        torch.manual_seed(0)
        cls.model = cls.folder / "model"
        transcription.save_model(cls.model, {}, {}, True)
        cls.clips = transcription.recordings()
        cls.extract("states", "--states", "2")
        cls.states = {path.stem: load_file(path)["hidden_states.2"]
                      for path in (cls.folder / "states").rglob("*.safetensors")}
        every = np.concatenate(list(cls.states.values()))
        cls.kmeans = KMeans(CENTRES, n_init=1, random_state=0, max_iter=5).fit(every[: 20 * CENTRES])
        np.save(cls.folder / "centres.npy", cls.kmeans.cluster_centers_)

    @classmethod
    def run_program(cls, output, *words):
        return subprocess.run([str(transcription.PROGRAM), "extract", *map(str, cls.clips), "--model", str(cls.model),
                               "--output", str(cls.folder / output), *map(str, words)], capture_output=True, text=True)

    @classmethod
    def extract(cls, output, *words):
        result = cls.run_program(output, *words)
        if result.returncode != 0:
            raise AssertionError(result.stderr)
        return {path.stem: load_file(path) for path in (cls.folder / output).rglob("*.safetensors")}

    def distances(self, states, centres):
        x, c = states.astype(np.float64), centres.astype(np.float64)
        return (c**2).sum(1) - 2 * x @ c.T

    def expect_units(self, units, states, kmeans, centres):
        """The same ids, but ties: a list of them"""
        theirs = kmeans.predict(states)
        ties = []
        for row in np.nonzero(units != theirs)[0]:
            distances = self.distances(states[row : row + 1], centres)[0]
            ulp = np.spacing(np.float32((centres[units[row]].astype(np.float64) ** 2).sum()))
            ties.append((int(row), int(units[row]), int(theirs[row]),
                         float((distances[theirs[row]] - distances[units[row]]) / ulp)))
            self.assertLessEqual(0, ties[-1][3])
            self.assertLessEqual(ties[-1][3], ULPS)
        return ties

    def test_units_are_those_of_scikit_learn(self):
        got = self.extract("units", "--states", "2", "--kmeans", self.folder / "centres.npy")
        self.assertEqual(got.keys(), self.states.keys())
        ties, frames = [], 0
        for name, tensors in got.items():
            self.assertEqual(sorted(tensors), ["attention_mask", "units"])
            self.assertEqual(tensors["units"].dtype, np.int64)
            ties += self.expect_units(tensors["units"], self.states[name], self.kmeans, self.kmeans.cluster_centers_)
            frames += len(tensors["units"])
        print(f"{frames} units, other centres as near: {ties}", file=sys.stderr)
        self.assertGreater(len(np.unique(np.concatenate([t["units"] for t in got.values()]))), 10)

    def test_runs_are_units_with_their_counts(self):
        whole = self.extract("whole", "--states", "2", "--kmeans", self.folder / "centres.npy")
        runs = self.extract("runs", "--states", "2", "--kmeans", self.folder / "centres.npy", "--kmeans-dedup")
        for name, tensors in runs.items():
            self.assertEqual(sorted(tensors), ["counts", "units"])
            self.assertTrue((np.diff(tensors["units"]) != 0).all())
            np.testing.assert_array_equal(np.repeat(tensors["units"], tensors["counts"]), whole[name]["units"])

    def test_double_centres_in_any_order_and_npy_outputs(self):
        wide = self.kmeans.cluster_centers_.astype(np.float64) + 1e-9
        np.save(self.folder / "wide.npy", np.asfortranarray(wide))
        words = ["npy", "--states", "2", "--output-format", "npy", "--kmeans"]
        result = self.run_program(*words, self.folder / "wide.npy")
        self.assertEqual(result.returncode, 0, result.stderr)
        for path in (self.folder / "npy").rglob("*.npy"):
            units = np.load(path)
            self.assertEqual(units.dtype, np.int64)
            states = self.states[path.stem]
            np.testing.assert_array_equal(units, self.distances(states, wide).argmin(1))
        again = self.run_program(*words, self.folder / "wide.npy")
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertIn("0 clips done", again.stderr)  # they are taken for whole
        other = self.run_program(*words, self.folder / "centres.npy")
        self.assertEqual(other.returncode, 2)
        self.assertIn("kmeans", other.stderr)

    def test_of_equal_centres_the_first_counts(self):
        several = np.concatenate([self.kmeans.cluster_centers_[::step] for step in (1, -1, 1, -1, 1)])
        np.save(self.folder / "several.npy", several)
        units = self.extract("several", "--states", "2", "--kmeans", self.folder / "several.npy")
        alone = self.extract("alone", "--states", "2", "--kmeans", self.folder / "centres.npy")
        for name, tensors in alone.items():
            np.testing.assert_array_equal(units[name]["units"], tensors["units"])

    def test_models_of_joblib_and_torch_are_converted(self):
        every = np.concatenate(list(self.states.values()))[: 20 * CENTRES]
        joblib.dump(MiniBatchKMeans(CENTRES, n_init=1, random_state=0, max_iter=2).fit(every), self.folder / "km.bin")
        torch.save({"centres": torch.from_numpy(self.kmeans.cluster_centers_)}, self.folder / "km.pt")

        def convert(*words):
            return subprocess.run([sys.executable, str(CONVERT), *map(str, words)], capture_output=True, text=True)

        refused = convert(self.folder / "km.bin", self.folder / "km.npy")
        self.assertIn("expected --trust", refused.stderr)
        self.assertFalse((self.folder / "km.npy").exists())
        made = convert(self.folder / "km.bin", self.folder / "km.npy", "--trust")
        self.assertEqual(made.returncode, 0, made.stderr)
        np.testing.assert_array_equal(np.load(self.folder / "km.npy"),
                                      joblib.load(self.folder / "km.bin").cluster_centers_)
        self.assertIn("--key NAME", convert(self.folder / "km.pt", self.folder / "kt.npy").stderr)
        self.assertEqual(convert(self.folder / "km.pt", self.folder / "kt.npy", "--key", "centres").returncode, 0)
        np.testing.assert_array_equal(np.load(self.folder / "kt.npy"), self.kmeans.cluster_centers_)

    def test_what_does_not_fit_is_refused_by_name(self):
        centres = self.kmeans.cluster_centers_
        bad = {"narrow": centres[:, :-1], "flat": centres[0], "whole": centres.astype(np.int64), "none": centres[:0],
               "nan": np.where(np.arange(len(centres))[:, None] == 3, np.nan, centres)}
        for name, values in bad.items():
            np.save(self.folder / f"{name}.npy", values)
        data = (self.folder / "centres.npy").read_bytes()
        (self.folder / "cut.npy").write_bytes(data[:-4])
        (self.folder / "text.npy").write_bytes(b"0 1 2\n")
        (self.folder / "claims.npy").write_bytes(data.replace(b"(64, 80), }     ", b"(9999999, 80), }", 1))
        for name, said in (("narrow", "the shape (64, 79)"), ("flat", "the shape (80)"), ("whole", "the type <i8"),
                           ("none", "the shape (0, 80)"), ("nan", "not finite"), ("cut", "bytes of values"),
                           ("text", "is no .npy file"), ("claims", "for the shape (9999999, 80)"),
                           ("absent", "absent.npy")):
            with self.subTest(name):
                result = self.run_program("bad", "--states", "2", "--kmeans", self.folder / f"{name}.npy")
                self.assertEqual(result.returncode, 4, result.stderr)
                self.assertIn(said, result.stderr)
                self.assertEqual("--kmeans" in result.stderr, name != "absent", result.stderr)
        for words, said in ((["--kmeans-dedup"], "--kmeans-dedup: is given without --kmeans"),
                            (["--kmeans", self.folder / "centres.npy", "--states", "1,2"], "--kmeans: is given for 2"),
                            (["--kmeans", self.folder / "centres.npy", "--kmeans-dedup", "--output-format", "npy"],
                             "--output-format: a .npy file holds")):
            with self.subTest(said):
                result = self.run_program("bad", *words)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertIn(said, result.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
