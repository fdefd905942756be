#!/usr/bin/env python3
"""Runs clang-tidy on what compile_commands.json of a build folder names; scripts/lint has the usage."""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("src", "tests", "examples", "benchmarks")
# GCC's, or for its precompiled header, which clang cannot read.
DROPPED = {"-fpch-preprocess", "-Winvalid-pch", "-fopenmp", "-Wno-maybe-uninitialized", "-Wno-restrict"}
INCLUDE = re.compile(rb'^\s*#\s*include\s*[<"]([^">]+)[">]', re.MULTILINE)
SECONDS = 900  # no source takes a tenth of that


def version_of(program):
    if not program.exists():
        sys.exit(f"error: {program}: not found (scripts/setup --tools)")
    return subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout


def arguments_for_clang(entry):
    """The compiler's arguments of an entry of compile_commands.json, without what only GCC understands."""
    words = iter(entry["arguments"] if "arguments" in entry else shlex.split(entry["command"]))
    next(words)
    kept = []
    for word in words:
        if word in ("-o", "-include"):
            value = next(words)
            if word == "-include" and "cmake_pch" not in value:
                kept += [word, value]
        elif word == "-c":
            next(words)
        elif word not in DROPPED:
            kept.append(word)
    return kept


def project_files(source, arguments):
    """The source and every file of this repository that it includes, however indirectly."""
    folders = [pathlib.Path(word[2:]) for word in arguments if word.startswith("-I")]
    seen, waiting = set(), [source]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in INCLUDE.findall(path.read_bytes()):
            for folder in (path.parent, *folders):
                candidate = (folder / name.decode()).resolve()
                if candidate.is_relative_to(ROOT) and candidate.is_file():
                    waiting.append(candidate)
                    break
    return sorted(seen)


def key_of(source, arguments, version):
    digest = hashlib.sha256()
    for part in (version, (ROOT / ".clang-tidy").read_text(), *arguments):
        digest.update(part.encode() + b"\0")
    for path in project_files(source, arguments):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def members_of(source):
    """The sources that CMake joined in one file to compile them at once (W2VBERT_UNITY_BUILD), or the source."""
    if any(source.is_relative_to(ROOT / folder) for folder in FOLDERS):
        return [source]
    if not source.name.startswith("unity_") or not source.is_file():
        return []  # generated
    members = [pathlib.Path(name.decode()) for name in INCLUDE.findall(source.read_bytes())]
    return [member for member in members if member.is_relative_to(ROOT)]


def lint(program, source, arguments):
    """What clang-tidy says about a source; empty where it is clean."""
    # A joined file includes sources, as it must.
    checks = [] if source.is_relative_to(ROOT / "src") else ["--checks=-bugprone-suspicious-include"]
    command = [str(program), "--quiet", *checks, f"--header-filter=^{re.escape(str(ROOT))}/", str(source), "--",
               *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"{source}: clang-tidy was not done within {SECONDS} s"
    if result.returncode == 0:
        return ""
    return result.stdout.strip() or result.stderr.strip() or f"{source}: clang-tidy ended with {result.returncode}"


def sources_of(build, paths):
    """source -> arguments, of the sources below `paths`."""
    commands = build / "compile_commands.json"
    if not commands.exists():
        sys.exit(f"error: {commands}: not found, run scripts/setup")
    arguments_of = {}
    for entry in json.loads(commands.read_text()):
        source = pathlib.Path(entry["directory"], entry["file"]).resolve()
        if source.suffix in (".c", ".cu"):
            continue  # libraries of tests that stand in for functions of the C library; CUDA, in nvcc's words
        if any(member.is_relative_to(path) for member in members_of(source) for path in paths):
            arguments_of.setdefault(source, arguments_for_clang(entry))
    return dict(sorted(arguments_of.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", type=pathlib.Path, default=[ROOT], help="files or folders")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build", help="the build folder")
    parser.add_argument("--clang-tidy", type=pathlib.Path, default=ROOT / "build/venv-tools/bin/clang-tidy")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="sources at a time")
    parser.add_argument("--list", action="store_true", help="only say which sources are clean already")
    options = parser.parse_args()
    version = version_of(options.clang_tidy)
    arguments_of = sources_of(options.build, [path.resolve() for path in options.paths])
    if not arguments_of:
        sys.exit("error: no source below these paths is compiled in this build")
    cache = options.build / "clean"
    cache.mkdir(exist_ok=True)
    marks = {source: cache / key_of(source, arguments, version) for source, arguments in arguments_of.items()}
    waiting = [source for source, mark in marks.items() if not mark.exists()]
    if options.list:
        for source, mark in marks.items():
            for member in members_of(source):
                print(f"{'clean' if mark.exists() else 'to do'}  {member.relative_to(ROOT)}")
        return 0

    findings = set()
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        results = {pool.submit(lint, options.clang_tidy, source, arguments_of[source]): source for source in waiting}
        for number, result in enumerate(concurrent.futures.as_completed(results), 1):
            source = results[result]
            said = result.result()
            names = ", ".join(str(member.relative_to(ROOT)) for member in members_of(source))
            print(f"[{number}/{len(waiting)}] {names}", file=sys.stderr)
            if said:
                failed += 1
                if said not in findings:
                    print(said.replace(f"{ROOT}/", ""), flush=True)
                findings.add(said)
            else:
                marks[source].touch()
    count = sum(len(members_of(source)) for source in marks)
    print(f"{count} sources in {len(marks)} units, {len(waiting)} looked at, {failed} with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
