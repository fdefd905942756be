#!/usr/bin/env python3
"""What of transformers and its companions this library mirrors, and which of it has changed.

    scripts/source_watch                     the installed packages against tests/parity/watched_sources.json
    scripts/source_watch --against DIR       what would change with the packages in DIR (wheels unpacked there)
    scripts/source_watch --against DIR --base DIR --diff   between two folders, with what the sources say
    scripts/source_watch --update [NAME...]  writes down the installed packages' hashes, of all or of NAME...
    scripts/source_watch --unwatched         what watched sources use of the same packages and the list lacks

The list names functions, classes, methods and module constants, with what mirrors them here. Of a class every
method and every field is hashed by itself, and one that is added is named, too; "skipped" has those without a
counterpart. A hash is of the syntax tree: comments, docstrings, formatting and the annotations of arguments,
results and variables do not change it. Defaults and decorators do, but for those that make documentation, and so
do the annotations of a @strict class's fields, by which it checks values. Nothing is imported. Exit status 1:
something differs."""

import argparse
import ast
import copy
import dataclasses
import difflib
import functools
import hashlib
import importlib.util
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIST = ROOT / "tests" / "parity" / "watched_sources.json"
UPDATE = "scripts/source_watch --update"
# What a syntax tree says of how a source is written, in one version of Python or another.
HOW_IT_IS_WRITTEN = {"ctx", "kind", "type_comment"}
ABOUT_THE_FIELD = re.compile(r"\b(ClassVar|InitVar)\b")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BODY = "class"  # the key of a class's bases, decorators and other statements; no member can have this name


# ---- syntax trees ---------------------------------------------------------------------------------------

def last_part(node):
    """"strict" of @strict, @hub.strict and @strict(...)."""
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def checks_its_fields(node):
    return any(last_part(one) == "strict" for one in node.decorator_list)


class Meaning(ast.NodeTransformer):
    """Takes away what does not change what a source does. `class_node`: the class whose body it is in."""

    def __init__(self, class_node=None):
        self.class_node = class_node

    def body_of(self, node, class_node=None):
        before, self.class_node = self.class_node, class_node
        node.decorator_list = [one for one in node.decorator_list if "docstring" not in last_part(one)]
        self.generic_visit(node)
        self.class_node = before
        return node

    def generic_visit(self, node):
        super().generic_visit(node)
        if getattr(node, "body", None) == []:  # it was a docstring
            node.body = [ast.Pass()]
        return node

    def visit_FunctionDef(self, node):
        node.returns = None
        return self.body_of(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node):
        return self.body_of(node, node)

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_AnnAssign(self, node):
        self.generic_visit(node)
        if self.class_node:  # whether it is a field of the objects counts
            if not checks_its_fields(self.class_node) and not ABOUT_THE_FIELD.search(ast.unparse(node.annotation)):
                node.annotation = ast.Constant(...)
            return node
        return node.value and ast.copy_location(ast.Assign(targets=[node.target], value=node.value), node)

    def visit_Expr(self, node):
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)


def meaning_of(node, class_node=None):
    return Meaning(class_node).visit(copy.deepcopy(node))


def canonical(node):
    """A syntax tree as text that is the same in every version of Python."""
    if isinstance(node, ast.AST):
        fields = ", ".join(f"{name}={canonical(value)}" for name, value in ast.iter_fields(node)
                           if name not in HOW_IT_IS_WRITTEN and value is not None and value != [])
        return f"{type(node).__name__}({fields})"
    if isinstance(node, list):
        return f"[{', '.join(map(canonical, node))}]"
    return repr(node)


@dataclasses.dataclass
class Source:
    """What belongs to one name: several nodes where it is defined more than once, as a property is."""
    nodes: list

    @functools.cached_property
    def hash(self):
        return hashlib.sha256("\n".join(map(canonical, self.nodes)).encode()).hexdigest()[:16]

    def lines(self):
        return [line for node in self.nodes for line in ast.unparse(ast.fix_missing_locations(node)).splitlines()]

    @functools.cached_property
    def names(self):
        """The names in it, those of its module among them."""
        return {node.id for tree in self.nodes for node in ast.walk(tree) if isinstance(node, ast.Name)}


def assigned_names(node):
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def is_overload(node):
    return isinstance(node, FUNCTIONS) and any(last_part(one) == "overload" for one in node.decorator_list)


def members_of(class_nodes):
    """{name: Source} of a class's methods and fields, and of the rest of it under BODY."""
    members = {BODY: Source([])}
    for class_node in class_nodes:
        rest = copy.copy(class_node)
        rest.body = []
        for node in class_node.body:
            names = [node.name] if isinstance(node, FUNCTIONS) else (
                assigned_names(node) if isinstance(node, (ast.Assign, ast.AnnAssign)) else [])
            if not is_overload(node):
                for name in names:
                    members.setdefault(name, Source([])).nodes.append(meaning_of(node, class_node))
            if not names:
                rest.body.append(node)
        members[BODY].nodes.append(meaning_of(rest))
    return members


class Module:
    def __init__(self, name, text, is_package=False):
        self.name = name
        self.package = name if is_package else name.rpartition(".")[0]
        self.definitions = {}  # {name: [node...]}
        self.imports = {}      # {name: where it comes from}
        self.found = {}
        self.add(ast.parse(text).body)

    def add(self, statements):
        for node in statements:
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
                if not is_overload(node):
                    self.definitions.setdefault(node.name, []).append(node)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                for name in assigned_names(node):
                    self.definitions.setdefault(name, []).append(node)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    self.imports[alias.asname or alias.name.split(".")[0]] = alias.name
            elif isinstance(node, ast.ImportFrom):
                parents = self.package.split(".")
                origin = ".".join([*parents[:len(parents) - node.level + 1], *filter(None, [node.module])]
                                  if node.level else [node.module])
                for alias in node.names:
                    self.imports[alias.asname or alias.name] = f"{origin}:{alias.name}"
            else:  # what stands in an if, a try or a with
                for part in ("body", "orelse", "handlers", "finalbody"):
                    self.add(getattr(node, part, []))

    def sources(self, name):
        """{member: Source} of a class, {"": Source} of anything else and of Class.member; or None."""
        whole, _, member = name.partition(".")
        if whole not in self.found:
            nodes = self.definitions.get(whole, [])
            classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
            self.found[whole] = (members_of(classes) if classes else
                                 {"": Source([meaning_of(node) for node in nodes])} if nodes else {})
        found = self.found[whole]
        if member:
            found = {"": found[member]} if member in found else {}
        return found or None


class Packages:
    """Those that are installed, or in a folder into which wheels were unpacked."""

    def __init__(self, folder=None):
        self.folder = folder
        self.modules = {}

    def root_of(self, package):
        if self.folder:
            return self.folder if (self.folder / package).is_dir() else None
        spec = importlib.util.find_spec(package)  # of a package without parents: it is not imported
        places = spec.submodule_search_locations if spec else None
        return pathlib.Path(places[0]).parent if places else None

    def version_of(self, package):
        for path in self.root_of(package).glob(f"{package}-*.dist-info"):
            return path.name.split("-")[1].removesuffix(".dist").partition("+")[0]
        return "of an unknown version"

    def module(self, name):
        if name not in self.modules:
            package, *_ = name.split(".")
            path = self.root_of(package).joinpath(*name.split("."))
            file, is_package = path.with_name(path.name + ".py"), False
            if not file.is_file():
                file, is_package = path / "__init__.py", True
            text = file.read_text(encoding="utf-8") if file.is_file() else None
            self.modules[name] = None if text is None else Module(name, text, is_package)
        return self.modules[name]

    def sources(self, module, name):
        found = self.module(module)
        return found and found.sources(name)

    def modules_with(self, package, name):
        """The modules that define a name, wherever they are."""
        root = self.root_of(package)
        pattern = re.compile(rf"^\s*(?:(?:async )?def|class) {name}\b|^{name}\b[^=\n]*=", re.MULTILINE)
        for path in sorted((root / package).rglob("*.py")):
            if not pattern.search(path.read_text(encoding="utf-8")):
                continue
            parts = path.relative_to(root).with_suffix("").parts
            module = self.module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
            if module and name in module.definitions:
                yield module


# ---- the list -------------------------------------------------------------------------------------------

@dataclasses.dataclass
class Entry:
    module: str
    name: str  # in the module: a function, a class, a constant, or Class.member
    here: list
    skipped: set  # members without a counterpart, or with an entry of their own
    hashes: dict  # by member, "" for what is no class

    @property
    def package(self):
        return self.module.split(".")[0]

    def called(self, member=""):
        return f"{self.module}:{self.name}{'.' if member else ''}{member}".removesuffix(f".{BODY}")

    def sources(self, packages):
        found = packages.sources(self.module, self.name)
        return found and {member: source for member, source in found.items() if member not in self.skipped}


class Watched:
    """The file: {"looked_at": {package: version}, "modules": {module: {"imports": ..., "objects": ...}}}."""

    def __init__(self, path=LIST):
        self.path = path
        self.content = json.loads(path.read_text(encoding="utf-8"))
        self.entries = []
        for module, part in self.content["modules"].items():
            for name, row in part["objects"].items():
                own = {other.partition(".")[2] for other in part["objects"] if other.startswith(f"{name}.")}
                hashes = row.get("hashes", {"": row["hash"]} if "hash" in row else {})
                self.entries.append(Entry(module, name, row["here"], own | set(row.get("skipped", [])), hashes))

    def looked_at(self, package):
        return self.content["looked_at"].get(package, "")

    def packages(self):
        return sorted({entry.package for entry in self.entries})

    def imports(self, module):
        return self.content["modules"][module].get("imports", {})

    def update(self, packages, names):
        """Writes down what `packages` have, of all or of those with one of the names. Returns what is gone, and
        writes nothing then."""
        gone = []
        for entry in self.entries:
            whole = not names or entry.called() in names
            members = {member for member in entry.hashes if entry.called(member) in names}
            members |= {name.rpartition(".")[2] for name in names if name.startswith(f"{entry.called()}.")}
            if not whole and not members - entry.skipped:
                continue
            sources = entry.sources(packages)
            if sources is None:
                gone.append(entry.called())
                continue
            hashes = {member: source.hash for member, source in sources.items()}
            if not whole:
                kept = {member: old for member, old in entry.hashes.items() if member not in members}
                hashes = kept | {member: hashes[member] for member in hashes if member in members}
            entry.hashes = hashes
            row = self.content["modules"][entry.module]["objects"][entry.name]
            row.pop("hash", None), row.pop("hashes", None)
            row.update({"hash": hashes[""]} if "" in hashes else {"hashes": hashes})
        if gone:
            return gone
        if not names:
            self.content["looked_at"] = {package: packages.version_of(package) for package in self.packages()}
        for module, part in self.content["modules"].items():
            if not names or any(name.partition(":")[0] == module for name in names):
                part["imports"] = dict(sorted(origins_of(self.entries, module, packages).items()))
        self.path.write_text(json.dumps(self.content, indent=2) + "\n", encoding="utf-8")
        return []


def names_used(packages, entries):
    return {name for entry in entries for source in (entry.sources(packages) or {}).values()
            for name in source.names}


def problems_here(entries, root=ROOT):
    """What the list says of this repository and is not so."""
    texts = {}
    for entry in entries:
        if not entry.here:
            yield f"{entry.called()}: names no counterpart"
        for here in entry.here:
            path, _, name = here.partition(": ")
            if path not in texts:
                texts[path] = re.sub(r"//[^\n]*", "", (root / path).read_text()) if (root / path).is_file() else None
            if texts[path] is None:
                yield f"{entry.called()}: there is no file {path}"
            elif name and not re.search(rf"(?<![\w:]){re.escape(name)}(?!\w)", texts[path]):
                yield f"{entry.called()}: {name} does not stand in {path}"


# ---- comparing ------------------------------------------------------------------------------------------

@dataclasses.dataclass
class Difference:
    kind: str  # changed, new, moved, gone
    name: str
    here: list
    note: str = ""
    diff: list = dataclasses.field(default_factory=list)

    def line(self, once_looked_at):
        here = ", ".join(self.here)
        end = f"; when it has been looked at: {UPDATE} {self.name}" if once_looked_at else ""
        return f"{self.kind}: {self.name}{self.note and ' '}{self.note}; here: {here}{end}"


def where_it_went(entry, packages, expected):
    """("moved" or "gone", a note) for a name that its module no longer has."""
    whole, _, member = entry.name.partition(".")
    if member:
        module = packages.module(entry.module)
        for other in module.definitions if module else ():
            found = module.sources(f"{other}.{member}")
            if found and {key: source.hash for key, source in found.items()} == expected:
                return "moved", f"to {other}.{member}"
        return "gone", ""
    note = ""
    for module in packages.modules_with(entry.package, whole):
        found = {key: source.hash for key, source in module.sources(whole).items() if key not in entry.skipped}
        if found == expected:
            return "moved", f"to {module.name}, as it was"
        # A model's own class of the same name is another one.
        if module.name.split(".")[:3] == entry.module.split(".")[:3] or ".models." not in module.name:
            note = note or f"({module.name} has one of that name, which is not the same)"
    return "gone", note


def differences(entries, expected_hashes, expected_imports, packages, base=None):
    """What the packages have otherwise than expected. `expected_hashes`: entry -> {member: hash} or None."""
    for entry in entries:
        expected, sources = expected_hashes(entry), entry.sources(packages)
        if sources is None:
            if expected:
                kind, note = where_it_went(entry, packages, expected)
                yield Difference(kind, entry.called(), entry.here, note)
            continue
        was = (entry.sources(base) or {}) if base else {}
        for member in [*(expected or {}), *sorted(sources.keys() - (expected or {}).keys())]:
            old, new = was.get(member), sources.get(member)
            if new and expected and expected.get(member) == new.hash:
                continue
            kind = "gone" if new is None else "changed" if expected and member in expected else "new"
            diff = difflib.unified_diff(old.lines() if old else [], new.lines() if new else [], lineterm="", n=2)
            used = (new.names if new else set()) - (old.names if old else set())
            helpers = unwatched(entries, packages, entry.module, used) if base and kind != "gone" else {}
            note = f"(uses {', '.join(sorted(helpers))}, not in the list)" if helpers else ""
            yield Difference(kind, entry.called(member), entry.here, note, list(diff)[2:] if base else [])
    for module in dict.fromkeys(entry.module for entry in entries):
        now = packages.module(module)
        for name, origin in expected_imports(module).items() if now else ():
            if name in now.imports and now.imports[name] != origin:
                users = [entry for entry in entries if entry.module == module and
                         name in names_used(packages, [entry])]
                here = list(dict.fromkeys(one for entry in users for one in entry.here))
                if here:
                    yield Difference("changed", module, here, f"takes {name} from {now.imports[name]}, not {origin}")


def origins_of(entries, module, packages):
    found = packages.module(module)
    used = names_used(packages, [entry for entry in entries if entry.module == module])
    return {name: origin for name, origin in found.imports.items() if name in used} if found else {}


def pinned_packages():
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    return {line.partition("==")[0] for line in text.splitlines() if "==" in line}


def check(watched, packages, pinned, root=ROOT):
    """The installed packages against the list. `pinned`: those whose version this repository says."""
    problems = list(problems_here(watched.entries, root))
    missing = [package for package in watched.packages() if packages.root_of(package) is None]
    if missing:
        print("\n".join([*problems, f"SKIPPED: not installed: {', '.join(missing)}"]))
        return 1 if problems else 77
    found = list(differences(watched.entries, lambda entry: entry.hashes, watched.imports, packages))
    # What nothing pins may be newer on a machine that was set up today: it is named and is no failure.
    moved = {package for package in watched.packages() if package not in pinned and
             packages.version_of(package) != watched.looked_at(package)}
    for one in found:
        if one.name.split(".")[0] in moved:
            print(f"note: {one.line(True)}")
        else:
            problems.append(one.line(True))
    for package in watched.packages():
        if packages.version_of(package) != watched.looked_at(package):
            print(f"note: {package} {packages.version_of(package)} is installed, "
                  f"{watched.looked_at(package)} was looked at")
    print("\n".join(problems))
    count = sum(len(entry.hashes) for entry in watched.entries)
    print(f"{len(watched.entries)} watched, {count} hashes, {len(problems)} problems")
    return 1 if problems else 0


def compare(watched, base, other, with_diff):
    common = [package for package in watched.packages() if base.root_of(package) and other.root_of(package)]
    left = sorted(set(watched.packages()) - set(common))
    entries = [entry for entry in watched.entries if entry.package in common]
    if not entries:
        sys.exit(f"error: no package that is watched ({', '.join(watched.packages())}) is in both")

    def hashes_before(entry):
        sources = entry.sources(base)
        return sources and {member: source.hash for member, source in sources.items()}

    counts = dict.fromkeys(("changed", "new", "moved", "gone"), 0)
    for one in differences(entries, hashes_before, lambda module: origins_of(entries, module, base), other, base):
        counts[one.kind] += 1
        print(one.line(False))
        if with_diff:
            print("".join(f"    {line}\n" for line in one.diff), end="")
    for entry in entries:
        if entry.sources(base) is None and entry.sources(other) is None:
            print(f"in neither: {entry.called()}")
    versions = ", ".join(f"{package} {base.version_of(package)} -> {other.version_of(package)}" for package in common)
    print(f"{versions}: {len(entries)} watched, {', '.join(f'{count} {kind}' for kind, count in counts.items())}")
    if left:
        print(f"not compared, for one side does not have it: {', '.join(left)}")
    return 1 if any(counts.values()) else 0


def unwatched(entries, packages, module_name, names):
    """Of the names that a module uses: {name: where it is from} of those in a watched package, but not in the list."""
    module = packages.module(module_name)
    listed = {f"{entry.module}:{entry.name.partition('.')[0]}" for entry in entries}
    listed |= {f"{entry.package}:{entry.name.partition('.')[0]}" for entry in entries}
    origins = {name: f"{module_name}:{name}" if name in module.definitions else module.imports.get(name, "")
               for name in names}
    # A package hands on what one of its modules defines.
    of_package = {name: f"{origin.split('.')[0].split(':')[0]}:{name}" for name, origin in origins.items()}
    packages_watched = {entry.package for entry in entries}
    return {name: origin for name, origin in origins.items()
            if ":" in origin and re.split("[.:]", origin)[0] in packages_watched and name != "logger" and
            origin not in listed and of_package[name] not in listed}


def print_unwatched(watched, packages):
    used_by = {}
    for entry in watched.entries:
        if packages.module(entry.module):
            for origin in unwatched(watched.entries, packages, entry.module, names_used(packages, [entry])).values():
                used_by.setdefault(origin, []).append(entry.name)
    for origin, users in sorted(used_by.items()):
        print(f"{origin}: {', '.join(users)}")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=pathlib.Path, metavar="DIR", help="folder with other versions, as unpacked "
                        "from their wheels")
    parser.add_argument("--base", type=pathlib.Path, metavar="DIR", help="with --against: the versions before, instead "
                        "of those installed")
    parser.add_argument("--diff", action="store_true", help="with --against: what the sources say on both sides")
    parser.add_argument("--update", nargs="*", metavar="NAME", help="write the list anew: all, or what stands behind "
                        "--update in the lines of a comparison")
    parser.add_argument("--unwatched", action="store_true", help="list what watched sources use and the list lacks")
    parser.add_argument("--list", type=pathlib.Path, default=LIST, help="default %(default)s")
    arguments = parser.parse_args()
    for folder in (arguments.against, arguments.base):
        if folder and not folder.is_dir():
            parser.error(f"{folder}: is no folder")
    if (arguments.base or arguments.diff) and not arguments.against:
        parser.error("--base and --diff: only with --against")
    watched, installed = Watched(arguments.list), Packages()
    if arguments.against:
        return compare(watched, Packages(arguments.base), Packages(arguments.against), arguments.diff)
    if arguments.unwatched:
        return print_unwatched(watched, installed)
    if arguments.update is None:
        return check(watched, installed, pinned_packages())
    known = tuple(entry.called() for entry in watched.entries)
    for name in arguments.update:
        if not any(name == one or name.startswith(f"{one}.") for one in known):
            parser.error(f"--update: {name} is not in the list")
    gone = watched.update(installed, arguments.update)
    for name in gone:
        print(f"{name}: is gone; first take it out of {arguments.list}, or write where it is now")
    return 1 if gone else 0


if __name__ == "__main__":
    sys.exit(main())
