"""Which modules an adapter's regular expressions name, here and by PEFT's own functions.

usage: match_as_peft.py MATCH_MODULES"""

import json
import pathlib
import random
import re
import subprocess
import sys
import types
import warnings

import torch
import transformers
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
from pytorch_setup import prepare_pytorch  # noqa: E402

RANDOM_CONFIGS = 3000
MODULES_OF_A_CONFIG = 25
WORDS = [
    "encoder",
    "layers",
    "layer",
    "adapter",
    "self_attn",
    "linear_q",
    "linear_",
    "linear",
    "ffn",
    "ffn1",
    "conv",
    "q",
    "v",
    "norm",
    "dense",
    "output_dense",
    "lm_head",
    "wav2vec2_bert",
    "_",
    "e",
    "a",
]
ATOMS = [
    ".",
    ".*",
    r"\.",
    r"\d",
    r"\d+",
    r"\w",
    r"\w+",
    r"\W",
    r"\D",
    r"\S",
    "[qkv]",
    "[^qv]",
    "[0-9]",
    r"[\w.]",
    "[]q]",
    "[a-m_]",
    r"[\d.-]",
    r"[^\W_]",
    "[[:alpha:]]",
    r"\b",
    r"\B",
    r"\A",
    r"\Z",
    "^",
    "$",
    r"\x2e",
    r"\56",
    r"\141",
    "{",
    "}",
    "{}",
    "{,}",
    "a{x",
    "-",
    " ",
    "#",
    "",
    r"\_",
    r"\-",
    "[.]",
    "1{,2}",
    r"\1",
    "]",
    "&",
    "~",
]
QUANTIFIERS = ["*", "+", "?", "{1}", "{1,2}", "{,2}", "{2,}", "{0}"]
GROUPS = ["(", "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?s-i:", "(?x:", "(?P<n>", "(?#", "(?(1)", "(?m:"]

# Said by people, and in PEFT's own documents.
SAID = [
    r"^.*\.self_attn\.linear_q$",
    r".*layers\.\d{1,2}\.self_attn\.(linear_q|linear_v)",
    r"(?!.*adapter).*self_attn\.linear_q",
    r"(?i).*SELF_ATTN\.linear_[QK]",
    r".*\.(?:[0-9]|1[0-1])\..*\.linear_\w",
    r"(?P<at>.*)\.linear_q",
    r".*(?<!adapter\.layers\.0\.self_attn)\.linear_(?:q|k|v|out)\Z",
    r"(.*)\.(ffn[12])\.(?:intermediate|output)_dense",
    r"((?!conv_module).)*",
    r".*+q",
    r"(?x) .* \. linear_q # all",
    r"encoder\.layers\.([02468]|1[02])\..*dense",
    r"[^.]+(\.[^.]+){3,5}",
    r".*\.(\w)\w*_\1\w*",
]


def random_pattern(draw, depth=0):
    pieces = []
    for _ in range(draw.randint(1, 4)):
        kind = draw.random()
        if kind < 0.35:
            piece = draw.choice(WORDS)
        elif kind < 0.75 or depth > 2:
            piece = draw.choice(ATOMS)
        else:
            opening = draw.choice(GROUPS)
            inner = random_pattern(draw, depth + 1)
            piece = opening + (inner.replace(")", "").replace("(", "") if opening == "(?#" else inner) + ")"
        if draw.random() < 0.2:
            piece += draw.choice(QUANTIFIERS) + draw.choice(["", "", "?", "+"])
        pieces.append(piece)
        if draw.random() < 0.1:
            pieces.append("|")
    pattern = "".join(pieces)
    if depth == 0:
        pattern = draw.choice(["", "", "", "^", "(?i)", "(?s)", "(?x)"]) + draw.choice(["", ".*", r".*\."]) + pattern
        pattern += draw.choice(["", "", ".*", "$"])
    return pattern


def random_config(draw):
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 16}
    kind = draw.randrange(4)
    if kind == 0:
        config["target_modules"] = draw.choice(SAID) if draw.random() < 0.2 else random_pattern(draw)
        if draw.random() < 0.3:
            config["exclude_modules"] = random_pattern(draw)
    elif kind == 1:
        config["target_modules"] = draw.sample(["linear_q", "linear_v", "output_dense", "pointwise_conv1"], 2)
        config["layers_to_transform"] = draw.choice([0, [0, 1]])
        if draw.random() < 0.8:
            config["layers_pattern"] = draw.choice(
                ["layers", "encoder.layers", r"\w+", ["block", "layers"], "la|layers", random_pattern(draw)]
            )
    else:
        config["target_modules"] = ["linear_q"]
        key, numbers = draw.choice([("rank_pattern", [1, 2, 3]), ("alpha_pattern", [1.5, 2, 30])])
        config[key] = {draw.choice([random_pattern(draw), draw.choice(SAID)]): draw.choice(numbers) for _ in range(2)}
    return config


def module_names():
    names = set()
    for class_name, more in (
        ("Wav2Vec2BertModel", {"add_adapter": True, "output_hidden_size": 8}),
        ("Wav2Vec2BertForCTC", {"position_embeddings_type": "relative"}),
        ("Wav2Vec2BertForXVector", {}),
        ("Wav2Vec2BertForSequenceClassification", {}),
    ):
        config = transformers.Wav2Vec2BertConfig(
            hidden_size=8,
            num_attention_heads=2,
            num_hidden_layers=12,
            intermediate_size=8,
            vocab_size=5,
            tdnn_dim=[4, 4],
            tdnn_kernel=[2, 2],
            tdnn_dilation=[1, 1],
            **more,
        )
        with torch.device("meta"):
            names.update(name for name, _ in getattr(transformers, class_name)(config).named_modules() if name)
    return sorted(names)


def by_peft(config, modules):
    """What PEFT says; None where Python does not take an expression."""
    settings = types.SimpleNamespace(
        exclude_modules=None,
        modules_to_save=None,
        layers_to_transform=None,
        layers_pattern=None,
        target_parameters=None,
        rank_pattern={},
        alpha_pattern={},
    )
    vars(settings).update(config)
    answer = {"targets": [], "ranks": [], "alphas": []}
    layers = settings.layers_pattern or []
    try:  # PEFT compiles those alone that it comes to
        for expression in (
            *(text for text in (settings.target_modules, settings.exclude_modules) if isinstance(text, str)),
            *(rf"(.*\.)?({key})$" for key in [*settings.rank_pattern, *settings.alpha_pattern]),
            *(rf"(?:^|.*?\.){text}\.(?P<idx>\d+)\." for text in ([layers] if isinstance(layers, str) else layers)),
        ):
            re.compile(expression)
        for module in modules:
            answer["targets"].append(bool(check_target_module_exists(settings, module)))
            rank = settings.rank_pattern.get(get_pattern_key(settings.rank_pattern.keys(), module), settings.r)
            answer["ranks"].append(rank)
            answer["alphas"].append(
                settings.alpha_pattern.get(get_pattern_key(settings.alpha_pattern.keys(), module), settings.lora_alpha)
            )
    except re.error:
        return None
    return answer


def main():
    prepare_pytorch()
    warnings.simplefilter("ignore", FutureWarning)  # sets that may mean something else one day
    warnings.simplefilter("ignore", DeprecationWarning)
    draw, names = random.Random(17), module_names()
    configs = [{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": pattern} for pattern in SAID]
    configs += [random_config(draw) for _ in range(RANDOM_CONFIGS)]
    lines = [
        {"config": config, "modules": names if i < len(SAID) else draw.sample(names, MODULES_OF_A_CONFIG)}
        for i, config in enumerate(configs)
    ]
    result = subprocess.run(
        [sys.argv[1]],
        input="".join(json.dumps(line) + "\n" for line in lines),
        check=True,
        capture_output=True,
        text=True,
    )
    answers = [json.loads(answer) for answer in result.stdout.splitlines()]
    assert len(answers) == len(lines), result
    wrong, both, named, refused_here = 0, 0, 0, []
    for line, answer in zip(lines, answers, strict=True):
        expected = by_peft(line["config"], line["modules"])
        if expected is None:
            continue
        if "error" in answer:
            refused_here.append((line["config"], answer["error"]))
            continue
        both += 1
        named += any(expected["targets"])
        close = all(abs(a - b) < 1e-9 for a, b in zip(answer["alphas"], expected["alphas"], strict=True))
        if answer["targets"] != expected["targets"] or answer["ranks"] != expected["ranks"] or not close:
            wrong += 1
            at = [m for m, a, b in zip(line["modules"], answer["targets"], expected["targets"], strict=True) if a != b]
            print("other answers:", json.dumps(line["config"]), at[:3])
    for config, error in refused_here[:10]:
        print("refused here alone:", json.dumps(config), error)
    print(
        f"{len(lines)} configs, {both} taken by both, {named} name something; {len(refused_here)} refused here alone, "
        f"{wrong} with other answers"
    )
    # PCRE2 does not know every look-behind that Python does.
    return 1 if wrong or len(refused_here) > 10 or both < RANDOM_CONFIGS // 3 else 0


if __name__ == "__main__":
    sys.exit(main())
