"""LoRA adapters that PEFT saves, merged by this library and by PEFT's own merge_and_unload: the same bits.

usage: compare_lora.py SAVED_MODELS"""

import pathlib
import subprocess
import sys
import tempfile
import warnings

import peft
import safetensors.torch
import torch
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
from pytorch_setup import prepare_pytorch  # noqa: E402

SMALL = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 33, "vocab_size": 7,
         "feature_projection_input_dim": 16, "conv_depthwise_kernel_size": 5, "classifier_proj_size": 10,
         "tdnn_dim": [8, 6], "tdnn_kernel": [3, 2], "tdnn_dilation": [1, 2], "xvector_output_dim": 9}
ADAPTER = {**SMALL, "add_adapter": True, "num_adapter_layers": 2, "output_hidden_size": 20,
           "use_intermediate_ffn_before_adapter": True}
WIDE = {**SMALL, "hidden_size": 1024, "num_hidden_layers": 1, "num_attention_heads": 16, "intermediate_size": 4096}
ATTENTION = ["linear_q", "linear_k", "linear_v", "linear_out"]
CTC, BASE = "Wav2Vec2BertForCTC", "Wav2Vec2BertModel"

# name -> class, config, LoraConfig, dtype of the model, dtype of the adapter's file
CASES = {
    "attention": (CTC, SMALL, {"r": 4, "lora_alpha": 16, "target_modules": ATTENTION}),
    "scale that is no power of two": (BASE, SMALL, {"r": 7, "lora_alpha": 3, "target_modules": ["output_dense"]}),
    "rank stabilised": (CTC, SMALL, {"r": 5, "lora_alpha": 16, "use_rslora": True, "target_modules": ATTENTION}),
    "patterns": (CTC, SMALL, {
        "r": 4, "lora_alpha": 6, "use_rslora": True, "target_modules": [*ATTENTION, "intermediate_dense"],
        "rank_pattern": {r"layers\.[01]\..*linear_q": 3, "linear_q": 2, "ffn2.intermediate_dense": 9},
        "alpha_pattern": {r".*\.1\.self_attn\.linear_(k|v)": 11, "ffn1.intermediate_dense": 1}}),
    "convolutions": (CTC, ADAPTER, {
        "r": 3, "lora_alpha": 5, "target_modules": ["pointwise_conv1", "pointwise_conv2", "residual_conv",
                                                    "self_attn_conv"]}),
    "convolutions with biases": (CTC, ADAPTER, {
        "r": 3, "target_modules": ["residual_conv", "pointwise_conv1"], "bias": "lora_only", "use_rslora": True}),
    "table of positions": (BASE, SMALL, {"r": 3, "lora_alpha": 7, "target_modules": ["distance_embedding"]}),
    "parameters of relative positions": (BASE, {**SMALL, "position_embeddings_type": "relative"},
                                         {"r": 3, "target_modules": ["linear_pos", "linear_q"]}),
    "biases of the layers": (CTC, SMALL, {"r": 4, "target_modules": [*ATTENTION, "pointwise_conv1"],
                                          "bias": "lora_only"}),
    "all biases": (BASE, ADAPTER, {"r": 4, "target_modules": ["linear_q", "residual_conv"], "bias": "all"}),
    "a new head": (CTC, SMALL, {"r": 4, "target_modules": ATTENTION, "modules_to_save": ["lm_head"]}),
    "a new head and all biases": (CTC, SMALL, {"r": 4, "target_modules": ATTENTION, "bias": "all",
                                               "modules_to_save": ["lm_head", "feature_projection"]}),
    "modules by the end of their names": (BASE, SMALL, {"r": 4, "target_modules": ["linear_q"],
                                                        "modules_to_save": ["layer_norm"]}),
    "LoRA on the head alone": (CTC, SMALL, {"r": 2, "target_modules": ["lm_head"]}),
    "biases of LoRA": (CTC, ADAPTER, {"r": 4, "lora_alpha": 3, "lora_bias": True,
                                      "target_modules": ["output_dense", "self_attn_conv", "linear_q"]}),
    "fan in fan out": (CTC, SMALL, {"r": 4, "target_modules": ["intermediate_dense"], "fan_in_fan_out": True}),
    "one layer": (CTC, SMALL, {"r": 4, "target_modules": ["linear_q"], "layers_to_transform": 1}),
    "two layers": (BASE, SMALL, {"r": 4, "target_modules": ["linear_q", "encoder.layers.1.ffn1.output_dense"],
                                 "layers_to_transform": [0, 2], "layers_pattern": "layers"}),
    "a regular expression": (CTC, ADAPTER, {"r": 4, "target_modules": r".*\.(linear_q|ffn[12]\.\w+_dense|proj)",
                                            "exclude_modules": r".*adapter\.layers\.\d+\..*"}),
    "exclusions": (CTC, ADAPTER, {"r": 4, "target_modules": ["linear_q", "linear_k"],
                                  "exclude_modules": ["layers.0.self_attn.linear_k"]}),
    "x-vectors": ("Wav2Vec2BertForXVector", SMALL, {
        "r": 4, "target_modules": ["kernel", "projector", "feature_extractor"], "bias": "lora_only",
        "modules_to_save": ["objective"]}),
    "sequence classification": ("Wav2Vec2BertForSequenceClassification", {**SMALL, "use_weighted_layer_sum": True},
                                {"r": 4, "target_modules": ["projector", "linear_v"], "task_type": "SEQ_CLS"}),
    "frame classification": ("Wav2Vec2BertForAudioFrameClassification", SMALL, {
        "r": 4, "target_modules": ["linear_v"], "modules_to_save": ["classifier"],
        "init_lora_weights": "gaussian"}),
    "expressions with look-ahead and counts": (CTC, ADAPTER, {
        "r": 4, "target_modules": r"(?!.*adapter).*layers\.\d{1,2}\..*\.linear_[qv]$",
        "rank_pattern": {r"layers\.[0-1]\.(?=self).*": 3}}),
    "wide": (BASE, WIDE, {"r": 16, "lora_alpha": 24, "target_modules": [*ATTENTION, "intermediate_dense",
                                                                      "pointwise_conv1"]}),
    **{f"{dtype} model": (CTC, ADAPTER, {"r": 4, "lora_alpha": 3, "target_modules": [
        *ATTENTION, "residual_conv", "distance_embedding"], "bias": "lora_only", "modules_to_save": ["lm_head"]}, dtype)
       for dtype in ("BFloat16", "Half", "Double")},
    **{f"{file} adapter on {dtype}": (CTC, ADAPTER, {"r": 4, "lora_alpha": 3, "target_modules": [
        "linear_q", "self_attn_conv", "distance_embedding"], "modules_to_save": ["lm_head"]}, dtype, file)
       for dtype, file in (("Float", "BFloat16"), ("BFloat16", "BFloat16"), ("Double", "Half"), ("Half", "Float"))},
}
DTYPES = {"Float": torch.float32, "BFloat16": torch.bfloat16, "Half": torch.float16, "Double": torch.float64}


def same_bits(a, b):
    return (a.dtype == b.dtype and a.shape == b.shape
            and bool((a.contiguous().view(torch.uint8) == b.contiguous().view(torch.uint8)).all()))


def make(root, model_class, config, lora, dtype="Float", file="Float"):
    """Saves a model and an adapter with random values; returns the lines' fields, and the merged tensors."""
    torch.manual_seed(0)
    model = model_class(transformers.Wav2Vec2BertConfig(**config))
    model.save_pretrained(root / "model")
    adapted = peft.get_peft_model(model, peft.LoraConfig(**lora))
    with torch.no_grad():  # lora_B starts at zero; only what the adapter saves is read again
        for parameter in adapted.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    adapted.save_pretrained(root / "adapter", save_embedding_layers=False)
    weights = root / "adapter" / "adapter_model.safetensors"
    tensors = {name: tensor.to(DTYPES[file]) for name, tensor in safetensors.torch.load_file(weights).items()}
    safetensors.torch.save_file(tensors, weights, metadata={"format": "pt"})
    model, info = model_class.from_pretrained(root / "model", dtype=DTYPES[dtype], output_loading_info=True)
    assert not any(info.values()), info
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    merged = peft.PeftModel.from_pretrained(model, root / "adapter").merge_and_unload().state_dict()
    changed = [name for name in base if not same_bits(base[name], merged[name])]
    assert base.keys() == merged.keys() and changed, "the adapter changes nothing"
    return [str(root / "model"), str(root / "adapter"), dtype, str(root / "merged")], merged, len(changed)


def main():
    prepare_pytorch()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("error")
    # PEFT's words about what it sees to itself.
    warnings.filterwarnings("ignore", "fan_in_fan_out is set to True")
    warnings.filterwarnings("ignore", ".*is_gradient_checkpointing. is deprecated")  # PEFT asks under that name
    warnings.filterwarnings("ignore", ".*LoRA tensor.s. have invalid shape")  # lora_B.bias is no matrix
    failed = 0
    with tempfile.TemporaryDirectory() as root:
        lines, expected = [], {}
        for number, (name, (class_name, *case)) in enumerate(CASES.items()):
            fields, merged, changed = make(pathlib.Path(root) / str(number), getattr(transformers, class_name), *case)
            lines.append("\t".join(fields) + "\n")
            expected[name] = (pathlib.Path(fields[-1]), merged, changed)
        result = subprocess.run([sys.argv[1], "merge"], input="".join(lines), check=True, capture_output=True,
                                text=True)
        answers = result.stdout.splitlines()
        assert len(answers) == len(CASES), result
        for (name, (place, merged, changed)), answer in zip(expected.items(), answers, strict=True):
            different = [answer]
            if answer == "merged":
                ours = safetensors.torch.load_file(place / "model.safetensors")
                different = [key for key in merged if key not in ours or not same_bits(ours[key], merged[key])]
                different += sorted(ours.keys() - merged.keys())
            failed += bool(different)
            print(f"{name}: {changed} tensors changed, {len(different)} differ {different[:3] if different else ''}")
    print(f"{len(CASES)} adapters, {failed} merged differently")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
