"""scripts/source_watch.py with small packages written for it: what changes a hash, which line a change makes, and
what the list says of this repository."""

import contextlib
import dataclasses
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
sys.dont_write_bytecode = True

import source_watch  # noqa: E402

FUNCTION = '''
    @cached
    def mix(x, scale=0.5, *, mode="add"):
        half = x * scale
        if mode == "add":
            return half + x
        return [half, x]
'''
CLASS = '''
    @strict
    class Layer(Base):
        width: int = 64
        kind = "conv"

        def __init__(self, config):
            self.width = config.width

        @property
        def size(self):
            return self.width

        @size.setter
        def size(self, value):
            self.width = value

        def forward(self, x):
            return x * self.width
'''


def hashes(text, name):
    return {member: source.hash for member, source in
            source_watch.Module("sample", textwrap.dedent(text)).sources(name).items()}


class Hashes(unittest.TestCase):
    def assert_same(self, text, other, name="mix"):
        self.assertNotEqual(text, other)
        self.assertEqual(hashes(text, name), hashes(other, name))

    def assert_other(self, old, new, text=FUNCTION, name="mix"):
        self.assertEqual(text.count(old), 1, old)
        self.assertNotEqual(hashes(text, name), hashes(text.replace(old, new), name), f"{old} -> {new}")

    def test_do_not_change_with_comments(self):
        self.assert_same(FUNCTION, FUNCTION.replace("x * scale", "x * scale  # halves it"))

    def test_do_not_change_with_docstrings(self):
        self.assert_same(FUNCTION, FUNCTION.replace("half = x", '"""Mixes."""\n        half = x'))
        self.assert_same(CLASS, CLASS.replace("width: int = 64", '"""A layer."""\n        width: int = 64'), "Layer")
        self.assert_same("def stub(x): ...", 'def stub(x):\n    """Does nothing."""\n    ...', "stub")
        self.assert_same("def stub(x): pass", 'def stub(x):\n    """Does nothing."""', "stub")
        self.assert_same(CLASS, CLASS.replace('kind = "conv"', 'kind = "conv"\n        """What it is."""'), "Layer")

    def test_do_not_change_with_formatting(self):
        self.assert_same(FUNCTION, FUNCTION.replace("x * scale", "(\n            x\n            * scale\n        )"))
        self.assert_same(FUNCTION, FUNCTION.replace('"add"', "'add'"))
        self.assert_same(FUNCTION, FUNCTION.replace("0.5", "5e-1"))
        self.assert_same(FUNCTION, "\n\nother = 1\n" + textwrap.dedent(FUNCTION))

    def test_do_not_change_with_the_annotations_of_functions(self):
        self.assert_same(FUNCTION, FUNCTION.replace("(x, scale=0.5", "(x: Tensor, scale: float = 0.5"))
        self.assert_same(FUNCTION, FUNCTION.replace('"add"):', '"add") -> Tensor:'))
        self.assert_same(FUNCTION, FUNCTION.replace("half = x", "half: Tensor = x"))
        self.assert_same(FUNCTION, FUNCTION.replace("half = x", "half: Tensor\n        half = x"))

    def test_do_not_change_with_decorators_that_make_documentation(self):
        self.assert_same(FUNCTION, FUNCTION.replace("@cached", "@auto_docstring(intro=1)\n    @cached"))

    def test_change_with_an_operator(self):
        self.assert_other("x * scale", "x / scale")
        self.assert_other('mode == "add"', 'mode != "add"')

    def test_change_with_a_default(self):
        self.assert_other("0.5", "0.25")
        self.assert_other("scale=0.5", "scale")
        self.assert_other("x, scale", "x=None, scale")
        self.assert_other('mode="add"', 'mode="mul"')

    def test_change_with_a_constant_or_a_name(self):
        self.assert_other('== "add"', '== "sum"')
        self.assert_other("[half, x]", "[half, half]")
        self.assertNotEqual(hashes("A = 1", "A"), hashes("A = 1.0", "A"))
        self.assertNotEqual(hashes("A = 1", "A"), hashes("A = True", "A"))
        self.assertNotEqual(hashes("A = 0", "A"), hashes("A = None", "A"))

    def test_change_with_the_order(self):
        self.assert_other("[half, x]", "[x, half]")
        swapped = FUNCTION.replace("half = x * scale\n", "a = 1\n        b = 2\n")
        self.assert_other("a = 1\n        b = 2", "b = 2\n        a = 1", swapped)

    def test_change_with_a_decorator_and_its_arguments(self):
        self.assert_other("@cached\n    ", "")
        self.assert_other("@cached", "@cached(1)")

    def test_are_the_same_in_every_python(self):
        """Of a source with what the versions show in different ways; seen with 3.11."""
        text = """
            def every(a, /, *rest, key=None, **more):
                match a:
                    case {"x": [1, *_]}:
                        return f"{a!r:>{key}} and {rest}"
                with open(a) as file, file:
                    return [x := y async for y in file if -x**2 < 1e-7j] or b"\\0" or ... or u"u"
        """
        self.assertEqual(hashes(text, "every"), {"": "40154d2c65ed5dbd"})

    def test_of_a_class_are_by_member(self):
        whole = hashes(CLASS, "Layer")
        self.assertEqual(set(whole), {"class", "width", "kind", "__init__", "size", "forward"})
        for old, new, members in (("x * self.width", "x + self.width", {"forward"}), ("= 64", "= 32", {"width"}),
                                  ("self.width = value", "self.width = value + 1", {"size"}),
                                  ("return self.width", "return 2 * self.width", {"size"}),
                                  ("(Base)", "(Other)", {"class"}), ("@strict", "@frozen", {"class", "width"})):
            changed = hashes(CLASS.replace(old, new), "Layer")
            self.assertEqual({key for key in whole if whole[key] != changed[key]}, members, old)
        self.assertEqual(hashes(CLASS, "Layer.forward"), {"": whole["forward"]})

    def test_count_the_annotations_by_which_a_class_checks_its_fields(self):
        self.assert_other("width: int", "width: int | None", CLASS, "Layer")
        free = CLASS.replace("@strict", "@dataclass")
        self.assert_same(free, free.replace("width: int", "width: float"), "Layer")
        self.assert_other("width: int", "width: ClassVar[int]", free, "Layer")
        self.assert_other("width: int = 64", "width = 64", free, "Layer")

    def test_leave_out_overloads_and_find_what_stands_in_a_condition(self):
        self.assert_same(FUNCTION, "@overload\ndef mix(x: int): ...\n" + textwrap.dedent(FUNCTION))
        self.assert_same(FUNCTION, "if True:\n" + FUNCTION)


class Lines(unittest.TestCase):
    """What the program says of packages in a folder."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "src").mkdir()
        (self.folder / "src" / "layer.cpp").write_text("// Vanished\nvoid LayerImpl::forward() {}\n")
        self.list = self.folder / "list.json"
        self.write("old", "1.0")
        self.write_list({"mix": {"here": ["src/layer.cpp"]},
                         "Layer": {"here": ["src/layer.cpp: LayerImpl"], "skipped": ["kind"]},
                         "Layer.forward": {"here": ["src/layer.cpp: LayerImpl::forward"]}})
        self.update("old")

    def write(self, name, version, change=lambda text: text, other=""):
        package = self.folder / name / "sample"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        text = "from .tools import Base, cached, strict\n" + textwrap.dedent(FUNCTION) + textwrap.dedent(CLASS)
        (package / "layers.py").write_text(change(text))
        (package / "other.py").write_text(other)
        (self.folder / name / f"sample-{version}.dist-info").mkdir()

    def write_list(self, objects):
        self.list.write_text(json.dumps({"looked_at": {}, "modules": {"sample.layers": {"objects": objects}}}))

    def update(self, name, *names):
        watched = source_watch.Watched(self.list)
        return watched.update(source_watch.Packages(self.folder / name), names)

    def check(self, name, pinned=("sample",)):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            status = source_watch.check(source_watch.Watched(self.list), source_watch.Packages(self.folder / name),
                                        set(pinned), self.folder)
        lines = [line for line in said.getvalue().splitlines() if line]
        return status, lines[:-1]

    def test_are_none_where_nothing_changed(self):
        self.assertEqual(self.check("old"), (0, []))
        self.write("same", "1.0", lambda text: text.replace("half = x", "# a comment\n    half = x"))
        self.assertEqual(self.check("same"), (0, []))

    def test_name_what_changed_its_counterpart_and_the_command(self):
        self.write("new", "1.0", lambda text: text.replace("x * self.width", "x + self.width"))
        self.assertEqual(self.check("new"), (1, [
            "changed: sample.layers:Layer.forward; here: src/layer.cpp: LayerImpl::forward; when it has been looked "
            "at: scripts/source_watch --update sample.layers:Layer.forward"]))

    def test_name_what_is_gone_and_what_is_new(self):
        self.write("new", "1.0", lambda text: text.replace("def __init__", "def build"))
        status, lines = self.check("new")
        self.assertEqual(status, 1)
        self.assertEqual([line.split(";")[0] for line in lines],
                         ["gone: sample.layers:Layer.__init__", "new: sample.layers:Layer.build"])

    def test_do_not_name_what_is_skipped(self):
        self.write("new", "1.0", lambda text: text.replace('"conv"', '"linear"'))
        self.assertEqual(self.check("new"), (0, []))

    def test_say_where_a_source_has_gone(self):
        moved = textwrap.dedent(FUNCTION)
        for name, other, expected in (
                ("moved", moved, "moved: sample.layers:mix to sample.other, as it was"),
                ("changed", moved.replace("0.5", "2"),
                 "gone: sample.layers:mix (sample.other has one of that name, which is not the same)"),
                ("gone", "", "gone: sample.layers:mix")):
            self.write(name, "1.0", lambda text: text.replace(moved, ""), other)
            _, lines = self.check(name)
            self.assertEqual([line.split(";")[0] for line in lines], [expected])
        self.write("inside", "1.0", lambda text: text.replace(
            "    def forward", "class Part(Base):\n    def forward"))
        _, lines = self.check("inside")
        self.assertEqual(lines[0].split(";")[0], "moved: sample.layers:Layer.forward to Part.forward")

    def test_name_what_a_source_now_takes_from_elsewhere(self):
        self.write("new", "1.0", lambda text: text.replace("import Base,", "import").replace(
            "from .tools", "from .bases import Base\nfrom .tools"))
        _, lines = self.check("new")
        self.assertEqual([line.split(";")[0] for line in lines],
                         ["changed: sample.layers takes Base from sample.bases:Base, not sample.tools:Base"])

    def test_are_notes_for_another_version_of_what_nothing_pins(self):
        self.write("new", "1.1", lambda text: text.replace("0.5", "0.25"))
        status, lines = self.check("new", pinned=())
        self.assertEqual(status, 0)
        self.assertRegex(lines[0], "^note: changed: sample.layers:mix; ")
        self.assertEqual(lines[1], "note: sample 1.1 is installed, 1.0 was looked at")
        self.assertEqual(self.check("new")[0], 1)
        self.write("same version", "1.0", lambda text: text.replace("0.5", "0.25"))
        self.assertEqual(self.check("same version", pinned=())[0], 1)

    def test_end_with_an_update(self):
        self.write("new", "1.1", lambda text: text.replace("0.5", "0.25").replace("= 64", "= 32"))
        self.assertEqual(self.update("new", "sample.layers:mix"), [])
        status, lines = self.check("new")
        self.assertEqual([line.split(";")[0] for line in lines if not line.startswith("note")],
                         ["changed: sample.layers:Layer.width"])
        self.assertEqual(self.update("new", "sample.layers:Layer.width"), [])
        self.assertEqual(self.check("new")[0], 0)
        self.assertEqual(json.loads(self.list.read_text())["looked_at"], {"sample": "1.0"})
        self.update("new")
        self.assertEqual(json.loads(self.list.read_text())["looked_at"], {"sample": "1.1"})
        self.assertEqual(self.check("new"), (0, []))

    def test_stay_where_an_update_does_not_find_everything(self):
        self.write("new", "1.0", lambda text: text.replace("def mix", "def blend"))
        before = self.list.read_text()
        self.assertEqual(self.update("new", "sample.layers:mix"), ["sample.layers:mix"])
        self.assertEqual(self.list.read_text(), before)
        self.assertEqual(self.update("new", "sample.layers:Layer.width"), [])

    def test_name_counterparts_that_are_not_there(self):
        for here, problem in (("src/gone.cpp", "there is no file src/gone.cpp"),
                              ("src/layer.cpp: Layer", "Layer does not stand in src/layer.cpp"),
                              ("src/layer.cpp: Vanished", "Vanished does not stand in src/layer.cpp"),
                              ("src/layer.cpp: forward", "forward does not stand in src/layer.cpp")):
            self.write_list({"mix": {"here": [here]}})
            self.update("old")
            self.assertEqual(self.check("old"), (1, [f"sample.layers:mix: {problem}"]))

    def test_compare_two_folders(self):
        self.write("new", "2.0", lambda text: text.replace("half + x", "cached(half) + x"))
        command = [sys.executable, ROOT / "scripts" / "source_watch.py", "--list", self.list, "--against",
                   self.folder / "new", "--base"]
        run = subprocess.run([*command, self.folder / "old", "--diff"], capture_output=True, text=True, timeout=120)
        self.assertEqual((run.returncode, run.stderr), (1, ""))
        self.assertEqual(run.stdout.splitlines()[0], "changed: sample.layers:mix; here: src/layer.cpp")
        self.assertIn("    +        return cached(half) + x\n", run.stdout)
        self.assertIn("    -        return half + x\n", run.stdout)
        self.assertIn("sample 1.0 -> 2.0: 3 watched, 1 changed, 0 new, 0 moved, 0 gone", run.stdout)
        run = subprocess.run([*command, self.folder / "new"], capture_output=True, text=True, timeout=120)
        self.assertEqual(run.returncode, 0, run.stdout)

    def test_name_helpers_that_a_changed_source_uses_and_the_list_lacks(self):
        self.write("new", "2.0", lambda text: text.replace("half + x", "total(half, x)") + "\ndef total(a, b): ...\n")
        watched = source_watch.Watched(self.list)
        old, new = (source_watch.Packages(self.folder / name) for name in ("old", "new"))
        found = source_watch.differences(watched.entries, lambda entry: entry.hashes, watched.imports, new, old)
        self.assertEqual([one.note for one in found], ["(uses total, not in the list)"])


class TheList(unittest.TestCase):
    def test_names_what_is_here(self):
        watched = source_watch.Watched()
        self.assertGreater(len(watched.entries), 200)
        self.assertEqual(list(source_watch.problems_here(watched.entries)), [])

    def test_has_a_hash_of_everything(self):
        for entry in source_watch.Watched().entries:
            with self.subTest(entry.called()):
                self.assertTrue(entry.hashes)
                self.assertFalse(entry.skipped & entry.hashes.keys())
                self.assertTrue(dataclasses.asdict(entry)["here"])


if __name__ == "__main__":
    unittest.main()
