"""The same 60 clips through a plain list, a Lhotse manifest, a Kaldi wav.scp and its segments: the bits are those of
the plain files. The manifests are written by their documented fields, and by Lhotse itself where it is installed.

    other_lists.py PROGRAM"""

import gzip
import importlib.util
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

import numpy
import safetensors.torch
import soundfile
import torch

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from run_directories import errors_of, lines_of, outputs_of, stamp  # noqa: E402
from small_model import save_small_model  # noqa: E402

lhotse = importlib.import_module("lhotse") if importlib.util.find_spec("lhotse") else None

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
CLIPS = 60
RATES = (16000, 44100, 8000)


def recording_of(path):
    info = soundfile.info(path)
    channels = list(range(info.channels))
    return {"id": path.stem, "sources": [{"type": "file", "channels": channels, "source": str(path)}],
            "sampling_rate": info.samplerate, "num_samples": info.frames, "duration": info.frames / info.samplerate,
            "channel_ids": channels}


def cut_of(recording, identity, channel=0, start=0, samples=None, **more):
    rate = recording["sampling_rate"]
    return {"id": identity, "start": round(start / rate, 8),
            "duration": round((recording["num_samples"] - start if samples is None else samples) / rate, 8),
            "channel": channel, "supervisions": [{"id": identity, "recording_id": recording["id"], "start": 0,
                                                  "duration": 0.1, "text": "a"}],
            "recording": recording, "type": "MonoCut", **more}


class OtherLists(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        save_small_model(cls.folder / "model")
        noise = numpy.random.default_rng(5)
        cls.clips = []
        for number in range(CLIPS):
            path = cls.folder / "audio" / f"{number % 7}" / f"{number:02}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            rate, channels = RATES[number % 3], 1 + number % 2
            soundfile.write(path, 0.1 * noise.standard_normal((rate // 4 + 100 * number, channels)), rate)
            cls.clips.append(path)
        cls.plain = cls.extract("--manifest", "audio", "--name", "stem")
        assert len(cls.plain) == CLIPS

    @classmethod
    def extract(cls, *words, status=0, directory=None):
        """Name -> tensors of each output."""
        output = directory or pathlib.Path(tempfile.mkdtemp(dir=cls.folder))
        result = subprocess.run([str(PROGRAM), "extract", *map(str, words), "--model", "model", "--output", output],
                                capture_output=True, text=True, cwd=cls.folder)
        assert result.returncode == status, result.stderr
        cls.stderr = result.stderr
        return {name.removesuffix(".safetensors"): safetensors.torch.load_file(path)
                for name, path in outputs_of(output).items()}

    def write(self, name, rows):
        path = self.folder / name
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        return path

    def expect_same(self, outputs, expected):
        self.assertEqual(set(outputs), set(expected))
        for name, tensors in expected.items():
            for key, tensor in tensors.items():
                self.assertTrue(torch.equal(outputs[name][key], tensor), (name, key))

    def test_cuts_of_whole_recordings_are_their_files(self):
        recordings = [recording_of(path) for path in self.clips]
        whole = [cut_of(recording, recording["id"]) if len(recording["channel_ids"]) == 1 else
                 cut_of(recording, recording["id"], recording["channel_ids"], type="MultiCut")
                 for recording in recordings]
        self.expect_same(self.extract("--manifest", self.write("cuts.jsonl", whole)), self.plain)
        self.expect_same(self.extract("--manifest", self.write("cuts.jsonl.gz", whole)), self.plain)
        self.expect_same(self.extract("--manifest", self.write("recordings.jsonl.gz", recordings)), self.plain)

    def test_parts_and_channels_are_the_samples_of_load_audio(self):
        chance = random.Random(6)
        cuts, expected = [], self.folder / "cut"
        expected.mkdir()
        for path in self.clips:
            recording = recording_of(path)
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
            channel = chance.randrange(samples.shape[1])
            start = chance.randrange(len(samples) // 3)
            length = len(samples) // 2 + chance.randrange(50)
            name = path.stem + (f"-ch{channel + 1}" if samples.shape[1] > 1 else "")
            cuts.append(cut_of(recording, path.stem, channel, start, length))
            soundfile.write(expected / f"{name}.wav", samples[start:start + length, channel], rate, subtype="FLOAT")
        outputs = self.extract("--manifest", self.write("parts.jsonl.gz", cuts))
        self.expect_same(outputs, self.extract("--manifest", expected))
        texts = subprocess.run([str(PROGRAM), "features", "--manifest", "parts.jsonl.gz", "--output", "features"],
                               capture_output=True, text=True, cwd=self.folder)
        self.assertEqual(texts.returncode, 0, texts.stderr)
        self.assertEqual(set(outputs_of(self.folder / "features")), {f"{name}.safetensors" for name in outputs})

    def test_cuts_that_cannot_be_taken_cost_their_rows(self):
        mono = recording_of(self.clips[0])
        good = cut_of(mono, "good")
        rows = [
            ({"id": "mix", "tracks": [{"cut": good, "offset": 0.0, "type": "MonoCut"}], "type": "MixedCut"},
             "is a mix of several cuts"),
            ({"id": "pad", "duration": 1.0, "sampling_rate": 16000, "feat_value": -23.0, "num_samples": 16000,
              "type": "PaddingCut"}, "is a padding cut"),
            ({key: value for key, value in {**good, "features": {"type": "fbank"}}.items() if key != "recording"},
             "has features alone, and no recording"),
            (cut_of({**mono, "transforms": [{"name": "Speed", "kwargs": {"factor": 1.1}}]}, "fast"), "has transforms"),
            (cut_of({**mono, "sources": [{"type": "url", "channels": [0], "source": "http://x/a.wav"}]}, "url"),
             'of the type "url"'),
            ({"file_name": str(self.clips[1])}, "has no name, as the rows before have one"),
        ]
        manifest = self.write("odd.jsonl", [good, *(row for row, _ in rows)])
        directory = self.folder / "odd"
        outputs = self.extract("--manifest", manifest, status=3, directory=directory)
        self.assertEqual(list(outputs), ["good"])
        failures = lines_of(directory / "failures.jsonl")
        self.assertEqual(len(failures), len(rows))
        self.assertEqual(len(errors_of(self.stderr)), len(rows))
        for number, (failure, (_, problem)) in enumerate(zip(failures, rows, strict=True), 2):
            self.assertIn(f"line {number}: ", failure["message"])
            self.assertIn(problem, failure["message"])

    def test_kaldis_lists(self):
        data = self.folder / "data"
        data.mkdir()
        (data / "wav.scp").write_text("".join(f"{path.stem} {path}\n" for path in self.clips))
        self.expect_same(self.extract("--manifest", data / "wav.scp"), self.plain)
        chance = random.Random(7)
        segments, rows = [], []
        for path in self.clips:
            recording = recording_of(path)
            start = round(chance.uniform(0, recording["duration"] / 3), 2)
            end = round(start + recording["duration"] / 2, 2)
            segments.append(f"utt-{path.stem} {path.stem} {start} {end}\n")
            rows.append({"audio_filepath": str(path), "offset": start, "duration": end - start})
        (data / "segments").write_text("".join(segments))
        outputs = self.extract("--manifest", data / "segments")
        self.assertEqual(set(outputs), {f"utt-{path.stem}" for path in self.clips})
        nemo = self.extract("--manifest", self.write("nemo.jsonl", rows), "--name", "stem")
        by_stem = {f"utt-{name[:2]}": tensors for name, tensors in nemo.items()}
        self.expect_same(outputs, by_stem)

    def test_entries_of_kaldis_archives(self):
        data = self.folder / "arks"
        data.mkdir()
        rows, ark = [], bytearray()
        for number, path in enumerate(self.clips):
            if number % 20 == 0:
                ark, name = bytearray(), data / f"wav.{number}.ark"
            ark += path.stem.encode() + b" "
            rows.append(f"{path.stem} {name.name if number % 2 else name}:{len(ark)}\n")
            ark += path.read_bytes()
            name.write_bytes(ark)
        (data / "wav.scp").write_text("".join(rows))
        output = self.folder / "of-arks"
        self.expect_same(self.extract("--manifest", data / "wav.scp", directory=output), self.plain)
        before = {name: stamp(path) for name, path in outputs_of(output).items()}
        self.extract("--manifest", data / "wav.scp", directory=output)
        name.write_bytes(ark + b"x 0")  # entries that are done are known by their bytes
        self.extract("--manifest", data / "wav.scp", directory=output)
        self.assertEqual({name: stamp(path) for name, path in outputs_of(output).items()}, before)

        parts, whole = data / "segments", self.folder / "files"
        whole.mkdir()
        (whole / "wav.scp").write_text("".join(f"{path.stem} {path}\n" for path in self.clips))
        parts.write_text("".join(f"{path.stem}-{n} {path.stem} 0.{n}1 0.{n + 1}3\n"
                                 for path in self.clips[:9] for n in range(2)))
        (whole / "segments").write_bytes(parts.read_bytes())
        self.expect_same(self.extract("--manifest", parts), self.extract("--manifest", whole / "segments"))

        first = rows[0].split()[1]
        wav = self.clips[0].read_bytes()
        streamed = wav[:40] + b"\xff\xff\xff\xff" + wav[44:]
        odd = data / "odd.ark"
        odd.write_bytes(b"a " + streamed + b"b " + wav + b"c " + wav[:-10])
        (data / "odd.scp").write_text(
            f"good {first}\nshifted {first[:-1]}1\nbehind {data}/wav.0.ark:99999999999\nnone {data}/no.ark:5\n"
            f"streamed odd.ark:2\nwhole odd.ark:{len(streamed) + 4}\ncut odd.ark:{len(streamed) + len(wav) + 6}\n"
            f"range {data}/wav.0.ark:5[0:10]\npipe cat {data}/wav.0.ark |\nhuge odd.ark:18446744073709551615\n")
        outputs = self.extract("--manifest", data / "odd.scp", status=3, directory=self.folder / "of-odd")
        self.assertEqual(set(outputs), {"good", "whole"})
        failures = {one["path"]: one for one in lines_of(self.folder / "of-odd" / "failures.jsonl")}
        self.assertEqual(len(failures), 8)
        for text in ("is no place where a WAV file begins", "is a place behind the archive's", "cannot be opened",
                     "does not say how long it is", "is cut: its data of", "is a range of an entry", "is a command"):
            self.assertIn(text, self.stderr)
        self.assertEqual(failures[f"{data}/no.ark:5"]["kind"], "not_found")
        self.assertEqual(failures[f"{data}/odd.ark:2"]["kind"], "audio")

    @unittest.skipIf(lhotse is None, "lhotse is not installed")
    def test_what_lhotse_itself_writes(self):
        recordings = lhotse.RecordingSet.from_recordings(lhotse.Recording.from_file(path) for path in self.clips)
        cuts = lhotse.CutSet.from_manifests(recordings=recordings)
        cuts.to_file(self.folder / "lhotse.jsonl.gz")
        parts = lhotse.CutSet.from_cuts(cut.truncate(offset=0.0123, duration=cut.duration / 2) for cut in cuts)
        parts.to_file(self.folder / "lhotse-parts.jsonl")
        outputs = self.extract("--manifest", "lhotse.jsonl.gz")
        stems = {cut.id: pathlib.Path(cut.recording.sources[0].source).stem for cut in cuts}
        self.expect_same({stems[name]: tensors for name, tensors in outputs.items()}, self.plain)
        loaded = self.folder / "loaded"
        loaded.mkdir()
        for cut in parts:
            samples = cut.load_audio()
            soundfile.write(loaded / f"{cut.id}.wav", samples.T, cut.sampling_rate, subtype="FLOAT")
        self.expect_same(self.extract("--manifest", "lhotse-parts.jsonl"), self.extract("--manifest", loaded))
        mixed = [cut.pad(duration=2.0) for cut in cuts]
        lhotse.CutSet.from_cuts([*mixed[:3], *list(cuts)[3:]]).to_file(self.folder / "mixed.jsonl")
        outputs = self.extract("--manifest", "mixed.jsonl", status=3)
        self.assertEqual(len(outputs), CLIPS - 3)
        self.assertEqual(self.stderr.count("is a mix of several cuts"), 3)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
