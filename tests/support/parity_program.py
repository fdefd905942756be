"""What the tests of `w2vbert parity` share; their first argument is the program."""

import html.parser
import pathlib
import subprocess
import sys
import tempfile
import unittest

import torch
from transformers.utils import logging

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(sys.argv[1]).resolve()
sys.path[:0] = [str(ROOT / "scripts")]
from pytorch_setup import prepare_pytorch  # noqa: E402


def run(*words):
    return subprocess.run([str(PROGRAM), *map(str, words)], capture_output=True, text=True)


class Page(html.parser.HTMLParser):
    """Collects the text, and what a page would fetch from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.text, self.fetched, self.pictures = "", [], 0
        self.feed(text)

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attributes):
        self.pictures += tag == "svg"
        self.fetched += [value for name, value in attributes if name in ("src", "href")]


class ParityProgramTest(unittest.TestCase):
    """Has a folder of its own, and two threads on both sides."""

    @classmethod
    def setUpClass(cls):
        logging.disable_progress_bar()
        prepare_pytorch()
        torch.set_num_threads(2)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)

    def assert_error(self, result, status, words):
        """One error line with `words` in it."""
        self.assertEqual(result.returncode, status, result.stderr)
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        self.assertEqual(len(errors), 1, result.stderr)
        self.assertIn(words, errors[0])


def main():
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
