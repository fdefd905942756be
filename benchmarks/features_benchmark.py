#!/usr/bin/env python3
"""Times this project's feature extractor against transformers', in turns, on one clip of 30 s.

  ninja -C build features_benchmark
  python3 benchmarks/features_benchmark.py build/bin/features_benchmark [--threads 2] [--wav A.wav]

Prints the fastest and the median time of each. Both get the same samples and as many threads; numpy's
matrix product is the one part of transformers' extractor that uses them."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--wav", help="16 kHz, repeated to 30 s; default: noise")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(arguments.threads)

    import time

    import numpy as np
    from transformers import SeamlessM4TFeatureExtractor

    clip = np.random.default_rng(0).standard_normal(480000).astype(np.float32) * 0.1
    if arguments.wav:
        import soundfile

        clip, rate = soundfile.read(arguments.wav, dtype="float32")
        if rate != 16000 or clip.ndim != 1:
            sys.exit(f"{arguments.wav}: {rate} Hz, shape {clip.shape}, expected one channel at 16000 Hz")
        clip = np.resize(clip, 480000)
    extractor = SeamlessM4TFeatureExtractor(padding_value=1.0)
    theirs, ours = [], []
    extractor(clip, sampling_rate=16000)
    with tempfile.NamedTemporaryFile(suffix=".f32") as file:
        file.write(clip.astype(np.float32).tobytes())
        file.flush()
        for _ in range(arguments.rounds):
            for _ in range(3):
                start = time.perf_counter()
                extractor(clip, sampling_rate=16000)
                theirs.append(time.perf_counter() - start)
            run = subprocess.run([arguments.program, file.name, str(arguments.threads), "20"],
                                 check=True, capture_output=True, text=True)
            ours += [float(line) for line in run.stdout.split()]
    for name, times in (("transformers", theirs), ("w2vbert", ours)):
        print(f"{name:13}{arguments.threads} threads: min {min(times) * 1e3:8.2f} ms, "
              f"median {statistics.median(times) * 1e3:8.2f} ms")
    print(f"ratio        min {min(theirs) / min(ours):.1f}, "
          f"median {statistics.median(theirs) / statistics.median(ours):.1f}")


if __name__ == "__main__":
    main()
