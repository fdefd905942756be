"""Runs w2vbert align on the small random CTC models of transcribe_as_transformers.py, and compares words,
characters, times and scores with torchaudio's forced_align of transformers' logits; w2vbert transcribe and
align in every --format, and what is refused.

    align_as_torchaudio.py PROGRAM"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import soundfile
import torch
import transcribe_as_transformers as transcription  # in this folder; takes the same PROGRAM
from torchaudio.functional import forced_align, merge_tokens
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertForCTC, Wav2Vec2BertProcessor, Wav2Vec2CTCTokenizer
from transformers.utils import logging

MODELS = transcription.MODELS
THREADS = transcription.THREADS
TEXTS = ["A BAD CAB", "FACE", "a bad cab", "thAth 'HE'", "B  B", " EGG ", "AxA"]
# Of float32 probabilities by another exp(), summed in another order. Measured: 1.5e-7; of the fused engine 2e-5.
SCORE_TOLERANCE = {"reference": 1e-6, "fused": 1e-3}
# Another path of the fused engine's values is as probable, within this.
PATH_TOLERANCE = 1e-2


def characters_of(text):
    """The parts of a text that are tokens, `th` and single characters, and whether each is one; the spaces beside
    `th` are not."""
    parts = []
    for i, piece in enumerate(pieces := text.replace("th", "\0th\0").split("\0")):
        if piece == "th":
            parts.append(("th", True))
            continue
        kept = range(len(piece) - len(piece.lstrip(" ")) if i > 0 else 0,
                     len(piece.rstrip(" ")) if i + 1 < len(pieces) else len(piece))
        parts += [(character, k in kept) for k, character in enumerate(piece)]
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
        result = self.run_program("align", *clips, "--model", self.folder / model, "--threads", THREADS, "--json", *words)
        self.assertEqual(result.returncode, 0, result.stderr)
        return [json.loads(line) for line in result.stdout.splitlines()], result.stderr

    def refusal(self, *words, status=2):
        result = self.run_program(*words)
        self.assertEqual(result.returncode, status, result.stderr)
        return [line for line in result.stderr.splitlines() if line.startswith("error:")][-1]

    def load(self, name):
        folder = self.folder / name
        model = Wav2Vec2BertForCTC.from_pretrained(folder).eval()
        for parameter in model.parameters():  # from the mapped file into memory of its own
            parameter.data = parameter.data.clone()
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

    def test_words_and_characters_are_those_of_torchaudio(self):
        compared = 0
        for name, (_, _, _, frames) in MODELS.items():
            processor, model = self.load(name)
            for clip in self.clips:
                log_probs = self.log_probs(processor, model, clip)
                for text in TEXTS:
                    if log_probs.shape[1] < 2 * len(text):
                        continue
                    (line,), notes = self.align(name, [clip], "--text", text, "--engine", "reference")
                    words, characters, _ = self.expected(processor.tokenizer, log_probs, text, frames, line["seconds"])
                    with self.subTest(name, clip=clip.stem, text=text):
                        self.assertEqual(list(line), ["path", "seconds", "words", "characters"])
                        self.same(line["words"], words, SCORE_TOLERANCE["reference"])
                        self.same(line["characters"], characters, SCORE_TOLERANCE["reference"])
                        self.assertEqual("does not know" in notes, "[UNK]" in processor.tokenizer.convert_ids_to_tokens(
                            processor.tokenizer(text).input_ids))
                        compared += 1
        self.assertGreater(compared, 60)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
