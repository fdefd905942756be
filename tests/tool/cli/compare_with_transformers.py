"""Runs the w2vbert program on real speech and compares what it writes with what transformers gives for
the same clips: hidden states bit for bit, features within a tolerance.

    compare_with_transformers.py PROGRAM [AUDIO...]

The model is a small seeded one that transformers saves here, whole and in shards."""

import io
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import numpy
import peft
import soundfile
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForAudioFrameClassification,
    Wav2Vec2BertForCTC,
    Wav2Vec2BertForSequenceClassification,
    Wav2Vec2BertForXVector,
    Wav2Vec2BertModel,
)
from transformers.utils import logging

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]
from pytorch_setup import into_own_memory, prepare_pytorch  # noqa: E402
from random_parameters import widen  # noqa: E402
from recorded_speech import read_first_channel, recordings  # noqa: E402

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
THREADS = 2
BITS = ("--engine", "reference")
FUSED_TOLERANCE = 2e-5  # relative to max(1, |x|), docs/numerics.md


def distance(got, expected):
    return float(((got - expected).abs() / expected.abs().clamp_min(1)).max())


def run(*words):
    command = [str(PROGRAM), *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {result.returncode}: {result.stderr}")


def same_bits(a, b):
    integer = {4: torch.int32, 2: torch.int16}[a.element_size()]
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.view(integer), b.view(integer))


class Comparison(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        logging.disable_progress_bar()
        prepare_pytorch()
        torch.set_num_threads(THREADS)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        torch.manual_seed(0)
        config = Wav2Vec2BertConfig(hidden_size=80, num_hidden_layers=4, num_attention_heads=5,
                                    intermediate_size=120)
        model = widen(Wav2Vec2BertModel(config))
        extractor = SeamlessM4TFeatureExtractor(padding_value=1.0)
        for name, shard_size in {"whole": "5GB", "shards": "200KB"}.items():
            model.save_pretrained(cls.folder / name, max_shard_size=shard_size)
            extractor.save_pretrained(cls.folder / name)
        cls.extractor = extractor
        cls.clips = {path.stem: path for path in recordings()}
        generator = torch.Generator().manual_seed(1)
        for stem, samples in {"odd": 16160, "short": 720, "shortest": 560}.items():
            path = cls.folder / f"{stem}.wav"
            noise = 0.1 * torch.randn(samples, generator=generator)
            soundfile.write(path, noise.numpy(), 16000, subtype="PCM_16")
            cls.clips[stem] = path
        links = cls.folder / "clips"
        links.mkdir()
        for stem, path in cls.clips.items():
            (links / f"{stem}.wav").symlink_to(path)
        cls.inputs = sorted(links.iterdir())
        run("features", *cls.inputs, "--model", cls.folder / "whole", "--output", cls.folder / "features")
        cls.features = {stem: load_file(cls.folder / "features" / f"{stem}.safetensors")
                        for stem in cls.clips}

    def load(self, dtype, attention):
        return into_own_memory(Wav2Vec2BertModel.from_pretrained(self.folder / "whole", dtype=dtype,
                                                                 attn_implementation=attention)).eval()

    def test_features_are_those_of_the_feature_extractor(self):
        for stem, path in self.clips.items():
            with self.subTest(stem):
                expected = self.extractor(read_first_channel(path), sampling_rate=16000, return_tensors="pt")
                got = self.features[stem]
                torch.testing.assert_close(got["input_features"], expected.input_features[0],
                                           rtol=0, atol=1e-5)
                self.assertTrue(torch.equal(got["attention_mask"],
                                            expected.attention_mask[0].to(torch.int64)))

    def test_hidden_states_have_the_bits_of_the_model(self):
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            for attention in ("sdpa", "eager"):
                name = str(dtype).removeprefix("torch.")
                output = self.folder / f"states-{name}-{attention}"
                run("extract", *self.inputs, "--model", self.folder / "whole", "--output", output,
                    "--states", "all", "--dtype", name, "--attn-implementation", attention,
                    "--threads", THREADS, *BITS)
                model = self.load(dtype, attention)
                for stem, features in self.features.items():
                    with torch.no_grad():
                        expected = model(features["input_features"][None].to(dtype),
                                         attention_mask=features["attention_mask"][None],
                                         output_hidden_states=True).hidden_states
                    got = load_file(output / f"{stem}.safetensors")
                    self.assertEqual(len(got), len(expected) + 1)
                    for index, state in enumerate(expected):
                        with self.subTest(stem, dtype=name, attention=attention, state=index):
                            self.assertTrue(same_bits(got[f"hidden_states.{index}"], state[0]))

    def test_fused_hidden_states_are_those_of_the_model(self):
        output = self.folder / "states-fused"
        run("extract", *self.inputs, "--model", self.folder / "whole", "--output", output, "--states", "all")
        model = self.load(torch.float32, "sdpa")
        for stem, features in self.features.items():
            with torch.no_grad():
                expected = model(features["input_features"][None],
                                 attention_mask=features["attention_mask"][None],
                                 output_hidden_states=True).hidden_states
            got = load_file(output / f"{stem}.safetensors")
            self.assertEqual(len(got), len(expected) + 1)
            for index, state in enumerate(expected):
                with self.subTest(stem, state=index):
                    self.assertLess(distance(got[f"hidden_states.{index}"], state[0]), FUSED_TOLERANCE)

    def test_npy_files_are_what_numpy_saves(self):
        output = self.folder / "states-npy"
        run("extract", *self.inputs, "--model", self.folder / "whole", "--output", output, "--states", "3",
            "--output-format", "npy", "--threads", THREADS, *BITS)
        model = self.load(torch.float32, "sdpa")
        for stem, features in self.features.items():
            with self.subTest(stem), torch.no_grad():
                expected = model(features["input_features"][None],
                                 attention_mask=features["attention_mask"][None],
                                 output_hidden_states=True).hidden_states[3][0].numpy()
                file = io.BytesIO()
                numpy.save(file, expected)
                self.assertEqual((output / f"{stem}.npy").read_bytes(), file.getvalue())

    def test_an_adapter_gives_the_bits_that_peft_gives(self):
        for dtype in (torch.float32, torch.bfloat16):
            name = str(dtype).removeprefix("torch.")
            model = self.load(dtype, "sdpa")
            adapter, output = self.folder / f"adapter-{name}", self.folder / f"adapted-{name}"
            torch.manual_seed(3)
            adapted = peft.get_peft_model(self.load(dtype, "sdpa"), peft.LoraConfig(
                r=4, lora_alpha=3, bias="lora_only",
                target_modules=["linear_q", "linear_v", "pointwise_conv1", "distance_embedding"]))
            with torch.no_grad():  # lora_B starts at zero
                for parameter in adapted.parameters():
                    parameter += 0.1 * torch.randn_like(parameter)
            adapted.save_pretrained(adapter, save_embedding_layers=False)
            merged = peft.PeftModel.from_pretrained(model, adapter).merge_and_unload().eval()
            run("extract", *self.inputs, "--model", self.folder / "whole", "--output", output, "--lora", adapter,
                "--dtype", name, "--threads", THREADS, *BITS)
            for stem, features in self.features.items():
                with torch.no_grad():
                    expected = merged(features["input_features"][None].to(dtype),
                                      attention_mask=features["attention_mask"][None]).last_hidden_state
                got = load_file(output / f"{stem}.safetensors")["last_hidden_state"]
                with self.subTest(stem, dtype=name):
                    self.assertTrue(same_bits(got, expected[0]))

    def test_shards_give_the_bits_of_the_whole(self):
        for name in ("whole", "shards"):
            run("extract", self.inputs[0], "--model", self.folder / name, "--output",
                self.folder / f"from-{name}", "--threads", THREADS)
        self.assertGreater(len(list((self.folder / "shards").glob("*.safetensors"))), 1)
        run("inspect", self.folder / "shards")
        run("inspect", self.folder / "shards" / "model.safetensors.index.json")
        stem = f"{self.inputs[0].stem}.safetensors"
        whole, shards = (load_file(self.folder / f"from-{name}" / stem) for name in ("whole", "shards"))
        self.assertTrue(same_bits(whole["last_hidden_state"], shards["last_hidden_state"]))

    def test_forward_returns_the_fields_of_the_model(self):
        generator = torch.Generator().manual_seed(2)
        features = torch.randn(3, 21, 160, generator=generator)
        mask = torch.ones(3, 21, dtype=torch.int64)
        mask[1, 13:] = 0
        mask[2, 5:] = 0
        masked_time = torch.zeros(3, 21, dtype=torch.bool)
        masked_time[0, 4:9] = True
        for given in ({}, {"attention_mask": mask},
                      {"attention_mask": mask, "mask_time_indices": masked_time}):
            save_file({"input_features": features, **given}, self.folder / "in.safetensors")
            for attention in ("sdpa", "eager"):
                run("forward", "--model", self.folder / "whole", "--input", self.folder / "in.safetensors",
                    "--output", self.folder / "out.safetensors", "--output-hidden-states",
                    "--output-attentions", "--attn-implementation", attention, "--threads", THREADS, *BITS)
                got = load_file(self.folder / "out.safetensors")
                model = self.load(torch.float32, attention)
                with torch.no_grad():
                    expected = model(features, **given, output_hidden_states=True,
                                     output_attentions=attention == "eager")
                fields = {"last_hidden_state": expected.last_hidden_state,
                          "extract_features": expected.extract_features}
                for name in ("hidden_states", "attentions"):
                    for index, tensor in enumerate(expected.get(name) or ()):
                        fields[f"{name}.{index}"] = tensor
                self.assertEqual(sorted(got), sorted(fields))
                for name, tensor in fields.items():
                    with self.subTest(name, attention=attention, given=sorted(given)):
                        self.assertTrue(same_bits(got[name], tensor))

    def test_fused_forward_returns_the_fields_of_the_model(self):
        generator = torch.Generator().manual_seed(4)
        given = {"input_features": torch.randn(3, 21, 160, generator=generator),
                 "attention_mask": torch.ones(3, 21, dtype=torch.int64)}
        given["attention_mask"][1, 13:] = 0
        save_file(given, self.folder / "in.safetensors")
        run("forward", "--model", self.folder / "whole", "--input", self.folder / "in.safetensors",
            "--output", self.folder / "out.safetensors", "--output-hidden-states")
        got = load_file(self.folder / "out.safetensors")
        with torch.no_grad():
            expected = self.load(torch.float32, "sdpa")(**given, output_hidden_states=True)
        fields = {"last_hidden_state": expected.last_hidden_state,
                  "extract_features": expected.extract_features}
        fields.update({f"hidden_states.{index}": state for index, state in enumerate(expected.hidden_states)})
        self.assertEqual(sorted(got), sorted(fields))
        for name, tensor in fields.items():
            with self.subTest(name):
                self.assertLess(distance(got[name], tensor), FUSED_TOLERANCE)

    def test_forward_of_a_head_returns_its_fields_in_their_types(self):
        """CTC's loss is float32 in a model of any type; the other losses have the logits' type."""
        features, mask = self.features["odd"]["input_features"][None], self.features["odd"]["attention_mask"][None]
        frames = features.shape[1]
        labels = {
            Wav2Vec2BertForCTC: torch.tensor([[1, 2, 3, -100]]),
            Wav2Vec2BertForSequenceClassification: torch.tensor([2]),
            Wav2Vec2BertForAudioFrameClassification: torch.eye(3, dtype=torch.int64)[torch.arange(frames) % 3][None],
            Wav2Vec2BertForXVector: torch.tensor([2]),
        }
        config = Wav2Vec2BertConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=40,
            vocab_size=11,
            pad_token_id=0,
            num_labels=3,
            classifier_proj_size=8,
            tdnn_dim=[8, 8],
            tdnn_kernel=[3, 3],
            tdnn_dilation=[1, 2],
            xvector_output_dim=8,
        )
        for head, given in labels.items():
            folder = self.folder / head.__name__
            widen(head(config)).save_pretrained(folder)
            save_file(
                {"input_features": features, "attention_mask": mask, "labels": given},
                self.folder / "labelled.safetensors",
            )
            for dtype in (torch.float32, torch.bfloat16, torch.float16):
                name = str(dtype).removeprefix("torch.")
                model = into_own_memory(head.from_pretrained(folder, dtype=dtype)).eval()
                with torch.no_grad():
                    expected = model(features.to(dtype), attention_mask=mask, labels=given)
                for engine in ("reference", "fused"):
                    run(
                        "forward",
                        "--model",
                        folder,
                        "--input",
                        self.folder / "labelled.safetensors",
                        "--output",
                        self.folder / "labelled_out.safetensors",
                        "--dtype",
                        name,
                        "--engine",
                        engine,
                        "--threads",
                        THREADS,
                    )
                    got = load_file(self.folder / "labelled_out.safetensors")
                    self.assertEqual(sorted(got), sorted(expected))
                    for field, tensor in expected.items():
                        with self.subTest(field, head=head.__name__, dtype=name, engine=engine):
                            self.assertEqual(got[field].dtype, tensor.dtype)
                            if engine == "reference":
                                self.assertTrue(same_bits(got[field], tensor))

    def test_forward_takes_what_features_writes(self):
        for stem, features in self.features.items():
            run(
                "forward",
                "--model",
                self.folder / "whole",
                "--input",
                self.folder / "features" / f"{stem}.safetensors",
                "--output",
                self.folder / "of_features.safetensors",
                "--threads",
                THREADS,
                *BITS,
            )
            got = load_file(self.folder / "of_features.safetensors")
            with torch.no_grad():
                expected = self.load(torch.float32, "sdpa")(
                    features["input_features"][None], attention_mask=features["attention_mask"][None]
                )
            with self.subTest(stem):
                self.assertTrue(same_bits(got["last_hidden_state"], expected.last_hidden_state))

    def test_forward_returns_what_the_config_asks_for(self):
        asking = self.folder / "asking"
        shutil.copytree(self.folder / "whole", asking)
        config = json.loads((asking / "config.json").read_text())
        config.update(output_hidden_states=True, output_attentions=True)
        (asking / "config.json").write_text(json.dumps(config))
        features = torch.randn(1, 9, 160, generator=torch.Generator().manual_seed(3))
        save_file({"input_features": features}, self.folder / "asking.safetensors")
        # sdpa, which gives no attentions, is the default, and refused where it is asked for, as in HF.
        with self.assertRaisesRegex(Exception, "output_attentions"):
            Wav2Vec2BertModel.from_pretrained(asking, attn_implementation="sdpa")
        for attention, option in (("sdpa", ()), ("eager", ("--attn-implementation", "eager"))):
            run("forward", "--model", asking, "--input", self.folder / "asking.safetensors", "--output",
                self.folder / "asked.safetensors", *option, "--threads", THREADS)
            got = load_file(self.folder / "asked.safetensors")
            model = Wav2Vec2BertModel.from_pretrained(asking)
            model.config._attn_implementation = attention
            with torch.no_grad():
                expected = model(features)
            self.assertEqual(len(expected.hidden_states), 5)
            self.assertEqual(len(expected.attentions), 4 if attention == "eager" else 0)
            for name in ("hidden_states", "attentions"):
                numbers = sorted(int(key.split(".")[1]) for key in got if key.startswith(f"{name}."))
                self.assertEqual(numbers, list(range(len(expected[name]))))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
