"""scripts/cuda_stand_ins.py on a small PyTorch, with versions that no machine has: tests/package/cuda_stand_ins.py
SCRIPT. Needs gcc."""

import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(sys.argv.pop(1)).resolve()

CALLER = """
void cublasCreate_v2(void); void cudnnCreate(void); void ncclCommAbort(void); void cudaMalloc(void);
void call_cublas(void) { cublasCreate_v2(); }
void call_all(void) { cudnnCreate(); ncclCommAbort(); cudaMalloc(); }
"""


class CudaStandIns(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.packages = pathlib.Path(folder.name)
        self.torch = self.packages / "torch" / "lib"
        self.cuda = self.packages / "nvidia" / "cu13" / "lib"
        self.torch.mkdir(parents=True)
        self.cuda.mkdir(parents=True)

        def library(soname, function, versions=None):
            options = []
            if versions:
                script = self.packages / "versions"
                script.write_text(versions)
                options = [f"-Wl,--version-script={script}"]
            self.compile(self.cuda / soname, f"void {function}(void) {{}}", *options)
            return self.cuda / soname

        installed = library("libcudart.so.13", "cudaMalloc", "libcudart.so.13 { global: cudaMalloc; };")
        self.missing = [
            library("libcublas.so.999", "cublasCreate_v2", "libcublas.so.999 { global: cublasCreate_v2; };"),
            library("libcudnn.so.999", "cudnnCreate", "libcudnn.so.999 { global: cudnnCreate; };"),
            library("libnccl.so.999", "ncclCommAbort"),
        ]
        self.compile(self.torch / "libtorch_cpu.so", CALLER, installed, *self.missing,
                     "-Wl,-rpath,$ORIGIN:$ORIGIN/../../nvidia/nccl/lib:$ORIGIN/../../nvidia/cu13/lib")
        for path in self.missing:
            path.unlink()
        self.installed = installed

    def compile(self, path, text, *options):
        subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-x", "none", f"-Wl,-soname,{path.name}",
                        "-o", path, *options], input=text, text=True, check=True)

    def load(self, then=""):
        """Loads the library as Python loads an extension, all functions bound at once."""
        return subprocess.run([sys.executable, "-c", f"""
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
{then}
""", self.torch / "libtorch_cpu.so"], stderr=subprocess.PIPE, text=True)

    def test_lets_a_library_load_without_the_cuda_libraries_that_it_names(self):
        self.assertNotEqual(self.load().returncode, 0)
        subprocess.run([sys.executable, SCRIPT, self.packages], check=True)
        result = self.load()
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_names_the_function_that_is_called_after_all(self):
        subprocess.run([sys.executable, SCRIPT, self.packages], check=True)
        result = self.load("library.call_cublas()")
        self.assertEqual(result.returncode, -signal.SIGABRT)
        self.assertIn("error: cublasCreate_v2: ", result.stderr)
        self.assertIn("without libcublas.so.999", result.stderr)

    def test_leaves_alone_what_is_installed(self):
        before = self.installed.read_bytes()
        subprocess.run([sys.executable, SCRIPT, self.packages], check=True)
        self.assertEqual(self.installed.read_bytes(), before)


if __name__ == "__main__":
    unittest.main()
