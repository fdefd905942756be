"""Centres of k-means that projects ship as pickles, as the .npy file that `w2vbert extract --kmeans` takes: a model of
scikit-learn saved by joblib (HuBERT's and fairseq's km files: KMeans, MiniBatchKMeans), or a tensor, array or
state_dict saved by torch.

    python scripts/convert_kmeans.py km_500.bin centres.npy
    python scripts/convert_kmeans.py centres.pt centres.npy [--key NAME]

and the codebook of a VectorQuantize (vector_quantize_pytorch), which is (1, K, C): --key _codebook.embed.

A file of torch is read with weights_only: no code in it runs. A file of joblib is a pickle that can run anything: it is
read with --trust alone, for files whose origin you trust, and needs joblib and scikit-learn."""

import argparse
import pathlib
import sys

import numpy as np


def centres_of_torch(path, key):
    import torch

    value = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(value, dict):
        if key is None or key not in value:
            sys.exit(f"error: {path}: holds {', '.join(map(str, value))}, expected --key NAME of the centres")
        value = value[key]
    return value.float().numpy() if value.dtype not in (torch.float32, torch.float64) else value.numpy()


def centres_of_joblib(path):
    import joblib

    model = joblib.load(path)
    return model if isinstance(model, np.ndarray) else model.cluster_centers_


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pickle", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--key", help="of the centres in a dict")
    parser.add_argument("--trust", action="store_true", help="read a file of joblib, which can run any code")
    arguments = parser.parse_args()
    is_torch = arguments.pickle.suffix in (".pt", ".pth", ".ckpt") or arguments.key is not None
    if not is_torch and not arguments.trust:
        sys.exit(f"error: {arguments.pickle}: may run any code when it is read, expected --trust for a file you trust")
    try:
        centres = centres_of_torch(arguments.pickle, arguments.key) if is_torch else centres_of_joblib(arguments.pickle)
        centres = np.ascontiguousarray(centres[0] if centres.ndim == 3 and len(centres) == 1 else centres)
    except Exception as error:  # whatever unpickling throws
        sys.exit(f"error: {arguments.pickle}: {error}")
    if centres.ndim != 2 or centres.dtype not in (np.float32, np.float64):
        sys.exit(f"error: {arguments.pickle}: has {centres.dtype} of shape {centres.shape}, expected floats (K, C)")
    np.save(arguments.output, centres)


if __name__ == "__main__":
    main()
