#!/usr/bin/env python3
"""Writes what PyTorch computes for a model and a clip, module by module, for `w2vbert parity` to compare
with:

  export_parity_fixtures.py REF.safetensors --model DIR_OR_ID --audio CLIP.wav [CLIP.wav ...]
  export_parity_fixtures.py REF.safetensors --model DIR_OR_ID --features IN.safetensors
  export_parity_fixtures.py --pack DIR --model DIR_OR_ID --audio CLIP.wav [CLIP.wav ...]
  w2vbert parity --model DIR_OR_ID --reference REF.safetensors --report report.html
  w2vbert parity --expected REF.safetensors --actual DUMP.safetensors --report report.html

The model is of the class that config.json names, and comes from a directory or the local Hub cache. The
clips make one batch, padded by the model's feature extractor. REF.safetensors holds
  inputs/<argument>                       of the model
  outputs/<field>, outputs/<field>.<n>    where the field is a list
  modules/<name>/input/<argument>, modules/<name>/output/<n>   of every submodule, by its HF name
  backward/<field>, gradients/<parameter> with --grad: what was sent backward (the loss itself, where
                                          there is one), and the gradient of every parameter
and as metadata the modules' order (each when it ended), tensors that were views of transposed memory or
did not start at an aligned address (both can change how an operation rounds), the model's config, and the
settings and versions on this side. With --pack, DIR gets all that a test of another engine needs, without
Python: reference.safetensors, inputs.safetensors (the model's arguments), model/ (config.json,
model.safetensors) and pack.json (versions, threads, CPU). With --train, modules are left out: only the
whole chain draws the same random numbers.
"""

import argparse
import inspect
import json
import pathlib
import sys

import numpy
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, SeamlessM4TFeatureExtractor
from transformers.activations import ACT2FN

from pytorch_setup import into_own_memory, prepare_pytorch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
BASE = "Wav2Vec2BertModel"
CLASSES = (BASE, "Wav2Vec2BertForCTC", "Wav2Vec2BertForSequenceClassification",
           "Wav2Vec2BertForAudioFrameClassification", "Wav2Vec2BertForXVector")


def release():
    """(5, 24) of 5.24.0."""
    return tuple(int(number) for number in transformers.__version__.split(".")[:2])


def expect_release(wanted):
    """Ends the program where the installed transformers is another; None asks for none."""
    if wanted and not transformers.__version__.startswith(f"{wanted}."):
        sys.exit(f"transformers is {transformers.__version__}, expected {wanted}")


def from_pretrained(architecture, directory, dtype, **options):
    """What the class of this name in transformers returns."""
    loaded = getattr(transformers, architecture).from_pretrained(
        directory, **{"dtype" if release() >= (4, 56) else "torch_dtype": DTYPES[dtype]}, **options)
    model = loaded[0] if isinstance(loaded, tuple) else loaded
    if release() < (4, 41):  # which leave masked_spec_embed in float32
        for parameter in model.parameters():
            parameter.data = parameter.data.to(DTYPES[dtype])
    return loaded


def what_is_lacking(settings, attn_implementation):
    """What the installed transformers does not have of a model with these settings of its config; None or words."""
    if attn_implementation == "sdpa" and not getattr(transformers.Wav2Vec2BertModel, "_supports_sdpa", False):
        return "sdpa"
    for key in ("hidden_act", "adapter_act"):
        if settings.get(key, "swish") not in ACT2FN:
            return f"the activation {settings[key]}"
    return None


def tensors_of(output):
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, tuple):
        return [item for item in output if isinstance(item, torch.Tensor)]
    return []


ALIGNMENT = 64  # of every allocation of PyTorch's on the CPU; views may start elsewhere


def record_modules(model, tensors, order, misaligned):
    """Hooks that keep a copy of what goes into and comes out of every submodule."""

    def hook(name):
        def keep(module, args, kwargs, output):
            order.append(name)
            bound = inspect.signature(module.forward).bind(*args, **kwargs)
            for argument, value in bound.arguments.items():
                if isinstance(value, torch.Tensor):
                    tensors[f"modules/{name}/input/{argument}"] = value.detach().clone()
                    if value.numel() > 0 and value.data_ptr() % ALIGNMENT:
                        misaligned[f"modules/{name}/input/{argument}"] = value.data_ptr() % ALIGNMENT
            for index, value in enumerate(tensors_of(output)):
                tensors[f"modules/{name}/output/{index}"] = value.detach().clone()

        return keep

    return [module.register_forward_hook(hook(name), with_kwargs=True)
            for name, module in model.named_modules() if name]


def record_outputs(output, tensors):
    for field, value in output.items():
        if isinstance(value, torch.Tensor):
            tensors[f"outputs/{field}"] = value
        else:
            for index, item in enumerate(value or ()):
                if item is not None:  # the attentions of dropped layers, in releases before 5.17
                    tensors[f"outputs/{field}.{index}"] = item


def record_gradients(model, output, tensors):
    """Gradients of the loss; without labels, of the first output times random numbers."""
    field = "loss" if output.get("loss") is not None else next(iter(output))
    sent = torch.ones_like(output[field]) if field == "loss" else torch.randn_like(output[field])
    output[field].backward(sent)
    tensors[f"backward/{field}"] = sent
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            tensors[f"gradients/{name}"] = parameter.grad


def transposed(tensors):
    """Names of the (B, T, C) whose memory is (B, C, T): an operation may round differently on such a view.
    Strides say it also of a single frame, which is_contiguous() does not."""
    return [name for name, value in tensors.items()
            if value.dim() == 3 and value.stride() != torch.empty(value.shape).stride()
            and value.stride() == torch.empty(value.mT.shape).mT.stride()]


def settings_of(model):
    """What the bits depend on, and who computed them."""
    return {
        "architecture": type(model).__name__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "attn_implementation": model.config._attn_implementation,
        "device": str(model.device),
        "device_name": torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else "",
        "threads": str(torch.get_num_threads()),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def write(path, tensors, metadata):
    # clone(): safetensors refuses tensors that share memory.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata)


def export(model, inputs, path, metadata, device="cpu", grad=False, train=False,
           gradient_checkpointing=False, seed=0):
    """`inputs`: what the model's forward takes, None for what is not given. `grad`: in grad mode, where
    PyTorch picks other kernels, and with gradients."""
    into_own_memory(model)
    model.to(device).train(train)
    if gradient_checkpointing:
        # The older name warns since 5.23, and up to 5.22 there is no other.
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    inputs = {name: value.to(device) for name, value in inputs.items() if value is not None}
    tensors = {f"inputs/{name}": value for name, value in inputs.items()}
    order, misaligned = [], {}
    hooks = [] if train else record_modules(model, tensors, order, misaligned)
    torch.manual_seed(seed)
    numpy.random.seed(seed)
    with torch.set_grad_enabled(grad):
        attentions = model.config._attn_implementation == "eager"
        output = model(**inputs, output_hidden_states=True, output_attentions=attentions)
    for hook in hooks:
        hook.remove()
    record_outputs(output, tensors)
    if grad:
        record_gradients(model, output, tensors)
    metadata = {
        **metadata,
        **settings_of(model),
        "grad": str(int(grad)),
        "train": str(int(train)),
        "gradient_checkpointing": str(int(gradient_checkpointing)),
        "seed": str(seed),
        "config": model.config.to_json_string(),
        "order": ",".join(order),
        "transposed": ",".join(transposed(tensors)),
        "misaligned": ",".join(f"{name}={offset}" for name, offset in misaligned.items()),
    }
    write(path, tensors, metadata)


def export_pack(folder, model, inputs, metadata, **options):
    """What `w2vbert parity --expected` takes as a directory."""
    folder.mkdir(parents=True, exist_ok=True)
    export(model, inputs, folder / "reference.safetensors", metadata, **options)
    model.cpu().save_pretrained(folder / "model")
    write(folder / "inputs.safetensors",
          {name: value for name, value in inputs.items() if value is not None}, {"format": "pt"})
    (folder / "pack.json").write_text(json.dumps({"format": 1, **settings_of(model)}, indent=2) + "\n")


def class_of(model):
    """What config.json names, as AutoModel does not; the base model where it names none of the family."""
    names = AutoConfig.from_pretrained(model, local_files_only=True).architectures or [BASE]
    return names[0] if names[0] in CLASSES else BASE


def features_of_clips(paths, model):
    import soundfile  # not needed with --features
    import soxr

    extractor = SeamlessM4TFeatureExtractor.from_pretrained(model, local_files_only=True)
    clips = []
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        clips.append(soxr.resample(samples[:, 0], rate, extractor.sampling_rate))
    return dict(extractor(clips, sampling_rate=extractor.sampling_rate, return_tensors="pt"))


def batch(features):
    """The tensors of a file that `w2vbert features` or `w2vbert forward` takes, with a batch dimension."""
    dimensions = {"input_features": 3, "attention_mask": 2, "mask_time_indices": 2}
    return {name: value[None] if value.dim() < dimensions.get(name, 0) else value
            for name, value in features.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    written = parser.add_mutually_exclusive_group(required=True)
    written.add_argument("reference", nargs="?", type=pathlib.Path, metavar="REF.safetensors")
    written.add_argument("--pack", type=pathlib.Path, metavar="DIR", help="a reference pack")
    parser.add_argument("--model", required=True, metavar="DIR_OR_ID")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--audio", nargs="+", metavar="CLIP")
    source.add_argument("--features", metavar="IN.safetensors",
                        help="what `w2vbert forward` takes: input_features, and attention_mask, labels, ...")
    parser.add_argument("--architecture", choices=CLASSES, help="default: what config.json names")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--attn-implementation", choices=("eager", "sdpa"), default="sdpa")
    parser.add_argument("--device", default="cpu", help="where PyTorch computes; default: %(default)s")
    parser.add_argument("--threads", type=int, help="default: PyTorch's")
    parser.add_argument("--grad", action="store_true", help="in grad mode, and gradients as well")
    parser.add_argument("--train", action="store_true", help="in training mode")
    parser.add_argument("--seed", type=int, default=0, help="of PyTorch and NumPy; default: %(default)s")
    arguments = parser.parse_args()
    prepare_pytorch()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    model = from_pretrained(arguments.architecture or class_of(arguments.model), arguments.model, arguments.dtype,
                            local_files_only=True, attn_implementation=arguments.attn_implementation)
    inputs = (features_of_clips(arguments.audio, arguments.model) if arguments.audio
              else batch(load_file(arguments.features)))
    inputs["input_features"] = inputs["input_features"].to(model.dtype)
    options = {"device": arguments.device, "grad": arguments.grad, "train": arguments.train,
               "seed": arguments.seed}
    if arguments.pack:
        export_pack(arguments.pack, model, inputs, {"model": arguments.model}, **options)
    else:
        export(model, inputs, arguments.reference, {"model": arguments.model}, **options)
    print(arguments.pack or arguments.reference)


if __name__ == "__main__":
    main()
