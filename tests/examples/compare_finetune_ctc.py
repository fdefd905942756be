"""Runs examples/finetune_ctc.cpp and examples/finetune_ctc.py on small seeded models and recorded speech: every
loss, every decoded text and every bit of the saved model has to be the same, and the loss has to fall.

usage: compare_finetune_ctc.py FINETUNE_CTC [RELEASE]   (exit 77: transformers or Debian's recordings are not
installed; RELEASE: fails for another one of transformers)"""

import contextlib
import io
import json
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "examples"), str(ROOT / "scripts"), str(ROOT / "tests" / "support")]
from absent_packages import skip_where_absent  # noqa: E402

try:
    import torch
    import transformers
    from safetensors.torch import load_file
    from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertForCTC, Wav2Vec2BertModel
    from transformers.utils import logging

    import finetune_ctc
    from pytorch_setup import prepare_pytorch
    from random_parameters import widen
except ImportError as error:
    skip_where_absent(error)

CARDS = pathlib.Path("/usr/share/pocketsphinx/test/data/cards")  # Debian's pocketsphinx-testdata
SMALL = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96,
         "layerdrop": 0.3, "hidden_dropout": 0.1, "activation_dropout": 0.1, "attention_dropout": 0.1,
         "feat_proj_dropout": 0.1, "mask_time_prob": 0.3, "mask_time_length": 5, "mask_feature_prob": 0.2,
         "mask_feature_length": 4}


def write_clips(folder):
    """Recordings with their transcripts, and the vocabulary of those."""
    rows = re.findall(r"<s>\s*(.*?)\s*</s>\s*\((\w+)\)", (CARDS / "cards.transcription").read_text())
    rows = rows[:3]
    assert len(rows) == 3
    (folder / "clips.tsv").write_text("".join(f"{CARDS / name}.wav\t{text}\n" for text, name in rows))
    characters = sorted(set("".join(text for text, _ in rows)) - {" "})
    tokens = [*characters, "|", "[UNK]", "[PAD]"]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    return len(tokens)


# torch.optim.AdamW has lerp where torch::optim::AdamW has a multiplication and an addition.
ADAMW_LIMIT = 1e-5  # of the loss; measured 1.9e-7


def save_models(folder, vocab_size):
    """A base model, which gets a new head, and two with a head and an adapter. The gradients of a masked frame, and
    of an activation whose input is used three times, are sums that depend on the order."""
    torch.manual_seed(1)
    settings = {"relative": {"position_embeddings_type": "relative", "hidden_act": "gelu_new",
                             "output_hidden_size": 48, "use_intermediate_ffn_before_adapter": True},
                "rotary": {"position_embeddings_type": "rotary", "hidden_act": "gelu_fast", "adapter_act": "prelu"}}
    models = {"base": Wav2Vec2BertModel(Wav2Vec2BertConfig(**SMALL))}
    for name, other in settings.items():
        models[name] = Wav2Vec2BertForCTC(
            Wav2Vec2BertConfig(**SMALL, vocab_size=vocab_size, add_adapter=True, **other))
    for name, model in models.items():
        widen(model).save_pretrained(folder / name)
        SeamlessM4TFeatureExtractor(padding_value=1.0).save_pretrained(folder / name)


def losses_of(lines):
    return [float(line.split()[3]) for line in lines if line.startswith("step ")]


def compare_saved(ours, theirs):
    left, right = (load_file(directory / "model.safetensors") for directory in (ours, theirs))
    if left.keys() != right.keys():
        return [f"other tensors are saved: {left.keys() ^ right.keys()}"]
    return [f"{name} is saved with other values" for name in left if not torch.equal(left[name], right[name])]


def are_close(ours, theirs):
    left, right = losses_of([ours]), losses_of([theirs])
    return (len(left) == len(right) == 1 and ours.split()[:3] == theirs.split()[:3] and
            abs(left[0] - right[0]) <= ADAMW_LIMIT * right[0])


def main():
    if not CARDS.is_dir():
        print(f"SKIPPED: {CARDS} is not there (pocketsphinx-testdata)")
        return 77
    if len(sys.argv) > 2 and not transformers.__version__.startswith(f"{sys.argv[2]}."):
        sys.exit(f"transformers is {transformers.__version__}, expected {sys.argv[2]}")
    prepare_pytorch()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    problems = []
    with tempfile.TemporaryDirectory() as root:
        folder = pathlib.Path(root)
        save_models(folder, write_clips(folder))
        for model, options in [("base", []), ("base", ["--train-all", "--seed", "3"]),
                               ("relative", ["--train-all"]),
                               ("rotary", ["--train-all", "--gradient-checkpointing"]),
                               ("rotary", ["--train-all"]), ("base", ["--adamw"])]:
            words = [*(str(folder / name) for name in (model, "clips.tsv", "vocab.json")), "--learning-rate", "0.01",
                     *options]
            saved = [folder / "saved" / side for side in ("here", "python")]
            program = subprocess.run([sys.argv[1], *words, "--hf-version", transformers.__version__, "--output",
                                      str(saved[0])], check=True,
                                     stdout=subprocess.PIPE, text=True).stdout
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                finetune_ctc.main([*words, "--output", str(saved[1])])
            what = f"{model} {' '.join(options)}"
            print(f"== {what}\n{program}", end="")
            ours, theirs = program.splitlines(), printed.getvalue().splitlines()
            if len(ours) != len(theirs):
                problems.append(f"{what}: {len(ours)} lines, in Python {len(theirs)}")
            for left, right in zip(ours, theirs, strict=False):
                if left != right and not ("--adamw" in options and are_close(left, right)):
                    problems.append(f"{what}: {left!r}, in Python {right!r}")
            if "--adamw" not in options:
                problems += [f"{what}: {problem}" for problem in compare_saved(*saved)]
            losses = losses_of(ours)
            if not losses[-1] < 0.95 * losses[0]:
                problems.append(f"{what}: the loss goes from {losses[0]} to {losses[-1]}")
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
