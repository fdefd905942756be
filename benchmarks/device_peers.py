#!/usr/bin/env python3
"""Seconds that transformers takes for clips of given lengths, in padded batches of clips of about one length.

  device_peers.py --device cuda --size published --implementation sdpa --dtype bfloat16 --frames 50,1500

The model has random weights. Each batch has at most 16,384 padded frames. Prints JSON. scripts/gpu_check runs it."""

import argparse
import json
import statistics
import time

import torch
import transformers

BATCH_FRAMES = 16384
FRAMES_A_SECOND = 50
TINY = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96)


def batches_of(frames):
    """Lists of lengths, the longest first: each list is a padded batch."""
    batches = []
    for length in sorted(frames, reverse=True):
        if not batches or (len(batches[-1]) + 1) * batches[-1][0] > BATCH_FRAMES:
            batches.append([])
        batches[-1].append(length)
    return batches


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", required=True)
    parser.add_argument("--size", choices=("tiny", "published"), required=True)
    parser.add_argument("--implementation", choices=("eager", "sdpa", "compiled"), required=True)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--frames", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    attention = "eager" if options.implementation == "eager" else "sdpa"
    config = transformers.Wav2Vec2BertConfig(**(TINY if options.size == "tiny" else {}))
    config._attn_implementation = attention
    torch.manual_seed(1)
    with device:
        model = transformers.Wav2Vec2BertModel(config).to(dtype).eval()
    if options.implementation == "compiled":
        model = torch.compile(model)
    frames = [int(word) for word in options.frames.split(",")]
    inputs = []
    for lengths in batches_of(frames):
        shape = (len(lengths), lengths[0], config.feature_projection_input_dim)
        features = torch.randn(shape, device=device, dtype=dtype)
        mask = torch.arange(lengths[0], device=device) < torch.tensor(lengths, device=device).unsqueeze(1)
        inputs.append((features, mask.long()))

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize()

    def seconds():
        wait()
        start = time.perf_counter()
        with torch.inference_mode():
            for features, mask in inputs:
                model(input_features=features, attention_mask=mask)
        wait()
        return time.perf_counter() - start

    first = seconds()  # compiles, too
    rounds = sorted(seconds() for _ in range(options.rounds))
    audio = sum(frames) / FRAMES_A_SECOND
    print(json.dumps({"implementation": options.implementation, "dtype": options.dtype, "audio_seconds": audio,
                      "first_seconds": first, "seconds": rounds,
                      "times_real_time": audio / statistics.median(rounds),
                      "torch": torch.__version__, "transformers": transformers.__version__}))


if __name__ == "__main__":
    main()
