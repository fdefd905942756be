"""Configs as transformers saves them, read by this library: every field must come out as transformers
itself reads it back, and the parameter count must be that of the model transformers builds. What this
library saves of them must be the text that transformers saves, and mean the same to transformers.

usage: compare_with_transformers.py PRINT_CONFIG   (exit 77: transformers is not installed)"""

import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from absent_packages import skip_where_absent  # noqa: E402

try:
    import torch
    from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertModel
except ImportError as error:
    skip_where_absent(error)

# Fields of PreTrainedConfig that mean nothing here, or that other fields hold.
NOT_READ = {"transformers_version", "return_dict", "chunk_size_feed_forward", "is_encoder_decoder", "label2id"}
# What this library has besides.
EXTRA = {"parameter_count", "num_labels", "output_attentions", "attn_implementation", "tie_last_hidden_states"}
# In RAW: read and stored by transformers, without meaning to it; not kept by this library.
NOT_KEPT = {"transformers_version", "codevector_dim", "num_negatives", "_name_or_path"}

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
CONFIGS = [
    {},
    SMALL,
    {**SMALL, "add_adapter": True},
    {**SMALL, "add_adapter": True, "output_hidden_size": 32, "num_adapter_layers": 3,
     "adapter_kernel_size": 5, "use_intermediate_ffn_before_adapter": True, "adapter_act": "gelu"},
    {**SMALL, "position_embeddings_type": "relative", "max_source_positions": 50},
    {**SMALL, "position_embeddings_type": "rotary", "rotary_embedding_base": 500},
    {**SMALL, "position_embeddings_type": None},
    {**SMALL, "left_max_position_embeddings": 3, "right_max_position_embeddings": 0,
     "conv_depthwise_kernel_size": 5, "feature_projection_input_dim": 32},
    {**SMALL, "mask_time_prob": 0, "mask_feature_prob": 0, "hidden_dropout": 1, "layerdrop": 0},
    {**SMALL, "mask_time_prob": 0.0, "mask_feature_prob": 0.25},
    {**SMALL, "vocab_size": 33, "pad_token_id": None, "bos_token_id": None, "eos_token_id": None},
    {**SMALL, "eos_token_id": [5, 7], "num_labels": 5},
    {**SMALL, "id2label": {0: "no", 1: "yes", 2: "may be"}, "problem_type": "regression"},
    {**SMALL, "id2label": {0: "no", 1: "yes"}, "num_labels": 4},
    {**SMALL, "id2label": {0: "n\u00f6", 1: "\u65e5\U0001f600", 2: "\"\\\n\x7f"},
     "label2id": {"n\u00f6": 0, "\u65e5\U0001f600": 1, "\"\\\n\x7f": 2}},
    {**SMALL, "id2label": {i: f"label {i}" for i in range(12)}, "label2id": {f"label {i}": i for i in range(12)}},
    {**SMALL, "id2label": {0: "no", 1: "yes"}, "label2id": {"no": "0", "yes": "1"}},
    {**SMALL, "id2label": {0: "LABEL_0", 1: "LABEL_1"}},
    {**SMALL, "num_labels": 12},
    {**SMALL, "initializer_range": 1e-5, "layer_norm_eps": 1.5e-7, "final_dropout": 1 / 3, "layerdrop": 1e-300},
    {**SMALL, "label2id": {"a": 0, "b": 1, "c": 2}},
    {**SMALL, "dtype": "float16", "architectures": ["Wav2Vec2BertForCTC"]},
    {**SMALL, "tdnn_dim": [8, 9], "tdnn_kernel": [3, 1], "tdnn_dilation": [2, 1]},
    {**SMALL, "output_hidden_states": True, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3},
]
RAW = [  # config.json as text: what transformers reads and does not write
    {**SMALL, "torch_dtype": "bfloat16"},
    {**SMALL, "torch_dtype": "bfloat16", "dtype": "float16"},
    {**SMALL, "dtype": None, "torch_dtype": "float32"},
    {**SMALL, "codevector_dim": 768, "num_negatives": None, "max_length": 20},
    {**SMALL, "output_hidden_size": 0},
    {**SMALL, "id2label": {"3": "c", "1": "a"}, "num_labels": 2},
    {**SMALL, "num_labels": 7, "label2id": {"a": 0}},
    {**SMALL, "id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}, "num_labels": 3},
    {**SMALL, "attn_implementation": "eager", "output_attentions": True},
    {**SMALL, "_attn_implementation": "eager"},
    {**SMALL, "_attn_implementation": "eager", "attn_implementation": "sdpa"},
    {**SMALL, "attn_implementation": "eager", "_attn_implementation": "sdpa"},
    {**SMALL, "attn_implementation": "eager", "_attn_implementation": None},
    {**SMALL, "attn_implementation": "eager", "_attn_implementation_internal": "sdpa"},
    {**SMALL, "tie_last_hidden_states": True},
    {**SMALL, "tie_last_hidden_states": False},
]
EXTRACTORS = [{}, {"padding_value": 1}, {"padding_value": -2.5, "stride": 3}, {"sampling_rate": 8000},
              {"num_mel_bins": 40, "feature_size": 40}, {"return_attention_mask": False}]


def config_values(directory):
    config = Wav2Vec2BertConfig.from_pretrained(directory)
    names = {field.name for field in dataclasses.fields(config)} - NOT_READ
    values = {name: getattr(config, name) for name in names}
    if values["dtype"] is not None:
        values["dtype"] = str(values["dtype"]).removeprefix("torch.")
    values["id2label"] = {str(key): label for key, label in config.id2label.items()}
    values["tie_last_hidden_states"] = getattr(config, "tie_last_hidden_states", None)
    values["num_labels"] = config.num_labels
    values["output_attentions"] = config.output_attentions
    values["attn_implementation"] = config._attn_implementation or "sdpa"  # what a model makes of None
    # One end token or a list of one, and none or an empty list, mean the same.
    end = values["eos_token_id"]
    values["eos_token_id"] = (end[0] if len(end) == 1 else end or None) if isinstance(end, list) else end
    values["architectures"] = values["architectures"] or None
    # None counts as false in transformers' calls.
    values["output_hidden_states"] = bool(values["output_hidden_states"])
    values["output_attentions"] = bool(values["output_attentions"])
    return json.loads(json.dumps(values))


def expected_model(directory):
    values = config_values(directory)
    with torch.device("meta"):
        model = Wav2Vec2BertModel(Wav2Vec2BertConfig.from_pretrained(directory))
    values["parameter_count"] = sum(p.numel() for p in model.parameters())
    return values


def expected_features(directory):
    extractor = SeamlessM4TFeatureExtractor.from_pretrained(directory)
    names = ["feature_size", "sampling_rate", "num_mel_bins", "padding_value", "stride", "padding_side",
             "return_attention_mask"]
    return {name: getattr(extractor, name) for name in names}


def saved_differences(what, ours, config, directory):
    """Between what this library saves of a config, and transformers"""
    config.save_pretrained(directory)
    text = "".join(line for line in (directory / "config.json").read_text().splitlines(keepends=True)
                   if not any(line.startswith(f'  "{key}":') for key in NOT_KEPT))
    yield from differences(f"saved of {what}", json.loads(ours), json.loads(text))
    numbers = [field.name for field in dataclasses.fields(config) if isinstance(field.default, float)]
    if all(isinstance(getattr(config, name), float) for name in numbers) and ours != text:
        yield f"saved of {what}: other text:\n{ours}\ntransformers writes\n{text}"
    (directory / "config.json").write_text(ours)
    ours, theirs = (value.to_dict() for value in (Wav2Vec2BertConfig.from_pretrained(directory), config))
    for key in NOT_KEPT:
        theirs.pop(key, None)
        ours.pop(key, None)
    yield from differences(f"read again of {what}", ours, theirs)


def differences(what, ours, theirs):
    for key in sorted(ours.keys() | theirs.keys()):
        if key not in ours or key not in theirs or ours[key] != theirs[key]:
            yield (f"{what}: {key}: {ours.get(key, 'not there')!r}, "
                   f"transformers has {theirs.get(key, 'not there')!r}")


def main():
    problems = []
    with tempfile.TemporaryDirectory() as root:
        directories = []
        for i, settings in enumerate(CONFIGS + RAW):
            directory = pathlib.Path(root) / str(i)
            directory.mkdir()
            if i < len(CONFIGS):
                Wav2Vec2BertConfig(**settings).save_pretrained(directory)
            else:
                (directory / "config.json").write_text(json.dumps(settings))
            SeamlessM4TFeatureExtractor(**EXTRACTORS[i % len(EXTRACTORS)]).save_pretrained(directory)
            if i % 2:  # as transformers 5 saves a processor
                preprocessor = directory / "preprocessor_config.json"
                nested = {"feature_extractor": json.loads(preprocessor.read_text())}
                (directory / "processor_config.json").write_text(json.dumps(nested))
                preprocessor.unlink()
            directories.append(directory)
        output = subprocess.run([sys.argv[1], *map(str, directories)], check=True, capture_output=True, text=True)
        lines = output.stdout.splitlines()
        assert len(lines) == len(directories), output
        for directory, settings, line in zip(directories, CONFIGS + RAW, lines, strict=True):
            ours = json.loads(line)
            if "error" in ours:
                problems.append(f"{settings}: {ours['error']}")
                continue
            problems += differences(settings, ours["model"], expected_model(directory))
            problems += differences(settings, ours["features"], expected_features(directory))
            config = Wav2Vec2BertConfig.from_pretrained(directory)
            again = directory / "again"
            problems += saved_differences(settings, ours["saved_model"], config, again)
            SeamlessM4TFeatureExtractor.from_pretrained(directory).save_pretrained(again)
            theirs = json.loads((again / "preprocessor_config.json").read_text())
            problems += differences(settings, json.loads(ours["saved_features"]), theirs)
    print("\n".join(problems))
    print(f"{len(CONFIGS + RAW)} configs, {len(problems)} differences")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
