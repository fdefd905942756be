#!/usr/bin/env python3
"""Checks the one-way flow between the rooms (docs/architecture.md). Prints each breach; exit 1 then.

- include/w2vbert/ includes public headers only, and w2vbert.h includes them all. Its comments name no other file
  of this library: an installed user does not have it.
- A room of the library includes its own headers and those of the rooms named below; never the program's.
- A room of the program (src/tool/) includes the library and the program's rooms named below.
- The parsers do not reach a LibTorch header.
- python/src/ includes the library and the program's rooms, but for its words (tool/cli).
- Only src/tool/cli/ names options of the command line: the messages of all others name settings."""

import pathlib
import re
import sys

# room -> rooms whose headers it may include (its own is always allowed)
LIBRARY = {
    "core": set(),
    "config": {"core"},
    "ctc": {"core", "config"},
    "audio": {"core"},
    "features": {"core", "config", "audio"},
    "nn": {"core", "config"},
    "models": {"core", "config", "nn"},
    # nn for the guard that builds a module without initialising what a checkpoint will fill
    "checkpoint": {"core", "config", "nn"},
    "engine": {"core", "config", "nn", "models", "checkpoint"},
}
TOOL = {
    "formats": set(),
    "corpus": set(),
    "store": {"corpus"},
    "run": {"corpus", "store"},
    "tasks": {"formats", "corpus", "store", "run"},
    "parity": set(),
    "cli": {"formats", "corpus", "store", "run", "tasks", "parity"},
}

TORCH = re.compile(r"^(torch|ATen|c10)/")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]', re.MULTILINE)
# A source file that a comment names, such as "core/text.h".
NAMED = re.compile(r"\b(?:[a-z_][a-z0-9_]*/)+[a-z_][a-z0-9_]*\.(?:h|cpp)\b")
# A string literal that names an option, such as "--dtype".
# But for a line to type of another program, huggingface_hub's hf.
OPTION = re.compile(r'"(?!hf )[^"\n]*(?<![\w-])--[a-z][a-z-]+[^"\n]*"')


def includes_of(path):
    return INCLUDE.findall(path.read_text(encoding="utf-8"))


def room_of(name):
    """("core", None) or ("tool", "store") of an include, or of a path below src/ or include/; else None."""
    parts = name.removeprefix("w2vbert/").split("/")
    if parts[0] == "tool" and len(parts) > 2 and parts[1] in TOOL:
        return "tool", parts[1]
    return (parts[0], None) if parts[0] in LIBRARY and len(parts) > 1 else None


def is_allowed(own, other):
    if own == other:
        return True
    if own[0] == "tool":
        return other[0] != "tool" or other[1] in TOOL[own[1]]
    return other[0] in LIBRARY[own[0]]


def header_of(root, name):
    for folder in ("include", "src"):
        if (root / folder / name).exists():
            return root / folder / name
    return None


def check_public(root):
    headers = sorted((root / "include").rglob("*.h"))
    names = {str(header.relative_to(root / "include")) for header in headers}
    for header in headers:
        for name in includes_of(header):
            if name not in names and header_of(root, name):
                yield f"{header.relative_to(root)}: is public and includes {name}, which is not"
        for line in header.read_text(encoding="utf-8").splitlines():
            for name in NAMED.findall(line.partition("//")[2]):
                if name not in names and f"w2vbert/{name}" not in names:
                    yield f"{header.relative_to(root)}: is public and names {name}, which is not"
    everything = root / "include" / "w2vbert" / "w2vbert.h"
    for name in sorted(names - set(includes_of(everything)) - {"w2vbert/w2vbert.h"}):
        yield f"{everything.relative_to(root)}: does not include {name}"


def check_rooms(root, files):
    for path in files:
        inside = path.relative_to(root).parts[1:]
        if len(inside) == 1 or inside == ("w2vbert", path.name):
            continue  # src/precompiled.h, include/w2vbert/w2vbert.h and version.h belong to no room
        own = room_of("/".join(inside))
        if own is None:
            yield f"{path.relative_to(root)}: is in no room of docs/architecture.md"
            continue
        for name in includes_of(path):
            other = room_of(name)
            if other and header_of(root, name) and not is_allowed(own, other):
                yield f"{path.relative_to(root)}: may not include {name}"
        if own[0] != "tool":
            for literal in OPTION.findall(path.read_text(encoding="utf-8")):
                yield f"{path.relative_to(root)}: speaks of the command line: {literal}"


def check_python(root):
    for path in sorted((root / "python" / "src").glob("*")):
        text = path.read_text(encoding="utf-8")
        for name in includes_of(path):
            if room_of(name) == ("tool", "cli"):
                yield f"{path.relative_to(root)}: may not include {name}"
        for literal in OPTION.findall(text):
            yield f"{path.relative_to(root)}: speaks of the command line: {literal}"


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
        header = header_of(root, name)
        if header and header not in seen:
            seen.add(header)
            chain = torch_chain(root, header, seen)
            if chain:
                return [name, *chain]
    return None


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    files = sorted(path for folder in ("include", "src") for path in (root / folder).rglob("*")
                   if path.suffix in (".h", ".cpp", ".cu", ".cuh"))
    parsers = list(parser_sources(root))
    breaches = [*check_public(root), *check_rooms(root, files), *check_python(root)]
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
