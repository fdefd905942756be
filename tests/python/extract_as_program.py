"""Compares w2vbert.Extractor with `w2vbert extract`, to the last bit, on good, damaged and odd inputs.

    extract_as_program.py PROGRAM"""

import itertools
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]
from absent_packages import skip_where_absent  # noqa: E402

try:
    import numpy as np
    import soundfile
    import torch
    from safetensors.torch import load_file
except ImportError as absent:
    skip_where_absent(absent)
import w2vbert  # noqa: E402
from recorded_speech import recordings  # noqa: E402
from run_directories import write_clips  # noqa: E402
from small_model import copy_with_value, save_small_model  # noqa: E402

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
THREADS = 2


class Extraction(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(THREADS)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.model = cls.folder / "model"
        save_small_model(cls.model, num_hidden_layers=3)
        save_small_model(cls.folder / "adapter", add_adapter=True)
        np.save(cls.folder / "weights.npy", np.array([0.5, -1, 2, 0.25], np.float32))
        write_clips(cls.folder / "clips", 7)
        cls.paths = sorted((cls.folder / "clips").rglob("*.wav"))
        for number, path in enumerate(recordings()):
            link = cls.folder / "clips" / f"recorded{number}.wav"
            link.symlink_to(path)
            cls.paths.append(link)

    def program_outputs(self, *options, model=None, status=0):
        """Input name -> tensors of its output."""
        with tempfile.TemporaryDirectory(dir=self.folder) as output:
            result = subprocess.run(
                [str(PROGRAM), "extract", "--manifest", str(self.folder / "clips"), "--model", str(model or self.model),
                 "--output", output, "--threads", str(THREADS), *options], capture_output=True, text=True)
            self.assertEqual(result.returncode, status, result.stderr)
            return {str(path.relative_to(output).with_suffix("")): load_file(path)
                    for path in pathlib.Path(output).rglob("*.safetensors")}

    def name_of(self, path):
        return str(pathlib.Path(path).relative_to(self.folder / "clips").with_suffix(""))

    def assert_same(self, extractor, expected):
        clips = list(extractor.extract(self.paths))
        self.assertEqual([clip.index for clip in clips], list(range(len(self.paths))))
        self.assertEqual([clip.path for clip in clips], list(map(str, self.paths)))
        for clip in clips:
            tensors = expected[self.name_of(clip.path)]
            self.assertIsNone(clip.error)
            self.assertEqual(set(clip.tensors), set(tensors))
            for name, tensor in tensors.items():
                self.assertTrue(torch.equal(clip.tensors[name], tensor), f"{clip.path} {name}")
                self.assertEqual(clip.tensors[name].dtype, tensor.dtype)

    def test_states_are_those_of_the_program(self):
        for settings, options in (
                ({}, []),
                ({"states": [0, 2]}, ["--states", "0,2"]),
                ({"states": "all", "dtype": "bfloat16"}, ["--states", "all", "--dtype", "bfloat16"]),
                ({"states": 1, "engine": "reference"}, ["--states", "1", "--engine", "reference"]),
                ({"states": "mean:0-2"}, ["--states", "mean:0-2"]),
                ({"states": ["mean:1-2", 3]}, ["--states", "3,mean:1-2"]),
                ({"states": ["mean:1-2", "0-1", "all"]}, ["--states", "all,mean:1-2"]),
                ({"states": "weighted", "state_weights": self.folder / "weights.npy"},
                 ["--state-weights", str(self.folder / "weights.npy")]),
                ({"state_weights": self.folder / "weights.npy", "softmax": False, "pool": "mean+std"},
                 ["--state-weights", str(self.folder / "weights.npy"), "--no-softmax", "--pool", "mean+std"]),
                ({"states": 2, "pool": "mean"}, ["--states", "2", "--pool", "mean"]),
                ({"output_dtype": torch.float16, "pool": 3}, ["--output-dtype", "float16", "--pool", "3"]),
                ({"chunk_seconds": 0.2, "overlap_seconds": 0.04, "batch_seconds": 0.5},
                 ["--chunk-seconds", "0.2", "--overlap-seconds", "0.04"]),
                ({"resampler": "sinc", "channels": "mix", "readers": 3, "threads": THREADS},
                 ["--resampler", "sinc", "--channels", "mean"])):
            extractor = w2vbert.Extractor.from_pretrained(self.model, **settings)
            self.assert_same(extractor, self.program_outputs(*options))
        adapter = self.folder / "adapter"
        self.assert_same(w2vbert.Extractor.from_pretrained(adapter), self.program_outputs(model=adapter))

    def test_presets_are_those_of_the_program(self):
        deep = self.folder / "deep"
        save_small_model(deep, num_hidden_layers=24)
        weights = ["--state-weights", "w.npy"]
        for preset in ("audiotoken", "neucodec", "sidon"):
            self.assert_same(w2vbert.Extractor.from_pretrained(deep, preset=preset),
                             self.program_outputs("--preset", preset, model=deep))
        by_time = self.program_outputs("--preset", "tribev2", model=deep, status=3)  # one is too short for a row
        for clip in w2vbert.Extractor.from_pretrained(deep, preset="tribev2").extract(self.paths):
            if self.name_of(clip.path) not in by_time:
                self.assertRegex(str(clip.error), r"takes no row of 0\.\d+ s, expected more than 0\.25 s")
                continue
            for name, tensor in by_time[self.name_of(clip.path)].items():
                self.assertTrue(torch.equal(clip.tensors[name], tensor), name)
        samples = 0.1 * np.random.default_rng(3).standard_normal(20000, np.float32)
        soundfile.write(self.folder / "of.wav", samples, 8000, subtype="FLOAT")
        extractor = w2vbert.Extractor.from_pretrained(deep, preset="tribev2")
        (of_file,) = extractor.extract(self.folder / "of.wav")
        (of_samples,) = extractor.extract(samples, sampling_rate=8000)
        for name, tensor in of_file.states.items():
            self.assertEqual(len(tensor), round(2.5 * 2))
            self.assertTrue(torch.equal(of_samples.states[name], tensor))
        agreeing = w2vbert.Extractor.from_pretrained(deep, preset="sidon", resampler="soxr", channels="mix", states=8)
        self.assert_same(agreeing, self.program_outputs("--preset", "sidon", model=deep))
        slow = self.folder / "slow"
        save_small_model(slow, num_hidden_layers=24)
        config = slow / "preprocessor_config.json"
        config.write_text(config.read_text().replace("16000", "8000"))
        # Each rule is the program's, but for the names of its options.
        for settings, options, words in (
                ({"preset": "sidon", "channels": "first"}, ["--channels", "first"], "channels: is not what"),
                ({"preset": "sidon", "resampler": "sinc"}, ["--resampler", "sinc"], "resampler: is not what"),
                ({"preset": "sidon", "states": 3}, ["--states", "3"], "states: is not what"),
                ({"preset": "sidon", "stats": "s.st"}, ["--stats", "s.st"], "stats: is given"),
                ({"preset": "sidon", "state_weights": "w.npy"}, weights, "state.weights: is not what"),
                ({"preset": "maskgct"}, [], "stats: is not given"),
                ({"preset": "tribev2", "pool": 2}, ["--pool", "2"], "pool: is given"),
                ({"preset": "sidon", "model": slow}, [], "preset: sidon is for models of 16000 Hz")):
            model = settings.pop("model", deep)
            with self.subTest(words):
                with self.assertRaisesRegex(w2vbert.UsageError, words):
                    w2vbert.Extractor.from_pretrained(model, **settings)
                result = subprocess.run(
                    [str(PROGRAM), "extract", str(self.paths[0]), "--model", str(model), "--output",
                     str(self.folder / "refused"), "--preset", settings["preset"], *options],
                    capture_output=True, text=True)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertRegex(result.stderr, words)

    def test_one_input_and_its_states(self):
        extractor = w2vbert.Extractor.from_pretrained(str(self.model), states=2)
        (clip,) = extractor.extract(self.paths[0])
        self.assertEqual(list(clip.states), ["hidden_states.2"])
        self.assertTrue(torch.equal(clip.state, clip.tensors["hidden_states.2"]))
        self.assertEqual(clip.attention_mask.shape, clip.state.shape[:1])
        self.assertEqual(extractor.engine, "fused")
        self.assertEqual((extractor.sampling_rate, extractor.engine_reason, extractor.warnings), (16000, "", []))
        with self.assertRaisesRegex(ValueError, "there are 2, expected one"):
            _ = next(iter(w2vbert.Extractor.from_pretrained(self.model, states=[0, 1]).extract(self.paths[0]))).state

    def test_samples_are_as_their_file(self):
        extractor = w2vbert.Extractor.from_pretrained(self.model)
        path = self.paths[0]
        samples, rate = soundfile.read(path, dtype="float32")
        (of_file,) = extractor.extract(path)
        for given in (samples, torch.from_numpy(samples), samples.astype(np.float64)):
            (clip,) = extractor.extract([given])
            self.assertIsNone(clip.path)
            self.assertTrue(torch.equal(clip.state, of_file.state))
        (clip,) = extractor.extract(samples, sampling_rate=8000)
        self.assertAlmostEqual(clip.seconds, 2 * of_file.seconds, places=2)
        self.assertEqual(rate, 16000)

    def test_bad_inputs_do_not_end_the_iteration(self):
        broken = self.folder / "broken.wav"
        broken.write_bytes(self.paths[0].read_bytes()[:-100])
        short = self.folder / "short.wav"
        soundfile.write(short, np.zeros(559), 16000)
        text = self.folder / "text.wav"
        text.write_text("no audio")
        nan = np.full(4000, np.nan, np.float32)
        bad = [broken, short, text, self.folder / "absent.wav", self.folder, nan, np.zeros((2, 4000), np.float32),
               np.zeros(4000, np.int16), 7, None, np.zeros(0, np.float32), np.full(4000, 40000, np.float32)]
        words = ["expected", "559 samples", "expected", "absent", "expected|directory", "nan at sample 0",
                 r"\(2, 4000\)", "int16", "is a int", "NoneType", "0 samples", "40000.* at sample 0"]
        inputs = [self.paths[0], *itertools.chain.from_iterable((one, self.paths[1]) for one in bad)]
        extractor = w2vbert.Extractor.from_pretrained(self.model)
        expected = [clip.state for clip in extractor.extract(self.paths[:2])]
        clips = list(extractor.extract(inputs))
        self.assertEqual(len(clips), len(inputs))
        self.assertTrue(torch.equal(clips[0].state, expected[0]))
        for clip in clips[2::2]:
            self.assertTrue(torch.equal(clip.state, expected[1]))
        for clip, word in zip(clips[1::2], words, strict=True):
            self.assertIsInstance(clip.error, Exception)
            self.assertRegex(str(clip.error), word)
            self.assertEqual(clip.tensors, {})
            self.assertNotIn("\n", str(clip.error))
            with self.assertRaises(type(clip.error)):
                _ = clip.states
        for index in (1, 3, 5, 7):
            self.assertIsInstance(clips[index].error, w2vbert.AudioError)

    def test_samples_have_the_limits_of_files(self):
        samples = 0.1 * np.random.default_rng(2).standard_normal(32000).astype(np.float32)
        extractor = w2vbert.Extractor.from_pretrained(self.model, max_seconds=1.5)
        for rate, word in ((1, "4000 to 384000"), (400_000, "4000 to 384000"), (16000, "at most 1.5")):
            (clip,) = extractor.extract(samples, sampling_rate=rate)
            self.assertRegex(str(clip.error), word)
        (clip,) = extractor.extract(samples[:16000])
        self.assertIsNone(clip.error)

    def test_names_are_bytes(self):
        odd = os.fsdecode(os.fsencode(self.folder) + b"/\xff\xfe.wav")
        pathlib.Path(odd).write_bytes(self.paths[0].read_bytes())
        extractor = w2vbert.Extractor.from_pretrained(self.model)
        of_file, of_odd, absent = extractor.extract([self.paths[0], odd, odd + "x"])
        self.assertTrue(torch.equal(of_file.state, of_odd.state))
        self.assertIsInstance(absent.error, w2vbert.AudioError)
        self.assertNotIn("\n", str(absent.error))

    def test_a_value_that_does_not_fit_is_its_clips_error(self):
        extractor = w2vbert.Extractor.from_pretrained(self.model, pool=200)
        long = np.random.default_rng(0).standard_normal(16000 * 5).astype(np.float32) / 10
        clips = list(extractor.extract([self.paths[0], long, self.paths[1]]))
        self.assertIsNone(clips[1].error)
        for clip in clips[::2]:
            self.assertIsInstance(clip.error, w2vbert.UsageError)

    def test_states_that_are_nan_are_told(self):
        folder = self.folder / "nan"
        copy_with_value(self.model, folder, "encoder.layers.1.final_layer_norm.bias", 3, float("nan"))
        notes = []
        for states in ("1", "1,2"):
            (clip,) = w2vbert.Extractor.from_pretrained(folder, states=states).extract(self.paths[0])
            notes.append(clip.note)
        self.assertEqual(notes, ["", "the model gives NaN or infinity: hidden_states.2"])

    def test_endless_inputs_are_read_as_they_are_needed(self):
        taken = 0

        def endless():
            nonlocal taken
            for taken in itertools.count(1):  # noqa: B007
                yield self.paths[0]

        extractor = w2vbert.Extractor.from_pretrained(self.model, batch_seconds=1, readers=2)
        iterator = extractor.extract(endless())
        for _ in range(20):
            self.assertIsNone(next(iterator).error)
        self.assertLess(taken, 300)
        threads = threading.active_count()
        iterator.close()
        self.assertEqual(threading.active_count(), threads - 2)

    def test_little_waits_for_the_model(self):
        """With long clips as few are decoded as make two batches."""
        decoded = []
        long = np.random.default_rng(0).standard_normal(16000 * 4).astype(np.float32) / 10

        class Recording:
            def __init__(self, features):
                self.features = features

            def take_samples(self, *arguments):
                decoded.append(arguments[-1])
                return self.features.take_samples(*arguments)

        from w2vbert import extractor as module

        extractor = w2vbert.Extractor.from_pretrained(self.model, batch_seconds=4)
        reading = module._Reading(Recording(extractor._extraction.features), 16000, 2, 2 * 200)
        try:
            inputs = iter([long] * 50)
            for number in range(1, 6):
                self.assertEqual(len(reading.next_batch(inputs, 200)), 1)
                time.sleep(0.2)  # in which the threads would read on
                # Given, waiting, and in the hands of two threads; the one that is waited for may go before.
                self.assertLessEqual(len(decoded), number + 3 + 2)
        finally:
            reading.close()

    def test_an_error_of_the_inputs_themselves_is_raised(self):
        def failing():
            yield self.paths[0]
            raise LookupError("no more")

        extractor = w2vbert.Extractor.from_pretrained(self.model)
        with self.assertRaisesRegex(LookupError, "no more"):
            list(extractor.extract(failing()))
        self.assertEqual(list(extractor.extract([])), [])

    def test_iterations_at_once(self):
        extractor = w2vbert.Extractor.from_pretrained(self.model)
        expected = [clip.state for clip in extractor.extract(self.paths)]
        results = {}

        def work(number):
            results[number] = [clip.state for clip in extractor.extract(self.paths)]

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for states in results.values():
            self.assertTrue(all(map(torch.equal, states, expected)))
        self.assertEqual(len(results), 4)

    def test_wrong_requests_are_one_clear_error(self):
        for settings, kind, words in (
                ({"states": 9}, w2vbert.UsageError, "9 is not one of the model's, expected 0 to 3"),
                ({"states": []}, w2vbert.UsageError, "states"), ({"dtype": "float8"}, w2vbert.UsageError, "float8"),
                ({"engine": "slow"}, w2vbert.UsageError, "slow"), ({"channels": "left"}, w2vbert.UsageError, "left"),
                ({"resampler": "x"}, w2vbert.UsageError, "soxr"), ({"batch_seconds": 0}, w2vbert.UsageError, "above 0"),
                ({"threads": 0}, w2vbert.UsageError, "threads"), ({"pool": 0}, w2vbert.UsageError, "pool"),
                ({"preset": "none"}, w2vbert.UsageError, "one of "),
                ({"pool": "median"}, w2vbert.UsageError, "median"), ({"channels": "each"}, w2vbert.UsageError, "each"),
                ({"states": "weighted"}, w2vbert.UsageError, "state_weights"),
                ({"softmax": False}, w2vbert.UsageError, "softmax"), ({"device": "gpu"}, w2vbert.UsageError, "gpu"),
                ({"overlap_seconds": 1}, w2vbert.UsageError, "without chunk_seconds"),
                ({"output_dtype": "int8"}, w2vbert.UsageError, "float16"),
                ({"stats": "/nowhere"}, w2vbert.CheckpointError, "/nowhere")):
            with self.assertRaisesRegex(kind, words) as caught:
                w2vbert.Extractor.from_pretrained(self.model, **settings)
            self.assertNotIn("\n", str(caught.exception))
            self.assertIsInstance(caught.exception, w2vbert.Error)
        with self.assertRaisesRegex(w2vbert.CheckpointError, "no/model"):
            w2vbert.Extractor.from_pretrained("no/model")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
