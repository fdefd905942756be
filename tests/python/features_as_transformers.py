"""Compares w2vbert.features with transformers' SeamlessM4TFeatureExtractor and with `w2vbert features`, bit for bit.

    features_as_transformers.py PROGRAM"""

import inspect
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]
from absent_packages import skip_where_absent  # noqa: E402

try:
    import numpy as np
    import soundfile
    import torch
    import transformers
    from safetensors.torch import load_file
    from transformers.utils import logging
except ImportError as absent:
    skip_where_absent(absent)
import w2vbert  # noqa: E402
from recorded_speech import read_first_channel, recordings  # noqa: E402
from w2vbert.features import SeamlessM4TFeatureExtractor  # noqa: E402

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
NOISE = np.random.default_rng(0)
CLIPS = [(0.1 * NOISE.standard_normal(samples)).astype(np.float32) for samples in (16000, 5601, 24001, 720)]
STEREO = np.stack([CLIPS[0], CLIPS[0][::-1]])


class Features(unittest.TestCase):
    def setUp(self):
        logging.set_verbosity_error()

    def assert_same(self, raw_speech, settings=None, **arguments):
        arguments = {"sampling_rate": (settings or {}).get("sampling_rate", 16000), **arguments}
        results = []
        for extractor_class in (transformers.SeamlessM4TFeatureExtractor, SeamlessM4TFeatureExtractor):
            try:
                results.append(extractor_class(**(settings or {}))(raw_speech, **arguments))
            except Exception as error:
                results.append(error)
        expected, actual = results
        message = f"{settings} {arguments}"
        if isinstance(expected, Exception):
            self.assertEqual((type(actual), str(actual)), (type(expected), str(expected)), message)
            return
        self.assertIs(type(actual), type(expected), message)
        self.assertEqual(list(actual), list(expected), message)
        for name, value in expected.items():
            self.assertIs(type(actual[name]), type(value), message)
            self.assertEqual(actual[name].dtype, value.dtype, message)
            self.assertEqual(actual[name].shape, value.shape, message)
            self.assertEqual(np.asarray(actual[name]).tobytes(), np.asarray(value).tobytes(), message)

    def test_every_argument(self):
        for raw_speech in (CLIPS[0], CLIPS[:1], CLIPS):
            for arguments in ({}, {"return_tensors": "pt"}, {"return_tensors": "np"}, {"return_attention_mask": False},
                              {"padding": "max_length", "max_length": 200}, {"padding": "longest"},
                              {"truncation": True, "max_length": 50}, {"pad_to_multiple_of": 16},
                              {"pad_to_multiple_of": None}, {"do_normalize_per_mel_bins": False},
                              {"padding": False}, {"padding": True, "max_length": 20}):
                self.assert_same(raw_speech, **arguments)

    def test_every_kind_of_input(self):
        for raw_speech in (list(map(float, CLIPS[3])), [list(map(float, clip)) for clip in CLIPS[2:]],
                           torch.from_numpy(CLIPS[0]), [torch.from_numpy(clip) for clip in CLIPS], tuple(CLIPS),
                           CLIPS[0].astype(np.float64), [clip.astype(np.float64) for clip in CLIPS], STEREO, [STEREO],
                           np.stack([STEREO, STEREO]), np.stack([CLIPS[0], CLIPS[0]]), CLIPS[0][:, None],
                           (1000 * CLIPS[0]).astype(np.int16), CLIPS[0].astype(np.float16)):
            self.assert_same(raw_speech, return_tensors="np")

    def test_what_transformers_refuses(self):
        for raw_speech in (CLIPS[0][:100], [], np.zeros((1, 1, 1, 4000), np.float32), "text", None, [CLIPS[0], "text"]):
            self.assert_same(raw_speech)
        self.assert_same(CLIPS, padding=False)
        self.assert_same(CLIPS, padding="max_length")
        self.assert_same(CLIPS, padding="widest")
        self.assert_same(CLIPS, truncation=True)
        self.assert_same(CLIPS[0], sampling_rate=8000)

    def test_every_setting(self):
        for settings in ({"padding_value": 1.0}, {"num_mel_bins": 40, "feature_size": 40}, {"stride": 1}, {"stride": 3},
                         {"sampling_rate": 8000}, {"padding_side": "left"}, {"return_attention_mask": False}):
            self.assert_same(CLIPS, settings)
            self.assert_same(CLIPS, settings, return_attention_mask=True)

    def test_the_call_is_that_of_transformers(self):
        own, theirs = (inspect.signature(extractor_class.__call__).parameters
                       for extractor_class in (SeamlessM4TFeatureExtractor, transformers.SeamlessM4TFeatureExtractor))
        self.assertEqual([(one.name, one.kind, one.default) for one in own.values()],
                         [(one.name, one.kind, one.default) for one in theirs.values()])
        self.assertIs(w2vbert.features.SeamlessM4TFeatureExtractor, SeamlessM4TFeatureExtractor)

    def test_saved_and_loaded(self):
        with tempfile.TemporaryDirectory() as folder:
            SeamlessM4TFeatureExtractor(padding_value=1.0).save_pretrained(folder)
            theirs = transformers.AutoFeatureExtractor.from_pretrained(folder)
            own = SeamlessM4TFeatureExtractor.from_pretrained(folder)
        self.assertIs(type(theirs), transformers.SeamlessM4TFeatureExtractor)
        self.assertIs(type(own), SeamlessM4TFeatureExtractor)
        self.assertEqual(own.padding_value, 1.0)

    def test_a_missing_sampling_rate_is_told(self):
        logging.set_verbosity_warning()
        with self.assertLogs("transformers.models.seamless_m4t.feature_extraction_seamless_m4t", "WARNING") as logs:
            SeamlessM4TFeatureExtractor()(CLIPS[0])
        self.assertEqual(len(logs.output), 1)

    def test_the_program_writes_the_same(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            paths = []
            for number, path in enumerate(recordings()):
                paths.append(folder / f"{number}.wav")
                paths[-1].symlink_to(path)
            paths.append(folder / "noise.wav")
            soundfile.write(paths[-1], CLIPS[2], 16000)
            subprocess.run([str(PROGRAM), "features", *map(str, paths), "--output", str(folder / "out"), "--quiet"],
                           check=True)
            for path in paths:
                written = load_file(folder / "out" / path.with_suffix(".safetensors").name)
                own = SeamlessM4TFeatureExtractor()(read_first_channel(path), sampling_rate=16000, return_tensors="pt")
                self.assertTrue(torch.equal(own["input_features"][0], written["input_features"]), path)
                self.assertTrue(torch.equal(own["attention_mask"][0].long(), written["attention_mask"]), path)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
