"""A directory with nothing but a pickle is refused with a line to type; that line makes the safetensors file.

usage: convert_pickles.py RESOLVE_MODELS"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import peft
import safetensors.torch
import torch
import transformers

SMALL = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 33, "vocab_size": 7}
MARK = "this converts it: "


def problem_of(program, directory):
    line = json.dumps({"environment": {}, "id": str(directory), "revision": ""}) + "\n"
    result = subprocess.run([program], input=line, check=True, capture_output=True, text=True)
    return json.loads(result.stdout).get("problem", "")


def main():
    model = transformers.Wav2Vec2BertForCTC(transformers.Wav2Vec2BertConfig(**SMALL))
    failed = 0
    with tempfile.TemporaryDirectory() as root:
        root = pathlib.Path(root)
        model.save_pretrained(root / "my model")
        peft.get_peft_model(model, peft.LoraConfig(target_modules=["linear_q"])).save_pretrained(root / "my adapter")
        for directory, name, pickle in (
            (root / "my model", "model.safetensors", "pytorch_model.bin"),
            (root / "my adapter", "adapter_model.safetensors", "adapter_model.bin"),
        ):
            before = safetensors.torch.load_file(directory / name)
            torch.save(before, directory / pickle)
            (directory / name).unlink()
            problem = problem_of(sys.argv[1], directory)
            assert pickle in problem and MARK in problem, problem
            command = problem.partition(MARK)[2]
            path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
            subprocess.run(command, shell=True, check=True, cwd=directory, env={**os.environ, "PATH": path})
            after = safetensors.torch.load_file(directory / name)
            same = before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
            complete = problem_of(sys.argv[1], directory) == ""
            failed += not (same and complete)
            print(f"{pickle}: {len(after)} tensors, {'the same' if same else 'other'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
