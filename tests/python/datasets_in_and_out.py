"""Columns of HuggingFace's datasets as inputs of w2vbert.Extractor, and its results as WebDataset's tars, Parquet and
Arrow, as datasets and webdataset themselves read them: the values are those of the files.

    datasets_in_and_out.py PROGRAM"""

import io
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]
from absent_packages import skip_where_absent  # noqa: E402

try:
    import datasets
    import numpy as np
    import pyarrow.parquet
    import soundfile
    import torch
    import torchcodec
    import webdataset
except ImportError as absent:
    skip_where_absent(absent)
import w2vbert  # noqa: E402
from small_model import save_small_model  # noqa: E402

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
CLIPS = 12
RATES = (16000, 44100, 8000)


class Datasets(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        save_small_model(cls.folder / "model", num_hidden_layers=2)
        noise = np.random.default_rng(3)
        cls.paths = []
        for number in range(CLIPS):
            path = cls.folder / "audio" / f"{number:02}.{'flac' if number % 2 else 'wav'}"
            path.parent.mkdir(exist_ok=True)
            rate = RATES[number % 3]
            soundfile.write(path, 0.1 * noise.standard_normal((rate // 4 + 100 * number, 1 + number % 2)), rate)
            cls.paths.append(path)
        cls.extractor = cls.load()
        results = list(cls.extractor.extract(cls.paths))
        cls.of_files, cls.masks = [one.state for one in results], [one.attention_mask for one in results]
        cls.dataset = datasets.Dataset.from_dict({"audio": [str(path) for path in cls.paths], "text": ["a"] * CLIPS})

    @classmethod
    def load(cls, **options):
        return w2vbert.Extractor.from_pretrained(cls.folder / "model", **options)

    def expect_files(self, results, expected=None):
        results = list(results)
        self.assertEqual([one.error for one in results], [None] * CLIPS)
        for result, state in zip(results, expected or self.of_files, strict=True):
            self.assertTrue(torch.equal(result.state, state))
        return results

    def test_columns_that_are_not_decoded_give_the_bits_of_the_files(self):
        plain = self.dataset.cast_column("audio", datasets.Audio(decode=False))
        results = self.expect_files(self.extractor.extract(plain["audio"]))
        self.assertEqual([one.path for one in results], [str(path) for path in self.paths])
        self.expect_files(self.extractor.extract(row["audio"] for row in plain))
        embedded = datasets.Dataset.from_dict(
            {"audio": [{"bytes": path.read_bytes(), "path": path.name} for path in self.paths]},
            features=datasets.Features({"audio": datasets.Audio(decode=False)}))
        self.expect_files(self.extractor.extract(embedded["audio"]))
        nameless = ({"bytes": path.read_bytes(), "path": None} for path in self.paths)
        self.assertEqual({one.path for one in self.expect_files(self.extractor.extract(nameless))}, {None})
        single = next(iter(self.extractor.extract(embedded[0]["audio"])))
        self.assertTrue(torch.equal(single.state, self.of_files[0]))

    def test_decoded_columns_are_as_their_samples(self):
        decoded = self.dataset.cast_column("audio", datasets.Audio())
        self.assertIsInstance(decoded[0]["audio"], torchcodec.decoders.AudioDecoder)
        # A decoder of FLAC gives its samples once.
        all_samples = [row["audio"].get_all_samples() for row in decoded]
        for channels in ("first", "mean"):
            extractor = self.load(channels=channels)
            expected = []
            for samples in all_samples:
                one = samples.data.numpy()
                one = one[0] if channels == "first" else one.mean(0)
                expected.append(next(extractor.extract(one, sampling_rate=samples.sample_rate)).state)
            self.expect_files(extractor.extract(decoded["audio"]), expected)
            rows = ({"array": np.asarray(samples.data), "sampling_rate": samples.sample_rate, "path": None}
                    for samples in all_samples)
            self.expect_files(extractor.extract(rows), expected)
        # WAV and FLAC of 16 bits decode alike here and there.
        for row, samples, state in zip(decoded, all_samples, self.of_files, strict=True):
            if samples.sample_rate == 16000:
                self.assertTrue(torch.equal(next(self.extractor.extract(row["audio"])).state, state))
        second = self.load(channels=2)
        results = list(second.extract(decoded["audio"]))
        self.assertEqual([one.error is None for one in results], [bool(number % 2) for number in range(CLIPS)])
        self.assertIn("has 1 channels", str(results[0].error))

    def test_rows_that_cannot_be_taken_cost_themselves(self):
        good = {"array": np.zeros(4000, np.float32) + 0.01, "sampling_rate": 16000}
        rows = [
            ({"bytes": b"no audio" * 100, "path": "x.wav"}, w2vbert.AudioError, "x.wav"),
            ({"bytes": self.paths[0].read_bytes()[:-100], "path": None}, w2vbert.AudioError, "input 1"),
            ({"bytes": None, "path": None}, ValueError, "expected array and sampling_rate, bytes or path"),
            ({"bytes": None, "path": "not-there.wav"}, w2vbert.AudioError, "not-there.wav"),
            ({"bytes": "text", "path": None}, TypeError, "a str"),
            ({"bytes": None, "path": 5}, TypeError, "a int"),
            ({**good, "sampling_rate": None}, TypeError, "expected Hz"),
            ({**good, "sampling_rate": 1}, w2vbert.AudioError, "has 1 Hz"),
            ({**good, "array": np.zeros(4000, np.int16)}, TypeError, "expected floats"),
            ({**good, "array": np.zeros((2, 2, 4000), np.float32)}, ValueError, "expected (S) or (channels, S)"),
            ({**good, "array": np.zeros((0, 4000), np.float32)}, w2vbert.AudioError, "has 0 channels"),
            ({**good, "array": np.zeros((65, 4000), np.float32)}, w2vbert.AudioError, "has 65 channels"),
            ({**good, "array": np.full(4000, np.nan, np.float32)}, w2vbert.AudioError, "nan"),
            ({}, ValueError, "has nothing"),
        ]
        results = list(self.extractor.extract([good, *(row for row, _, _ in rows), good]))
        self.assertEqual(len(results), len(rows) + 2)
        self.assertTrue(torch.equal(results[0].state, results[-1].state))
        for number, (result, (_, kind, text)) in enumerate(zip(results[1:], rows, strict=False)):
            self.assertIsInstance(result.error, kind, (number, result.error))
            self.assertIn(text.replace("input 1", "input 2"), str(result.error), number)

    def results(self, extractor=None):
        """With one that fails, first."""
        return (extractor or self.extractor).extract([self.folder / "not-there.wav", *self.paths])

    def test_tars_for_webdataset(self):
        extractor = self.load(states=[1, 2], dtype="float32")
        expected = list(extractor.extract(self.paths))
        tars = w2vbert.outputs.write_tars(self.results(extractor), self.folder / "tars" / "states-%03d.tar",
                                          clips_per_tar=5)
        self.assertEqual([pathlib.Path(tar).name for tar in tars], [f"states-{number:03}.tar" for number in range(3)])
        samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode())
        self.assertEqual([one["__key__"] for one in samples],
                         ["not-there", *(path.name.partition(".")[0] for path in self.paths)])
        self.assertIn("cannot be opened", samples[0]["json"]["error"])
        for sample, result in zip(samples[1:], expected, strict=True):
            for name, state in result.states.items():
                self.assertTrue(torch.equal(torch.from_numpy(sample[f"{name}.npy"]), state))
            self.assertTrue(torch.equal(torch.from_numpy(sample["attention_mask.npy"]), result.attention_mask))
            self.assertEqual(sample["json"]["seconds"], result.seconds)
            self.assertEqual(sample["json"]["path"], result.path)
        again = w2vbert.outputs.write_tars(self.results(extractor), self.folder / "again-%d.tar", clips_per_tar=5)
        for one, other in zip(again, tars, strict=True):
            self.assertEqual(pathlib.Path(one).read_bytes(), pathlib.Path(other).read_bytes())

        # What fails leaves nothing that looks done.
        for options, text in (({"key": lambda _: "same"}, "comes twice"), ({"key": lambda _: "a.b"}, "without dots")):
            with self.assertRaisesRegex(ValueError, text):
                w2vbert.outputs.write_tars(self.results(), self.folder / "failed" / "%d.tar", **options)
            self.assertEqual(list((self.folder / "failed").iterdir()), [])
        with self.assertRaisesRegex(ValueError, "expected one %d"):
            w2vbert.outputs.write_tars(self.results(), self.folder / "one.tar")

    def test_the_programs_tars_go_in_and_ours_come_out(self):
        """From a shard with audio to shards with states."""
        doctor = subprocess.run([str(PROGRAM), "doctor"], capture_output=True, text=True).stdout
        if "only needed for tars" in doctor:
            self.skipTest("the program is built without libarchive")
        shard = self.folder / "shard.tar"
        with tarfile.open(shard, "w") as tar:
            for path in self.paths:
                tar.add(path, path.name)
        stream = webdataset.WebDataset(str(shard), shardshuffle=False)
        rows = ({"bytes": one.get("wav") or one.get("flac"), "path": f"{one['__key__']}.wav"} for one in stream)
        tars = w2vbert.outputs.write_tars(self.extractor.extract(rows), self.folder / "states-%d.tar")
        samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode())
        output = self.folder / "of-program"
        subprocess.run([str(PROGRAM), "extract", str(shard), "--model", str(self.folder / "model"),
                        "--output-format", "npy", "--output", str(output), "--quiet"], check=True)
        self.assertEqual(len(samples), CLIPS)
        for sample in samples:
            expected = np.load(output / f"{sample['__key__']}.npy")
            self.assertTrue(np.array_equal(sample["last_hidden_state.npy"], expected))

    def test_parquet_and_arrow_for_datasets(self):
        parquet = self.folder / "out" / "states.parquet"
        self.assertEqual(w2vbert.outputs.write_parquet(self.results(), parquet, clips_per_group=4), CLIPS + 1)
        arrow = self.folder / "out" / "arrow"
        self.assertEqual(w2vbert.outputs.save_to_disk(self.results(), arrow, clips_per_group=4), CLIPS + 1)
        with self.assertRaises(FileExistsError):
            w2vbert.outputs.save_to_disk(self.results(), arrow)
        self.assertEqual(sorted(path.name for path in parquet.parent.iterdir()), ["arrow", "states.parquet"])
        loaded = datasets.load_dataset("parquet", data_files=str(parquet), split="train",
                                       cache_dir=str(self.folder / "cache"))
        self.assertEqual(pyarrow.parquet.ParquetFile(parquet).num_row_groups, 4)
        for dataset in (loaded, datasets.load_from_disk(str(arrow))):
            rows = dataset.with_format("torch")
            self.assertEqual(len(rows), CLIPS + 1)
            self.assertIn("cannot be opened", rows[0]["error"])
            self.assertEqual(len(rows[0]["last_hidden_state"]), 0)
            for number, (path, state) in enumerate(zip(self.paths, self.of_files, strict=True), 1):
                row = rows[number]
                self.assertEqual((row["path"], row["error"], int(row["index"])), (str(path), "", number))
                self.assertTrue(torch.equal(row["last_hidden_state"], state))
                self.assertTrue(torch.equal(row["attention_mask"], self.masks[number - 1]))

    def test_types_and_results_without_states(self):
        for dtype, kept in (("float16", torch.float16), ("bfloat16", torch.float32)):
            extractor = self.load(output_dtype=dtype)
            path = self.folder / f"{dtype}.parquet"
            w2vbert.outputs.write_parquet(extractor.extract(self.paths), path)
            rows = datasets.Dataset.from_parquet(str(path), cache_dir=str(self.folder / "cache")).with_format("numpy")
            for row, result in zip(rows, extractor.extract(self.paths), strict=True):
                got = torch.from_numpy(np.stack(row["last_hidden_state"]))
                self.assertTrue(torch.equal(got.to(kept), result.state.to(kept)))
        for results in ([], self.extractor.extract([self.folder / "not-there.wav"])):
            with self.assertRaisesRegex(ValueError, "none has states"):
                w2vbert.outputs.write_parquet(results, self.folder / "none.parquet")
        self.assertFalse((self.folder / "none.parquet").exists())
        nameless = self.extractor.extract([np.zeros(4000, np.float32)])
        tars = w2vbert.outputs.write_tars(nameless, self.folder / "n-%d.tar")
        with tarfile.open(tars[0]) as tar:
            about = json.load(io.TextIOWrapper(tar.extractfile("00000000.json")))
        self.assertEqual(about["path"], None)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
