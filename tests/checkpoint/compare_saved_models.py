"""Models that this library saves, loaded by transformers without a warning or a complaint, to the same
bits; saved again by transformers, and loaded by this library to the same bits. Files and their texts
must be those that transformers saves of a model that it built from the same config.

usage: compare_saved_models.py SAVED_MODELS"""

import json
import logging
import pathlib
import subprocess
import sys
import tempfile
import warnings

import safetensors
import safetensors.torch
import torch
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
from pytorch_setup import prepare_pytorch  # noqa: E402


class Complaints(logging.Handler):
    """Collects what transformers logs as a warning or worse."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())

    def taken(self):
        lines, self.lines = self.lines, []
        return lines


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and bool((a.view(torch.uint8) == b.view(torch.uint8)).all())


def tensors_of(directory):
    """name -> tensor over all files, and the metadata of each file"""
    tensors, metadata = {}, []
    for file in sorted(directory.glob("*.safetensors")):
        tensors.update(safetensors.torch.load_file(file))
        with safetensors.safe_open(file, framework="pt") as opened:
            metadata.append(opened.metadata())
    return tensors, metadata


def texts_of(directory):
    """name -> text of the JSON files, without the version that only transformers writes"""
    return {path.name: "".join(line for line in path.read_text().splitlines(keepends=True)
                               if not line.startswith('  "transformers_version":'))
            for path in directory.glob("*.json")}


def problems_of(case, complaints):
    directory = pathlib.Path(case["directory"])
    model_class = getattr(transformers, case["architecture"])
    model, info = model_class.from_pretrained(directory, output_loading_info=True)
    yield from complaints.taken()
    for what, names in info.items():
        if names:
            yield f"{what}: {names}"
    saved, metadata = tensors_of(directory)
    state = model.state_dict()
    if saved.keys() != state.keys():
        yield f"names: {saved.keys() ^ state.keys()}"
    for name in saved.keys() & state.keys():
        if not same_bits(saved[name], state[name]):
            yield f"{name}: other values than in the file"
    if any(entry != {"format": "pt"} for entry in metadata):
        yield f"metadata: {metadata}"
    if model.config.architectures != [case["architecture"]] or model.dtype != model.config.dtype:
        yield f"architectures {model.config.architectures}, dtype {model.config.dtype} of {model.dtype}"

    # transformers shares tensors out in another order once a model has been loaded.
    fresh = model_class(transformers.Wav2Vec2BertConfig.from_pretrained(directory)).to(model.dtype)
    fresh.load_state_dict(state)
    again = directory.with_name(directory.name + ".again")
    fresh.save_pretrained(again, max_shard_size=case["max_shard_size"])
    yield from complaints.taken()
    ours, theirs = ({path.name for path in place.iterdir()} for place in (directory, again))
    if ours != theirs:
        yield f"files: {sorted(ours)}, transformers saves {sorted(theirs)}"
    ours, theirs = texts_of(directory), texts_of(again)
    for name in ours.keys() & theirs.keys():
        if ours[name] != theirs[name]:
            yield f"{name}:\n{ours[name]}\ntransformers saves\n{theirs[name]}"


def main():
    prepare_pytorch()
    complaints = Complaints()
    logging.getLogger("transformers").addHandler(complaints)
    transformers.logging.disable_progress_bar()
    complaints.taken()
    warnings.simplefilter("error")
    sharded = failed = 0
    with tempfile.TemporaryDirectory() as root:
        written = subprocess.run([sys.argv[1], "write", root], check=True, capture_output=True, text=True)
        cases = [json.loads(line) for line in written.stdout.splitlines()]
        for case in cases:
            problems = list(problems_of(case, complaints))
            sharded += (pathlib.Path(case["directory"]) / "model.safetensors.index.json").exists()
            failed += bool(problems)
            for problem in problems:
                print(f"{pathlib.Path(case['directory']).name}: {problem}")
        checked = subprocess.run([sys.argv[1], "check", root], capture_output=True, text=True)
        print(checked.stdout, checked.stderr, sep="", end="")
    print(f"{len(cases)} models, {sharded} of them in shards, {failed} with problems")
    mixed = 0 < sharded < len(cases) and len({case["architecture"] for case in cases}) == 5
    return 0 if mixed and failed == 0 and checked.returncode == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
