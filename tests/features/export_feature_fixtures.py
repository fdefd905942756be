#!/usr/bin/env python3
"""Writes what Python makes of many clips, for tests/features and tests/audio to compare with.

  export_feature_fixtures.py OUT            fixtures of the test run: OUT/features.safetensors,
                                            OUT/options.safetensors, OUT/resample.safetensors
  export_feature_fixtures.py OUT --golden   the small file that is committed: OUT/features.safetensors

features.safetensors   clip/<kind>/<name> (S), features/<kind>/<name> (T, 160), mask/<kind>/<name> (T);
                       kind: speech, noise, short, silence or tone
options.safetensors    clip/<name>, and for each call <call>/input_features, <call>/attention_mask;
                       metadata <call> = the arguments, as a line of key=value
resample.safetensors   signal/<name> and <method>/<name>/<from>/<to>; method: soxr, functional, transform

Real speech comes from the Debian packages pocketsphinx-testdata and alsa-utils; what is not
installed is left out, and the test says how much it compared.
"""

import argparse
import math
import pathlib
import sys

import numpy as np
import soundfile
import soxr
import torch
import torchaudio
import transformers
from safetensors.numpy import save_file
from transformers import SeamlessM4TFeatureExtractor

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
from pytorch_setup import prepare_pytorch  # noqa: E402

RATE = 16000
SPEECH = ["/usr/share/pocketsphinx/test/data", "/usr/share/sounds/alsa"]
# As in facebook/w2v-bert-2.0.
PADDING_VALUE = 1.0
# Multiples around one, two, three and four frames of 400 samples every 160.
SHORT = [240, 399, 400, 401, 559, 560, 561, 719, 720, 721, 879, 880, 1000, 1039, 1040]
RATES = [4000, 8000, 11025, 22050, 24000, 32000, 37800, 44100, 48000, 96000, 192000, 384000]


def librosa_resample(samples, from_hz, to_hz):
    """librosa.resample(..., res_type="soxr_hq") of librosa 0.10 and 0.11, without librosa."""
    length = int(math.ceil(samples.shape[-1] * (float(to_hz) / from_hz)))
    out = soxr.resample(samples, from_hz, to_hz, quality="HQ")[:length]
    return np.pad(out, (0, length - len(out)))


def speech():
    for root in SPEECH:
        for path in sorted(pathlib.Path(root).rglob("*.wav")):
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
            mono = np.ascontiguousarray(samples[:, 0])
            yield path.stem, mono if rate == RATE else librosa_resample(mono, rate, RATE)


def clips():
    rng = np.random.default_rng(20260101)
    real = dict(speech())
    for name, samples in real.items():
        yield "speech", name, samples
    if real:
        joined = np.concatenate(list(real.values()))
        yield "speech", "30s", np.resize(joined, 30 * RATE)
        yield "speech", "30s-quiet", np.resize(joined, 30 * RATE) * np.float32(1e-4)
        for extra in (0, 1, 159, 160, 161):  # odd and even frames
            yield "speech", f"cut-{extra}", joined[5000 : 5000 + 16000 + extra].copy()
    noise = rng.standard_normal(4 * RATE).astype(np.float32) * np.float32(0.1)
    yield "noise", "white", noise
    yield "noise", "pcm16", np.round(noise * 32768).astype(np.int16).astype(np.float32) / 32768
    yield "noise", "offset", noise + np.float32(0.3)
    yield "noise", "clipped", np.clip(noise * 30, -1, 1)
    yield "noise", "far-beyond-1", noise * np.float32(1e5)
    for n in SHORT:
        yield "short", f"{n:04d}", noise[n : 2 * n].copy()
    yield "silence", "zeros", np.zeros(2 * RATE, np.float32)
    yield "silence", "zeros-30s", np.zeros(30 * RATE, np.float32)
    yield "silence", "constant", np.full(2 * RATE, 0.25, np.float32)
    yield "silence", "denormal", np.full(RATE, 1e-40, np.float32)
    time = np.arange(2 * RATE) / RATE
    for hertz in (50, 440, 1000, 7000):
        yield "tone", f"{hertz}", (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)
    chirp = np.sin(2 * np.pi * (20 * time + 1000 * time**2))
    yield "tone", "chirp", chirp.astype(np.float32)


def export_features(out, golden):
    extractor = SeamlessM4TFeatureExtractor(padding_value=PADDING_VALUE)
    tensors = {}
    for kind, name, samples in clips():
        if golden:
            if kind not in ("short", "noise") or name in ("far-beyond-1", "offset"):
                continue
            samples = samples[:1600]
        samples = np.ascontiguousarray(samples, dtype=np.float32)
        features = extractor(samples, sampling_rate=RATE, return_tensors="np")
        tensors[f"clip/{kind}/{name}"] = samples
        tensors[f"features/{kind}/{name}"] = np.ascontiguousarray(features["input_features"][0])
        tensors[f"mask/{kind}/{name}"] = np.ascontiguousarray(
            features["attention_mask"][0].astype(np.int64))
    save_file(tensors, out / "features.safetensors", metadata(extractor))


def metadata(_extractor=None):
    return {"numpy": np.__version__, "transformers": transformers.__version__,
            "torchaudio": torchaudio.__version__, "soxr": soxr.__version__}


# name -> (constructor arguments, call arguments, clips by name)
CALLS = {
    "longest": ({}, {}, "abc"),
    "one": ({}, {}, "b"),
    "pad_to_multiple_of_7": ({}, {"pad_to_multiple_of": 7}, "abc"),
    "pad_to_multiple_of_none": ({}, {"pad_to_multiple_of": None}, "abc"),
    "max_length": ({}, {"padding": "max_length", "max_length": 45}, "abc"),
    "max_length_of_long_clips": ({}, {"padding": "max_length", "max_length": 4}, "aa"),
    "max_length_without_effect": ({}, {"max_length": 5}, "abc"),
    "truncation": ({}, {"max_length": 5, "truncation": True}, "abc"),
    "truncation_to_0": ({}, {"max_length": 0, "truncation": True}, "abc"),
    "truncation_and_padding": (
        {}, {"padding": "max_length", "max_length": 15, "truncation": True}, "abc"),
    "do_not_pad": ({}, {"padding": "do_not_pad"}, "a"),
    "do_not_pad_odd": ({}, {"padding": "do_not_pad"}, "b"),
    "do_not_pad_truncated": (
        {}, {"padding": "do_not_pad", "max_length": 4, "truncation": True}, "abc"),
    "raw": ({}, {"do_normalize_per_mel_bins": False}, "abc"),
    "empty_row": ({}, {}, "ea"),
    "empty_row_max_length": ({}, {"padding": "max_length", "max_length": 3}, "e"),
    "nan": ({}, {}, "na"),
    "nan_raw": ({}, {"do_normalize_per_mel_bins": False}, "na"),
    "infinity": ({}, {}, "ia"),
    "padding_value_0": ({"padding_value": 0.0}, {}, "abc"),
    "padding_value_half": ({"padding_value": -0.3}, {}, "abc"),
    "stride_1": ({"stride": 1}, {}, "abc"),
    "stride_3": ({"stride": 3}, {}, "abc"),
    "stride_4": ({"stride": 4}, {}, "abc"),
    "mels_40": ({"num_mel_bins": 40, "feature_size": 40}, {}, "abc"),
    "mels_128": ({"num_mel_bins": 128, "feature_size": 128}, {}, "abc"),
    "rate_8000": ({"sampling_rate": 8000}, {"sampling_rate": 8000}, "abc"),
    "rate_22050": ({"sampling_rate": 22050}, {"sampling_rate": 22050}, "abc"),
}


def export_options(out):
    rng = np.random.default_rng(7)
    clip = {name: (rng.standard_normal(n) * 0.1).astype(np.float32)
            for name, n in (("a", 3000), ("b", 2960 + 160), ("c", 2000), ("e", 300), ("n", 4000), ("i", 4000))}
    clip["n"][1234] = np.nan
    clip["i"][1234] = np.inf
    tensors = {f"clip/{name}": samples for name, samples in clip.items()}
    about = {}
    for call, (made, asked, names) in CALLS.items():
        extractor = SeamlessM4TFeatureExtractor(**{"padding_value": PADDING_VALUE, **made})
        batch = [clip[name] for name in names]
        with np.errstate(all="ignore"):
            features = extractor(batch, return_tensors="np", **{"sampling_rate": RATE, **asked})
        for key in ("input_features", "attention_mask"):
            value = np.ascontiguousarray(features[key])
            tensors[f"{call}/{key}"] = value if value.dtype == np.float32 else value.astype(np.int64)
        arguments = {"clips": names, "padding_value": PADDING_VALUE, **made, **asked}
        about[call] = " ".join(f"{key}={value}" for key, value in arguments.items())
    save_file(tensors, out / "options.safetensors", {**about, **metadata()})


def export_resampled(out):
    rng = np.random.default_rng(11)
    tensors = {}
    real = next(iter(speech()), None)
    for rate in RATES:
        signals = {"noise": (rng.standard_normal(int(rate * 1.3) + 13) * 0.1).astype(np.float32),
                   "short": (rng.standard_normal(7) * 0.1).astype(np.float32)}
        if real is not None and rate in (22050, 44100, 48000):
            signals["speech"] = real[1]  # at another rate: speech all the same
        for name, samples in signals.items():
            pairs = [(rate, RATE)] + ([(RATE, 24000)] if rate == 24000 else [])
            for from_hz, to_hz in pairs:
                place = f"{name}-{rate}"
                tensors[f"signal/{place}"] = samples
                tensors[f"soxr/{place}/{from_hz}/{to_hz}"] = librosa_resample(samples, from_hz, to_hz)
                waveform = torch.from_numpy(samples)
                tensors[f"functional/{place}/{from_hz}/{to_hz}"] = torchaudio.functional.resample(
                    waveform, from_hz, to_hz).numpy()
                tensors[f"transform/{place}/{from_hz}/{to_hz}"] = torchaudio.transforms.Resample(
                    from_hz, to_hz)(waveform).numpy()
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()},
              out / "resample.safetensors", {"threads": str(torch.get_num_threads()), **metadata()})


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--golden", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    prepare_pytorch()
    np.seterr(all="ignore")  # clips of one frame have no variance
    export_features(arguments.out, arguments.golden)
    if not arguments.golden:
        export_options(arguments.out)
        export_resampled(arguments.out)


if __name__ == "__main__":
    main()
