"""Runs w2vbert transcribe on small random CTC models that transformers saves here, on recorded speech
and noise, and compares text and word times with those of transformers' processor and model.

    transcribe_as_transformers.py PROGRAM"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import peft
import soundfile
import torch
from transformers import (
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2BertProcessor,
    Wav2Vec2CTCTokenizer,
)
from transformers.utils import logging

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]
from pytorch_setup import into_own_memory, prepare_pytorch  # noqa: E402
from random_parameters import let_tokens_take_turns, widen  # noqa: E402
from recorded_speech import read_first_channel, recordings  # noqa: E402

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
THREADS = 2
VOCABULARY = ["[PAD]", "|", *"ABCDEFGH'", "th", "[UNK]"]
SMALL = {"hidden_size": 80, "num_hidden_layers": 3, "num_attention_heads": 5, "intermediate_size": 120}
MODELS = {  # of the config, of the tokenizer, whether through a processor, frames of 20 ms an output frame
    "plain": ({}, {}, True, 1),
    "lower": ({"position_embeddings_type": "rotary"},
              {"do_lower_case": True, "clean_up_tokenization_spaces": True}, False, 1),
    "adapter": ({"add_adapter": True}, {"replace_word_delimiter_char": "_"}, True, 2),
    "adapters": ({"add_adapter": True, "num_adapter_layers": 2, "adapter_stride": 3, "output_hidden_size": 60,
                  "use_intermediate_ffn_before_adapter": True}, {"target_lang": "eng"}, False, 9),
}
# Where two logits are nearer, the fused engine's rounding may choose the other.
MARGIN = 1e-3


def save_model(folder, config, settings, with_processor):
    folder.mkdir()
    vocabulary = {token: index for index, token in enumerate(VOCABULARY)}
    source = folder / "source.json"
    source.write_text(json.dumps({"eng": vocabulary} if "target_lang" in settings else vocabulary))
    tokenizer = Wav2Vec2CTCTokenizer(str(source), unk_token="[UNK]", pad_token="[PAD]", **settings)
    extractor = SeamlessM4TFeatureExtractor(padding_value=1.0)
    if with_processor:
        Wav2Vec2BertProcessor(extractor, tokenizer).save_pretrained(folder)
    else:
        tokenizer.save_pretrained(folder)
        extractor.save_pretrained(folder)
    model = widen(Wav2Vec2BertForCTC(Wav2Vec2BertConfig(
        **SMALL, **config, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id))).eval()
    let_tokens_take_turns(model)
    model.save_pretrained(folder)


class Transcription(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        prepare_pytorch()
        torch.set_num_threads(THREADS)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        torch.manual_seed(0)
        for name, (config, settings, with_processor, _) in MODELS.items():
            save_model(cls.folder / name, config, settings, with_processor)
        cls.clips = recordings()
        generator = torch.Generator().manual_seed(1)
        for stem, samples in {"odd": 16160, "long": 130000, "shortest": 560}.items():
            path = cls.folder / f"{stem}.wav"
            loud = torch.rand(samples // 80 + 1, generator=generator).repeat_interleave(80)[:samples]
            soundfile.write(path, (loud * torch.randn(samples, generator=generator) / 5).numpy(), 16000,
                            subtype="PCM_16")
            cls.clips.append(path)

    def run_program(self, model, clips, *words):
        command = [str(PROGRAM), "transcribe", *map(str, clips), "--model", str(model), "--threads", str(THREADS),
                   *map(str, words)]
        result = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def transcribe(self, model, clips, *words):
        lines = self.run_program(model, clips, "--json", *words).splitlines()
        lines = [json.loads(line) for line in lines]
        self.assertEqual([line["path"] for line in lines], [str(clip) for clip in clips])
        return lines

    def logits(self, processor, model, clip, dtype):
        samples = read_first_channel(clip)
        inputs = processor(audio=samples, sampling_rate=16000, return_tensors="pt")
        inputs["input_features"] = inputs["input_features"].to(dtype)
        with torch.no_grad():
            return model(**inputs).logits, len(samples) / 16000

    def expect(self, line, processor, logits, seconds, frames):
        ids = logits.argmax(-1)
        text = processor.batch_decode(ids)[0]
        output = processor.tokenizer.decode(ids[0], output_word_offsets=True)
        self.assertEqual(output.text, text)
        self.assertEqual(line["text"], text)
        self.assertAlmostEqual(line["seconds"], seconds, delta=1.5 / 16000)  # a resampled end may round up
        # transformers does not look at the audio's end.
        words = [{"word": d["word"], "start": min(d["start_offset"] * frames * 320 / 16000, line["seconds"]),
                  "end": min(d["end_offset"] * frames * 320 / 16000, line["seconds"])} for d in output.word_offsets]
        self.assertEqual(line["words"], words)
        return len(words)

    def load(self, name, dtype=torch.float32):
        folder = self.folder / name
        model = into_own_memory(Wav2Vec2BertForCTC.from_pretrained(folder, dtype=dtype)).eval()
        if MODELS[name][2]:
            return Wav2Vec2BertProcessor.from_pretrained(folder), model
        return Wav2Vec2BertProcessor(SeamlessM4TFeatureExtractor.from_pretrained(folder),
                                     Wav2Vec2CTCTokenizer.from_pretrained(folder)), model

    def test_the_reference_engine_gives_the_text_of_transformers(self):
        words = texts = 0
        for name, (_, _, _, frames) in MODELS.items():
            for dtype in (torch.float32, torch.bfloat16):
                if dtype != torch.float32 and name != "adapter":
                    continue
                processor, model = self.load(name, dtype)
                lines = self.transcribe(self.folder / name, self.clips, "--engine", "reference", "--dtype",
                                        str(dtype).removeprefix("torch."))
                for clip, line in zip(self.clips, lines, strict=True):
                    with self.subTest(name, clip=clip.stem, dtype=dtype):
                        texts += 1
                        words += self.expect(line, processor, *self.logits(processor, model, clip, dtype), frames)
        self.assertGreater(words, 2 * texts)  # the models are not silent

    def test_the_fused_engine_gives_the_text_of_transformers(self):
        compared = 0
        for name, (_, _, _, frames) in MODELS.items():
            processor, model = self.load(name)
            lines = self.transcribe(self.folder / name, self.clips)
            for clip, line in zip(self.clips, lines, strict=True):
                logits, seconds = self.logits(processor, model, clip, torch.float32)
                first, second = logits.topk(2, -1).values.unbind(-1)
                if (first - second).min() < MARGIN:
                    continue
                with self.subTest(name, clip=clip.stem):
                    compared += 1
                    self.expect(line, processor, logits, seconds, frames)
        self.assertGreater(compared, len(MODELS) * len(self.clips) // 2)

    def test_a_clip_does_not_depend_on_the_others(self):
        for name in ("plain", "adapter"):
            for engine in ("fused", "reference"):
                together = self.transcribe(self.folder / name, self.clips * 3, "--engine", engine)
                alone = [self.transcribe(self.folder / name, [clip], "--engine", engine)[0] for clip in self.clips]
                self.assertEqual(together, alone * 3)

    def test_an_adapter_of_peft_changes_what_is_heard(self):
        processor, base = self.load("plain")
        torch.manual_seed(3)
        adapted = peft.get_peft_model(base, peft.LoraConfig(r=4, target_modules=["linear_q", "linear_v"],
                                                            modules_to_save=["lm_head"]))
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_" in name or "modules_to_save" in name:
                    parameter += 0.5 * torch.randn_like(parameter)
        adapted.save_pretrained(self.folder / "lora", save_embedding_layers=False)
        merged = adapted.merge_and_unload().eval()
        lines = self.transcribe(self.folder / "plain", self.clips, "--lora", self.folder / "lora", "--engine",
                                "reference")
        without = self.transcribe(self.folder / "plain", self.clips, "--engine", "reference")
        self.assertNotEqual(lines, without)
        for clip, line in zip(self.clips, lines, strict=True):
            with self.subTest(clip.stem):
                self.expect(line, processor, *self.logits(processor, merged, clip, torch.float32), 1)

    def test_lines_of_text_say_the_same(self):
        lines = self.transcribe(self.folder / "plain", self.clips)
        text = self.run_program(self.folder / "plain", self.clips)
        self.assertEqual(text, "".join(f"{line['path']}\t{line['text']}\n" for line in lines))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
