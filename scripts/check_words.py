#!/usr/bin/env python3
"""Finds words that this repository has given up: check_words.py [ROOT]. Prints each; exit 1 then.

docs/architecture.md has the glossary, CONTRIBUTING.md the rules of prose. Code, comments and text between quotes
are looked at alike, in upper and lower case where a word means nothing else."""

import pathlib
import re
import sys

FOLDERS = (".ci", ".github", "benchmarks", "cmake", "docs", "examples", "include", "python", "scripts", "src", "tests")
SUFFIXES = {".h", ".cpp", ".c", ".cu", ".cuh", ".py", ".cmake", ".md", ".txt", ""}  # "": the scripts
# Recorded, not written here; or about the words themselves.
SKIPPED = re.compile(r"^(tests/data/|tests/fuzz/seeds/|benchmarks/results/|CHANGELOG|LICENSE|scripts/check_words\.py$)")

OLD_WORDS = {
    r"(?i)\bkeep_weights\b": "pack_weights",
    r"\bpacks\(": "is_packed()",
    r"(?i)refusal": "unsupported_reason, or in a test error_of",
    r"(?i)settl(e|es|ed|ing)(?![a-z])": "warm up, or unchanged",
    r"(?i)(?<!\")gemm_?floor": "gemm_roofline",  # a key of `w2vbert bench --json`
    r"\blook_at\b|\bLooked\b|Look\b": "scan, ScanResult",
    r"(?i)\bleave_out\b": "skip",
    r"\bplace\.h\b": "writable.h",
    r"\bwords\.h\b": "format.h",
    r"\bEnding\b|\bExitResult ending\b": "ExitResult, result",  # a file has an ending
    r"\bkWorths\b": "kDefaultTolerances",
    r"\bRememberedDigest\b": "DigestCache",
    r"(?i)decoder_?patience": "read_timeout",
    r"\bkMost[A-Z]|\bmost_[a-z]": "kMax..., max_...",
    r"\bkLeast[A-Z]|\bleast_[a-z]": "kMin..., min_...",
    r"(?i)aligned_?buffer": "ScratchBuffer",
    r"\bat_least\(": "reserve()",
    r"(?i)\boperand_?\b": "PackedRows, rows",  # C++ has operands
    r"(?i)(?<!case-)\bsensitive\b": "high_precision",
    r"(?i)\bwhoever\b": "name who",
    r"(?i)\bsomebody\b": "name who",
    r"\b([Ii]s|[Hh]as) none\b|(//|#).*[\w\"]: none\b|(//|#) none: ": "is not a ..., does not have ...",
    r"(?i)\b(has|have) not\b(?=[\".,;:)]|$)": "does not have ..., does not",
    r'(//|#|\*|""")\s+Of\b': "begin with the thing or a verb",
}
# Old in these folders alone.
OLD_THERE = {
    # "share" stays for a part of a time, and as the word of --num-shards.
    r"(?i)//.*\bshares?\b(?! a )": (
        "partition", ("src/tool/corpus/", "src/tool/store/", "src/tool/run/", "tests/tool/corpus/")),
    # The benchmark has an option of the name.
    r"(?i)patience": ("timeout", ("src/", "include/", "tests/tool/")),
    # Elsewhere bytes come in pieces.
    r"(?i)\bpieces?\b": ("chunk", ("src/tool/run/", "src/tool/tasks/", "src/tool/cli/", "tests/tool/cli/",
                                   "tests/tool/run/")),
}


def findings(name, text):
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, instead in OLD_WORDS.items():
            found = re.search(pattern, line)
            if found:
                yield f"{name}:{number}: {found.group().strip()}: {instead}"
        for pattern, (instead, folders) in OLD_THERE.items():
            found = name.startswith(folders) and re.search(pattern, line)
            if found:
                yield f"{name}:{number}: {found.group().strip()}: {instead}"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    paths = [*root.iterdir(), *(path for folder in FOLDERS for path in sorted((root / folder).rglob("*")))]
    names = [str(path.relative_to(root)) for path in paths if path.suffix in SUFFIXES and path.is_file()]
    names = [name for name in names if not SKIPPED.match(name)]
    found = []
    for name in names:
        found += findings(name, (root / name).read_text(encoding="utf-8"))
    print("\n".join(found + [f"{len(names)} files, {len(found)} old words"]))
    return 1 if found or not names else 0


if __name__ == "__main__":
    sys.exit(main())
