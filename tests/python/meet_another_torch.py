"""Imports the package beside a torch or a Python that it was not built for: one clear line each."""

import subprocess
import sys
import unittest

HERE = "import torch\n"


class AnotherTorch(unittest.TestCase):
    def import_after(self, words):
        return subprocess.run([sys.executable, "-c", words + "\nimport w2vbert"], capture_output=True, text=True)

    def assert_one_line(self, words, pattern):
        result = self.import_after(words)
        self.assertEqual(result.returncode, 1)
        lines = result.stderr.splitlines()
        self.assertRegex(lines[-1], f"^ImportError: {pattern}")
        self.assertEqual(sum("Error: " in line for line in lines), 1, result.stderr)
        self.assertNotIn("During handling", result.stderr)
        self.assertNotIn("undefined symbol", result.stderr)

    def test_the_right_one(self):
        result = self.import_after(HERE)
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_another_version(self):
        for version in ("2.14.9", "99.0.0+cu130", "2.15.1.dev20260101", "unknown"):
            self.assert_one_line(HERE + f"torch.__version__ = {version!r}",
                                 r"w2vbert was built against torch \d+\.\d+\.\d+, this is torch "
                                 + version.replace(".", r"\.").replace("+", r"\+") + ": install w2vbert again")

    def test_another_abi(self):
        self.assert_one_line(HERE + "torch._C._GLIBCXX_USE_CXX11_ABI = not torch._C._GLIBCXX_USE_CXX11_ABI",
                             "w2vbert was built against a torch with _GLIBCXX_USE_CXX11_ABI")

    def test_no_torch(self):
        self.assert_one_line("import sys; sys.modules['torch'] = None", "w2vbert needs torch")

    def test_another_python(self):
        self.assert_one_line("import sys; sys.version_info = type('V', (), {'major': 3, 'minor': 99})()",
                             r"w2vbert was built for Python \d+\.\d+, this is Python 3\.99")


if __name__ == "__main__":
    unittest.main(verbosity=2)
