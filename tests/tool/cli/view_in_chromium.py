"""Opens pages of `w2vbert view` in a headless Chromium: they fetch nothing and complain of nothing, draw what they
hold, play, and follow the mouse and the keys. Skipped where Chromium is not installed.

    view_in_chromium.py PROGRAM"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

import numpy
import soundfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]
from chromium import Chromium, find_chromium  # noqa: E402
from pytorch_setup import prepare_pytorch  # noqa: E402
from recorded_speech import FRONT_CENTER, read_first_channel  # noqa: E402
from view_page import CLASSES, EVIL, ViewPage, save_model  # noqa: E402

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
RATE = 16000
WIDTH, HEIGHT = 1000, 900
TRACKS = {"encoder": [], "ctc": ["Words", "Characters"], "adapter": ["Words", "Characters"], "classifier": ["Labels"],
          "segmenter": ["Labels"], "sigmoid": ["Labels"], "many": ["Labels"], "speaker": []}
# How many colours the canvas of each track has.
COLOURS = """tracks.map(({canvas}) => {
  const copy = document.createElement("canvas");
  Object.assign(copy, {width: canvas.width, height: canvas.height});
  const context = copy.getContext("2d", {willReadFrequently: true});
  context.drawImage(canvas, 0, 0);
  return new Set(new Uint32Array(context.getImageData(0, 0, copy.width, copy.height).data.buffer)).size;
})"""
# Where a part of the page is on the screen.
BOX = "(({{x, y, width, height}}) => [x, y, width, height])({}.getBoundingClientRect())"


class ViewInChromium(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        prepare_pytorch()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.clip = cls.folder / "clip.wav"
        samples = read_first_channel(FRONT_CENTER)
        soundfile.write(cls.clip, samples, RATE)
        for name in CLASSES:
            save_model(name, cls.folder / name)
        cls.browser = cls.enterClassContext(Chromium())

    def make(self, name, *words, clip=None, page="page"):
        path = self.folder / f"{page}.html"
        subprocess.run([PROGRAM, "view", os.fsencode(clip or self.clip), "--model", self.folder / name, "--output",
                        path, "--quiet", "--threads", "2", *map(str, words)], check=True)
        return path

    def setUp(self):
        self.opened = None
        self.addCleanup(self.assert_quiet)

    def open(self, name, *words, width=WIDTH, dark=False, **more):
        """Makes a page and opens it; what the one before it complained of and asked for is looked at first."""
        self.assert_quiet()
        self.opened = self.make(name, *words, **more)
        self.browser.resize(width, HEIGHT, dark)
        self.browser.open(self.opened)
        return ViewPage(self.opened)

    def assert_quiet(self):
        if self.opened:
            self.assertEqual(self.browser.complaints, [])
            self.assertEqual([url for url in self.browser.requests if not url.startswith("blob:")],
                             [self.opened.as_uri()])

    def wait_for(self, expression):
        until = time.monotonic() + 30
        while not self.js(expression):
            self.assertLess(time.monotonic(), until, expression)
            time.sleep(0.05)

    def js(self, expression):
        return self.browser.evaluate(expression)

    def x_of(self, time_in_clip):
        left, _, width, _ = self.js(BOX.format("element('tracks')"))
        return left + self.js(f"xOf({time_in_clip}, {width})")

    def cursor_x(self):
        left, *_ = self.js(BOX.format("element('cursor')"))
        return left

    def assert_at(self, seconds):
        """The position, the clock, the control and the cursor."""
        self.assertAlmostEqual(self.js("position"), seconds, delta=0.01)
        self.assertAlmostEqual(float(self.js("element('position').value")), seconds, delta=0.01)
        self.assertTrue(self.js("element('clock').textContent").startswith(f"0:{seconds:05.2f} / "),
                        self.js("element('clock').textContent"))
        if not self.js("element('cursor').hidden"):
            self.assertAlmostEqual(self.cursor_x(), self.x_of(seconds), delta=2)

    def test_every_class_has_its_tracks_with_the_values_of_the_page(self):
        for name, more in TRACKS.items():
            with self.subTest(name):
                page = self.open(name, page=name)
                self.assertEqual(self.js("tracks.map(({name}) => name)"),
                                 ["", "Waveform", "Log-mel", "States", *more])
                self.assertTrue(all(colours > 1 for colours in self.js(COLOURS)), self.js(COLOURS))
                for grid in ("waveform", "logMel", "energies", "curves"):
                    if grid not in page.data:
                        continue
                    values, _ = page.grid(grid)
                    found = numpy.array(self.js(
                        f"Array.from({{length: data.{grid}.rows}}, (_, row) => Array.from("
                        f"{{length: data.{grid}.columns}}, (_, column) => data.{grid}.value(row, column)))"))
                    numpy.testing.assert_allclose(found, values, rtol=1e-12, atol=1e-12)
                self.assertEqual(self.js("[...element('facts').rows].map((row) => row.cells[1].textContent)"),
                                 [value for _, value in page.data["facts"]])

    def test_texts_are_shown_as_they_are_and_never_run(self):
        name = os.fsencode(self.folder) + b"/<b onclick=hacked=1>\xff.wav"
        pathlib.Path(os.fsdecode(name)).write_bytes(self.clip.read_bytes())
        for model, summary in (("ctc", "Characters"), ("segmenter", "Segments"), ("classifier", "Labels")):
            self.open(model, clip=name, page=model)
            self.assertEqual(self.js("document.querySelector('h1').textContent"), r"<b onclick=hacked=1>\xff.wav")
            self.js("for (const details of document.querySelectorAll('details')) details.open = true;")
            self.wait_for("document.querySelectorAll('#answers td').length > 0")
            self.assertIn(EVIL, self.js("element('answers').textContent"), summary)
            self.assertEqual(self.js("typeof hacked"), "undefined")

    def test_its_policy_lets_nothing_else_run_and_nothing_be_fetched(self):
        self.open("encoder")
        violated = self.js("""new Promise((done) => {
          const found = [];
          document.addEventListener("securitypolicyviolation", (event) => {
            found.push(event.effectiveDirective);
            if (found.length === 3) done(found.sort());
          });
          const script = document.createElement("script");
          script.textContent = "hacked = 1";
          document.body.append(script);
          const image = document.createElement("img");
          image.src = "http://127.0.0.1:9/";
          document.body.append(image);
          fetch("http://127.0.0.1:9/").catch(() => 0);
        })""")
        self.assertEqual(violated, ["connect-src", "img-src", "script-src-elem"])
        self.assertEqual(self.js("typeof hacked"), "undefined")
        self.browser.complaints.clear()  # it has told of them
        self.browser.requests[1:] = []

    def test_a_click_goes_there_and_the_readout_tells_the_value(self):
        page = self.open("ctc")
        for number, (name, grid) in enumerate((("Waveform", "waveform"), ("Log-mel", "logMel"), ("States", "energies")),
                                              1):
            values, _ = page.grid(grid)
            _, top, _, height = self.js(BOX.format(f"tracks[{number}].canvas"))
            seconds = 0.2 * number + 0.05
            row = values.shape[0] // 2
            y = top + height * (1 - (row + 0.5) / values.shape[0])
            self.browser.click(self.x_of(seconds), y)
            self.assert_at(seconds)
            self.browser.move(self.x_of(seconds), y)
            told = self.js("element('readout').textContent")
            self.assertIn(name, told)
            column = int(self.js("position") / page.data[grid]["secondsPerColumn"])
            shown = [0, 1] if grid == "waveform" else [row]
            numbers = [self.js(f"numberText({values[one, column]})") for one in shown]
            self.assertTrue(told.endswith(" to ".join(numbers)), (told, numbers))
        text, start, end, score = page.data["words"][-1]
        _, top, _, height = self.js(BOX.format("tracks[4].canvas"))
        self.browser.move(self.x_of((start + end) / 2), top + height / 2)
        self.assertIn(f"“{text}”, {start:.2f} to {end:.2f} s, score {score:.3f}",
                      self.js("element('readout').textContent"))

    def test_space_plays_and_pauses_and_the_cursor_moves_over_all_tracks(self):
        self.open("segmenter")
        self.browser.press(" ")
        self.wait_for("position >= 0.3")
        self.assertEqual(self.js("element('play').textContent"), "Pause")
        self.browser.press(" ")
        self.assertTrue(self.js("audio.paused"))
        self.wait_for("element('play').textContent === 'Play'")
        self.assertAlmostEqual(self.js("audio.currentTime"), self.js("position"), delta=0.1)
        self.assertAlmostEqual(self.cursor_x(), self.x_of(self.js("position")), delta=2)
        _, top, _, height = self.js(BOX.format("element('cursor')"))
        for number in range(self.js("tracks.length")):
            _, y, _, room = self.js(BOX.format(f"tracks[{number}].canvas"))
            self.assertTrue(top <= y and y + room <= top + height)
        # It ends with the clip, and begins again.
        self.js("seek(seconds - 0.1)")
        self.browser.press(" ")
        self.wait_for("audio.ended && audio.paused")
        self.assert_at(self.js("seconds"))
        self.assertTrue(self.js("position === seconds"))
        self.browser.press(" ")
        self.wait_for("position < 0.5")

    def test_the_keys_seek_and_zoom(self):
        self.open("encoder")
        seconds = self.js("seconds")
        self.assert_at(0)
        for key, shift, wanted in (("ArrowRight", False, 1), ("ArrowRight", True, 1.1), ("ArrowLeft", True, 1),
                                   ("End", False, seconds), ("ArrowRight", False, seconds), ("Home", False, 0),
                                   ("ArrowLeft", False, 0)):
            self.browser.press(key, shift)
            self.assert_at(wanted)
            self.assertAlmostEqual(self.js("audio.currentTime"), wanted, delta=0.01)
        self.assertEqual(self.js("[view.start, view.end]"), [0, seconds])
        self.assertTrue(self.js("element('overview').hidden"))
        self.js("seek(seconds / 2)")
        self.browser.press("+")
        start, end = self.js("[view.start, view.end]")
        self.assertAlmostEqual(start, seconds / 4)
        self.assertAlmostEqual(end, seconds * 3 / 4)
        self.wait_for("!element('overview').hidden")
        self.assert_at(seconds / 2)
        self.browser.press("Home")  # what is not in sight comes into it
        self.assertEqual(self.js("view.start"), 0)
        self.browser.press("-")
        self.browser.press("+")
        self.browser.press("0")
        self.assertEqual(self.js("[view.start, view.end]"), [0, seconds])
        # A button has Space for itself.
        self.js("element('zoom-in').focus()")
        self.browser.press(" ")
        self.assertAlmostEqual(self.js("view.end - view.start"), seconds / 2)
        self.assertTrue(self.js("audio.paused"))
        self.js("element('play').focus()")
        self.browser.press(" ")
        self.assertFalse(self.js("audio.paused"))
        self.js("element('position').focus()")
        self.browser.press(" ")
        self.assertTrue(self.js("audio.paused"))

    def test_the_words_of_the_table_lead_to_their_places(self):
        page = self.open("ctc")
        self.assertEqual(self.js("element('answers').querySelector('p').textContent"), page.data["text"])
        self.js("element('answers').querySelector('details').open = true")
        self.wait_for("document.querySelectorAll('#answers td').length > 0")
        cells = "[...element('answers').querySelectorAll('tbody tr')].map((row) => row.cells[0].textContent)"
        self.assertEqual(self.js(cells), [word[0] for word in page.data["words"]])
        self.js("[...element('answers').querySelectorAll('tbody button')].at(-1).click()")
        self.assert_at(page.data["words"][-1][1])

    def test_long_tables_grow_when_asked_to(self):
        clip = self.folder / "talk.wav"
        samples, _ = soundfile.read(self.clip, dtype="float32")
        soundfile.write(clip, numpy.tile(samples, 30), RATE)
        page = self.open("ctc", clip=clip)
        characters = page.data["characters"]
        at_once = self.js("ROWS_AT_ONCE")
        self.assertGreater(len(characters), at_once)
        table = "element('answers').querySelectorAll('details')[1]"
        rows = f"{table}.querySelectorAll('tbody tr').length"
        more = f"{table}.querySelector('.scroll > button')"
        self.js(f"{table}.open = true")
        self.wait_for(f"{rows} === {at_once}")
        self.assertEqual(self.js(f"{more}.textContent"), f"{min(at_once, len(characters) - at_once)} more")
        while not self.js(f"{more}.hidden"):
            self.js(f"{more}.click()")
        self.assertEqual(self.js(f"[...{table}.querySelectorAll('tbody tr')].map((row) => row.cells[0].textContent)"),
                         [text for text, *_ in characters])

    def test_a_page_without_audio_plays_the_file_that_is_chosen(self):
        self.open("encoder", "--playback-seconds", 0)
        self.assertTrue(self.js("element('play').disabled"))
        self.assertFalse(self.js("element('chooser').hidden"))
        self.assertIn("The audio is not in this page", self.js("element('playback').textContent"))
        self.browser.press("ArrowRight")  # the cursor moves all the same
        self.assert_at(1)
        root = self.browser.call("DOM.getDocument")["root"]["nodeId"]
        node = self.browser.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        longer = self.folder / "longer.wav"
        soundfile.write(longer, numpy.zeros(5 * RATE), RATE)
        for file, told in ((longer, "is it the recording"), (self.clip, "")):
            self.browser.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])
            self.wait_for(f"audio.readyState > 0 && element('playback').textContent.includes('{told}')")
        self.assertAlmostEqual(self.js("audio.currentTime"), 1, delta=0.01)
        self.browser.press(" ")
        self.assertFalse(self.js("audio.paused"))
        self.browser.press(" ")

    def test_a_long_recording_begins_with_a_part_of_it(self):
        clip = self.folder / "long.wav"
        generator = numpy.random.default_rng(0)
        soundfile.write(clip, 0.1 * generator.standard_normal(90 * RATE), RATE)
        self.open("encoder", clip=clip)
        self.assertEqual(self.js("[view.start, view.end]"), [0, 30])
        self.assertFalse(self.js("element('overview').hidden"))
        left, top, width, height = self.js(BOX.format("element('overview')"))
        self.browser.click(left + width / 2, top + height / 2)
        self.assertAlmostEqual(self.js("view.start"), 30, delta=0.2)
        self.wait_for("element('cursor').hidden")
        for _ in range(20):
            self.browser.press("+")
        self.assertAlmostEqual(self.js("view.end - view.start"), self.js("MIN_VIEW_SECONDS"))
        self.assertTrue(all(colours > 1 for colours in self.js(COLOURS)[1:3]))

    def test_fits_a_narrow_window_and_the_dark(self):
        pages = {}
        for dark in (False, True):
            for width in (360, WIDTH):
                self.open("many", width=width, dark=dark)
                self.assertLessEqual(self.js("document.documentElement.scrollWidth"), width)
                self.assertTrue(all(colours > 1 for colours in self.js(COLOURS)))
            pages[dark] = self.js("getComputedStyle(document.body).backgroundColor")
        self.assertNotEqual(pages[False], pages[True])
        # A change of it draws anew.
        before = self.js("tracks[1].canvas.toDataURL()")
        self.browser.resize(WIDTH, HEIGHT, dark=False)
        self.wait_for(f"tracks[1].canvas.toDataURL() !== {json.dumps(before)}")

    def test_has_names_for_those_who_do_not_see_it(self):
        self.open("ctc")
        nodes = self.browser.call("Accessibility.getFullAXTree")["nodes"]
        found = {}
        for node in nodes:
            if not node.get("ignored"):
                found.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
        for role in ("button", "slider", "image", "checkbox", "heading"):
            self.assertTrue(found.get(role), role)
            self.assertTrue(all(found[role]), (role, found[role]))
        self.assertEqual(self.js("document.title"), "clip.wav")
        self.assertEqual(self.js("document.documentElement.lang"), "en")
        self.assertIn("0:00.00 of", self.js("element('position').getAttribute('aria-valuetext')"))


if __name__ == "__main__":
    if find_chromium() is None:
        print("skipped: no Chromium is installed; on Debian: apt-get install chromium")
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
