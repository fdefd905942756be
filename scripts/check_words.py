#!/usr/bin/env python3
"""Finds words that this repository has given up: check_words.py [ROOT]. Prints each; exit 1 then.

docs/architecture.md has the glossary, CONTRIBUTING.md the rules of prose. What a program prints or reads
is not looked at: in code, text between quotes may keep a word that users know."""

import pathlib
import re
import sys

FOLDERS = (".ci", ".github", "benchmarks", "cmake", "docs", "examples", "include", "scripts", "src", "tests")
SUFFIXES = {".h", ".cpp", ".c", ".py", ".cmake", ".md", ".txt", ""}  # "": the scripts
CODE = {".h", ".cpp", ".c", ".py"}
# Recorded, not written here; or about the words themselves.
SKIPPED = re.compile(r"^(tests/data/|tests/fuzz/seeds/|benchmarks/results/|CHANGELOG|LICENSE|scripts/check_words\.py$)")
QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')

OLD_WORDS = {
    r"\bkeep_weights\b": "pack_weights",
    r"\bpacks\(": "is_packed()",
    r"refusal": "unsupported_reason, or in a test error_of",
    r"\b[Ss]ettl(e|es|ed|ing)\b": "warm up",
    r"gemm_floor": "gemm_roofline",
    r"\blook_at\b|\bLooked\b|Look\b": "scan, ScanResult",
    r"\bleave_out\b": "skip",
    r"\bplace\.h\b": "writable.h",
    r"\bwords\.h\b": "format.h",
    r"\bEnding\b": "ExitResult",
    r"\bkWorths\b": "kDefaultTolerances",
    r"\bRememberedDigest\b": "DigestCache",
    r"\bdecoder_patience\b": "read_timeout",
    r"\bkMost[A-Z]": "kMax...",
    r"\bkLeast[A-Z]": "kMin...",
    r"\bAlignedBuffer\b": "ScratchBuffer",
    r"\bat_least\(": "reserve()",
    r"\bOperand\b": "PackedRows",
    r"\bsensitive\b": "high_precision",
    r"\b[Ww]hoever\b": "name who",
    r"\b[Ss]omebody\b": "name who",
    r"\b(is|has) none\b": "is not a ..., does not have ...",
    r'(//|#|\*|""")\s+Of\b': "begin with the thing or a verb",
}
# "share" stays for a part of a time, and as the word of --num-shards.
PARTITION = re.compile(r"//.*\b[Ss]hares?\b(?! a )")
PARTITION_FOLDERS = ("src/tool/corpus/", "src/tool/store/", "src/tool/run/", "tests/tool/corpus/")


def findings(name, text):
    of_code = pathlib.Path(name).suffix in CODE
    for number, line in enumerate(text.splitlines(), 1):
        prose = QUOTED.sub('""', line.replace('"""', " # ")) if of_code else line
        for pattern, instead in OLD_WORDS.items():
            found = re.search(pattern, prose)
            if found:
                yield f"{name}:{number}: {found.group().strip()}: {instead}"
        if name.startswith(PARTITION_FOLDERS) and PARTITION.search(prose):
            yield f"{name}:{number}: share: partition"


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
