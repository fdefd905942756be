#!/usr/bin/env python3
"""Checks that README.md, CONTRIBUTING.md and the other documents name only what exists. Prints one line for each dead
link, anchor or path; exit 1 then.

- A link leads to a file of the repository, and its anchor to a heading there.
- A path in backticks, such as `src/nn/encoder.cpp` or `src/tool/store/journal.*`, exists. It may be relative to a
  room: `nn/encoder.cpp` is in src/ or include/w2vbert/. A bare `journal.cpp` is the name of some file.
- In a block of code, so does every scripts/..., examples/..., tests/... and <w2vbert/...>.

Paths into build/, out/ and other places that are not part of the repository are not looked at.

usage: check_docs.py [ROOT]"""

import pathlib
import re
import sys

DOCUMENTS = ("*.md", "NOTICE", "docs/*.md", "tests/*/*.md")
# What a path in backticks may be relative to.
BASES = ("", "src", "include/w2vbert")
NOT_TRACKED = {"build", "out", "third_party"}

FENCE = re.compile(r"^ {0,3}```[^\n]*\n(.*?)^ {0,3}```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
QUOTED = re.compile(r"`([^`\n]+)`")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
PATH = re.compile(r"[\w.*-]+(?:/[\w.*{},-]+)*/?")
SOURCE_NAME = re.compile(r"[a-z0-9_*-]+\.(?:h|cpp|cmake|svg|\*)")
CODE_PATH = re.compile(r"(?<![\w/.-])(?:scripts|examples|tests|cmake)/[\w./-]*\w")
INCLUDE = re.compile(r"[<\"](w2vbert/[\w/]+\.h)[>\"]")


def alternatives(path):
    """Expands {a,b}."""
    braces = re.search(r"\{([^{}]*)\}", path)
    if not braces:
        return [path]
    return [whole for part in braces.group(1).split(",")
            for whole in alternatives(path[:braces.start()] + part + path[braces.end():])]


def exists(folder, path):
    return any(True for _ in folder.glob(path)) if "*" in path else (folder / path).exists()


def anchors_of(document):
    """The anchors of a document's headings, as GitHub makes them."""
    texts = HEADING.findall(FENCE.sub("", document.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


class Repository:
    def __init__(self, root):
        self.root = root
        self.tops = {path.name for path in root.iterdir()} - NOT_TRACKED - {".git"}
        self.rooms = {path.name for base in BASES[1:] for path in (root / base).iterdir() if path.is_dir()}
        tops = ("src", "include", "python", "tests", "examples", "benchmarks", "cmake", "docs")
        self.names = {path.name for top in tops
                      for path in (root / top).rglob("*") if path.is_file()}

    def lacks_path(self, text):
        """Whether `text` is a path into this repository and leads nowhere."""
        if not PATH.fullmatch(text):
            return False
        first, slash, _ = text.partition("/")
        if not slash:
            return bool(SOURCE_NAME.fullmatch(text)) and not any(
                pathlib.PurePath(name).match(text) for name in self.names)
        if first not in self.tops | self.rooms:
            return False
        return not all(any(exists(self.root / base, path) for base in BASES)
                       for path in alternatives(text.rstrip("/")))

    def link_problem(self, document, target):
        if re.match(r"[a-z]+:", target):
            return None
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists():
            return f"dead link {target}"
        if anchor and anchor not in anchors_of(file):
            return f"dead link {target}: no such heading"
        return None

    def problems_of(self, document):
        text = document.read_text(encoding="utf-8")
        for block in FENCE.findall(text):
            for path in CODE_PATH.findall(block):
                if not (self.root / path).exists():
                    yield f"{path} does not exist"
            for path in INCLUDE.findall(block):
                if not (self.root / "include" / path).exists():
                    yield f"<{path}> does not exist"
        prose = FENCE.sub("", text)
        for target in LINK.findall(prose):
            problem = self.link_problem(document, target)
            if problem:
                yield problem
        for quoted in QUOTED.findall(prose):
            # A command may have arguments behind its path.
            if self.lacks_path(quoted) or self.lacks_path(quoted.split()[0]):
                yield f"`{quoted}` does not exist"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    repository = Repository(root)
    documents = sorted({path for pattern in DOCUMENTS for path in root.glob(pattern)})
    problems = [f"{document.relative_to(root)}: {problem}" for document in documents
                for problem in dict.fromkeys(repository.problems_of(document))]
    if not documents:
        problems.append(f"{root}: no documents found")
    for problem in problems:
        print(problem)
    print(f"{len(documents)} documents, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
