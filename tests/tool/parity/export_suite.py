#!/usr/bin/env python3
"""Writes the cases of the parity tests: what transformers computes for many small models, each submodule
by itself and the whole chain (scripts/export_parity_fixtures.py says what a file holds).

  export_suite.py OUT                 the cases of the test suite
  export_suite.py OUT --only rotary   those with "rotary" in their name
  export_suite.py OUT --brief         fewer of those that take longest
  export_suite.py OUT --golden        the one small case that is committed

OUT/models/<model>/ is a checkpoint saved by transformers, OUT/cases/<case>.safetensors a case of it.
"""

import argparse
import collections
import dataclasses
import json
import pathlib
import sys

import torch
import transformers
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]
from export_parity_fixtures import BASE, DTYPES, expect_release, export, from_pretrained, what_is_lacking  # noqa: E402
from pytorch_setup import prepare_pytorch  # noqa: E402
from random_parameters import widen  # noqa: E402

TINY = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=80)
HEAD = dict(TINY, classifier_proj_size=20, tdnn_dim=[24, 24, 40], tdnn_kernel=[5, 3, 1],
            tdnn_dilation=[1, 2, 1], xvector_output_dim=18, vocab_size=12, num_labels=5)
CTC = dict(HEAD, architecture="Wav2Vec2BertForCTC")
SEQUENCE = dict(HEAD, architecture="Wav2Vec2BertForSequenceClassification")
FRAME = dict(HEAD, architecture="Wav2Vec2BertForAudioFrameClassification")
XVECTOR = dict(HEAD, architecture="Wav2Vec2BertForXVector")
DROPOUT = dict(hidden_dropout=0.1, activation_dropout=0.2, attention_dropout=0.15,
               feat_proj_dropout=0.1, conformer_conv_dropout=0.1, final_dropout=0.3)
ADAPTER = dict(TINY, add_adapter=True)

# Settings of the config, and `architecture` for another class than Wav2Vec2BertModel.
MODELS = {
    # Published positions and kernel at a small width.
    "small": dict(hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=80),
    # Odd sizes everywhere, clipping within a few frames, a short kernel.
    "odd": dict(hidden_size=21, num_hidden_layers=2, num_attention_heads=3, intermediate_size=35,
                feature_projection_input_dim=10, left_max_position_embeddings=3,
                right_max_position_embeddings=2, conv_depthwise_kernel_size=3, layer_norm_eps=1e-3),
    # One head, no distance to the right, kernel 1, no masked_spec_embed, another activation.
    "onehead": dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=1, intermediate_size=64,
                    right_max_position_embeddings=0, conv_depthwise_kernel_size=1,
                    mask_time_prob=0.0, hidden_act="gelu"),
    # Every layer is as wide as the published model's.
    "wide": dict(num_hidden_layers=2),
    # As initialised: what the same seed has to give in C++ (as all whose name starts with "fresh").
    "fresh": dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=40),
    # Random draws in training mode.
    "dropout": dict(hidden_size=48, num_hidden_layers=6, num_attention_heads=4, intermediate_size=80,
                    **DROPOUT, layerdrop=0.4, apply_spec_augment=False),
    # Other positions; the table of "relative" has to grow for 37 frames.
    "relative": dict(TINY, position_embeddings_type="relative"),
    "relative_grows": dict(TINY, position_embeddings_type="relative", max_source_positions=20),
    "rotary": dict(TINY, position_embeddings_type="rotary", rotary_embedding_base=500),
    "nopositions": dict(TINY, position_embeddings_type=None),
    "wide_relative": dict(num_hidden_layers=1, position_embeddings_type="relative"),
    "wide_rotary": dict(num_hidden_layers=1, position_embeddings_type="rotary"),
    "fresh_relative": dict(TINY, position_embeddings_type="relative"),
    # Adapters: HF's defaults, another width and the FFN before it, kernels whose length formula and
    # convolution disagree, several layers, none.
    "adapter": dict(ADAPTER),
    "adapter_proj": dict(ADAPTER, output_hidden_size=32, num_adapter_layers=2, adapter_act="gelu",
                         use_intermediate_ffn_before_adapter=True),
    "adapter_k5s2": dict(ADAPTER, adapter_kernel_size=5, position_embeddings_type="rotary"),
    "adapter_k4s3": dict(ADAPTER, adapter_kernel_size=4, adapter_stride=3, num_adapter_layers=3),
    "adapter_k1s1": dict(ADAPTER, adapter_kernel_size=1, adapter_stride=1),
    "adapter_0layers": dict(ADAPTER, output_hidden_size=32, num_adapter_layers=0),
    # Keys of the config that only some releases of transformers heed.
    "adapter_tied": dict(ADAPTER, tie_last_hidden_states=True, output_hidden_size=32),
    "adapter_untied": dict(ADAPTER, tie_last_hidden_states=False),
    "wide_adapter": dict(num_hidden_layers=1, add_adapter=True,
                         use_intermediate_ffn_before_adapter=True),
    "fresh_adapter": dict(ADAPTER, output_hidden_size=32, num_adapter_layers=2,
                          use_intermediate_ffn_before_adapter=True),
    # Heads.
    "ctc": dict(CTC),
    "ctc_adapter": dict(CTC, add_adapter=True, output_hidden_size=32, ctc_loss_reduction="mean",
                        ctc_zero_infinity=True, pad_token_id=3),
    "sequence": dict(SEQUENCE),
    "sequence_weighted": dict(SEQUENCE, use_weighted_layer_sum=True),
    "frame": dict(FRAME),
    "frame_weighted": dict(FRAME, use_weighted_layer_sum=True),
    "xvector": dict(XVECTOR),
    "xvector_weighted": dict(XVECTOR, use_weighted_layer_sum=True, add_adapter=True,
                             adapter_stride=1),
    "fresh_ctc": dict(CTC, add_adapter=True),
    "fresh_sequence": dict(SEQUENCE, use_weighted_layer_sum=True),
    "fresh_frame": dict(FRAME, use_weighted_layer_sum=True),
    "fresh_xvector": dict(XVECTOR, use_weighted_layer_sum=True, position_embeddings_type="relative"),
    # Training: SpecAugment on both axes, everything that draws.
    "augment": dict(TINY, mask_time_prob=0.3, mask_time_length=4, mask_feature_prob=0.2,
                    mask_feature_length=5, mask_feature_min_masks=1, layerdrop=0.0, **DROPOUT),
    "augment_adapter": dict(CTC, add_adapter=True, num_adapter_layers=3, layerdrop=0.5,
                            use_intermediate_ffn_before_adapter=True, mask_time_length=3,
                            position_embeddings_type="rotary", **DROPOUT),
    "augment_adapter_kept": dict(CTC, add_adapter=True, num_adapter_layers=2, layerdrop=0.0, **DROPOUT),
    "augment_relative": dict(SEQUENCE, position_embeddings_type="relative", layerdrop=0.0,
                             mask_time_length=3, **DROPOUT),
}
ACTIVATIONS = ("gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python", "gelu_python_tanh",
               "gelu_pytorch_tanh", "hardswish", "laplace", "leaky_relu", "linear", "mish", "prelu",
               "quick_gelu", "relu", "relu2", "relu6", "sigmoid", "silu", "sqrtsoftplus", "tanh")
for activation in ACTIVATIONS:
    MODELS[f"act_{activation}"] = dict(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=40,
        add_adapter=True, hidden_act=activation, adapter_act=activation)
FRESH = "fresh"  # models whose name starts so
SMALL_RANGE = 0.1  # of the small models' weights: wide enough for every operation to matter


@dataclasses.dataclass
class Case:
    model: str
    dtype: str = "float32"
    attn: str = "sdpa"
    mask: str = "none"  # none, ones, ragged, holes, left, empty_row
    batch: int = 3
    frames: int = 37
    grad: bool = False
    train: bool = False
    mask_time_indices: bool = False
    labels: bool = False
    gradient_checkpointing: bool = False

    @property
    def name(self):
        words = [self.model, self.dtype, self.attn, self.mask, f"{self.batch}x{self.frames}"]
        words += [flag for flag in ("grad", "train", "mask_time_indices", "labels",
                                    "gradient_checkpointing") if getattr(self, flag)]
        return "-".join(words)


def suite():
    for model in ("small", "odd", "onehead"):
        for attn in ("eager", "sdpa"):
            for dtype in DTYPES:
                for mask in ("none", "ragged", "holes", "empty_row"):
                    yield Case(model, dtype, attn, mask)
            yield Case(model, attn=attn, mask="ones")
            yield Case(model, attn=attn, mask="left")
            yield Case(model, attn=attn, batch=1, frames=1)
            yield Case(model, attn=attn, mask="ragged", frames=2)
            yield Case(model, attn=attn, mask="ragged", batch=2, frames=150)
            yield Case(model, attn=attn, mask="ragged", grad=True)
    yield Case("fresh")
    yield Case("small", mask="ragged", mask_time_indices=True)
    for attn in ("eager", "sdpa"):
        yield Case("dropout", attn=attn, mask="ragged", grad=True, train=True)
        for dtype in ("float32", "bfloat16"):
            yield Case("wide", dtype, attn, "none", batch=1, frames=150)
            yield Case("wide", dtype, attn, "ragged", batch=2, frames=101)
    yield from families()


def brief_suite():
    """Of the models of the published width, which take half of the time, the padded batches alone."""
    return (case for case in suite() if not case.model.startswith("wide") or case.mask == "ragged")


def families():
    """Other positions, adapters, activations, heads and training."""
    for model in ("relative", "rotary", "nopositions", "adapter", "adapter_proj"):
        for attn in ("eager", "sdpa"):
            for mask in ("none", "ones", "ragged", "empty_row", "holes", "left"):
                yield Case(model, attn=attn, mask=mask)
            for dtype in ("bfloat16", "float16"):
                yield Case(model, dtype, attn, "ragged")
            yield Case(model, attn=attn, mask="ragged", batch=1, frames=2)
            yield Case(model, attn=attn, mask="ragged", batch=2, frames=150)
            yield Case(model, attn=attn, mask="ragged", grad=True)
            yield Case(model, attn=attn, batch=1, frames=5, grad=True)
    for model in ("relative_grows", "adapter_k5s2", "adapter_k4s3", "adapter_k1s1", "adapter_0layers"):
        for attn in ("eager", "sdpa"):
            yield Case(model, attn=attn)
            yield Case(model, attn=attn, mask="ragged")
            yield Case(model, "bfloat16", attn, "ragged")
    for model in ("adapter_tied", "adapter_untied"):
        yield Case(model, attn="eager")
        yield Case(model, mask="ragged", grad=True)
    for model in ("wide_relative", "wide_rotary", "wide_adapter"):
        for attn in ("eager", "sdpa"):
            yield Case(model, attn=attn, mask="none", batch=1, frames=101)
            yield Case(model, attn=attn, mask="ragged", batch=2, frames=70)
        yield Case(model, "bfloat16", mask="ragged", batch=2, frames=70)
    for activation in ACTIVATIONS:
        for dtype in ("float32", "bfloat16"):
            yield Case(f"act_{activation}", dtype, mask="ragged")
    for model in ("ctc", "ctc_adapter", "sequence", "sequence_weighted", "frame", "frame_weighted",
                  "xvector", "xvector_weighted"):
        for mask in ("none", "ones", "ragged", "holes", "left", "empty_row"):
            yield Case(model, mask=mask, labels=True)
        for dtype in ("bfloat16", "float16"):
            yield Case(model, dtype, mask="ragged", labels=True)
        yield Case(model, attn="eager", mask="ragged", labels=True)
        yield Case(model, mask="ragged", grad=True, labels=True)
        yield Case(model, mask="ragged", batch=1)
    for model in ("fresh_relative", "fresh_adapter", "fresh_ctc", "fresh_sequence", "fresh_frame",
                  "fresh_xvector"):
        yield Case(model)
    for attn in ("eager", "sdpa"):
        for mask in ("none", "ragged", "empty_row"):
            yield Case("augment", attn=attn, mask=mask, grad=True, train=True)
            yield Case("augment_relative", attn=attn, mask=mask, grad=True, train=True, labels=True)
        yield Case("augment", attn=attn, mask="ragged", grad=True, train=True,
                   gradient_checkpointing=True)
        yield Case("augment_adapter", attn=attn, mask="ragged", grad=True, train=True, labels=True,
                   frames=90, gradient_checkpointing=True)
        yield Case("augment_adapter", attn=attn, mask="ragged", grad=True, train=True, labels=True, frames=90)
        yield Case("augment_adapter_kept", attn=attn, mask="ragged", grad=True, train=True, labels=True, frames=90)
        yield Case("augment_adapter", "bfloat16", attn, "none", grad=True, train=True, labels=True, frames=90)


def attention_mask(kind, batch, frames):
    """(B, T) int64, or None."""
    mask = torch.ones(batch, frames, dtype=torch.long)
    for row in range(batch):
        length = max(1, frames - row * (frames // max(batch, 1)) - 1)
        if kind == "ragged":
            mask[row, length:] = 0
        elif kind == "left":
            mask[row, : frames - length] = 0
        elif kind == "holes":
            mask[row, row :: 3] = 0
    if kind == "empty_row":
        mask[-1] = 0
    return None if kind == "none" else mask


def make_labels(config, case, model):
    """As the loss of the class takes them; of CTC's rows one is padded."""
    name = type(model).__name__
    if name.endswith("ForCTC"):
        labels = torch.randint(1, config.vocab_size, (case.batch, 4))
        labels[0, 2:] = -100
        labels[-1, 1] = config.pad_token_id  # the blank: a target up to transformers 5.20
        return labels
    if name.endswith("ForAudioFrameClassification"):
        classes = torch.randint(0, config.num_labels, (case.batch, case.frames))
        return torch.nn.functional.one_hot(classes, config.num_labels)
    return torch.randint(0, config.num_labels, (case.batch,))


def make_model(name, directory):
    settings = dict(MODELS[name])
    architecture = settings.pop("architecture", BASE)
    fresh = name.startswith(FRESH)
    if not name.startswith("wide") and not fresh:
        settings["initializer_range"] = SMALL_RANGE
    seed = sum(name.encode())
    torch.manual_seed(seed)
    model = getattr(transformers, architecture)(Wav2Vec2BertConfig(**settings))
    if not fresh:
        widen(model)
    model.save_pretrained(directory)
    SeamlessM4TFeatureExtractor(padding_value=1.0).save_pretrained(directory)
    if fresh:
        (directory / "seed.txt").write_text(f"{seed}\n")


def export_cases(cases, out, device="cpu", lacking=None):
    """`lacking`: counts what the installed transformers does not have; without it such a case is an error."""
    for left_over in (out / "cases").glob("*.safetensors"):  # of an earlier run, perhaps of another suite
        left_over.unlink()
    made, written = set(), 0
    for number, case in enumerate(cases):
        what = what_is_lacking(MODELS[case.model], case.attn)
        if what and lacking is not None:
            lacking[what] += 1
            continue
        written += 1
        directory = out / "models" / case.model
        if case.model not in made:
            make_model(case.model, directory)
            made.add(case.model)
        model = from_pretrained(MODELS[case.model].get("architecture", BASE), directory, case.dtype,
                                attn_implementation=case.attn)
        torch.manual_seed(1000 + number)
        width = model.config.feature_projection_input_dim
        inputs = {
            "input_features": torch.randn(case.batch, case.frames, width).to(model.dtype),
            "attention_mask": attention_mask(case.mask, case.batch, case.frames),
        }
        if case.mask_time_indices:
            inputs["mask_time_indices"] = torch.rand(case.batch, case.frames) < 0.3
        if case.labels:
            inputs["labels"] = make_labels(model.config, case, model)
        export(model, inputs, out / "cases" / f"{case.name}.safetensors", {"model": case.model},
               device, case.grad, case.train, case.gradient_checkpointing, seed=number)
    print(f"{written} cases in {out}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--golden", action="store_true")
    parser.add_argument("--only", nargs="+", default=[""], help="parts of cases' names")
    parser.add_argument("--brief", action="store_true",
                        help="of the models of the published width the padded batches alone")
    parser.add_argument("--lacking", type=pathlib.Path, metavar="FILE.json",
                        help="leave out what the installed transformers does not have, and count it there")
    parser.add_argument("--device", default="cpu", help="where PyTorch computes; default: %(default)s")
    parser.add_argument("--expect", metavar="X.Y", help="the release of transformers; fails for another")
    arguments = parser.parse_args()
    expect_release(arguments.expect)
    prepare_pytorch()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if arguments.golden:
        export_cases([Case("odd", mask="ragged", batch=2, frames=7)], arguments.out)
    else:
        lacking = collections.Counter() if arguments.lacking else None
        cases = brief_suite() if arguments.brief else suite()
        export_cases([case for case in cases if any(part in case.name for part in arguments.only)],
                     arguments.out, arguments.device, lacking)
        if arguments.lacking:
            arguments.lacking.write_text(json.dumps(lacking, indent=2) + "\n")


if __name__ == "__main__":
    main()
