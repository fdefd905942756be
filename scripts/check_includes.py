#!/usr/bin/env python3
"""Checks the one-way flow between the rooms (docs/architecture.md): which room's files may include
which room's headers, and that the parsers stay free of LibTorch. Prints each breach; exit 1 then."""

import pathlib
import re
import sys

# room -> rooms whose headers it may include (its own is always allowed)
ALLOWED = {
    "core": set(),
    "config": {"core"},
    "audio": {"core"},
    "features": {"core", "config", "audio"},
    "nn": {"core", "config"},
    "models": {"core", "config", "nn"},
    # nn for the guard that builds a module without initialising what a checkpoint will fill
    "checkpoint": {"core", "config", "nn"},
    "engine": {"core", "config", "nn", "models"},
    "parity": {"core", "config", "nn", "models", "checkpoint"},
    "pipeline": {"core", "config", "audio", "features", "nn", "models", "checkpoint", "engine"},
}
ALLOWED["cli"] = set(ALLOWED)

TORCH = re.compile(r"^(torch|ATen|c10)/")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]', re.MULTILINE)


def includes_of(path):
    return INCLUDE.findall(path.read_text(encoding="utf-8"))


def parser_sources(root):
    """Files compiled into w2vbert_parsers, from the rooms' CMakeLists.txt."""
    pattern = re.compile(r"target_sources\(\s*w2vbert_parsers\s+PRIVATE\s+([^)]*)\)")
    for lists in sorted(root.glob("src/*/CMakeLists.txt")):
        for block in pattern.findall(lists.read_text(encoding="utf-8")):
            yield from (lists.parent / name for name in block.split())


def torch_chain(root, path, seen):
    """The includes by which `path` reaches LibTorch, or None."""
    for name in includes_of(path):
        if TORCH.match(name):
            return [name]
        header = root / "include" / name
        if name.startswith("w2vbert/") and header.exists() and header not in seen:
            seen.add(header)
            chain = torch_chain(root, header, seen)
            if chain:
                return [name, *chain]
    return None


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    breaches = []
    files = [*root.glob("include/w2vbert/*/*.h"), *root.glob("src/*/*.cpp"), *root.glob("src/*/*.h")]
    for path in sorted(files):
        room = path.parent.name
        if room not in ALLOWED:
            breaches.append(f"{path.relative_to(root)}: {room} is not a room of docs/architecture.md")
            continue
        for name in includes_of(path):
            parts = name.split("/")
            other = parts[1] if parts[0] == "w2vbert" and len(parts) == 3 else None
            if other and other != room and other not in ALLOWED[room]:
                breaches.append(f"{path.relative_to(root)}: {room} may not include {other} ({name})")
    parsers = list(parser_sources(root))
    for path in parsers:
        chain = torch_chain(root, path, set())
        if chain:
            breaches.append(f"{path.relative_to(root)}: a parser reaches LibTorch by {' -> '.join(chain)}")
    if not files or not parsers:
        breaches.append(f"{root}: no sources found")
    for breach in breaches:
        print(breach)
    print(f"{len(files)} files, {len(parsers)} parser sources, {len(breaches)} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
