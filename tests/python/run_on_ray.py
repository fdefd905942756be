"""Runs w2vbert.ray on a local Ray: two actors of which one is killed in the middle, rows that cannot be read, samples
instead of paths, a run that goes on, and what is refused.

    run_on_ray.py PROGRAM"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]
from absent_packages import skip_where_absent  # noqa: E402

try:
    import numpy as np
    import pyarrow.parquet
    import ray
    import soundfile
    import torch
    from safetensors.torch import load_file
except ImportError as absent:
    skip_where_absent(absent)
import w2vbert  # noqa: E402
import w2vbert.ray  # noqa: E402
from run_directories import write_clips  # noqa: E402
from small_model import save_small_model  # noqa: E402

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
CLIPS = 200
BAD = {7: "damaged", 90: "empty", 173: "gone"}


class KilledStage(w2vbert.ray.W2VBertStage):
    """Of all actors together the first one that has done one batch ends in its second."""

    def __init__(self, *, killed, **options):
        super().__init__(**options)
        self.killed = killed
        self.batches = 0

    def __call__(self, batch):
        self.batches += 1
        result = super().__call__(batch)
        if self.batches == 2:
            try:
                os.close(os.open(self.killed, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return result
            os.kill(os.getpid(), signal.SIGKILL)
        return result


class OnRay(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.model = cls.folder / "model"
        save_small_model(cls.model, num_hidden_layers=3)
        write_clips(cls.folder / "clips", CLIPS, samples=3000, more=20)
        cls.paths = sorted((cls.folder / "clips").rglob("*.wav"))
        cls.paths[7].write_bytes(cls.paths[7].read_bytes()[:1000])
        cls.paths[90].write_bytes(b"")
        cls.paths[173].unlink()
        result = subprocess.run(
            [str(PROGRAM), "extract", *map(str, cls.paths), "--model", str(cls.model), "--states", "1,2", "--output",
             str(cls.folder / "program"), "--threads", "1"], capture_output=True, text=True)
        assert result.returncode == 3, result.stderr
        cls.expected = {path.stem: load_file(path) for path in (cls.folder / "program").rglob("*.safetensors")}
        assert len(cls.expected) == CLIPS - len(BAD)
        ray.init(num_cpus=5, include_dashboard=False, log_to_driver=False, _temp_dir=tempfile.mkdtemp(dir="/tmp"))
        cls.addClassCleanup(ray.shutdown)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False

    def options(self, **more):
        return {"model": str(self.model), "states": [1, 2], "threads": 1} | more

    def map(self, dataset, stage=w2vbert.ray.W2VBertStage, batch_size=20, **options):
        return dataset.map_batches(stage, fn_constructor_kwargs=self.options(**options),
                                   compute=ray.data.ActorPoolStrategy(size=2), batch_size=batch_size)

    def check_rows(self, rows):
        good = 0
        for row in rows:
            path = pathlib.Path(row["path"])
            number = self.paths.index(path)
            self.assertEqual(bool(row["error"]), number in BAD, row["error"])
            if number in BAD:
                self.assertIn(path.name, row["error"])
                self.assertEqual(len(row["hidden_states.1"]), 0)
                continue
            good += 1
            for name, tensor in self.expected[path.stem].items():
                value = np.asarray(row[name])
                self.assertEqual(value.dtype, tensor.numpy().dtype)
                np.testing.assert_array_equal(value, tensor.numpy(), strict=True)
        return good

    def test_gives_the_programs_bits_although_an_actor_is_killed(self):
        dataset = ray.data.from_items([{"path": str(path), "number": number} for number, path in enumerate(self.paths)],
                                      override_num_blocks=10)
        killed = self.folder / "killed"
        rows = self.map(dataset, stage=KilledStage, killed=str(killed)).take_all()
        self.assertTrue(killed.exists(), "no actor was killed")
        self.assertEqual(sorted(row["number"] for row in rows), list(range(CLIPS)))
        self.assertEqual(self.check_rows(rows), CLIPS - len(BAD))

    def test_takes_samples_of_several_rates(self):
        items = []
        for number in range(8):
            samples, rate = soundfile.read(self.paths[number + 10], dtype="float32")
            items.append({"name": self.paths[number + 10].stem, "audio": samples, "rate": rate})
        items.append({"name": "short", "audio": np.zeros(10, np.float32), "rate": 16000})
        items.append({"name": "short", "audio": np.zeros(16000, np.float32), "rate": 0})
        rows = self.map(ray.data.from_items(items), path_column="", audio_column="audio",
                        rate_column="rate").take_all()
        self.assertEqual(len(rows), 10)
        for row in rows:
            self.assertNotIn("audio", row)
            if row["name"] == "short":
                self.assertRegex(row["error"], "samples|sampling_rate: 0")
                continue
            np.testing.assert_array_equal(row["hidden_states.2"],
                                          self.expected[row["name"]]["hidden_states.2"].numpy(), strict=True)

    def test_goes_on_with_what_its_output_lacks(self):
        output = self.folder / "parquet"
        items = [{"path": str(path)} for path in self.paths]
        self.map(ray.data.from_items(items[:60])).write_parquet(str(output))
        (output / "torn.parquet").write_bytes(b"PAR1 and no more")
        left = w2vbert.ray.unfinished(ray.data.from_items(items), output)
        self.assertEqual({row["path"] for row in left.take_all()},
                         {str(path) for number, path in enumerate(self.paths) if number == 7 or number >= 60})
        without_failed = w2vbert.ray.unfinished(ray.data.from_items(items), output, failed=False)
        self.assertEqual(without_failed.count(), CLIPS - 60)
        (output / "torn.parquet").unlink()
        self.map(left).write_parquet(str(output))
        rows = ray.data.read_parquet(str(output)).take_all()
        self.assertEqual(self.check_rows(rows), CLIPS - len(BAD))
        self.assertEqual(len(rows), CLIPS + 1)  # the damaged one twice
        self.assertEqual(w2vbert.ray.unfinished(ray.data.from_items(items), output).count(), len(BAD))
        self.assertEqual(w2vbert.ray.unfinished(ray.data.from_items(items), self.folder / "none").count(), CLIPS)

    def test_refuses_columns_that_do_not_fit(self):
        stage = w2vbert.ray.W2VBertStage(**self.options())
        path = np.array([str(self.paths[0])], dtype=object)
        with self.assertRaisesRegex(ValueError, "column 'path': is missing, there are file"):
            stage({"file": path})
        with self.assertRaisesRegex(ValueError, "column 'seconds': is there already"):
            stage({"path": path, "seconds": np.zeros(1)})
        other = self.folder / "other"
        other.mkdir()
        pyarrow.parquet.write_table(pyarrow.table({"name": ["a"]}), other / "a.parquet")
        with self.assertRaisesRegex(ValueError, "has no column 'path'"):
            w2vbert.ray.unfinished(ray.data.from_items([{"path": "a"}]), other)
        with self.assertRaisesRegex(ValueError, "is an address"):
            w2vbert.ray.unfinished(ray.data.from_items([{"path": "a"}]), "s3://bucket/out")

    def test_a_row_without_a_path_or_a_rate_is_a_bad_row(self):
        stage = w2vbert.ray.W2VBertStage(**self.options())
        rows = stage({"path": np.array([None, str(self.paths[0])], dtype=object)})
        self.assertIn("expected a path", rows["error"][0])
        self.assertEqual(rows["error"][1], "")
        stage = w2vbert.ray.W2VBertStage(**self.options(audio_column="audio", rate_column="rate"))
        noise = np.random.default_rng(1).standard_normal(8000).astype(np.float32)
        audio = np.empty(3, dtype=object)
        audio[:] = [noise, noise, noise]
        rows = stage({"audio": audio, "rate": np.array([np.nan, 16000, 1e9])})
        self.assertEqual([bool(error) for error in rows["error"]], [True, False, True])

    def test_gives_float32_for_bfloat16(self):
        stage = w2vbert.ray.W2VBertStage(**self.options(states=3, output_dtype="bfloat16"))
        row = stage({"path": np.array([str(self.paths[0]), str(self.paths[90])], dtype=object)})
        extractor = w2vbert.Extractor.from_pretrained(self.model, states=3, output_dtype="bfloat16", threads=1)
        (expected,) = extractor.extract(self.paths[0])
        self.assertEqual(expected.state.dtype, torch.bfloat16)
        np.testing.assert_array_equal(row["hidden_states.3"][0], expected.state.float().numpy(), strict=True)
        self.assertEqual(row["hidden_states.3"][1].dtype, np.float32)
        self.assertEqual(row["hidden_states.3"][1].shape, (0, expected.state.shape[1]))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
