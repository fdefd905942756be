"""One peer of scripts/benchmark: a process that loads a model once and runs what it is asked to.

  python benchmarks/peers.py PEER --dtype float32 --model DIR --threads 2

The first line on stdout is {"ready": {versions}} or {"skipped": "why"}. Then one request a line on
stdin, one answer a line on stdout (docs/benchmarks.md):

  {"frames": 250}                                  {"seconds": 1.2}     one clip, no mask
  {"lengths": [300, 80], "padded_batch": 16}       {"seconds": 2.3}     padded batches in that order

With "check": true an answer also holds the first values of the last frame's hidden state, so that a
peer that computes something else is noticed. A peer is a class with load() and run(features, mask)."""

import argparse
import hashlib
import importlib.metadata
import json
import os
import pathlib
import shutil
import sys
import time

import numpy as np

from interleaved import ONNX_LONGEST_IN_ARENA, Skipped

CHECKED = 8  # values of the last frame


def random_features(frames, clips=1):
    return np.random.default_rng(frames).standard_normal((clips, frames, 160)).astype(np.float32)


def version(package):
    return f"{package} {importlib.metadata.version(package)}"


def load_transformers(model, dtype="float32", attention="sdpa"):
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers.Wav2Vec2BertModel.from_pretrained(
        model, dtype=getattr(torch, dtype), attn_implementation=attention, local_files_only=True).eval()


def converted(model, cache, kind, make):
    """The folder of `model` in another format, made by `make(folder)` unless it is in the cache."""
    files = sorted(pathlib.Path(model).resolve().glob("*.safetensors"))
    if not files:
        raise Skipped(f"{model}: no .safetensors file to convert")
    key = [kind, *((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)]
    folder = pathlib.Path(cache) / f"bench-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make(partial)
        partial.rename(folder)
    return folder


class Transformers:
    """Eager mode, with HuggingFace's eager or sdpa attention."""

    def __init__(self, attention="sdpa"):
        self.attention = attention

    def versions(self):
        return [version("torch"), version("transformers")]

    def load(self, model, dtype, threads, cache):
        import torch

        torch.set_num_threads(threads)
        self.model = load_transformers(model, dtype, self.attention)

    def inputs(self, features, mask):
        import torch

        inputs = {"input_features": torch.from_numpy(features).to(self.model.dtype)}
        if mask is not None:
            inputs["attention_mask"] = torch.from_numpy(mask)
        return inputs

    def run(self, inputs):
        import torch

        with torch.inference_mode():
            return self.model(**inputs).last_hidden_state

    def first_values(self, output):
        return output[0, -1, :CHECKED].float().tolist()


class Compiled(Transformers):
    """torch.compile, specialised for each length: faster than with a symbolic length."""

    def __init__(self, freezing=False):
        super().__init__()
        self.freezing = freezing
        self.shape = None

    def load(self, model, dtype, threads, cache):
        import torch._inductor.config

        super().load(model, dtype, threads, cache)
        torch._inductor.config.freezing = self.freezing
        self.compiled = torch.compile(self.model, dynamic=False)

    def run(self, inputs):
        import torch

        shape = inputs["input_features"].shape
        if shape != self.shape:
            # Frozen code holds a copy of the weights for each length.
            torch._dynamo.reset()
            self.shape = shape
        with torch.inference_mode():
            return self.compiled(**inputs).last_hidden_state


class Accelerated(Transformers):
    """This library's engine in transformers' model (docs/python.md)."""

    def load(self, model, dtype, threads, cache):
        super().load(model, dtype, threads, cache)
        build = os.environ.get("W2VBERT_BUILD_DIR", pathlib.Path(__file__).resolve().parent.parent / "build")
        package = pathlib.Path(build) / "python"
        if not (package / "w2vbert" / "_built_for.py").exists():
            raise Skipped(f"the Python package is not in {package}: scripts/build w2vbert_python")
        sys.path.insert(0, str(package))
        import w2vbert

        w2vbert.accelerate(self.model, dtype)


class OnnxRuntime:
    """What torch.onnx.export makes of the model with sdpa attention, for any length. Its arena
    would take 20 GiB for a clip of 60 s and keep them; clips over 30 s run without it."""

    def versions(self):
        return [version("onnxruntime"), version("torch"), version("onnxscript")]

    def load(self, model, dtype, threads, cache):
        if dtype != "float32":
            raise Skipped("exported in float32 only")
        kind = " ".join(["onnx", *self.versions()])
        folder = converted(model, cache, kind, lambda to: self.export(model, to))
        self.path, self.threads = folder / "model.onnx", threads
        self.open_session(arena=True)

    def open_session(self, arena):
        import onnxruntime

        self.arena, self.session = arena, None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = arena
        self.session = onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])

    @staticmethod
    def export(model, folder):
        import torch

        class Encoder(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = load_transformers(model)

            def forward(self, input_features):
                return self.model(input_features).last_hidden_state

        with torch.inference_mode():
            torch.onnx.export(Encoder().eval(), (torch.from_numpy(random_features(250)),),
                              folder / "model.onnx", dynamo=True, external_data=True, verbose=False,
                              input_names=["input_features"], output_names=["last_hidden_state"],
                              dynamic_shapes={"input_features": {1: torch.export.Dim("frames", min=2)}})

    def inputs(self, features, mask):
        if mask is not None:
            raise Skipped("exported without a mask")
        arena = features.shape[1] <= ONNX_LONGEST_IN_ARENA
        if arena != self.arena:
            self.open_session(arena)
        return {"input_features": features}

    def run(self, inputs):
        return self.session.run(None, inputs)[0]

    def first_values(self, output):
        return output[0, -1, :CHECKED].tolist()


class CTranslate2:
    """Its converter wants a CTC head and a tokenizer; what it does with the encoder's weights is called
    here without them. Its runtime wants an adapter, so it gets one that costs under 1 % and lets every
    second frame through. int8: the weights are quantised while it loads."""

    def versions(self):
        return [version("ctranslate2")]

    def load(self, model, dtype, threads, cache):
        import ctranslate2

        folder = converted(model, cache, " ".join(self.versions()), lambda to: self.convert(model, to))
        self.storage = ctranslate2.StorageView.from_array
        self.model = ctranslate2.models.Wav2Vec2Bert(str(folder), device="cpu", compute_type=dtype,
                                                     inter_threads=1, intra_threads=threads)

    @classmethod
    def convert(cls, model, folder):
        import types

        import torch
        from ctranslate2.converters import Converter
        from ctranslate2.converters.transformers import Wav2Vec2BertLoader
        from ctranslate2.specs import Wav2Vec2BertSpec

        class Encoder(Converter):
            def _load(self):
                encoder = load_transformers(model)
                if encoder.config.add_adapter:
                    raise Skipped("the benchmark converts models without an adapter")
                encoder.config.return_hidden = True
                encoder.adapter = types.SimpleNamespace(layers=[cls.transparent_adapter(encoder.config)])
                # The counts stand in this order in its own converter, too: they change places twice.
                spec = Wav2Vec2BertSpec(1, encoder.config.num_hidden_layers, 1, True)
                with torch.no_grad():
                    Wav2Vec2BertLoader().set_encoder(spec.encoder,
                                                     types.SimpleNamespace(wav2vec2_bert=encoder))
                spec.register_vocabulary(["<pad>"])
                return spec

        Encoder().convert(str(folder), force=True)

    @staticmethod
    def transparent_adapter(config):
        """Its output is the LayerNorm of every second frame, the last one among them; where the last
        LayerNorm of the encoder is a plain one, as in a new model, that is the frame itself."""
        import copy

        import torch
        from transformers.models.wav2vec2_bert.modeling_wav2vec2_bert import Wav2Vec2BertAdapterLayer

        config = copy.deepcopy(config)
        config.adapter_kernel_size, config.adapter_stride, config.intermediate_size = 1, 2, 64
        layer = Wav2Vec2BertAdapterLayer(config).float().eval()
        with torch.no_grad():
            # The runtime also adds what goes into the FFN, so that has to be zero, too.
            for module in (layer.self_attn_conv, layer.self_attn.linear_out, layer.ffn.output_dense,
                           layer.ffn_layer_norm):
                module.weight.zero_()
                module.bias.zero_()
            layer.residual_conv.weight.zero_()
            layer.residual_conv.weight[:config.hidden_size, :, 0] = torch.eye(config.hidden_size)
            layer.residual_conv.bias.zero_()
            layer.residual_conv.bias[config.hidden_size:] = 100  # opens the gate of the GLU
        return layer

    def inputs(self, features, mask):
        if mask is not None:
            raise Skipped("it takes no mask")
        self.frames = features.shape[1]
        return features

    def run(self, inputs):
        return self.model.encode(self.storage(inputs))

    def first_values(self, output):
        # The adapter drops the last one of an odd number of frames.
        return np.asarray(output)[0, -1, :CHECKED].tolist() if self.frames % 2 == 0 else None


PEERS = {
    "hf-eager": lambda: Transformers("eager"),
    "hf-sdpa": lambda: Transformers("sdpa"),
    "hf-compile": Compiled,
    "hf-compile-freezing": lambda: Compiled(freezing=True),
    "hf-accelerated": Accelerated,
    "onnxruntime": OnnxRuntime,
    "ctranslate2": CTranslate2,
}


def padded_batches(lengths, size):
    """(features, mask) of `size` clips at a time, in the order given."""
    for start in range(0, len(lengths), size):
        batch = np.array(lengths[start:start + size])
        features = random_features(int(batch.max()), len(batch))
        mask = (np.arange(batch.max()) < batch[:, None]).astype(np.int64)
        yield features, mask


def answer(peer, request):
    if "frames" in request:
        work = [(random_features(request["frames"]), None)]
    else:
        work = padded_batches(request["lengths"], request["padded_batch"])
    seconds, output = 0.0, None
    for features, mask in work:
        inputs = peer.inputs(features, mask)
        start = time.perf_counter()
        output = peer.run(inputs)
        seconds += time.perf_counter() - start
    reply = {"seconds": seconds}
    if request.get("check"):
        reply["check"] = peer.first_values(output)
    return reply


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--cache", required=True, help="where converted models are kept")
    arguments = parser.parse_args()

    # Answers have stdout for themselves; what a library prints goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(line):
        print(json.dumps(line), file=answers, flush=True)

    try:
        peer = PEERS[arguments.peer]()
        versions = peer.versions()
        peer.load(arguments.model, arguments.dtype, arguments.threads, arguments.cache)
    except Exception as error:  # whatever a peer dies of, the others go on
        import traceback

        traceback.print_exc()
        say({"skipped": one_line(error)})
        return
    say({"ready": versions})
    for line in sys.stdin:
        try:
            say(answer(peer, json.loads(line)))
        except Exception as error:
            import traceback

            traceback.print_exc()
            say({"skipped": one_line(error)})
            return


def one_line(error):
    text = " ".join(str(error).split())
    text = text if isinstance(error, Skipped) else f"{type(error).__name__}: {text}"
    return text if len(text) <= 300 else text[:297] + "..."


if __name__ == "__main__":
    main()
