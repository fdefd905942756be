"""Logits of long audio as transformers' pipelines put them together."""

import torch

SAMPLES_PER_ROW = 320


@torch.no_grad()
def logits_in_chunks(model, inputs_of, samples, chunk, stride):
    """What is kept of each chunk's logits (T, N). `inputs_of(samples)`: the model's inputs;
    `chunk`, and `stride` at either end, which is not kept, in samples: multiples of a row's."""
    kept = []
    for begin in range(0, len(samples), chunk - 2 * stride):
        part = samples[begin:begin + chunk]
        is_last = begin + chunk >= len(samples)
        if len(part) > (stride if begin else 0):
            end = round(len(part) / SAMPLES_PER_ROW) - (0 if is_last else stride // SAMPLES_PER_ROW)
            kept.append(model(**inputs_of(part)).logits[0][stride // SAMPLES_PER_ROW if begin else 0:end])
        if is_last:
            break
    return kept
