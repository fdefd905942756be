"""Statistics that projects ship as a pickled dict of `mean` and `var` (wav2vec2bert_stats.pt and the like) as the
safetensors file that `w2vbert extract --stats` takes. The pickle is read with weights_only: no code in it runs.

    build/venv/bin/python scripts/convert_stats.py wav2vec2bert_stats.pt stats.safetensors"""

import argparse
import pathlib
import sys

import torch
from safetensors.torch import save_file


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pickle", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    arguments = parser.parse_args()
    try:
        stats = torch.load(arguments.pickle, map_location="cpu", weights_only=True)
        tensors = {name: stats[name].squeeze().contiguous() for name in ("mean", "var")}
    except Exception as error:  # whatever unpickling throws
        sys.exit(f"error: {arguments.pickle}: {error}")
    shapes = [tuple(tensor.shape) for tensor in tensors.values()]
    if len(shapes[0]) != 1 or shapes[0] != shapes[1] or not all(t.is_floating_point() for t in tensors.values()):
        sys.exit(f"error: {arguments.pickle}: mean and var have the shapes {shapes}, expected (C) of floats twice")
    save_file(tensors, arguments.output)


if __name__ == "__main__":
    main()
