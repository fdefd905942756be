"""Where the Hub's cache is and which snapshot a revision names, here and by huggingface_hub itself.

usage: hub_as_python.py RESOLVE_MODELS"""

import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import huggingface_hub
import huggingface_hub.constants

VARIABLES = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"]
VALUES = [
    "$SCRATCH/hf",
    "${SCRATCH}/hf",
    "~/hf",
    "~root/hf",
    "~no-such-user/x",
    "$NOT_SET/${NOT_SET}/x",
    "$SCRATCH$SCRATCH",
    "/a/~/b",
    "${SCRATCH",
    "$",
    "$$SCRATCH",
    "${}",
    "x$SCRATCH.y",
    "~",
    "/plain",
    "$TWICE/x",
]
FIRST, SECOND = "a" * 40, "ab" * 20


def cache_of_python(environment):
    before = dict(os.environ)
    try:
        for name in VARIABLES:
            os.environ.pop(name, None)
        os.environ.update(environment)
        return importlib.reload(huggingface_hub.constants).HF_HUB_CACHE
    finally:
        os.environ.clear()
        os.environ.update(before)


def make_repository(cache):
    repository = cache / "models--me--tiny"
    for commit in (FIRST, SECOND):
        snapshot = repository / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text("{}")
    for name, commit in {
        "main": FIRST,
        "v2": SECOND,
        "feature/x": SECOND,
        "refs/pr/1": SECOND,
        "gone": "c" * 40,
    }.items():
        reference = repository / "refs" / name
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit)


def main():
    shared = {"HOME": "/home/me", "SCRATCH": "/scratch", "TWICE": "$SCRATCH"}
    environments = [{**shared, name: value} for name in VARIABLES[:4] for value in VALUES]
    # huggingface_hub expands the last two a second time.
    environments = [e for e in environments if "$TWICE/x" not in e.values() or "HF_HUB_CACHE" in e]
    environments += [
        shared,
        {**shared, "HOME": "/home/me/"},
        {**shared, "HF_HOME": "/a", "HUGGINGFACE_HUB_CACHE": "/b"},
        {**shared, "XDG_CACHE_HOME": "/x", "HF_HOME": "/a"},
        {**shared, "HF_HUB_CACHE": "/c", "HF_HOME": "/a"},
    ]
    with tempfile.TemporaryDirectory() as root:
        cache = pathlib.Path(root)
        make_repository(cache)
        lines = [{"environment": e, "id": "no/model", "revision": ""} for e in environments]
        revisions = ["", "main", "v2", "feature/x", "refs/pr/1", "gone", "none", "feature", FIRST, SECOND, "c" * 40]
        lines += [{"environment": {"HF_HUB_CACHE": root}, "id": "me/tiny", "revision": r} for r in revisions]
        result = subprocess.run(
            [sys.argv[1]],
            input="".join(json.dumps(line) + "\n" for line in lines),
            check=True,
            capture_output=True,
            text=True,
        )
        answers = [json.loads(answer) for answer in result.stdout.splitlines()]
        assert len(answers) == len(lines), result
        expected = [cache_of_python(e) for e in environments]
        found = [
            huggingface_hub.try_to_load_from_cache("me/tiny", "config.json", cache_dir=root, revision=r or None)
            for r in revisions
        ]
    wrong = 0
    for environment, answer, path in zip(environments, answers, expected, strict=False):
        if os.path.normpath(answer["cache"]) != os.path.normpath(path):
            wrong += 1
            print(environment, "gives", answer["cache"], "here,", path, "in Python")
    for revision, answer, path in zip(revisions, answers[len(environments) :], found, strict=True):
        there = str(pathlib.Path(path).parent) if isinstance(path, str) else None
        if answer.get("path") != there:
            wrong += 1
            print("revision", revision, "is", answer.get("path"), "here,", there, "in Python")
    print(f"{len(environments)} environments, {len(revisions)} revisions, {wrong} taken otherwise")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
