"""What scripts/benchmark uses of `w2vbert bench`; here a clip of F frames takes F / 4000 seconds."""

import argparse
import json
import sys


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["bench"])
    for option in ("--model", "--dtype", "--engine", "--threads", "--frames"):
        parser.add_argument(option, required=True)
    parser.add_argument("--rounds")
    parser.add_argument("--json", action="store_true", required=True)
    arguments = parser.parse_args()
    if arguments.dtype == "bfloat16":
        sys.exit("error: --dtype: this CPU has no bfloat16 instructions, expected float32")
    if arguments.frames != "-":
        print(json.dumps({"results": [{"frames": int(frames), "gemm_floor_fraction": 0.75}
                                      for frames in arguments.frames.split(",")]}))
        return
    for line in sys.stdin:
        frames = sum(map(int, line.split(",")))
        seconds = frames / 4000
        answer = {"engine": "fused", "frames": frames, "seconds": seconds, "rtf": seconds / frames * 50}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
