#!/usr/bin/env python3
"""Wrote tests/data/audio: one small whole file of every kind that is accepted. The tests make the bad
ones from them.   make_audio_corpus.py OUT"""

import pathlib
import subprocess
import sys

import numpy as np
import soundfile

RATE = 16000
out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(5)
time = np.arange(12000) / RATE
loud = 0.3 * np.sin(2 * np.pi * (200 * time + 900 * time**2)) + 0.05 * rng.standard_normal(len(time))
short = loud[:3000]
for name, form, subtype in (
    ("pcm16.wav", "WAV", "PCM_16"), ("float.wav", "WAV", "FLOAT"), ("adpcm.wav", "WAV", "IMA_ADPCM"),
    ("extensible.wav", "WAVEX", "PCM_16"), ("pcm16.rf64", "RF64", "PCM_16"),
    ("pcm16.w64", "W64", "PCM_16"), ("pcm16.aiff", "AIFF", "PCM_16"), ("pcm16.au", "AU", "PCM_16"),
    ("pcm16.caf", "CAF", "PCM_16"), ("alac.caf", "CAF", "ALAC_16"),
):
    soundfile.write(out / name, short, RATE, format=form, subtype=subtype)
soundfile.write(out / "big-endian.wav", short, RATE, format="WAV", subtype="PCM_16", endian="BIG")
soundfile.write(out / "stereo.wav", np.stack([short, -0.5 * short], 1), RATE, format="WAV", subtype="PCM_16")
soundfile.write(out / "noise.flac", loud, RATE, format="FLAC", subtype="PCM_16")
soundfile.write(out / "vorbis.ogg", loud, RATE, format="OGG", subtype="VORBIS")
soundfile.write(out / "opus.ogg", loud, RATE, format="OGG", subtype="OPUS")
soundfile.write(out / "xing.mp3", loud, RATE, format="MP3", subtype="MPEG_LAYER_III")
# Audio on several pages and in several blocks.
long = np.tile(loud, 8)
for name, form, subtype in (
    ("long.flac", "FLAC", "PCM_16"), ("long-vorbis.ogg", "OGG", "VORBIS"), ("long-opus.ogg", "OGG", "OPUS"),
):
    part = long[:36000] if form == "FLAC" else long
    with soundfile.SoundFile(out / name, "w", RATE, 1, format=form, subtype=subtype) as file:
        for begin in range(0, len(part), 8000):  # the Vorbis encoder overflows its stack on more
            file.write(part[begin : begin + 8000])
# What libsndfile does not read, by ffmpeg.
for name, source, options in (
    ("aac.m4a", "noise.flac", "-c:a aac"),
    ("alac.m4a", "noise.flac", "-c:a alac"),
    ("aac.aac", "noise.flac", "-c:a aac"),
    ("opus.webm", "noise.flac", "-c:a libopus"),
    ("wma.wma", "noise.flac", "-c:a wmav2"),
    ("flac.ogg", "noise.flac", "-c:a flac -page_duration 1"),
    ("speex.ogg", "noise.flac", "-c:a libspeex -page_duration 1"),
    ("live.webm", "noise.flac", "-c:a libopus -live 1"),
    ("fragments.mp4", "noise.flac", "-c:a aac -movflags frag_keyframe+empty_moov -frag_duration 250000"),
    ("mp3.avi", "noise.flac", "-c:a libmp3lame -b:a 64k"),
    ("mp3.flv", "noise.flac", "-c:a libmp3lame -ar 44100"),
    ("ac3.rm", "noise.flac", "-c:a ac3 -ar 44100"),
    ("pcm.tta", "pcm16.wav", "-c:a tta"),
    ("mp3.wav", "noise.flac", "-c:a libmp3lame"),
    ("g722.wav", "pcm16.wav", "-c:a g722"),
    ("alac-of-ffmpeg.caf", "pcm16.wav", "-c:a alac"),
):
    words = ["ffmpeg", "-v", "error", "-y", "-i", out / source, "-map_metadata", "-1"]
    subprocess.run([*words, "-fflags", "+bitexact", *options.split(), out / name], check=True)
# Audio beside a longer picture; six channels, each louder than the one before.
FFMPEG = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi"]
PLAIN = ["-map_metadata", "-1", "-fflags", "+bitexact"]
subprocess.run([*FFMPEG, "-i", "color=size=32x32:rate=2:duration=3", "-i", out / "noise.flac", *PLAIN, "-c:v", "wmv2",
                "-c:a", "wmav2", "-b:a", "32k", "-packet_size", "800", out / "picture.wmv"], check=True)
levels = "|".join(f"0.{channel}*sin(900*t)" for channel in range(1, 7))
for name, codec in (("surround.ogg", "libvorbis"), ("surround.opus", "libopus")):
    subprocess.run([*FFMPEG, "-i", f"aevalsrc={levels}:s=16000:d=0.25:c=5.1", *PLAIN, "-c:a", codec, out / name],
                   check=True)
# Noise first, then almost silence, and no Xing frame: the length guessed from the first bitrate is
# far too short.
fading = np.concatenate([rng.standard_normal(4000) * 0.2, rng.standard_normal(12000) * 1e-4])
with soundfile.SoundFile(out / "variable.mp3", "w", RATE, 1, format="MP3", subtype="MPEG_LAYER_III",
                         bitrate_mode="VARIABLE", compression_level=0.3) as file:
    file.write(fading)
whole = (out / "variable.mp3").read_bytes()
second = whole.index(whole[:2], 4)
(out / "variable.mp3").write_bytes(whole[second:])
