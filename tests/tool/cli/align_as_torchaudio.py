"""Runs w2vbert align on the small random CTC models of transcribe_as_transformers.py, and compares words,
characters, times and scores with torchaudio's forced_align of transformers' logits; w2vbert transcribe and
align in every --format, and what is refused.

    align_as_torchaudio.py PROGRAM"""

import gzip
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import soundfile
import torch
import transcribe_as_transformers as transcription  # in this folder; takes the same PROGRAM
from torchaudio.functional import forced_align, merge_tokens
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertForCTC, Wav2Vec2BertProcessor, Wav2Vec2CTCTokenizer
from transformers.utils import logging

from chunks import logits_in_chunks

MODELS = transcription.MODELS
THREADS = transcription.THREADS
TEXTS = ["A BAD CAB", "FACE", "a bad cab", "thAth 'HE'", "B  B", " EGG ", "AxA"]
# Probabilities by another exp(), summed in another order. Measured: 8.2e-8; of the fused engine 1e-6.
SCORE_TOLERANCE = {"reference": 1e-6, "fused": 1e-4}


def characters_of(text):
    """The parts of a text that are tokens, `th` and single characters, and whether each is one; the spaces beside
    `th` are not."""
    parts = []
    runs = text.replace("th", "\0th\0").split("\0")
    for i, run in enumerate(runs):
        if run == "th":
            parts.append((run, True))
            continue
        kept = range(len(run) - len(run.lstrip(" ")) if i > 0 else 0,
                     len(run.rstrip(" ")) if i + 1 < len(runs) else len(run))
        parts += [(character, k in kept) for k, character in enumerate(run)]
    return parts


class Alignment(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        transcription.prepare_pytorch()
        torch.set_num_threads(THREADS)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        torch.manual_seed(0)
        for name, (config, settings, with_processor, _) in MODELS.items():
            transcription.save_model(cls.folder / name, config, settings, with_processor)
        cls.clips = transcription.recordings()
        generator = torch.Generator().manual_seed(1)
        for stem, samples in {"odd": 56160, "long": 130000}.items():
            path = cls.folder / f"{stem}.wav"
            loud = torch.rand(samples // 80 + 1, generator=generator).repeat_interleave(80)[:samples]
            soundfile.write(path, (loud * torch.randn(samples, generator=generator) / 5).numpy(), 16000,
                            subtype="PCM_16")
            cls.clips.append(path)

    def run_program(self, command, *words):
        return subprocess.run([str(transcription.PROGRAM), command, *map(str, words)], capture_output=True, text=True)

    def align(self, model, clips, *words):
        result = self.run_program("align", *clips, "--model", self.folder / model, "--threads", THREADS, "--json",
                                  *words)
        self.assertEqual(result.returncode, 0, result.stderr)
        return [json.loads(line) for line in result.stdout.splitlines()], result.stderr

    def error_of(self, *words, status=2):
        result = self.run_program(*words)
        self.assertEqual(result.returncode, status, result.stderr)
        return [line for line in result.stderr.splitlines() if line.startswith("error:")][-1]

    def load(self, name):
        folder = self.folder / name
        model = transcription.into_own_memory(Wav2Vec2BertForCTC.from_pretrained(folder)).eval()
        if MODELS[name][2]:
            return Wav2Vec2BertProcessor.from_pretrained(folder), model
        return Wav2Vec2BertProcessor(SeamlessM4TFeatureExtractor.from_pretrained(folder),
                                     Wav2Vec2CTCTokenizer.from_pretrained(folder)), model

    def log_probs(self, processor, model, clip):
        samples = transcription.read_first_channel(clip)
        inputs = processor(audio=samples, sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            return model(**inputs).logits.log_softmax(-1)

    def expected(self, tokenizer, log_probs, text, frames, seconds):
        ids = tokenizer(text).input_ids
        path, scores = forced_align(log_probs, torch.tensor([ids]), blank=tokenizer.pad_token_id)
        spans = merge_tokens(path[0], scores[0].exp(), blank=tokenizer.pad_token_id)
        parts = characters_of(text)
        self.assertEqual(sum(is_token for _, is_token in parts), len(spans))
        rest = iter(spans)
        parts = [(part, next(rest) if is_token else None) for part, is_token in parts]

        def time(frame):
            return min(frame * frames * 320 / 16000, seconds)

        def timed(what, text, spans):
            return {what: text, "start": time(spans[0].start), "end": time(spans[-1].end),
                    "score": sum(s.score * len(s) for s in spans) / sum(len(s) for s in spans)}

        characters = [timed("character", part, [span]) for part, span in parts if span]
        words, run = [], []
        for part, span in [*parts, (" ", None)]:
            if part != " ":
                run.append((part, span))
            elif run:
                words.append(timed("word", "".join(part for part, _ in run), [span for _, span in run]))
                run = []
        return words, characters, scores.sum().item()

    def same(self, ours, theirs, tolerance):
        for one, other in zip(ours, theirs, strict=True):
            self.assertEqual({**one, "score": 0}, {**other, "score": 0})
            self.assertAlmostEqual(one["score"], other["score"], delta=tolerance)

    def pairs(self, processor, model):
        """Clips, their logarithms of probabilities, and the texts that they are long enough for"""
        for clip in self.clips:
            log_probs = self.log_probs(processor, model, clip)
            for text in TEXTS:
                if log_probs.shape[1] >= 2 * len(text):
                    yield clip, log_probs, text

    def aligned(self, name, *words):
        """Of one model: the lines beside what they are of; the texts are a file's lines"""
        processor, model = self.load(name)
        pairs = list(self.pairs(processor, model))
        texts = self.folder / "texts.txt"
        texts.write_text("".join(text + "\n" for *_, text in pairs), newline="\r\n")
        lines, notes = self.align(name, [clip for clip, *_ in pairs], "--text-file", texts, *words)
        self.assertEqual([line["path"] for line in lines], [str(clip) for clip, *_ in pairs])
        return processor.tokenizer, list(zip(pairs, lines, strict=True)), notes

    def test_words_and_characters_are_those_of_torchaudio(self):
        compared = 0
        for name, (_, settings, _, frames) in MODELS.items():
            tokenizer, lines, notes = self.aligned(name, "--engine", "reference")
            for (clip, log_probs, text), line in lines:
                words, characters, _ = self.expected(tokenizer, log_probs, text, frames, line["seconds"])
                with self.subTest(name, clip=clip.stem, text=text):
                    self.assertEqual(list(line), ["path", "seconds", "words", "characters"])
                    self.same(line["words"], words, SCORE_TOLERANCE["reference"])
                    self.same(line["characters"], characters, SCORE_TOLERANCE["reference"])
                    compared += 1
            # What do_lower_case does not make a token of is told of, once.
            unknown = sorted(set("".join(TEXTS)) - set("ABCDEFGH' ") - set("th")) + ["h", "t"]
            if settings.get("do_lower_case"):
                unknown = ["x"]
            told = [c for c in unknown if f'does not know "{c}"' in notes]
            self.assertEqual(told, [c for c in unknown if c not in "th"])
            self.assertEqual(notes.count("does not know"), len(told))
        self.assertGreater(compared, 60)

    def test_the_fused_engine_finds_the_same_paths(self):
        same = 0
        tokenizer, lines, _ = self.aligned("plain")
        for (clip, log_probs, text), line in lines:
            words, *_ = self.expected(tokenizer, log_probs, text, 1, line["seconds"])
            with self.subTest(clip=clip.stem, text=text):
                self.assertEqual([word["word"] for word in line["words"]], [word["word"] for word in words])
                times = [[(word["start"], word["end"]) for word in one] for one in (line["words"], words)]
                same += times[0] == times[1]
                if times[0] == times[1]:
                    self.same(line["words"], words, SCORE_TOLERANCE["fused"])
        self.assertGreater(same, 0.9 * len(lines))

    def test_chunks_are_those_of_transcribe(self):
        processor, model = self.load("plain")
        chunk, stride = 32000, 5120  # samples, a multiple of a row's
        text = "A BAD CAB"
        for clip in (self.folder / "odd.wav", self.folder / "long.wav"):
            samples = transcription.read_first_channel(clip)
            kept = logits_in_chunks(
                model, lambda part: processor(audio=part, sampling_rate=16000, return_tensors="pt"), samples, chunk,
                stride)
            self.assertGreater(len(kept), 1)
            (line,), _ = self.align("plain", [clip], "--text", text, "--engine", "reference", "--chunk-seconds", 2,
                                    "--stride-seconds", 0.32)
            words, characters, _ = self.expected(processor.tokenizer, torch.cat(kept).log_softmax(-1)[None], text, 1,
                                                 line["seconds"])
            self.same(line["words"], words, SCORE_TOLERANCE["reference"])
            self.same(line["characters"], characters, SCORE_TOLERANCE["reference"])
            (whole,), _ = self.align("plain", [clip], "--text", text, "--engine", "reference")
            self.assertNotEqual(whole, line)

    def test_lists_say_what_is_said(self):
        listed = self.folder / "list.jsonl"
        clips = [self.folder / "odd.wav", self.folder / "long.wav", self.folder / "odd.wav"]
        rows = [{"audio_filepath": str(clip), "text": text} for clip, text in zip(clips, TEXTS, strict=False)]
        listed.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"audio_filepath": str(clips[0])}]))
        result = self.run_program("align", "--manifest", listed, "--model", self.folder / "plain", "--json")
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertIn("does not say what is said", result.stderr)
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        alone = [self.align("plain", [clip], "--text", row["text"])[0][0]
                 for clip, row in zip(clips, rows, strict=True)]
        self.assertEqual(lines, alone)
        whole = self.folder / "whole.txt"  # all of it is of the one file
        whole.write_text("\ufeffA BAD\n\nCAB\n")
        self.assertEqual(self.align("plain", [clips[0]], "--text-file", whole)[0], lines[:1])
        piped = subprocess.run([str(transcription.PROGRAM), "align", str(clips[0]), "--model",
                                str(self.folder / "plain"), "--threads", str(THREADS), "--json", "--text-file", "-"],
                               input=gzip.compress(whole.read_bytes()), capture_output=True, check=True)
        self.assertEqual(json.loads(piped.stdout), lines[0])

    def test_formats_say_the_same(self):
        (line,), _ = self.align("plain", [self.folder / "odd.wav"], "--text", "A BAD CAB")
        odd = ["align", self.folder / "odd.wav", "--model", self.folder / "plain", "--text", "A BAD CAB"]
        text = self.run_program(*odd).stdout
        self.assertEqual([part.split(" ")[-1] for part in text.rstrip("\n").split("\t")[1:]], ["A", "BAD", "CAB"])
        self.assertEqual(json.loads(self.run_program(*odd, "--format", "json").stdout), line)
        ctm = self.run_program(*odd, "--format", "ctm").stdout
        for fields, word in zip(map(str.split, ctm.splitlines()), line["words"], strict=True):
            self.assertEqual([*fields[:2], fields[4]], ["odd", "1", word["word"]])
            self.assertAlmostEqual(float(fields[2]), word["start"], delta=6e-4)
            self.assertAlmostEqual(float(fields[5]), word["score"], delta=1e-6)
        srt = self.run_program(*odd, "--format", "srt", "--cue-characters", "1").stdout
        self.assertEqual(srt.count("-->"), 3)
        self.assertTrue(self.run_program(*odd, "--format", "vtt").stdout.startswith("WEBVTT\n\n"))
        for command, more, tiers in (("align", ["--text", "A BAD CAB"], 2), ("transcribe", [], 1)):
            folder = self.folder / f"{command} out"
            words = [command, self.folder / "odd.wav", self.folder / "long.wav", "--model", self.folder / "plain",
                     *more, "--format", "textgrid", "--output", folder]
            result = self.run_program(*words)
            self.assertEqual((result.returncode, result.stdout), (0, ""), result.stderr)
            documents = {path.name: path.read_bytes() for path in sorted(folder.glob("*.TextGrid"))}
            self.assertEqual(list(documents), ["long.TextGrid", "odd.TextGrid"])
            self.assertIn(f"size = {tiers}\n", (folder / "odd.TextGrid").read_text())
            # The same call again does what is missing, and a corrected document stays.
            (folder / "long.TextGrid").unlink()
            self.assertIn("1 clip was answered by an earlier call", self.run_program(*words).stderr)
            self.assertEqual({path.name: path.read_bytes() for path in sorted(folder.glob("*.TextGrid"))}, documents)
            if command == "align":
                other = [word if word != "A BAD CAB" else "A BAD" for word in words]
                self.assertNotIn("answered", self.run_program(*other).stderr)
                self.assertNotEqual((folder / "odd.TextGrid").read_bytes(), documents["odd.TextGrid"])
                self.run_program(*words)
                self.assertEqual((folder / "odd.TextGrid").read_bytes(), documents["odd.TextGrid"])
            (folder / "odd.TextGrid").write_bytes(documents["odd.TextGrid"] + b"\n")
            self.assertIn("odd.TextGrid: is not as this command has written it", self.error_of(*words, status=5))
            (folder / "odd.TextGrid").unlink()
            for records in folder.glob(".TextGrid.*"):
                records.unlink()
            self.assertIn("long.TextGrid: is there already", self.error_of(*words, status=5))

    def test_documents_are_gone_on_with(self):
        clips, folder = self.folder / "some", self.folder / "some subtitles"
        clips.mkdir()
        for seed, name in enumerate("abcd"):
            noise = np.random.default_rng(seed).normal(0, 0.1, 16000 + 8000 * seed)
            soundfile.write(clips / f"{name}.wav", noise, 16000)
        words = ["transcribe", "--manifest", clips, "--model", self.folder / "plain", "--format", "srt", "--output",
                 folder]

        def documents():
            return {path.name: path.read_bytes() for path in sorted(folder.glob("*.srt"))}

        def run(*more, status=0):
            result = self.run_program(*words, *more)
            self.assertEqual((result.returncode, result.stdout), (status, ""), result.stderr)
            return result.stderr

        # Shares, one after the other, and what they have done is known to the whole.
        run("--partition", "0/2")
        some = documents()
        self.assertIn(len(some), (1, 2, 3))
        run("--partition", "1/2")
        whole = documents()
        self.assertEqual(list(whole), ["a.srt", "b.srt", "c.srt", "d.srt"])
        self.assertEqual(whole, {**whole, **some})
        self.assertIn("4 clips were answered by an earlier call", run())
        # A replaced input has a new document, also after a call that ended before it put it there.
        kept = (folder / "b.srt").read_bytes()
        soundfile.write(clips / "b.wav", np.random.default_rng(99).normal(0, 0.1, 20000), 16000)
        self.assertIn("3 clips were answered", run())
        new = (folder / "b.srt").read_bytes()
        self.assertNotEqual(new, kept)
        (folder / "b.srt").write_bytes(kept)
        self.assertIn("3 clips were answered", run())
        self.assertEqual((folder / "b.srt").read_bytes(), new)
        # Two at once do it twice, or not, and the same.
        whole = documents()
        for path in [*folder.glob("*.srt"), *folder.glob(".srt.*")]:
            path.unlink()
        both = [subprocess.Popen([str(transcription.PROGRAM), *map(str, words)], stderr=subprocess.PIPE, text=True)
                for _ in range(2)]
        for process in both:
            error = process.communicate()[1]
            self.assertEqual(process.returncode, 0, error)
        self.assertEqual(documents(), whole)
        # A damaged record makes none of them another program's.
        journal = folder / ".srt.journal.jsonl"
        for path in [*folder.glob("*.srt"), journal]:  # the two may have recorded one twice
            path.unlink()
        run()
        text = journal.read_bytes()
        for damaged in (text.replace(b'"digest":"', b'"digest":"0', 1), text[:-9], b""):
            journal.write_bytes(damaged)
            run()
            self.assertEqual(documents(), whole)
        (folder / "a.srt").write_bytes(whole["a.srt"] + b"\n")
        journal.write_bytes(text[:-9])
        run(status=5)
        self.assertEqual((folder / "a.srt").read_bytes(), whole["a.srt"] + b"\n")

    def test_a_text_is_taken_as_it_is_written(self):
        for text in ("[A B]", "[A]", "[A,B]"):
            for option in (["--text", text], [f"--text={text}"]):
                (line,), _ = self.align("plain", [self.folder / "odd.wav"], *option)
                self.assertEqual("".join(one["character"] for one in line["characters"]), text)

    def test_what_does_not_fit_is_refused_by_name(self):
        odd, model = self.folder / "odd.wav", ["--model", self.folder / "plain"]
        one = self.folder / "one.txt"
        one.write_text("A\n")
        wide = self.folder / "wide.txt"
        wide.write_text("A\n", encoding="utf-16")
        unmarked = self.folder / "unmarked.txt"
        unmarked.write_text("A BAD CAB\n", encoding="utf-16-be")
        bytes_of_words = self.folder / "bytes.txt"
        bytes_of_words.write_bytes(b"a\nb\xff\n")
        for words, said in (
            (["align", odd, *model], "--text: is missing"),
            (["align", odd, *model, "--text", "A", "--text-file", one], "--text-file: is given beside --text"),
            (["align", odd, odd, *model, "--text-file", one], "has 1 line, expected a line for each of 2"),
            (["align", odd, *model, "--text-file", self.folder / "none.txt"], "none.txt"),
            (["align", odd, odd, *model, "--text", "A", "--format", "srt"], "--format: is srt"),
            (["align", odd, *model, "--text", "A", "--format", "srt", "--json"],
             "--json: is given beside --format srt"),
            (["align", odd, *model, "--text", "A", "--cue-characters", "3"], "--cue-characters: is given without"),
            (["align", odd, *model, "--text", "A", "--format", "rttm"], "--format"),
            (["transcribe", odd, odd, *model, "--format", "textgrid"], "--format: is textgrid"),
            (["align", "--manifest", "-", *model, "--text-file", "-"],
             "--text-file: is the standard input, and so is --manifest"),
            (["transcribe", "--manifest", "-", *model, "--decoder", "beam", "--hotwords", "-"],
             "--hotwords: is the standard input, and so is --manifest"),
            (["align", odd, *model, "--text-file", wide], f"{wide}: is UTF-16, not UTF-8"),
            (["align", odd, *model, "--text-file", unmarked], f"{unmarked}: is UTF-16, not UTF-8"),
            (["transcribe", odd, *model, "--decoder", "beam", "--hotwords", bytes_of_words],
             f"{bytes_of_words}: line 2: is not UTF-8 (--hotwords)"),
            (["transcribe", odd, odd, *model, "--format", "ctm"], 'gives the output name "odd" as'),
        ):
            with self.subTest(said):
                self.assertIn(said, self.error_of(*words))
        one.write_text("\n")
        self.assertIn(f"{odd}: text: is empty", self.error_of("align", odd, *model, "--text-file", one, status=3))
        for text, said in (("A[PAD]", '"[PAD]" is token 0, the blank'),
                           ("A" * 4000, "is too long for the clip: 4000 tokens, 3999 of them as the one before"),
                           ("A\udcff", "is not UTF-8")):
            with self.subTest(said):
                error = self.error_of("align", odd, *model, "--text", text, status=3)
                self.assertIn(str(odd), error)
                self.assertIn(said, error)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
