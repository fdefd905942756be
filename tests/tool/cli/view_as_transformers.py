"""Runs `w2vbert view` on small random models of each class, and compares what its pages hold with numpy, with
transformers, and with what the commands of each class print; and gives it what it has to refuse.

    view_as_transformers.py PROGRAM"""

import copy
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import numpy
import peft
import soundfile
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]
from pytorch_setup import prepare_pytorch  # noqa: E402
from recorded_speech import FRONT_CENTER, read_first_channel  # noqa: E402
from small_model import copy_with_value  # noqa: E402
from view_page import CLASSES, EVIL, ViewPage, save_model  # noqa: E402

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
THREADS = 2
RATE = 16000
HOP = 160
FRAME = 320
MAX_PICTURE, MAX_PEAKS, MAX_CURVES = 12000, 24000, 16
# Beside half a step of a byte: of float32, and of the fused engine.
REFERENCE, FUSED = 1e-5, 1e-3


def run(*words, status=0, command="view"):
    done = subprocess.run([PROGRAM, command, *(word if isinstance(word, bytes) else str(word) for word in words),
                           "--threads", str(THREADS)], capture_output=True, text=True)
    assert done.returncode == status, (words, done.returncode, done.stderr)
    return done


def means(values, most):
    """(rows, T) -> as many columns as a picture has, each the mean of n neighbours."""
    n = -(-values.shape[1] // most)
    return numpy.stack([values[:, i:i + n].mean(1) for i in range(0, values.shape[1], n)], 1)


class Views(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        prepare_pytorch()
        torch.set_num_threads(THREADS)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.models = {name: save_model(name, cls.folder / name) for name in CLASSES}
        cls.clip = cls.folder / "clip.wav"
        samples = read_first_channel(FRONT_CENTER)
        cls.samples = (samples / abs(samples).max()).astype(numpy.float32)
        soundfile.write(cls.clip, cls.samples, RATE, subtype="FLOAT")

    def view(self, name, *words, clip=None, page="page.html"):
        path = self.folder / page
        run(clip or self.clip, "--model", self.folder / name, "--output", path, "--quiet", *words)
        return ViewPage(path)

    def answer(self, command, name, *words):
        done = run(self.clip, "--model", self.folder / name, "--json", "--quiet", *words, command=command)
        return json.loads(done.stdout)

    def computed(self, name, samples):
        """fbank frames (F, 80), energies (L + 1, T) and logits of HF's class for a clip alone."""
        features = transformers.SeamlessM4TFeatureExtractor.from_pretrained(self.folder / name)(
            samples, sampling_rate=RATE, return_tensors="pt")
        # PyTorch's bits do not depend on where a parameter lies, but for a few small shapes.
        with torch.no_grad():
            output = self.models[name](**features, output_hidden_states=True)
        frames = features["input_features"].reshape(-1, 80)[: 1 + (len(samples) - 400) // HOP]
        energies = torch.stack([state[0].square().mean(-1).sqrt() for state in output.hidden_states[:3]
                                + output.hidden_states[3:4] * (not self.models[name].config.add_adapter)])
        logits = output.get("logits")
        return frames.numpy(), energies.numpy(), None if logits is None else logits[0]

    def assert_near(self, found, steps, wanted, tolerance):
        self.assertEqual(found.shape, wanted.shape)
        self.assertLessEqual((abs(found - wanted) - steps).max(), tolerance)

    def test_the_waveform_is_the_least_and_the_greatest_of_each_column(self):
        for seconds in (0.05, 1.3, 6.5):
            samples = numpy.tile(self.samples, 5)[: int(seconds * RATE)]
            clip = self.folder / "waveform.wav"
            soundfile.write(clip, samples, RATE, subtype="FLOAT")
            page = self.view("encoder", clip=clip)
            n = -(-len(samples) // MAX_PEAKS)
            columns = [samples[i:i + n] for i in range(0, len(samples), n)]
            wanted = numpy.array([[column.min() for column in columns], [column.max() for column in columns]])
            self.assert_near(*page.grid("waveform"), wanted, 1e-6)
            self.assertAlmostEqual(page.data["waveform"]["secondsPerColumn"], n / RATE)
            self.assertAlmostEqual(page.data["seconds"], len(samples) / RATE)

    def test_features_and_energies_are_those_of_transformers(self):
        for name in CLASSES:
            frames, energies, _ = self.computed(name, self.samples)
            for engine, tolerance in (("reference", REFERENCE), ("fused", FUSED)):
                with self.subTest(name, engine=engine):
                    page = self.view(name, "--engine", engine)
                    self.assert_near(*page.grid("logMel"), frames.T, REFERENCE)
                    found, steps = page.grid("energies")
                    self.assertEqual(found.shape[0], 4)  # each state, whatever the class
                    self.assert_near(found[: len(energies)], steps[: len(energies)], energies, tolerance)
                    self.assertEqual(page.data["logMel"]["secondsPerColumn"], HOP / RATE)
                    self.assertEqual(page.data["energies"]["secondsPerColumn"], FRAME / RATE)

    def test_bins_are_named_by_their_middles(self):
        low, high = (transformers.audio_utils.hertz_to_mel(hertz, "kaldi") for hertz in (20, RATE // 2))
        middles = transformers.audio_utils.mel_to_hertz(numpy.linspace(low, high, 82)[1:-1], "kaldi")
        self.assertEqual(self.view("encoder").data["mels"], numpy.rint(middles).astype(int).tolist())

    def test_chunks_are_put_together_and_long_pictures_are_means(self):
        generator = numpy.random.default_rng(0)
        samples = (0.1 * generator.standard_normal(251 * RATE + 77)).astype(numpy.float32)
        clip = self.folder / "long.wav"
        soundfile.write(clip, samples, RATE, subtype="FLOAT")
        chunk, stride = 25 * RATE, 2 * RATE
        page = self.view("encoder", "--chunk-seconds", 25, "--stride-seconds", 2, "--engine", "reference", clip=clip)
        frames, energies = [], []
        for begin in range(0, len(samples), chunk - 2 * stride):  # HF: chunk_iter
            part = samples[begin:begin + chunk]
            is_last = begin + chunk >= len(samples)
            fbank, energy, _ = self.computed("encoder", part)
            left = stride // FRAME * (begin > 0)
            right = energy.shape[1] if is_last else (chunk - stride) // FRAME  # HF: of the rows that it should have
            frames.append(fbank[2 * left: 2 * right])
            energies.append(energy[:, left:right])
            if is_last:
                break
        self.assertGreater(len(frames), 10)
        self.assertIn(f"{len(frames)} chunks of 25 s", page.facts["computed"])
        for name, values in (("logMel", numpy.concatenate(frames).T), ("energies", numpy.concatenate(energies, 1))):
            self.assertGreater(values.shape[1], MAX_PICTURE)
            wanted = means(values.astype(numpy.float64), MAX_PICTURE)
            self.assert_near(*page.grid(name), wanted, REFERENCE)
        self.assertEqual(page.data["logMel"]["secondsPerColumn"], 3 * HOP / RATE)

    def test_long_recordings_are_cut_unless_they_are_to_be_whole(self):
        clip = self.folder / "cut.wav"
        for seconds, words, computed in ((301, (), "8 chunks of 60 s, of which 10 s at either end"),
                                         (299, (), "whole"), (20, ("--chunk-seconds", 12), "2 chunks of 12 s, of "
                                                              "which 2 s at either end")):
            soundfile.write(clip, numpy.zeros(seconds * RATE, numpy.float32), RATE)
            page = self.view("encoder", "--task", "extract", *words, clip=clip)
            with self.subTest(seconds=seconds):
                self.assertTrue(page.facts["computed"].split(", ", 2)[2].startswith(computed), page.facts)
                self.assertLessEqual(max(page.data[name]["columns"] for name in ("logMel", "energies")), MAX_PICTURE)

    def test_words_are_those_of_transcribe_with_the_probabilities_of_their_frames(self):
        spoken = 0
        for name in ("ctc", "adapter"):
            page = self.view(name, "--engine", "reference")
            line = self.answer("transcribe", name, "--engine", "reference")
            self.assertEqual(page.data["text"], line["text"])
            for found, word in zip(page.data["words"], line["words"], strict=True):
                self.assertEqual(found[0], word["word"])
                self.assertLessEqual(abs(found[1] - word["start"]) + abs(found[2] - word["end"]), 2e-4)
            _, _, logits = self.computed(name, self.samples)
            tokenizer = transformers.Wav2Vec2CTCTokenizer.from_pretrained(self.folder / name)
            ids = logits.argmax(-1)
            decoded = tokenizer.decode(ids, output_char_offsets=True, output_word_offsets=True)
            likely = logits.softmax(-1).amax(-1).tolist()
            frame = FRAME / RATE * (2 if name == "adapter" else 1)
            characters = decoded.char_offsets
            for found, character in zip(page.data["characters"], characters, strict=True):
                begin, end = character["start_offset"], character["end_offset"]
                self.assertEqual(found[0], character["char"])
                self.assertAlmostEqual(found[1], begin * frame, 3)
                self.assertAlmostEqual(found[3], numpy.mean(likely[begin:end]), 3)
            for found, word in zip(page.data["words"], decoded.word_offsets, strict=True):
                frames = [likely[t] for character in characters for t in
                          range(character["start_offset"], character["end_offset"])
                          if word["start_offset"] <= t < word["end_offset"]]
                self.assertAlmostEqual(found[3], numpy.mean(frames), 3)
                spoken += 1
        self.assertGreater(spoken, 3)

    def test_segments_are_those_of_segment_and_curves_the_scores_of_the_frames(self):
        for name in ("segmenter", "sigmoid", "many"):
            page = self.view(name, "--engine", "reference")
            line = self.answer("segment", name, "--engine", "reference")
            for found, segment in zip(page.data["segments"], line["segments"], strict=True):
                self.assertEqual(found[0], segment["label"])
                for value, wanted in zip(found[1:], (segment["start"], segment["end"], segment["score"]), strict=True):
                    self.assertAlmostEqual(value, wanted, 3)
            _, _, logits = self.computed(name, self.samples)
            scores = (logits.sigmoid() if name == "sigmoid" else logits.softmax(-1)).numpy()
            labels = self.models[name].config.id2label
            shown = sorted(numpy.argsort(-scores.mean(0), kind="stable")[:MAX_CURVES])
            self.assertEqual(page.data["curveLabels"], [labels[number] for number in shown])
            self.assertEqual(page.data["numLabels"], len(labels))
            self.assert_near(*page.grid("curves"), scores[:, shown].T, REFERENCE)

    def test_labels_are_those_of_classify(self):
        page = self.view("classifier", "--engine", "reference")
        labels = self.answer("classify", "classifier", "--engine", "reference")["labels"]
        part, = page.data["parts"]
        self.assertEqual((part["start"], part["end"]), (0, page.data["seconds"]))
        self.assertEqual([label for label, _ in part["labels"]], [label["label"] for label in labels])
        for (_, score), label in zip(part["labels"], labels, strict=True):
            self.assertAlmostEqual(score, label["score"], 6)
        self.assertEqual(page.facts["answer"], f"label {labels[0]['label']}")
        page = self.view("classifier", "--chunk-seconds", 0.6, "--stride-seconds", 0.1)
        chunks = page.data["parts"]
        self.assertGreater(len(chunks), 2)
        self.assertEqual(page.facts["answer"], f"{len(chunks)} labelled chunks")
        self.assertEqual([chunk["start"] for chunk in chunks[1:]], [chunk["end"] for chunk in chunks[:-1]])

    def test_an_embedding_is_told_by_its_length(self):
        page = self.view("speaker", "--engine", "reference")
        vector = self.answer("embed", "speaker", "--engine", "reference")["embedding"]
        self.assertNotIn("parts", list(page.data))
        self.assertIn(f"{len(vector)} values of length {round(float(numpy.linalg.norm(vector)), 4):g}",
                      page.facts["answer"])

    def test_a_task_shows_the_states_alone(self):
        page = self.view("ctc", "--task", "extract")
        self.assertNotIn("words", list(page.data))
        self.assertEqual(page.facts["class"], "Wav2Vec2BertModel")
        done = run(self.clip, "--model", self.folder / "ctc", "--output", self.folder / "no.html", "--task", "segment",
                   status=4)
        self.assertIn("expected Wav2Vec2BertForAudioFrameClassification; `w2vbert transcribe`", done.stderr)
        self.assertFalse((self.folder / "no.html").exists())

    def test_a_task_shows_the_head_of_an_adapter(self):
        torch.manual_seed(1)
        adapted = peft.get_peft_model(copy.deepcopy(self.models["ctc"]), peft.LoraConfig(
            r=4, target_modules=["linear_q"], modules_to_save=["lm_head"], init_lora_weights=False))
        adapter = self.folder / "lora"
        adapted.save_pretrained(adapter, save_embedding_layers=False)
        for name in ("vocab.json", "tokenizer_config.json"):  # as users leave them there
            shutil.copy(self.folder / "ctc" / name, adapter)
        page = self.view("encoder", "--lora", adapter, "--task", "transcribe")
        line = self.answer("transcribe", "encoder", "--lora", adapter)
        self.assertEqual((page.data["text"], page.facts["class"]), (line["text"], "Wav2Vec2BertForCTC"))
        self.assertGreater(len(line["text"]), 10)

    def test_the_audio_is_what_the_model_hears_in_16_bits(self):
        samples, rate = self.view("encoder").audio()
        self.assertEqual(rate, RATE)
        numpy.testing.assert_array_equal(samples, numpy.clip(numpy.rint(self.samples * 32768), -32768, 32767))
        for words in (("--playback-seconds", 0), ("--playback-seconds", 1)):
            page = self.view("encoder", *words)
            self.assertIsNone(page.audio())
            self.assertIn(f"longer than the {words[1]} s of --playback-seconds", page.data["playback"])

    def test_says_what_it_wrote(self):
        page = self.folder / "told.html"
        done = run(self.clip, "--model", self.folder / "ctc", "--output", page, "--json")
        report = json.loads(done.stdout)
        data = ViewPage(page).data
        self.assertEqual({key: report[key] for key in ("command", "path", "output", "architecture", "task", "seconds",
                                                       "chunks", "states", "words", "segments", "with_audio", "bytes")},
                         {"command": "view", "path": str(self.clip), "output": str(page),
                          "architecture": "Wav2Vec2BertForCTC", "task": "transcribe", "seconds": data["seconds"],
                          "chunks": 1, "states": 4, "words": len(data["words"]), "segments": 0, "with_audio": True,
                          "bytes": page.stat().st_size})
        self.assertRegex(done.stderr, rf"^{page}: Wav2Vec2BertForCTC, \d+ words?; with the audio; [\d.]+ MB; loaded")

    def test_texts_are_no_markup(self):
        name = os.fsencode(self.folder) + b"/<img src=x onerror=hacked=1>\xff&'\".wav"
        shutil.copy(self.clip, name)
        for model in ("ctc", "segmenter", "classifier"):
            page = self.view(model, clip=name)
            self.assertEqual(len(page.scripts), 3)  # data, audio and the page's own
            self.assertTrue(EVIL in json.dumps(page.data, ensure_ascii=False))
            self.assertFalse("<img" in page.text)
            title, = re.findall("<h1>(.*)</h1>", page.text)
            self.assertEqual(title, r"&lt;img src=x onerror=hacked=1&gt;\xff&amp;&#39;&quot;.wav")
            self.assertIsNone(re.search(r"\b(src|href)=[\"']?http|@import|\burl\(", page.text))

    def test_values_that_are_not_finite_are_told_apart(self):
        folder = self.folder / "infinite"
        copy_with_value(self.folder / "encoder", folder, "encoder.layers.1.ffn1.intermediate_dense.bias", 0,
                        float("nan"))
        values, _ = self.view("infinite", "--engine", "reference").grid("energies")
        self.assertEqual(numpy.isfinite(values).all(1).tolist(), [True, True, False, False])
        self.assertTrue(numpy.isnan(values[2:]).all())
        told = run(self.clip, "--model", folder, "--output", self.folder / "infinite.html").stderr
        self.assertIn(f"{self.clip}: the model gives NaN or infinity in 2 states, the first of them 2", told)

    def test_a_head_without_an_answer_leaves_the_states(self):
        folder = self.folder / "silent"
        copy_with_value(self.folder / "ctc", folder, "lm_head.bias", 1, float("inf"))
        page = self.folder / "silent.html"
        told = run(self.clip, "--model", folder, "--output", page).stderr
        self.assertIn(f"{self.clip}: no answer: logits hold NaN or infinity", told)
        self.assertNotIn('"words"', page.read_text())
        self.assertIn("no answer: logits hold NaN or infinity", page.read_text())

    def test_a_channel_is_chosen_as_elsewhere(self):
        both = self.folder / "both.wav"
        soundfile.write(both, numpy.stack([self.samples, -self.samples[::-1]], 1), RATE, subtype="FLOAT")
        samples, _ = self.view("encoder", "--channels", "second", clip=both).audio()
        numpy.testing.assert_array_equal(samples, numpy.clip(numpy.rint(-self.samples[::-1] * 32768), -32768, 32767))

    def test_refuses_what_it_cannot_do_and_writes_nothing(self):
        page = self.folder / "refused.html"
        silence, text = self.folder / "short.wav", self.folder / "text.wav"
        soundfile.write(silence, numpy.zeros(500), RATE)
        text.write_text("no audio")
        model = ("--model", self.folder / "ctc")
        output = ("--output", page)
        for words, status, told in (
                ((*model, *output), 2, "AUDIO: no audio file, expected the path of one"),
                ((self.clip, *model), 2, "--output: is not given"),
                ((self.clip, *output), 2, "--model: is not given"),
                ((self.clip, self.clip, *model, *output), 2, "clip.wav"),
                ((self.clip, *model, *output, "--channels", "each"), 2, "--channels: is each"),
                ((self.clip, *model, *output, "--stride-seconds", 1), 2, "--stride-seconds: is given without"),
                ((self.clip, *model, *output, "--chunk-seconds", 0.01), 2, "--chunk-seconds: is 0.01"),
                ((self.clip, *model, *output, "--playback-seconds", "nan"), 2, "--playback-seconds"),
                ((self.clip, *model, *output, "--playback-seconds", 7201), 2, "7200"),
                ((self.clip, *model, *output, "--task", "align"), 2, "--task"),
                ((self.folder / "absent.wav", *model, *output), 3, "absent.wav"),
                ((self.folder, *model, *output), 3, self.folder.name),
                ((text, *model, *output), 3, "text.wav: is no audio file"),
                ((silence, *model, *output), 3, "short.wav: has 500 samples"),
                ((self.clip, "--model", self.folder / "absent", *output), 4, "absent"),
                ((self.clip, *model, "--output", self.folder), 5, "is no regular file"),
                ((self.clip, *model, "--output", "-"), 2, "--output: is -, the standard output"),
                ((self.clip, *model, "--output", self.folder / "none" / "page.html"), 5, "none")):
            with self.subTest(told):
                done = run(*words, status=status)
                errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
                self.assertEqual(len(errors), 1, done.stderr)
                self.assertIn(told, errors[0])
                self.assertFalse(page.exists())

    def test_replaces_its_own_pages_and_nothing_else(self):
        page = self.folder / "again.html"
        model = ("--model", self.folder / "encoder", "--output")
        for _ in range(2):
            run(self.clip, *model, page)
        linked = self.folder / "linked.wav"
        os.link(self.clip, linked)
        config = self.folder / "encoder" / "config.json"
        foreign = self.folder / "foreign.html"
        foreign.write_text(page.read_text().replace("w2vbert view", "w2vbert parity", 1))
        edited, cut = self.folder / "edited.html", self.folder / "cut.html"
        edited.write_text(page.read_text().replace("</h1>", " and a word of mine</h1>", 1))
        cut.write_bytes(page.read_bytes()[:-100])
        for output, status, told in ((edited, 5, "is there already"), (cut, 5, "is there already"),
                                     (self.clip, 2, "is the input as well"), (linked, 2, "is the input as well"),
                                     (config, 2, "is the model's as well"), (foreign, 5, "is there already")):
            before = output.read_bytes()
            done = run(self.clip, *model, output, status=status)
            self.assertIn(told, done.stderr)
            self.assertEqual(output.read_bytes(), before)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
