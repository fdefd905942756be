"""What `w2vbert extract --preset` writes against the same steps in Python: librosa.load (spelt out: soundfile, the
mean of the channels, soxr HQ), torchaudio's resamplers, transformers' extractor and model.

    compare_presets.py PROGRAM CONVERT_STATS"""

import math
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy
import soundfile
import soxr
import torch
import torchaudio
from safetensors.torch import load_file
from transformers import Wav2Vec2BertModel
from transformers.utils import logging

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from small_model import save_small_model  # noqa: E402

PROGRAM, CONVERT_STATS = map(pathlib.Path, sys.argv[1:3])
sys.path.insert(0, str(CONVERT_STATS.parent))
from pytorch_setup import prepare_pytorch  # noqa: E402

TOLERANCE = 1e-4  # the features' (1e-5, docs/parity.md) through 17 small layers
LAYERS, CHANNELS = 18, 32


def librosa_load(path, rate):
    samples, source_rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    if source_rate == rate:
        return mono
    length = math.ceil(len(mono) * rate / source_rate)
    resampled = soxr.resample(mono, source_rate, rate, quality="HQ")
    return numpy.pad(resampled, (0, max(0, length - len(resampled))))[:length]


def indextts2(path):
    samples = torch.from_numpy(librosa_load(path, 22050))[: 15 * 22050]
    return torchaudio.transforms.Resample(22050, 16000)(samples).numpy()


def dualcodec(path):
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = torch.from_numpy(samples.mean(axis=1))
    at_24_khz = torchaudio.functional.resample(mono, rate, 24000)
    return torchaudio.functional.resample(at_24_khz, 24000, 16000).numpy()


def xcodec2(path):
    samples = librosa_load(path, 16000)
    return numpy.pad(samples, (160, 320 - len(samples) % 320 + 160))


class Presets(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        logging.set_verbosity_error()
        prepare_pytorch()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.model, cls.extractor = save_small_model(cls.folder / "model", hidden_size=CHANNELS,
                                                    num_hidden_layers=LAYERS, intermediate_size=48)
        noise = numpy.random.default_rng(0)
        cls.clips = {}
        for name, rate, seconds, channels in (("plain", 16000, 1.013, 1), ("aligned", 16000, 1.0, 1),
                                              ("stereo", 44100, 1.7, 2), ("codec", 24000, 0.83, 1),
                                              ("long", 22050, 16.2, 1)):
            path = cls.folder / "clips" / f"{name}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, 0.1 * noise.standard_normal((int(seconds * rate), channels)), rate)
            cls.clips[name] = path
        torch.manual_seed(1)
        cls.stats = {"mean": torch.randn(CHANNELS), "var": 0.5 + torch.rand(CHANNELS)}
        torch.save(cls.stats, cls.folder / "stats.pt")
        subprocess.run([sys.executable, str(CONVERT_STATS), str(cls.folder / "stats.pt"),
                        str(cls.folder / "stats.safetensors")], check=True)

    def extract(self, preset, *options):
        output = self.folder / f"{preset}-{len(options)}"
        command = [str(PROGRAM), "extract", "--manifest", str(self.folder / "clips"), "--model",
                   str(self.folder / "model"), "--output", str(output), "--preset", preset, "--engine", "reference",
                   "--quiet", *options]
        result = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        return {name: load_file(output / f"{name}.safetensors") for name in self.clips}

    def compare(self, got, samples_of, state, mask=True, stats=True, pool=1):
        for name, path in self.clips.items():
            inputs = self.extractor(samples_of(path), sampling_rate=16000, return_tensors="pt")
            with torch.no_grad():
                rows = self.model(inputs.input_features, attention_mask=inputs.attention_mask if mask else None,
                                  output_hidden_states=True).hidden_states[state]
            if stats:
                rows = (rows - self.stats["mean"]) / torch.sqrt(self.stats["var"])
            if pool > 1:
                rows = torch.nn.functional.avg_pool1d(rows.transpose(1, 2), pool, pool).transpose(1, 2)
            with self.subTest(name):
                torch.testing.assert_close(got[name][f"hidden_states.{state}"], rows[0], rtol=0, atol=TOLERANCE)
                self.assertEqual(len(got[name]["attention_mask"]), rows.shape[1])

    def normalised(self):
        return ("--stats", str(self.folder / "stats.safetensors"))

    def test_indextts2(self):
        self.compare(self.extract("indextts2", *self.normalised()), indextts2, 17)
        self.compare(self.extract("indextts2-emotion", *self.normalised()),
                     lambda path: librosa_load(path, 16000)[: 15 * 16000], 17)

    def test_maskgct(self):
        self.compare(self.extract("maskgct", *self.normalised()), lambda path: librosa_load(path, 16000), 17)

    def test_dualcodec(self):
        self.compare(self.extract("dualcodec", *self.normalised()), dualcodec, 17, pool=4)
        self.compare(self.extract("dualcodec", *self.normalised(), "--pool", "2"), dualcodec, 17, pool=2)

    def test_xcodec2(self):
        self.compare(self.extract("xcodec2"), xcodec2, 16, mask=False, stats=False)

    def test_sidon(self):
        self.compare(self.extract("sidon"), lambda path: librosa_load(path, 16000), 8, stats=False)
        # Its own config has eight layers; what they give is the last hidden state.
        with torch.no_grad():
            inputs = self.extractor(librosa_load(self.clips["plain"], 16000), sampling_rate=16000,
                                    return_tensors="pt")
            short = Wav2Vec2BertModel.from_pretrained(self.folder / "model", num_hidden_layers=8).eval()
            torch.testing.assert_close(
                short(**inputs).last_hidden_state,
                self.model(**inputs, output_hidden_states=True).hidden_states[8], rtol=0, atol=0)

    def test_what_does_not_fit_is_refused(self):
        for options in (["--preset", "indextts2"], ["--preset", "nothing"],
                        ["--preset", "xcodec2", *self.normalised()], ["--preset", "sidon", "--states", "3"],
                        ["--preset", "sidon", "--channels", "first"], ["--pool", "0"]):
            result = subprocess.run([str(PROGRAM), "extract", str(self.clips["plain"]), "--model",
                                     str(self.folder / "model"), "--output", str(self.folder / "refused"), *options],
                                    capture_output=True, text=True)
            self.assertEqual(result.returncode, 2, options)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
