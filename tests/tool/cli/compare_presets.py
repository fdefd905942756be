"""What `w2vbert extract --preset` writes against the same steps in Python: librosa.load (spelt out: soundfile, the
mean of the channels, soxr HQ), torchaudio's and julius's resamplers, transformers' extractor and model. The steps are
those of the projects' public code: docs/presets.md names its files.

    compare_presets.py PROGRAM CONVERT_STATS CONVERT_KMEANS   (exit 77: julius is not installed)"""

import math
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from absent_packages import skip_where_absent  # noqa: E402

try:
    import julius
except ImportError as error:
    skip_where_absent(error)
import numpy  # noqa: E402
import soundfile  # noqa: E402
import soxr  # noqa: E402
import torch  # noqa: E402
import torchaudio  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import Wav2Vec2BertModel  # noqa: E402
from transformers.utils import logging  # noqa: E402

from small_model import save_small_model  # noqa: E402

PROGRAM, CONVERT_STATS, CONVERT_KMEANS = map(pathlib.Path, sys.argv[1:4])
sys.path.insert(0, str(CONVERT_STATS.parent))
from pytorch_setup import prepare_pytorch  # noqa: E402

TOLERANCE = 1e-4  # the features' (1e-5, docs/parity.md) through 24 small layers
LAYERS, CHANNELS = 24, 32


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


def torchaudio_load(path):
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T), rate  # (channels, S)


def to_16_khz(samples, rate):
    return samples if rate == 16000 else torchaudio.transforms.Resample(rate, 16000)(samples)


# neuphonic/neucodec: NeuCodec._prepare_audio, which takes one channel alone
def neucodec(path):
    samples, rate = torchaudio_load(path)
    samples = to_16_khz(samples.mean(0), rate)
    return torch.nn.functional.pad(samples, (0, 320 - samples.shape[-1] % 320)).numpy()


# neuralset (facebookresearch/tribev2): Audio._read, BaseAudio._resample_wav, _preprocess_wav
def tribev2(path):
    samples, rate = torchaudio_load(path)
    wav = julius.resample.ResampleFrac(rate, 16000)(samples).mean(0)
    return ((wav - wav.mean()) / (1e-8 + wav.std())).numpy()


# cmeraki/audiotoken: convert_audio
def audiotoken(path):
    samples, rate = torchaudio_load(path)
    return to_16_khz(samples.mean(0), rate).numpy()


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

    def extract(self, preset, *options, clips=None):
        output = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        command = [str(PROGRAM), "extract", "--manifest", str(self.folder / "clips"), "--model",
                   str(self.folder / "model"), "--output", str(output), "--preset", preset, "--quiet", *options]
        if "--engine" not in options:
            command += ["--engine", "reference"]
        result = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        return {name: load_file(output / f"{name}.safetensors") for name in clips or self.clips}

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

    def test_neucodec(self):
        self.compare(self.extract("neucodec"), neucodec, 16, mask=False, stats=False)

    def test_tribev2(self):
        # HuggingFaceMixin._aggregate_layers: group_mean of layers [0.5, 0.75, 1.0]; BaseAudio._get_data: 2 Hz
        borders = [int(share * LAYERS) for share in (0.5, 0.75, 1.0)]
        # Below the floor of the filter bank, unless it is normalised.
        quiet = self.folder / "clips" / "quiet.wav"
        self.addCleanup(quiet.unlink)
        soundfile.write(quiet, 1e-9 * numpy.random.default_rng(2).standard_normal(20000), 16000, subtype="FLOAT")
        clips = {**self.clips, "quiet": quiet}
        for engine in ("reference", "fused"):
            got = self.extract("tribev2", "--engine", engine, clips=clips)
            for name, path in clips.items():
                inputs = self.extractor(tribev2(path), sampling_rate=16000, return_tensors="pt")
                with torch.no_grad():
                    states = torch.stack(self.model(inputs.input_features, output_hidden_states=True).hidden_states)
                latents = states.squeeze(1).transpose(-1, -2)  # (25, C, T)
                wanted = round(soundfile.info(path).duration * 2)
                self.assertNotEqual(wanted, latents.shape[-1])
                latents = torch.nn.functional.interpolate(latents, wanted)
                for first, end in ((borders[0], borders[1]), (borders[1], borders[2] + 1)):
                    with self.subTest(name, engine=engine):
                        torch.testing.assert_close(got[name][f"hidden_states.mean.{first}-{end - 1}"],
                                                   latents[first:end].mean(0).T, rtol=0, atol=TOLERANCE)
                        self.assertEqual(got[name]["attention_mask"].shape, (wanted,))
        short = self.folder / "short.wav"
        soundfile.write(short, numpy.zeros(3000), 16000)
        result = self.run_program(short, "short", "--preset", "tribev2")
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertIn("takes no row of 0.1875 s, expected more than 0.25 s", result.stderr)

    def test_audiotoken(self):
        got = self.extract("audiotoken")
        codebook = torch.randn(50, CHANNELS)
        torch.save({"initted": torch.ones(1), "_codebook.embed": codebook[None]}, self.folder / "vq.pkl")
        subprocess.run([sys.executable, str(CONVERT_KMEANS), str(self.folder / "vq.pkl"), str(self.folder / "vq.npy"),
                        "--key", "_codebook.embed"], check=True)
        units = self.extract("audiotoken", "--kmeans", str(self.folder / "vq.npy"))
        for name, path in self.clips.items():
            rows = self.audiotoken_rows(audiotoken(path))
            counted = got[name]["attention_mask"].bool()
            with self.subTest(name):
                # Behind these the project has a row of padding where they are odd.
                self.assertEqual(counted.sum(), len(rows))
                torch.testing.assert_close(got[name]["hidden_states.19"][counted], rows, rtol=0, atol=TOLERANCE)
                distances = torch.cdist(got[name]["hidden_states.19"], codebook)
                self.assertTrue(torch.equal(units[name]["units"], distances.argmin(1)))

    def audiotoken_rows(self, samples):
        """Wav2VecBertProcessor.forward: the variance over n frames, an odd last one left out; Wav2VecBertEncoder."""
        fbank = torch.from_numpy(self.extractor._extract_fbank_features(samples))
        mean = fbank.mean(0)
        variance = ((fbank - mean) ** 2).mean(0)
        features = (fbank - mean) / torch.sqrt(variance + 1e-7)
        features = features[: len(features) // 2 * 2].reshape(1, -1, 2 * fbank.shape[1])
        padding = features.shape[1] % 2
        features = torch.nn.functional.pad(features, (0, 0, 0, padding), value=1.0)
        mask = torch.ones(features.shape[:2])
        if padding:
            mask[:, -1] = 0
        with torch.no_grad():
            rows = self.model(features, attention_mask=mask, output_hidden_states=True).hidden_states[19]
        return torch.nn.functional.layer_norm(rows, rows.shape[-1:])[0][mask[0].bool()]

    def test_models_of_another_rate_are_refused(self):
        path = self.folder / "model" / "preprocessor_config.json"
        text = path.read_text()
        self.addCleanup(path.write_text, text)
        path.write_text(text.replace("16000", "8000"))
        for preset in ("sidon", "tribev2"):
            result = self.run_program(self.clips["plain"], "rate", "--preset", preset)
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertIn(f"--preset: {preset} is for models of 16000 Hz, this one's feature extractor has 8000 Hz",
                          result.stderr)

    def run_program(self, path, output, *options):
        return subprocess.run([str(PROGRAM), "extract", str(path), "--model", str(self.folder / "model"), "--output",
                               str(self.folder / output), *options], capture_output=True, text=True)

    def test_what_does_not_fit_is_refused(self):
        for options in (["--preset", "indextts2"], ["--preset", "nothing"],
                        ["--preset", "xcodec2", *self.normalised()], ["--preset", "sidon", "--states", "3"],
                        ["--preset", "sidon", "--channels", "first"], ["--pool", "0"],
                        ["--preset", "tribev2", "--pool", "2"], ["--preset", "tribev2", "--states", "mean:12-17"],
                        ["--preset", "neucodec", "--resampler", "sinc"]):
            result = self.run_program(self.clips["plain"], "refused", *options)
            self.assertEqual(result.returncode, 2, options)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
