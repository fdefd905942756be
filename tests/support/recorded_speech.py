"""Recorded speech, and audio files as people read them in Python before the feature extractor."""

import pathlib

import soundfile
import soxr

SAMPLE_RATE_HZ = 16000
FRONT_CENTER = pathlib.Path("/usr/share/sounds/alsa/Front_Center.wav")  # 48 kHz
# Debian's pocketsphinx-testdata (16 kHz) and alsa-utils.
RECORDED = (
    pathlib.Path("/usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb-0870.wav"),
    pathlib.Path("/usr/share/pocketsphinx/test/data/cards/005.wav"),
    FRONT_CENTER,
)


def recordings():
    """Those that are installed."""
    return [path for path in RECORDED if path.exists()]


def all_recordings():
    """These and what else lies in their folders."""
    return sorted(other for path in recordings() for other in path.parent.glob("*.wav"))


def read_first_channel(path):
    """The first channel of an audio file at 16 kHz, float32 (S)."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    samples = samples[:, 0]
    return samples if rate == SAMPLE_RATE_HZ else soxr.resample(samples, rate, SAMPLE_RATE_HZ, quality="HQ")
