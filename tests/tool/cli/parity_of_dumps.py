"""`w2vbert parity --expected REF --actual DUMP` on what another engine might have computed: HuggingFace's model
with one mistake planted, and all of its modules' outputs written down.

    parity_of_dumps.py PROGRAM
"""

import json
import pathlib
import random
import sys

import numpy
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Wav2Vec2BertConfig, Wav2Vec2BertModel

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]
from export_parity_fixtures import export, export_pack  # noqa: E402
from parity_program import Page, ParityProgramTest, main, run  # noqa: E402
from random_parameters import widen  # noqa: E402

LAYER = "encoder.layers.1"
SEEDS = range(3)


def symmetric_padding(model, rng):
    convolution = model.get_submodule(f"{LAYER}.conv_module.depthwise_conv")
    half = (convolution.kernel_size[0] - 1) // 2
    convolution.register_forward_pre_hook(
        lambda module, args: nn.functional.pad(args[0][..., half:], (0, half)))
    return f"{LAYER}.conv_module.depthwise_conv"


def glu_halves(model, rng):
    class Swapped(nn.Module):
        def forward(self, input):
            first, second = input.chunk(2, 1)
            return second * first.sigmoid()

    model.get_submodule(f"{LAYER}.conv_module").glu = Swapped()
    return f"{LAYER}.conv_module.glu"


def half_factor(model, rng):
    ffn, norm = rng.choice((("ffn1", "self_attn_layer_norm"), ("ffn2", "final_layer_norm")))
    # A hook that comes later sees the output first: the dump has the module's own.
    later(model, f"{LAYER}.{ffn}", lambda output: output * 2)
    return f"{LAYER}.{norm}"


def distance(model, rng):
    attention = model.get_submodule(f"{LAYER}.self_attn")
    if rng.random() < 0.5:
        attention.left_max_position_embeddings -= 1
    else:
        right = attention.distance_embedding.forward
        last = attention.distance_embedding.num_embeddings - 1
        attention.distance_embedding.forward = lambda input: right((input + 1).clamp(max=last))
    return f"{LAYER}.self_attn.distance_embedding"


def some_norm(rng):
    return f"{LAYER}." + rng.choice(("ffn1_layer_norm", "self_attn_layer_norm", "conv_module.layer_norm",
                                    "conv_module.depthwise_layer_norm", "ffn2_layer_norm", "final_layer_norm"))


def epsilon(model, rng):
    name = some_norm(rng)
    model.get_submodule(name).eps = rng.choice((1e-3, 1e-4, 1e-12))
    return name


def unbiased_variance(model, rng):
    name = some_norm(rng)
    norm = model.get_submodule(name)

    def forward(input):
        variance = input.var(-1, keepdim=True, unbiased=True)
        return (input - input.mean(-1, keepdim=True)) / torch.sqrt(variance + norm.eps) * norm.weight + norm.bias

    norm.forward = forward
    return name


def mask(model, rng):
    attention = model.get_submodule(f"{LAYER}.self_attn")
    right = attention.forward
    attention.forward = lambda hidden_states, attention_mask=None, **more: right(hidden_states, None, **more)
    return f"{LAYER}.self_attn.linear_out"


def head_split(model, rng):
    heads = model.config.num_attention_heads
    for name in ("linear_q", "linear_k", "linear_v"):
        later(model, f"{LAYER}.self_attn.{name}",
              lambda output: output.unflatten(-1, (-1, heads)).transpose(-2, -1).flatten(-2))
    return f"{LAYER}.self_attn.linear_out"


KINDS = {symmetric_padding: "operation", glu_halves: "operation", half_factor: "operation",
         distance: "position", epsilon: "operation", unbiased_variance: "operation", mask: "padding",
         head_split: "operation"}


def later(model, name, change):
    """Changes what a module gives, behind the dump's back."""
    model.changes = [*getattr(model, "changes", []), (name, change)]


def random_model(seed):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    heads = rng.choice((2, 4))
    config = Wav2Vec2BertConfig(
        hidden_size=heads * rng.choice((6, 8, 12)), num_hidden_layers=3, num_attention_heads=heads,
        intermediate_size=rng.choice((48, 80)), feature_projection_input_dim=20, initializer_range=0.2,
        conv_depthwise_kernel_size=rng.choice((7, 15, 31)), left_max_position_embeddings=rng.choice((8, 64)),
        right_max_position_embeddings=rng.choice((3, 8)))
    model = widen(Wav2Vec2BertModel(config)).eval()
    frames = rng.randint(60, 100)
    lengths = [frames, frames - rng.randint(5, 30), frames]
    mask = (torch.arange(frames) < torch.tensor(lengths)[:, None]).long()
    return model, {"input_features": torch.randn(3, frames, 20), "attention_mask": mask}


def dump(model, inputs):
    """Each module's output under its name, and the model's own."""
    tensors = {}

    def keep(name):
        def hook(module, args, output):
            value = output[0] if isinstance(output, tuple) else output
            if isinstance(value, torch.Tensor):
                tensors[name] = value.detach().clone()

        return hook

    for name, module in model.named_modules():
        if name:
            module.register_forward_hook(keep(name))
    for name, change in getattr(model, "changes", []):
        model.get_submodule(name).register_forward_hook(lambda module, args, output, change=change: change(output))
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
    for i, state in enumerate(output.hidden_states):
        tensors[f"hidden_states.{i}"] = state.clone()
    tensors["last_hidden_state"] = output.last_hidden_state.clone()
    return {name: value.contiguous() for name, value in tensors.items()}


class ParityOfDumps(ParityProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.packs = {}
        for seed in SEEDS:
            model, inputs = random_model(seed)
            export_pack(cls.folder / f"pack-{seed}", model, inputs, {"model": f"random-{seed}"})

    def model(self, seed, attn_implementation="sdpa"):
        pack = self.folder / f"pack-{seed}"
        model = Wav2Vec2BertModel.from_pretrained(pack / "model", attn_implementation=attn_implementation)
        return model.eval(), load_file(pack / "inputs.safetensors")

    def parity(self, seed, tensors, *more, status=0):
        path = self.folder / "dump.safetensors"
        save_file(tensors, path, {"engine": "another", "version": "1.2"})
        return self.report(self.folder / f"pack-{seed}", path, *more, status=status)

    def report(self, expected, actual, *more, status=0):
        result = run("parity", "--expected", expected, "--actual", actual, "--json", *more)
        self.assertEqual(result.returncode, status, result.stderr)
        return json.loads(result.stdout)

    def test_each_mistake_is_diagnosed(self):
        for fault, kind in KINDS.items():
            for seed in SEEDS:
                with self.subTest(fault.__name__, seed=seed):
                    model, inputs = self.model(seed)
                    module = fault(model, random.Random(seed))
                    tensors = dump(model, inputs)
                    found = self.parity(seed, tensors, status=3)["diagnosis"]
                    self.assertEqual((found["kind"], found["module"], found["cause"]),
                                     (kind, module, fault.__name__), found["text"])

    def test_an_engine_has_fewer_outputs(self):
        """No embeddings of distances, no inside of the attention: what its output says is enough."""
        inside = ("distance_embedding", "linear_q", "linear_k", "linear_v", "linear_out")
        for fault in (distance, mask, head_split):
            for seed in SEEDS:
                with self.subTest(fault.__name__, seed=seed):
                    model, inputs = self.model(seed)
                    fault(model, random.Random(seed))
                    tensors = {name: value for name, value in dump(model, inputs).items()
                               if not name.endswith(inside)}
                    found = self.parity(seed, tensors, status=3)["diagnosis"]
                    self.assertEqual((found["module"], found["cause"]), (f"{LAYER}.self_attn", fault.__name__),
                                     found["text"])
        model, inputs = self.model(0)
        symmetric_padding(model, None)
        tensors = {name: value for name, value in dump(model, inputs).items() if "conv_module." not in name}
        found = self.parity(0, tensors, status=3)["diagnosis"]
        self.assertEqual((found["module"], found["cause"]), (f"{LAYER}.conv_module", "symmetric_padding"))

    def test_the_model_is_not_needed_where_there_are_frames_enough(self):
        for fault in (distance, mask, head_split):
            with self.subTest(fault.__name__):
                model, inputs = self.model(0)
                fault(model, random.Random(0))
                path = self.folder / "dump.safetensors"
                save_file(dump(model, inputs), path)
                found = self.report(self.folder / "pack-0/reference.safetensors", path, status=3)["diagnosis"]
                self.assertEqual(found["cause"], fault.__name__)

    def test_what_is_right_is_called_right(self):
        for seed in SEEDS:
            model, inputs = self.model(seed)
            report = self.parity(seed, dump(model, inputs))
            self.assertEqual((report["diagnosis"]["kind"], report["differing"]), ("none", 0))
            # The other attention: sums in another order.
            model, inputs = self.model(seed, "eager")
            report = self.parity(seed, dump(model, inputs))
            self.assertEqual(report["diagnosis"]["kind"], "rounding")
            self.assertGreater(report["differing"], 0)

    def test_padded_frames_are_told_apart(self):
        model, inputs = self.model(0)
        convolution = model.get_submodule(f"{LAYER}.conv_module")
        right = convolution.forward
        convolution.forward = lambda hidden_states, attention_mask=None: right(hidden_states, None)
        tensors = dump(model, inputs)
        found = self.parity(0, tensors, status=3)["diagnosis"]
        self.assertEqual((found["kind"], found["module"]), ("padding", f"{LAYER}.conv_module.pointwise_conv1"))
        self.assertIn("masked frames alone", found["text"])
        self.assertEqual(self.parity(0, tensors, "--ignore-padding")["diagnosis"]["kind"], "none")

    def test_what_grows_along_a_clip_is_a_position(self):
        model, inputs = self.model(1)
        later(model, f"{LAYER}.ffn1", lambda output: output * (1 + 0.02 * torch.arange(output.shape[1])[:, None]))
        found = self.parity(1, dump(model, inputs), status=3)["diagnosis"]
        # The sum comes behind the module: what it gave is right.
        self.assertEqual((found["kind"], found["module"]), ("position", f"{LAYER}.self_attn_layer_norm"))

    def test_another_operation_is_named_with_what_lies_before_it(self):
        model, inputs = self.model(2)
        model.get_submodule(f"{LAYER}.ffn2").intermediate_act_fn = nn.GELU()
        found = self.parity(2, dump(model, inputs), status=3)["diagnosis"]
        self.assertEqual((found["kind"], found["module"], found["cause"]),
                         ("operation", f"{LAYER}.ffn2.intermediate_act_fn", None))
        self.assertIn(f"{LAYER}.ffn2.intermediate_dense is right", found["text"])
        half = {name: value.bfloat16().float() for name, value in dump(*self.model(2)).items()}
        found = self.parity(2, half, "--tolerance", "1e-4", status=3)["diagnosis"]
        self.assertIn("rounded to bfloat16", found["text"])
        self.assertEqual(self.parity(2, {name: value.bfloat16() for name, value in half.items()})["tolerance"]["chain"],
                         0.4)

    def test_names_and_layouts_of_engines(self):
        model, inputs = self.model(0)
        glu_halves(model, None)
        tensors = dump(model, inputs)
        wanted = (f"{LAYER}.conv_module.glu", "glu_halves")
        fairseq2 = {"encoder_frontend.model_dim_proj": tensors["feature_projection.projection"],
                    "encoder.inner.layers.0": tensors["encoder.layers.0"],
                    "encoder.inner.layers.1.conv.pointwise_conv1": tensors[f"{LAYER}.conv_module.pointwise_conv1"],
                    "encoder.inner.layers.1.conv.pointwise_conv1_activation": tensors[f"{LAYER}.conv_module.glu"],
                    "encoder.inner.layers.1.ffn1_layer_norm": tensors[f"{LAYER}.ffn1_layer_norm"]}
        report = self.parity(0, fairseq2, "--names", "fairseq2", status=3)
        self.assertEqual((report["diagnosis"]["module"], report["diagnosis"]["cause"]), wanted)
        self.assertEqual((report["unused"], len(report["modules"])), ([], 5))
        # CTranslate2 and MLX keep the channels last.
        last = tensors[f"{LAYER}.conv_module.pointwise_conv1"].mT.contiguous()
        ctranslate2 = {"encoder/encoder_layers_1/enc_conv_pointwise_conv1": last,
                       "encoder/encoder_layers_0/enc_ffn1/linear_0":
                           tensors["encoder.layers.0.ffn1.intermediate_dense"],
                       "encoder/fp_projection": tensors["feature_projection.projection"]}
        report = self.parity(0, ctranslate2, "--names", "ctranslate2")
        self.assertEqual((len(report["modules"]), report["differing"], report["unused"]), (3, 0, []))
        mlx = {"encoder_layers.1.conv_module.glu": tensors[f"{LAYER}.conv_module.glu"].mT.contiguous(),
               "hidden_state_1": tensors["hidden_states.1"]}
        report = self.parity(0, mlx, "--names", "mlx", status=3)
        self.assertEqual((report["diagnosis"]["module"], report["diagnosis"]["cause"]), wanted)
        # A file of one's own, and arrays of NumPy's.
        names = self.folder / "names.json"
        names.write_text(json.dumps({"encoder.layers.{i}.{name}": ["no/{i}", "block{i}/{name}"]}))
        arrays = self.folder / "arrays"
        (arrays / "block1").mkdir(parents=True)
        numpy.save(arrays / "block1" / "conv_module.glu.npy",
                   numpy.asfortranarray(tensors[f"{LAYER}.conv_module.glu"].numpy()))
        numpy.save(arrays / "last_hidden_state.npy", tensors["last_hidden_state"].numpy().astype(numpy.float64))
        report = self.report(self.folder / "pack-0", arrays, "--names", names, status=3)
        self.assertEqual((report["diagnosis"]["module"], report["diagnosis"]["cause"]), wanted)
        self.assertEqual([row["name"] for row in report["chain"]], ["last_hidden_state"])

    def test_the_page_and_the_table_begin_with_why(self):
        model, inputs = self.model(0)
        glu_halves(model, None)
        path, page = self.folder / "dump.safetensors", self.folder / "page.html"
        save_file(dump(model, inputs), path, {"engine": "another", "version": "1.2"})
        result = run("parity", "--expected", self.folder / "pack-0", "--actual", path, "--report", page)
        self.assertEqual(result.returncode, 3)
        self.assertRegex(result.stderr, r"(?m)^error: .*dump\.safetensors: \S+\.1\.conv_module\.glu: .* gate")
        lines = result.stdout.splitlines()
        self.assertTrue(lines[-1].startswith(f"operation: {LAYER}.conv_module.glu: "), lines[-1])
        self.assertIn("dump       another 1.2", result.stdout)
        text = Page(page.read_text()).text
        self.assertLess(text.index("is the gate"), text.index("Both sides"))
        self.assertNotIn("fed with PyTorch", text)

    def test_a_pack_replays_by_itself(self):
        result = run("parity", "--reference", self.folder / "pack-0")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("every bit is PyTorch's", result.stdout)
        pack = json.loads((self.folder / "pack-0/pack.json").read_text())
        self.assertEqual((pack["torch"], pack["threads"]), (torch.__version__, "2"))

    def test_references_without_a_config_or_mask_are_compared(self):
        model, inputs = self.model(0)
        reference = self.folder / "maskless.safetensors"
        export(model, {"input_features": inputs["input_features"]}, reference, {"model": "x"})
        model, _ = self.model(0)
        mask_fault = self.folder / "maskless-dump.safetensors"
        glu_halves(model, None)
        save_file(dump(model, {"input_features": inputs["input_features"]}), mask_fault)
        self.assertEqual(self.report(reference, mask_fault, status=3)["diagnosis"]["cause"], "glu_halves")

    def test_refuses_what_is_no_dump(self):
        pack, good = self.folder / "pack-0", self.folder / "good.safetensors"
        save_file({"last_hidden_state": load_file(pack / "reference.safetensors")["outputs/last_hidden_state"]}, good)
        self.report(pack, good)

        def refused(status, words, *options):
            self.assert_error(run("parity", *options), status, words)

        def dumped(name, tensors):
            path = self.folder / name
            save_file(tensors, path)
            return path

        refused(2, "--actual", "--expected", pack)
        refused(2, "--expected", "--actual", good)
        refused(2, "--reference", "--expected", pack, "--actual", good, "--reference", pack)
        refused(2, "--dtype", "--expected", pack, "--actual", good, "--dtype", "bfloat16")
        refused(2, "--names", "--reference", pack, "--names", "mlx")
        refused(2, "--names", "--expected", pack, "--actual", good, "--names", "unheard")
        refused(2, "feature_projection", "--expected", pack, "--actual", dumped("a.safetensors", {"a": torch.zeros(2)}))
        refused(4, "is Long", "--expected", pack, "--actual",
                dumped("b.safetensors", {"last_hidden_state": torch.zeros(2, dtype=torch.int64)}))
        refused(3, "shape", "--expected", pack, "--actual",
                dumped("c.safetensors", {"last_hidden_state": torch.zeros(2, 3)}))
        refused(4, "none.safetensors", "--expected", pack, "--actual", self.folder / "none.safetensors")
        refused(4, "no .npy files", "--expected", pack, "--actual", pack / "model")
        numpy.savez(self.folder / "d.npz", a=numpy.zeros(2))
        refused(4, "unpacked", "--expected", pack, "--actual", self.folder / "d.npz")
        numpy.save(self.folder / "last_hidden_state.npy", numpy.array([{}]), allow_pickle=True)
        refused(4, "dtype", "--expected", pack, "--actual", self.folder / "last_hidden_state.npy")
        whole = self.folder / "e" / "last_hidden_state.npy"
        whole.parent.mkdir()
        numpy.save(whole, load_file(good)["last_hidden_state"].numpy())
        content = whole.read_bytes()
        for cut in (content[:-1], content + b"x", content[:9], content[:40], b"", content.replace(b"shape", b"shapf")):
            whole.write_bytes(cut)
            refused(4, "last_hidden_state.npy", "--expected", pack, "--actual", whole)
        for text in ("[]", "{", '{"a{i}": "b{name}"}', '{"a": 3}', '{"a{x}": "b"}', '{"": "b"}'):
            names = self.folder / "bad.json"
            names.write_text(text)
            refused(4, "bad.json", "--expected", pack, "--actual", good, "--names", names)
        before = good.read_bytes()
        result = run("parity", "--expected", pack, "--actual", good, "--report", good)
        self.assertEqual((result.returncode, good.read_bytes()), (2, before), result.stderr)


if __name__ == "__main__":
    main()
