"""Runs w2vbert transcribe --decoder beam on small random CTC models with a language model that transformers'
Wav2Vec2ProcessorWithLM saves here, on recorded speech and noise, and compares text, words, scores and n-best with those
of the processor and of the pipeline.

    beam_as_transformers.py PROGRAM"""

import gzip
import json
import logging
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "ctc")]
from absent_packages import skip_where_absent  # noqa: E402

try:
    import soundfile
    import torch
    from language_models import write_model
    from pyctcdecode import build_ctcdecoder
    from transformers import (
        AutomaticSpeechRecognitionPipeline,
        SeamlessM4TFeatureExtractor,
        Wav2Vec2BertConfig,
        Wav2Vec2BertForCTC,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2ProcessorWithLM,
    )
except ImportError as error:
    skip_where_absent(error)
from pytorch_setup import into_own_memory, prepare_pytorch  # noqa: E402
from random_parameters import let_tokens_take_turns, widen  # noqa: E402
from recorded_speech import read_first_channel, recordings  # noqa: E402

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
THREADS = 2
VOCABULARY = ["[PAD]", "|", *"abcdefgh'", "[UNK]", "<s>", "</s>"]
SMALL = {"hidden_size": 80, "num_hidden_layers": 3, "num_attention_heads": 5, "intermediate_size": 120}
# The config, frames of 20 ms an output frame, kind of language model.
MODELS = {"plain": ({}, 1, "arpa"), "adapter": ({"add_adapter": True}, 2, "trie")}
N_BEST = 5
# The logits are the same bits; NumPy's exp and log are not.
LIMIT = 1e-4


def save_model(folder, config, kind, rng):
    folder.mkdir()
    source = folder / "source.json"
    source.write_text(json.dumps({token: index for index, token in enumerate(VOCABULARY)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(source), unk_token="[UNK]", pad_token="[PAD]")
    words = sorted({"".join(rng.choices("abcdefgh", k=rng.randint(1, 3))) for _ in range(60)})
    models = folder / "models"
    models.mkdir()
    path = write_model(rng, models, "lm", words, 3, [kind] if kind != "arpa" else [], sentences=200)[kind]
    decoder = build_ctcdecoder(VOCABULARY, str(path), words, alpha=0.4, beta=0.8, unk_score_offset=-4.0)
    extractor = SeamlessM4TFeatureExtractor(padding_value=1.0)
    Wav2Vec2ProcessorWithLM(extractor, tokenizer, decoder).save_pretrained(folder)
    model = widen(Wav2Vec2BertForCTC(Wav2Vec2BertConfig(
        **SMALL, **config, vocab_size=len(VOCABULARY), pad_token_id=tokenizer.pad_token_id))).eval()
    let_tokens_take_turns(model)
    with torch.no_grad():
        model.lm_head.bias[VOCABULARY.index("|")] += 8
    model.save_pretrained(folder)


class BeamSearch(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        logging.disable(logging.WARNING)
        prepare_pytorch()
        torch.set_num_threads(THREADS)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        torch.manual_seed(0)
        rng = random.Random(1)
        for name, (config, _, kind) in MODELS.items():
            save_model(cls.folder / name, config, kind, rng)
        cls.clips = recordings()
        generator = torch.Generator().manual_seed(1)
        for stem, samples in {"odd": 16160, "long": 130000, "shortest": 560}.items():
            path = cls.folder / f"{stem}.wav"
            loud = torch.rand(samples // 80 + 1, generator=generator).repeat_interleave(80)[:samples]
            soundfile.write(path, (loud * torch.randn(samples, generator=generator) / 5).numpy(), 16000,
                            subtype="PCM_16")
            cls.clips.append(path)
        cls.loaded = {name: cls.load(name) for name in MODELS}

    @classmethod
    def load(cls, name):
        folder = cls.folder / name
        model = into_own_memory(Wav2Vec2BertForCTC.from_pretrained(folder)).eval()
        return Wav2Vec2ProcessorWithLM.from_pretrained(folder), model

    def run_program(self, model, *words):
        command = [str(PROGRAM), "transcribe", *map(str, self.clips), "--model", str(model), "--threads", str(THREADS),
                   "--engine", "reference", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True)

    def transcribe(self, model, *words):
        result = self.run_program(model, "--json", "--decoder", "beam", *words)
        self.assertEqual(result.returncode, 0, result.stderr)
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual([line["path"] for line in lines], [str(clip) for clip in self.clips])
        return lines

    def logits(self, name, clip):
        processor, model = self.loaded[name]
        inputs = processor(audio=read_first_channel(clip), sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            return model(**inputs).logits.numpy()

    def compare(self, name, lines, processor, **options):
        """Whether the processor's answer for the logits of each clip is its line."""
        frames = MODELS[name][1]
        said = 0
        for clip, line in zip(self.clips, lines, strict=True):
            with self.subTest(name, clip=clip.stem, options=options):
                output = processor.batch_decode(self.logits(name, clip), output_word_offsets=True, n_best=N_BEST,
                                                num_processes=1, **options)
                self.assertEqual(line["text"], output.text[0][0])
                self.assertEqual([other["text"] for other in line["n_best"]], output.text[0])
                for place, other in enumerate(line["n_best"]):
                    self.assertAlmostEqual(other["logit_score"], float(output.logit_score[0][place]), delta=LIMIT)
                    self.assertAlmostEqual(other["lm_score"], float(output.lm_score[0][place]), delta=LIMIT)
                    words = [{"word": word["word"],
                              "start": min(word["start_offset"] * frames * 320 / 16000, line["seconds"]),
                              "end": min(word["end_offset"] * frames * 320 / 16000, line["seconds"])}
                             for word in output.word_offsets[0][place]]
                    self.assertEqual(other["words"], words)
                self.assertEqual(line["words"], line["n_best"][0]["words"])
                said += len(line["words"])
        return said

    def test_the_directory_of_a_processor_is_decoded_as_it_decodes(self):
        for name in MODELS:
            said = self.compare(name, self.transcribe(self.folder / name, "--n-best", N_BEST), self.loaded[name][0])
            self.assertGreater(said, 2 * len(self.clips))  # the models are not silent

    def test_weights_width_and_hotwords_count_as_there(self):
        hotwords = self.folder / "hotwords.txt.gz"
        hotwords.write_bytes(gzip.compress(b"\xef\xbb\xbfgab\n\nhe cd\r\n"))
        lines = self.transcribe(self.folder / "plain", "--n-best", N_BEST, "--alpha", 0.9, "--beta", -0.5,
                                "--beam-width", 20, "--hotwords", hotwords, "--hotword-weight", 4)
        processor = Wav2Vec2ProcessorWithLM.from_pretrained(self.folder / "plain")
        self.compare("plain", lines, processor, alpha=0.9, beta=-0.5, beam_width=20, hotwords=["gab", "", "he cd"],
                     hotword_weight=4.0)

    def test_the_text_is_that_of_the_pipeline(self):
        processor, model = self.loaded["plain"]
        pipeline = AutomaticSpeechRecognitionPipeline(model=model, tokenizer=processor.tokenizer,
                                                      feature_extractor=processor.feature_extractor,
                                                      decoder=processor.decoder)
        for words, options in ((), {}), (("--chunk-seconds", 2, "--stride-seconds", 0.4),
                                         {"chunk_length_s": 2, "stride_length_s": 0.4}):
            result = self.run_program(self.folder / "plain", "--decoder", "beam", *words)
            self.assertEqual(result.returncode, 0, result.stderr)
            for clip, line in zip(self.clips, result.stdout.splitlines(), strict=True):
                with self.subTest(clip=clip.stem, options=options):
                    text = pipeline(read_first_channel(clip), **options)["text"]
                    self.assertEqual(line.split("\t", 1), [str(clip), text])

    def test_a_language_model_of_its_own_and_its_directory(self):
        plain = self.folder / "without"
        shutil.copytree(self.folder / "plain", plain)
        shutil.rmtree(plain / "language_model")
        (plain / "alphabet.json").unlink()
        processor = self.loaded["plain"][0]
        self.compare("plain", self.transcribe(plain, "--n-best", N_BEST, "--lm", self.folder / "plain"), processor)
        folder = self.folder / "plain" / "language_model"
        self.compare("plain", self.transcribe(plain, "--n-best", N_BEST, "--lm", folder), processor)
        arpa = next(folder.glob("*.arpa"))
        processor = Wav2Vec2ProcessorWithLM(processor.feature_extractor, processor.tokenizer,
                                            build_ctcdecoder(VOCABULARY, str(arpa)))
        self.compare("plain", self.transcribe(plain, "--n-best", N_BEST, "--lm", arpa), processor)
        processor = Wav2Vec2ProcessorWithLM(processor.feature_extractor, processor.tokenizer,
                                            build_ctcdecoder(VOCABULARY))
        self.compare("plain", self.transcribe(plain, "--n-best", N_BEST), processor)

    def test_texts_made_at_the_same_time_are_those_made_one_by_one(self):
        outputs = []
        for threads in (1, 4):
            for more in ([], ["--format", "ctm", "--name", "path"]):
                clips = [*self.clips] * (1 if more else 8)
                result = subprocess.run(
                    [str(PROGRAM), "transcribe", *map(str, clips), "--model", str(self.folder / "plain"), "--decoder",
                     "beam", "--threads", str(threads), *(more or ["--json"])], capture_output=True, text=True)
                self.assertEqual(result.returncode, 0, result.stderr)
                outputs.append(result.stdout)
        self.assertEqual(outputs[:2], outputs[2:])
        self.assertEqual(len(outputs[0].splitlines()), 8 * len(self.clips))

    def test_what_does_not_fit_is_one_line(self):
        def refused(status, message, *words, model="plain"):
            result = self.run_program(self.folder / model, *words)
            self.assertEqual(result.returncode, status, result.stderr)
            lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
            self.assertEqual(len(lines), 1, result.stderr)
            self.assertIn(message, lines[0])

        for option, value in {"--lm": "x", "--alpha": 1, "--beta": 1, "--beam-width": 5, "--hotwords": "x",
                              "--hotword-weight": 1, "--n-best": 2}.items():
            refused(2, f"{option}: belongs to the beam search, expected --decoder beam", option, value)
        refused(2, "--n-best: is given where each clip has one text, expected --json or --output", "--decoder", "beam",
                "--n-best", "2")
        refused(2, "--decoder beam", "--n-best", 2, "--decoder", "greedy")
        refused(2, "--beam-width", "--decoder", "beam", "--beam-width", 0)
        refused(2, "--alpha", "--decoder", "beam", "--alpha", "nan")
        refused(2, "hotwords.none", "--decoder", "beam", "--hotwords", self.folder / "hotwords.none")
        refused(4, "absent.arpa", "--decoder", "beam", "--lm", self.folder / "absent.arpa")
        damaged = self.folder / "damaged"
        shutil.copytree(self.folder / "plain", damaged)
        attributes = damaged / "language_model" / "attrs.json"
        attributes.write_text(attributes.read_text().replace("alpha", "alfa"))
        refused(4, f"{attributes}: alfa: is unknown", "--decoder", "beam", model="damaged")
        alphabet = damaged / "alphabet.json"
        alphabet.write_text(json.dumps({"labels": ["", " ", "a"], "is_bpe": False}))
        attributes.write_text((self.folder / "plain" / "language_model" / "attrs.json").read_text())
        refused(4, f"{alphabet}: labels: 3 labels, expected 14", "--decoder", "beam", model="damaged")
        shutil.rmtree(damaged / "language_model")
        alphabet.unlink()
        refused(2, "--alpha", "--decoder", "beam", "--alpha", 1, model="damaged")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
