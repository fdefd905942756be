#!/usr/bin/env python3
"""What CTranslate2 computes for a reference pack, as a dump for `w2vbert parity`:

  dump_ctranslate2.py PACK DUMP.safetensors            PACK of export_parity_fixtures.py --pack
  dump_ctranslate2.py --random PACK DUMP.safetensors   writes PACK as well, of a small random model
  w2vbert parity --expected PACK --actual DUMP.safetensors --names ctranslate2

Needs ctranslate2 beside torch and transformers (build/venv-bench, which scripts/setup --bench makes). Its converter
is called with the weights themselves: it wants no tokenizer then. The dump has the last adapter layer's output,
logits where there is a CTC head, and each encoder layer's output. CTranslate2 gives no states from inside; so for
each of them it gets the model cut off behind that layer, once with an adapter that lets the even frames through and
once with one for the odd frames.

CTranslate2 is built for the published sizes: 1024 channels, 16 heads, relative_key, swish. It takes no mask."""

import argparse
import copy
import importlib.metadata
import pathlib
import sys
import tempfile
import types

import numpy
import torch
import transformers
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "scripts"), str(ROOT / "benchmarks"), str(ROOT / "tests" / "support")]
from export_parity_fixtures import class_of, export_pack  # noqa: E402
from peers import CTranslate2  # noqa: E402
from pytorch_setup import prepare_pytorch  # noqa: E402
from random_parameters import widen  # noqa: E402

NEEDED = {"hidden_size": 1024, "num_attention_heads": 16, "position_embeddings_type": "relative_key",
          "hidden_act": "swish"}


def random_pack(folder):
    """Narrow feed-forwards, which is the one size that may be another."""
    torch.manual_seed(0)
    config = transformers.Wav2Vec2BertConfig(**NEEDED, num_hidden_layers=2, intermediate_size=64, add_adapter=True,
                                             vocab_size=12)
    model = widen(transformers.Wav2Vec2BertForCTC(config)).eval()
    export_pack(folder, model, {"input_features": torch.randn(1, 61, 160)}, {"model": "random"})


def compute(encoder, layers, adapters, features, lm_head=None):
    """(B, T, 160) -> what CTranslate2 gives for an encoder of these layers and adapters."""
    import ctranslate2
    from ctranslate2.converters import Converter
    from ctranslate2.converters.transformers import Wav2Vec2BertLoader
    from ctranslate2.specs import Wav2Vec2BertSpec

    config = copy.deepcopy(encoder.config)
    config.return_hidden = lm_head is None
    model = types.SimpleNamespace(lm_head=lm_head, wav2vec2_bert=types.SimpleNamespace(
        config=config, feature_projection=encoder.feature_projection, encoder=types.SimpleNamespace(layers=layers),
        adapter=types.SimpleNamespace(layers=adapters)))
    outputs = 1 if lm_head is None else lm_head.out_features

    class Weights(Converter):
        def _load(self):
            # The counts stand in this order in its own converter, too: they change places twice.
            spec = Wav2Vec2BertSpec(len(adapters), len(layers), outputs, lm_head is None)
            Wav2Vec2BertLoader().set_encoder(spec.encoder, model)
            spec.register_vocabulary([str(token) for token in range(outputs)])
            return spec

    with tempfile.TemporaryDirectory(prefix="dump_ctranslate2_") as folder:
        Weights().convert(folder, force=True)
        runtime = ctranslate2.models.Wav2Vec2Bert(folder, device="cpu", compute_type="float32", inter_threads=1,
                                                  intra_threads=torch.get_num_threads())
        output = runtime.encode(ctranslate2.StorageView.from_array(features.numpy()), to_cpu=True)
        return torch.from_numpy(numpy.array(output))


def transparent_adapter(config, tap):
    """Lets every second frame through: from -1, which is padding, with tap 0, from 0 with tap 1."""
    layer = CTranslate2.transparent_adapter(config)
    for convolution in (layer.residual_conv, layer.self_attn_conv):
        weight = convolution.weight.data
        convolution.weight.data = torch.zeros(*weight.shape[:2], 2)
        convolution.weight.data[:, :, tap] = weight[:, :, 0]
    return layer


def state_behind(encoder, layer, features):
    """The output of the encoder's layer. The adapter's LayerNorm would change it, but for one that is normalised
    only; so the layer's own scale and bias are left out there, and come here."""
    last = copy.deepcopy(encoder.encoder.layers[layer])
    last.final_layer_norm.weight.fill_(1)
    last.final_layer_norm.bias.zero_()
    layers = [*encoder.encoder.layers[:layer], last]
    odd, even = (compute(encoder, layers, [transparent_adapter(encoder.config, tap)], features) for tap in (0, 1))
    frames = features.shape[1]
    state = torch.empty(*features.shape[:2], encoder.config.hidden_size)
    state[:, 0::2] = even[:, :(frames + 1) // 2]
    state[:, 1::2] = odd[:, 1:frames // 2 + 1]
    norm = encoder.encoder.layers[layer].final_layer_norm
    return state * norm.weight + norm.bias


def dump(model, features):
    encoder = model.wav2vec2_bert if hasattr(model, "wav2vec2_bert") else model
    layers = list(encoder.encoder.layers)
    tensors = {f"encoder/encoder_layers_{layer}": state_behind(encoder, layer, features)
               for layer in range(len(layers))}
    if encoder.config.add_adapter:
        adapters = list(encoder.adapter.layers)
        tensors[f"encoder/adapter_layers_{len(adapters) - 1}"] = compute(encoder, layers, adapters, features)
        if hasattr(model, "lm_head"):
            tensors["encoder/lm_head"] = compute(encoder, layers, adapters, features, model.lm_head)
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=pathlib.Path)
    parser.add_argument("dump", type=pathlib.Path, metavar="DUMP.safetensors")
    parser.add_argument("--random", action="store_true", help="write the pack first, of a small random model")
    arguments = parser.parse_args()
    prepare_pytorch()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if arguments.random:
        random_pack(arguments.pack)
    folder = arguments.pack / "model"
    model = getattr(transformers, class_of(folder)).from_pretrained(folder, dtype=torch.float32).eval()
    inputs = load_file(arguments.pack / "inputs.safetensors")
    for key, wanted in NEEDED.items():
        if getattr(model.config, key) != wanted:
            sys.exit(f"error: {folder}: {key} is {getattr(model.config, key)}, and CTranslate2 computes {wanted} alone")
    if not inputs.get("attention_mask", torch.ones(1)).bool().all():
        sys.exit(f"error: {arguments.pack}: has a mask, and CTranslate2 takes none")
    with torch.no_grad():
        tensors = dump(model, inputs["input_features"].float())
    save_file({name: value.contiguous() for name, value in tensors.items()}, arguments.dump,
              {"engine": "CTranslate2", "version": importlib.metadata.version("ctranslate2"), "dtype": "float32"})
    print(arguments.dump)


if __name__ == "__main__":
    main()
