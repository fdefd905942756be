#!/usr/bin/env python3
"""Random models and inputs, computed by transformers and by the mirror, compared bit for bit.

  fuzz_parity.py --count 1000            seeds 0 to 999
  fuzz_parity.py --seed 123 --count 1    one again
  fuzz_parity.py --count 60 --step 7 --export DIR   writes the cases of every seventh seed, for parity_replay

Consecutive seeds go through every class x position type x dtype x attention x mask (480 of them); the
rest of the config, the checkpoint (prefixes, shards, dtypes), the mode and the input's size are drawn. Run
it with the Python that scripts/setup has made (build/venv/bin/python), and for the oldest transformers with
PYTHONPATH=build/transformers-oldest: the mirror follows the release that made a case. Exit status 1 when a bit differs;
the failing case stays on disk, and its seed is printed."""

import argparse
import collections
import itertools
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2BertConfig

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "scripts"), str(ROOT / "tests" / "tool" / "parity")]
from export_parity_fixtures import (  # noqa: E402
    BASE,
    CLASSES,
    DTYPES,
    expect_release,
    export,
    from_pretrained,
    settings_of,
    what_is_lacking,
    write,
)
from export_suite import ACTIVATIONS, Case, attention_mask, make_labels, widen  # noqa: E402
from pytorch_setup import prepare_pytorch  # noqa: E402

POSITIONS = ("relative_key", "relative", "rotary", None)
ATTENTIONS = ("eager", "sdpa")
MASKS = ("none", "ragged", "holes", "empty_row")
KINDS = list(itertools.product(CLASSES, POSITIONS, DTYPES, ATTENTIONS, MASKS))
NO_ADAPTER = ("Wav2Vec2BertForSequenceClassification", "Wav2Vec2BertForAudioFrameClassification")
PREFIX = "wav2vec2_bert."
CHUNK = 50  # cases on disk at a time


def draw_config(rng, architecture, positions, train, head_sizes=None):
    heads = rng.choice((1, 2, 3, 4))
    head_size = rng.choice(head_sizes or (
        (2, 4, 6, 8, 16) if positions in ("relative", "rotary") else (1, 3, 5, 8, 16)))
    adapter = architecture not in NO_ADAPTER and rng.random() < 0.4
    layers = rng.randint(1, 3)
    prob = lambda *values: rng.choice(values) if train else 0.0  # noqa: E731
    weighted = architecture not in (BASE, "Wav2Vec2BertForCTC") and rng.random() < 0.4
    tdnn = rng.randint(1, 3)
    settings = dict(
        hidden_size=heads * head_size, num_attention_heads=heads, num_hidden_layers=layers,
        intermediate_size=rng.randint(1, 60), feature_projection_input_dim=rng.choice((1, 7, 20, 160)),
        hidden_act=rng.choice(ACTIVATIONS), adapter_act=rng.choice(ACTIVATIONS),
        layer_norm_eps=rng.choice((1e-5, 1e-6, 1e-3)), initializer_range=rng.choice((0.02, 0.1, 0.3)),
        position_embeddings_type=positions, rotary_embedding_base=rng.choice((1, 100, 10000)),
        max_source_positions=rng.choice((1, 8, 5000)),
        left_max_position_embeddings=rng.choice((0, 1, 5, 64)),
        right_max_position_embeddings=rng.choice((0, 1, 8)),
        conv_depthwise_kernel_size=rng.choice((1, 3, 9, 31)),
        add_adapter=adapter, adapter_kernel_size=rng.randint(1, 5), adapter_stride=rng.randint(1, 3),
        num_adapter_layers=rng.randint(0, 2),
        use_intermediate_ffn_before_adapter=adapter and rng.random() < 0.5,
        use_weighted_layer_sum=weighted, vocab_size=rng.randint(2, 40), pad_token_id=0,
        num_labels=rng.randint(2, 6), classifier_proj_size=rng.randint(1, 30),
        tdnn_dim=[rng.randint(2, 20) for _ in range(tdnn)],
        tdnn_kernel=[rng.randint(1, 3) for _ in range(tdnn)],
        tdnn_dilation=[rng.randint(1, 2) for _ in range(tdnn)], xvector_output_dim=rng.randint(1, 20),
        ctc_loss_reduction=rng.choice(("sum", "mean")), ctc_zero_infinity=rng.random() < 0.5,
        hidden_dropout=prob(0.0, 0.2), activation_dropout=prob(0.0, 0.3),
        attention_dropout=prob(0.0, 0.2), feat_proj_dropout=prob(0.0, 0.1),
        conformer_conv_dropout=prob(0.0, 0.1), final_dropout=prob(0.0, 0.3),
        # HF cannot sum over states that were dropped.
        layerdrop=0.0 if weighted else prob(0.0, 0.4),
        apply_spec_augment=rng.random() < 0.7, mask_time_prob=rng.choice((0.0, 0.3)),
        mask_time_length=rng.randint(1, 3), mask_time_min_masks=rng.randint(0, 2),
        mask_feature_prob=rng.choice((0.0, 0.2)), mask_feature_length=1)
    if adapter and architecture != "Wav2Vec2BertForXVector":
        settings["output_hidden_size"] = rng.choice((None, heads * rng.choice((1, 4, 8))))
    return settings


def save_checkpoint(rng, model, directory):
    """As people's checkpoints are: in shards, of another dtype, with the base's prefix or without it."""
    model = model.to(rng.choice((torch.float32, torch.float32, torch.bfloat16, torch.float16)))
    model.save_pretrained(directory, max_shard_size=rng.choice(("5GB", "20KB")))
    if rng.random() < 0.5:
        return
    index = directory / "model.safetensors.index.json"
    files = sorted(directory.glob("*.safetensors"))
    rename = ((lambda name: PREFIX + name) if type(model).__name__ == BASE
              else (lambda name: name.removeprefix(PREFIX)))
    for file in files:
        save_file({rename(name): tensor for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    if index.exists():
        content = json.loads(index.read_text())
        content["weight_map"] = {rename(name): file for name, file in content["weight_map"].items()}
        index.write_text(json.dumps(content))


def export_case(seed, out, head_sizes=None, lacking=None):
    """Writes one case; its words. `lacking`: counts what the installed transformers does not have; such a case is
    not written then, and None returned."""
    rng = random.Random(seed)
    architecture, positions, dtype, attn, mask = KINDS[seed % len(KINDS)]
    train = rng.random() < 0.2
    grad = train or rng.random() < 0.3
    checkpointing = train and rng.random() < 0.3
    settings = draw_config(rng, architecture, positions, train, head_sizes)
    what = what_is_lacking(settings, attn)
    if what and lacking is not None:
        lacking[what] += 1
        return None
    name = f"seed-{seed:06}"
    torch.manual_seed(seed)
    model = getattr(transformers, architecture)(Wav2Vec2BertConfig(**settings))
    widen(model)
    save_checkpoint(rng, model, out / "models" / name)
    try:
        model, report = from_pretrained(architecture, out / "models" / name, dtype, attn_implementation=attn,
                                        output_loading_info=True)
    except ValueError as error:
        if lacking is None or "corrupted" not in str(error):
            raise
        lacking["a head's checkpoint without the base's prefix"] += 1
        return None
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    # Enough frames for the widest kernels of adapter and TDNN, with a rest.
    case = Case(name, dtype, attn, mask, batch=rng.randint(1, 3), frames=rng.randint(26, 50))
    if architecture != "Wav2Vec2BertForXVector" and not settings["add_adapter"] and not train:
        case.frames = rng.choice((1, 2, 3, rng.randint(4, 50)))
    inputs = {"input_features": torch.randn(case.batch, case.frames,
                                            settings["feature_projection_input_dim"]).to(model.dtype),
              "attention_mask": attention_mask(mask, case.batch, case.frames)}
    if architecture == BASE and model.config.mask_time_prob > 0 and rng.random() < 0.3:
        inputs["mask_time_indices"] = torch.rand(case.batch, case.frames) < 0.3
    if architecture != BASE and rng.random() < 0.8:
        inputs["labels"] = make_labels(model.config, case, model)
    path = out / "cases" / f"{name}.safetensors"
    refused = False
    try:
        export(model, inputs, path, {"model": name}, grad=grad, train=train,
               gradient_checkpointing=checkpointing, seed=seed)
    except (RuntimeError, ValueError, IndexError) as error:
        # Such as HF's CTC lengths, which an adapter's convolutions do not reach. Here it has to be refused, too.
        refused = True
        tensors = {f"inputs/{key}": value for key, value in inputs.items() if value is not None}
        write(path, tensors, {"model": name, **settings_of(model), "grad": str(int(grad)),
                              "train": str(int(train)), "seed": str(seed), "raises": str(error)})
    words = [architecture, str(positions), dtype, attn, mask, f"{case.batch}x{case.frames}"]
    return " ".join(words + [flag for flag, on in
                             {"grad": grad, "train": train, "checkpointing": checkpointing,
                              "adapter": settings["add_adapter"], "refused": refused}.items() if on])


def run_chunk(seeds, head_sizes, replay, keep):
    """(values, seeds that failed, what they were)."""
    out = pathlib.Path(tempfile.mkdtemp(prefix="fuzz_parity_"))
    words = {seed: export_case(seed, out, head_sizes) for seed in seeds}
    report = out / "report.json"
    result = subprocess.run([replay, out, "cpu", report], capture_output=True, text=True)
    if not report.exists():
        sys.exit(f"{replay} ended with {result.returncode} on {out}:\n{result.stdout}{result.stderr}")
    cases = json.loads(report.read_text())["cases"]
    failed = [case for case in cases if case["first_difference"]]
    more = f" --head-sizes {' '.join(map(str, head_sizes))}" if head_sizes else ""
    for case in failed:
        seed = int(case["name"].split("-")[1])
        print(f"seed {seed}: {words[seed]}\n  {case['differing']} values differ, by up to {case['largest']}; "
              f"first: {case['first_difference']}\n  again: scripts/fuzz_parity.py --seed {seed} --count 1{more}")
    if failed or keep:
        print(f"  files: {out}")
    else:
        shutil.rmtree(out)
    return sum(case["values"] for case in cases), len(failed), [words[seed] for seed in seeds]


def export_cases(seeds, head_sizes, out, lacking_file):
    """Those of `out` stay."""
    lacking = collections.Counter() if lacking_file else None
    written = sum(export_case(seed, out, head_sizes, lacking) is not None for seed in seeds)
    if lacking_file:
        lacking_file.write_text(json.dumps(lacking, indent=2) + "\n")
    print(f"{written} cases in {out}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="the first; default: %(default)s")
    parser.add_argument("--count", type=int, default=100, help="how many; default: %(default)s")
    parser.add_argument("--step", type=int, default=1, help="from one seed to the next; default: %(default)s")
    parser.add_argument("--head-sizes", type=int, nargs="+", metavar="N", help="draw from these, not from 1 to 16")
    parser.add_argument("--export", type=pathlib.Path, metavar="DIR",
                        help="write the cases there, beside those of export_suite.py, and compare nothing")
    parser.add_argument("--lacking", type=pathlib.Path, metavar="FILE.json",
                        help="with --export: leave out what the installed transformers does not have, count it there")
    parser.add_argument("--replay", type=pathlib.Path, default=ROOT / "build" / "bin" / "parity_replay",
                        help="the program that replays; default: build/bin/parity_replay")
    parser.add_argument("--keep", action="store_true", help="keep the files of cases that are equal, too")
    parser.add_argument("--expect", metavar="X.Y", help="the release of transformers; fails for another")
    arguments = parser.parse_args()
    expect_release(arguments.expect)
    prepare_pytorch()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(2)
    seeds = range(arguments.seed, arguments.seed + arguments.count * arguments.step, arguments.step)
    if arguments.export:
        export_cases(seeds, arguments.head_sizes, arguments.export, arguments.lacking)
        return 0
    start = time.monotonic()
    values = failures = refused = 0
    kinds = set()
    for first in range(0, len(seeds), CHUNK):
        chunk = seeds[first:first + CHUNK]
        of_chunk, failed, words = run_chunk(chunk, arguments.head_sizes, arguments.replay, arguments.keep)
        values += of_chunk
        failures += failed
        refused += sum(line.endswith(" refused") for line in words)
        kinds |= {" ".join(line.split()[:5]) for line in words}
        done = min(first + CHUNK, len(seeds))
        print(f"{done} of {len(seeds)} cases, {values:,} values, {failures} cases differ", flush=True)
    print(f"transformers {transformers.__version__}, seeds {seeds[0]} to {seeds[-1]}: {len(seeds)} cases "
          f"of {len(kinds)} kinds, {values:,} values, {refused} refused by both, {failures} cases differ; "
          f"{time.monotonic() - start:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
