"""`w2vbert parity` on references that are right, and on such in which one module of PyTorch's model was
changed: the program has to find it, and to name it.

    parity_command.py PROGRAM

The faults stand in the PyTorch model, so that the program itself stays what users run; which of the two
sides is wrong makes no difference to a comparison."""

import json
import pathlib
import shutil
import subprocess
import sys

import soundfile
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertModel

ROOT = pathlib.Path(__file__).resolve().parents[3]
EXPORTER = ROOT / "scripts" / "export_parity_fixtures.py"
sys.path[:0] = [str(EXPORTER.parent), str(ROOT / "tests" / "support")]
from export_parity_fixtures import export  # noqa: E402
from parity_program import Page, ParityProgramTest, main, run  # noqa: E402
from random_parameters import widen  # noqa: E402
from recorded_speech import FRONT_CENTER  # noqa: E402

LAYER = "encoder.layers.1"


def symmetric_padding(model):
    """The depthwise convolution sees half the kernel on either side, not the past alone."""
    convolution = model.get_submodule(f"{LAYER}.conv_module.depthwise_conv")
    half = (convolution.kernel_size[0] - 1) // 2
    convolution.register_forward_pre_hook(
        lambda module, args: torch.nn.functional.pad(args[0][..., half:], (0, half)))
    return f"{LAYER}.conv_module"


def swapped_query_and_key(model):
    attention = model.get_submodule(f"{LAYER}.self_attn")
    right = attention.forward

    def forward(*args, **kwargs):
        attention.linear_q, attention.linear_k = attention.linear_k, attention.linear_q
        try:
            return right(*args, **kwargs)
        finally:
            attention.linear_q, attention.linear_k = attention.linear_k, attention.linear_q

    # The hooks take the arguments' names from the signature.
    attention.forward = lambda hidden_states, attention_mask=None, relative_position_embeddings=None, **more: \
        forward(hidden_states, attention_mask, relative_position_embeddings, **more)
    return f"{LAYER}.self_attn"


def swapped_weights(model):
    attention = model.get_submodule(f"{LAYER}.self_attn")
    q, k = attention.linear_q.weight.data, attention.linear_k.weight.data
    attention.linear_q.weight.data, attention.linear_k.weight.data = k.clone(), q.clone()
    return f"{LAYER}.self_attn.linear_q"


def distance_off_by_one(model):
    attention = model.get_submodule(f"{LAYER}.self_attn")
    attention.left_max_position_embeddings -= 1
    return f"{LAYER}.self_attn"


def missing_mask(model):
    convolution = model.get_submodule(f"{LAYER}.conv_module")
    right = convolution.forward
    convolution.forward = lambda hidden_states, attention_mask=None: right(hidden_states, None)
    return f"{LAYER}.conv_module"


def other_eps(model):
    model.get_submodule(f"{LAYER}.ffn1_layer_norm").eps = 1e-3
    return f"{LAYER}.ffn1_layer_norm"


def wrong_activation(model):
    model.get_submodule(f"{LAYER}.ffn2").intermediate_act_fn = torch.nn.GELU()
    return f"{LAYER}.ffn2.intermediate_act_fn"


def whole_residual(model):
    """The half-step of a feed-forward module is left out."""
    feed_forward = model.get_submodule(f"{LAYER}.ffn2")
    layer = model.get_submodule(LAYER)
    right = layer.forward

    def forward(hidden_states, attention_mask=None, relative_position_embeddings=None,
                conv_attention_mask=None, **more):
        handle = feed_forward.register_forward_hook(lambda module, args, output: output * 2)
        try:
            return right(hidden_states, attention_mask, relative_position_embeddings=relative_position_embeddings,
                         conv_attention_mask=conv_attention_mask, **more)
        finally:
            handle.remove()

    layer.forward = forward
    return LAYER


FAULTS = (symmetric_padding, swapped_query_and_key, swapped_weights, distance_off_by_one, missing_mask,
          other_eps, wrong_activation, whole_residual)


class ParityCommand(ParityProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = cls.folder / "model"
        torch.manual_seed(0)
        config = Wav2Vec2BertConfig(hidden_size=48, num_hidden_layers=3, num_attention_heads=4,
                                    intermediate_size=80, initializer_range=0.1)
        widen(Wav2Vec2BertModel(config)).save_pretrained(cls.model)
        SeamlessM4TFeatureExtractor(padding_value=1.0).save_pretrained(cls.model)
        samples, rate = soundfile.read(FRONT_CENTER, dtype="float32")
        cls.clips = [cls.folder / "a.wav", cls.folder / "b.wav"]
        soundfile.write(cls.clips[0], samples[: rate], rate)
        soundfile.write(cls.clips[1], samples[: rate // 2], rate)
        # As a user does it.
        cls.reference = cls.folder / "reference.safetensors"
        subprocess.run([sys.executable, EXPORTER, cls.reference, "--model", cls.model, "--audio", *cls.clips,
                        "--threads", "2"], check=True, capture_output=True)

    def parity(self, *more, reference=None):
        return run("parity", "--model", self.model, "--reference", reference or self.reference, *more)

    def parity_json(self, *more, status=0, reference=None):
        result = self.parity("--json", *more, reference=reference)
        self.assertEqual(result.returncode, status, result.stderr)
        return json.loads(result.stdout)

    def export(self, name, change=None, **more):
        """A reference like setUpClass's, from a model that `change` has changed."""
        inputs = {name.removeprefix("inputs/"): tensor for name, tensor in load_file(self.reference).items()
                  if name.startswith("inputs/")}
        model = Wav2Vec2BertModel.from_pretrained(self.model, attn_implementation="sdpa")
        module = change(model) if change else None
        path = self.folder / f"{name}.safetensors"
        export(model, inputs, path, {"model": str(self.model)}, **more)
        return path, module

    def test_finds_no_difference_where_there_is_none(self):
        report = self.parity_json()
        self.assertTrue(report["within"])
        self.assertEqual(report["differing"], 0)
        self.assertIsNone(report["first_outside"])
        with safe_open(self.reference, "pt") as file:
            order = file.metadata()["order"].split(",")
        names = [row["name"] for row in report["modules"] if not row["name"].endswith("[1]")]
        self.assertEqual(names, [name for name in order if name not in report["not_compared"]])
        self.assertEqual(report["missing"], [])
        for row in report["modules"] + report["chain"]:
            self.assertEqual((row["max_abs"], row["ulps"], row["cosine"]), (0, 0, 1), row)
        for name in report["not_compared"]:
            self.assertRegex(name, "dropout|^encoder$")

    def test_prints_a_table_in_forward_order_and_the_verdict(self):
        result = self.parity()
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        lines = result.stdout.splitlines()
        self.assertRegex(lines[0], r"max \|Δ\| +max rel Δ +ULPs +cosine")
        names = [line.split()[0] for line in lines if line]
        order = ["feature_projection.layer_norm", "feature_projection", "encoder.layers.0.ffn1_layer_norm",
                 "encoder.layers.0.self_attn", "encoder.layers.0", "encoder.layers.2",
                 "hidden_states.0", "hidden_states.3", "last_hidden_state"]
        self.assertEqual([names.index(name) for name in order], sorted(names.index(name) for name in order))
        self.assertEqual(lines[-1], "every bit is PyTorch's")
        self.assertIn("0 differ", lines[-2])

    def test_names_the_planted_fault(self):
        for fault in FAULTS:
            with self.subTest(fault.__name__):
                reference, module = self.export(fault.__name__, fault)
                page = self.folder / f"{fault.__name__}.html"
                report = self.parity_json("--report", page, status=3, reference=reference)
                self.assertEqual(report["first_outside"], module)
                # Only the module itself and those around it: what follows was fed with PyTorch's input.
                outside = [row["name"] for row in report["modules"] if not row["within"]]
                swapped = {"swapped_weights": f"{LAYER}.self_attn.linear_k"}.get(fault.__name__)
                self.assertEqual(outside, [name for name in dict.fromkeys(
                    [module, swapped, *self.ancestors(module, report)]) if name])
                # The chain is right up to the layer, and wrong from there.
                chain = {row["name"]: row["within"] for row in report["chain"]}
                self.assertTrue(chain["hidden_states.0"] and chain["hidden_states.1"])
                self.assertFalse(chain["hidden_states.2"] or chain["hidden_states.3"])
                text = self.parity(reference=reference)
                self.assertRegex(text.stderr, rf"(?m)^error: .*: {module}: .* differ, by up to .*, expected at most 0$")
                self.assertIn(f"first outside its tolerance: {module}", text.stdout)
                self.assertIn(f"first outside its tolerance: {module}", Page(page.read_text()).text)

    def ancestors(self, module, report):
        return [row["name"] for row in report["modules"] if module.startswith(row["name"] + ".")]

    def test_writes_a_page_that_needs_nothing_else(self):
        reference, module = self.export("page", other_eps)
        page = self.folder / "page.html"
        self.assertEqual(self.parity("--report", page, "--quiet", reference=reference).returncode, 3)
        found = Page(page.read_text())
        self.assertEqual(found.fetched, [])
        self.assertNotIn("<script", page.read_text())
        self.assertGreaterEqual(found.pictures, 1 + 3)  # the growth, and each layer
        for words in (module, "Worst elements", "How the error grows", torch.__version__, "transformers",
                      "cpu_capability", "threads", f"{LAYER}", "hidden_states.3 of the whole model"):
            self.assertIn(words, found.text)

    def test_compares_gradients(self):
        reference, _ = self.export("gradients", grad=True)
        report = self.parity_json(reference=reference)
        names = {row["name"] for row in report["gradients"]}
        model = Wav2Vec2BertModel.from_pretrained(self.model)
        # SpecAugment's vector does not have a gradient in evaluation.
        self.assertEqual(names, {name for name, _ in model.named_parameters()} - {"masked_spec_embed"})
        self.assertEqual(report["differing"], 0)

    def test_widens_the_tolerance_only_for_a_reason_that_it_names(self):
        report = self.parity_json("--threads", "1")
        self.assertGreater(report["tolerance"]["module"], 0)
        self.assertIn("threads 2 there and 1 here", report["tolerance"]["reason"])
        report = self.parity_json("--dtype", "bfloat16")
        self.assertGreater(report["differing"], 0)
        self.assertEqual(report["tolerance"]["module"], "inf")
        self.assertIn("dtype float32 there and bfloat16 here", report["tolerance"]["reason"])
        self.assertIn("attn_implementation sdpa there and eager here",
                      self.parity_json("--attn-implementation", "eager")["tolerance"]["reason"])
        report = self.parity_json("--dtype", "bfloat16", "--tolerance", "0", status=3)
        self.assertEqual(report["tolerance"]["reason"], "as asked for")

    def test_follows_the_release_that_made_the_reference_or_the_nearest(self):
        tensors = load_file(self.reference)
        with safe_open(self.reference, "pt") as file:
            metadata = file.metadata()
        path = self.folder / "release.safetensors"
        for made_by, followed in (("4.57.6", "5.17"), ("5.0.0", "5.17"), ("5.16.1", "5.17"), ("5.19.0", "5.19"),
                                  ("5.25.0", "5.24"), ("6.1.0", "5.24"), ("main", "5.24"), ("5.24.0.dev0", "5.24")):
            save_file(tensors, path, {**metadata, "transformers": made_by})
            report = self.parity_json("--tolerance", "1", reference=path)
            self.assertEqual(report["ours"]["hf_version"], followed, made_by)

    def test_refuses_what_is_no_reference(self):
        plain = self.folder / "plain.safetensors"
        save_file({"a": torch.zeros(2)}, plain)
        self.assert_error(self.parity(reference=plain), 4, "export_parity_fixtures.py")
        self.assert_error(self.parity(reference=self.folder / "none.safetensors"), 4, "none.safetensors")
        self.assert_error(self.parity(reference=self.clips[0]), 4, "a.wav")
        cut = self.folder / "cut.safetensors"
        cut.write_bytes(self.reference.read_bytes()[:-9])
        self.assert_error(self.parity(reference=cut), 4, "truncated")
        self.assert_error(run("parity", "--model", self.model), 2, "--reference")
        self.assert_error(run("parity", "--reference", self.reference), 2, "--model")
        self.assert_error(self.parity("--tolerance", "-1"), 2, "--tolerance")
        self.assert_error(self.parity("--report", self.folder / "none" / "x.html"), 5, "none")

    def test_says_what_another_model_lacks(self):
        other = self.folder / "fewer"
        shutil.copytree(self.model, other, dirs_exist_ok=True)
        config = json.loads((other / "config.json").read_text())
        (other / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
        result = run("parity", "--model", other, "--reference", self.reference)
        self.assert_error(result, 3, "encoder.layers.2")
        (other / "config.json").write_text(json.dumps({**config, "feature_projection_input_dim": 80}))
        self.assert_error(run("parity", "--model", other, "--reference", self.reference), 4, "feature_projection")


if __name__ == "__main__":
    main()
