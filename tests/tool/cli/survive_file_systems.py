"""Runs on real file systems in their bad hours: full ones, read-only ones, without hard links, and ext4 whose device
goes away as in a power cut. After each, what is finished is whole and stays, and the same command completes the rest.

    survive_file_systems.py PROGRAM FAULT_LIBRARY [--moments N]

Mounts are made in a namespace of the test's own; where that is not allowed, or a file system is missing, a test is
skipped and says why."""

import argparse
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from run_directories import errors_of, lines_of, outputs_of, stamp, temporaries_of, write_clips  # noqa: E402
from small_model import save_small_model  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("program", type=pathlib.Path)
parser.add_argument("library", type=pathlib.Path)
parser.add_argument("--moments", type=int, default=6, help="moments at which the device goes away, for each shape")
ARGUMENTS = parser.parse_args()
CLIPS = 6
SHAPES = {"clips": (), "npy": ("--output-format", "npy"), "shards": ("--shard-size", "2")}
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x00020000, 0x4000, 1 << 18
FS_IOC_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, struct.pack("I", 2)


def own_mounts():
    """Gives this process mounts of its own from now on. Why that is refused, or ""."""
    for result in (LIBC.unshare(CLONE_NEWNS), LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)):
        if result != 0:
            return os.strerror(ctypes.get_errno())
    return ""


MOUNTS_REFUSED = own_mounts()


def call(*words):
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if result.returncode != 0:
        raise unittest.SkipTest(f"`{' '.join(map(str, words))}` is not possible here: {result.stderr.strip()}")


class FileSystems(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        save_small_model(cls.folder / "model")
        write_clips(cls.folder / "clips", CLIPS)
        # A layer more than there are weights for: what is found before they are loaded ends the run first.
        shutil.copytree(cls.folder / "model", cls.folder / "broken")
        config = cls.folder / "broken" / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "num_hidden_layers": 2}))
        cls.expected = {}
        for shape in SHAPES:
            output = cls.folder / "undisturbed" / shape
            result = cls.extract(output, shape)
            assert result.returncode == 0, result.stderr
            cls.expected[shape] = {name: path.read_bytes() for name, path in outputs_of(output).items()}

    def setUp(self):
        if MOUNTS_REFUSED:
            self.skipTest(f"no mounts here: {MOUNTS_REFUSED}")

    @classmethod
    def command(cls, output, shape, model="model"):
        return [str(ARGUMENTS.program.resolve()), "extract", "--manifest", str(cls.folder / "clips"), "--model",
                str(cls.folder / model), "--output", str(output), "--threads", "1", "--batch-seconds", "0.5",
                *SHAPES[shape]]

    @classmethod
    def extract(cls, output, shape, model="model", **environment):
        return subprocess.run(cls.command(output, shape, model), capture_output=True, text=True,
                              env=dict(os.environ, **environment), timeout=120)

    @contextlib.contextmanager
    def mounted(self, kind, *options, source="none"):
        place = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        if kind not in pathlib.Path("/proc/filesystems").read_text().split():
            self.skipTest(f"this kernel has no {kind}")
        call("mount", "-t", kind, *options, source, place)
        try:
            yield place
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=True)

    def image(self, megabytes, *make):
        path = pathlib.Path(tempfile.mkstemp(dir=self.folder)[1])
        os.truncate(path, megabytes << 20)
        call(*make, path)
        return path

    def check_stopped(self, result, output):
        self.assertEqual(result.returncode, 5, result.stderr)
        errors = errors_of(result.stderr)
        self.assertEqual(len(errors), 1, errors)
        self.assertIn(str(output), errors[0])

    def check_whole(self, output, shape):
        found = {name: path.read_bytes() for name, path in outputs_of(output).items()}
        for name, content in found.items():
            self.assertEqual(content, self.expected[shape][name], name)
        return {name: stamp(output / name) for name in found}

    def check_completes(self, output, shape):
        finished = self.check_whole(output, shape)
        result = self.extract(output, shape)
        self.assertEqual(result.returncode, 0, result.stderr)
        after = self.check_whole(output, shape)
        self.assertEqual(set(after), set(self.expected[shape]))
        self.assertEqual({name: after[name] for name in finished}, finished)
        self.assertEqual(temporaries_of(output), [])

    # --- full ------------------------------------------------------------------------------------
    def check_full(self, kind, options, room_of, free, **source):
        """`room_of(place, bytes)` leaves that much room; `free(place)` frees it again."""
        for shape in SHAPES:
            needed = sum(map(len, self.expected[shape].values()))
            for part in (0, 0.3, 0.6, 0.9):
                with self.subTest(shape=shape, room=part), self.mounted(kind, *options, **source) as place:
                    output = place / f"{shape}{part}"
                    room_of(place, int(part * needed))
                    if part == 0:  # before the model is looked at, and nothing is made
                        self.check_stopped(self.extract(output, shape, model="broken"), output)
                        self.assertFalse(output.exists())
                    result = self.extract(output, shape)
                    if result.returncode != 0:  # what a block is decides whether it fits
                        self.check_stopped(result, output)
                    if output.exists():
                        self.check_whole(output, shape)
                        self.assertEqual(temporaries_of(output), [])
                    free(place)
                    self.check_completes(output, shape)

    def test_a_full_tmpfs(self):
        def room_of(place, size):
            subprocess.run(["mount", "-o", f"remount,size={max(size, 4096)}", str(place)], check=True)
            if size == 0:
                (place / "filler").write_bytes(bytes(4096))

        def free(place):
            subprocess.run(["mount", "-o", "remount,size=16m", str(place)], check=True)

        self.check_full("tmpfs", ("-o", "size=16m"), room_of, free)

    def test_a_full_ext4(self):
        image = self.image(8, "mkfs.ext4", "-q", "-m", "0")

        def room_of(place, size):
            for old in place.iterdir():
                if old.name != "lost+found":
                    subprocess.run(["rm", "-rf", str(old)], check=True)
            with (place / "filler").open("wb") as filler:
                try:
                    while True:
                        filler.write(bytes(4096))
                        filler.flush()
                except OSError as error:
                    self.assertEqual(error.errno, errno.ENOSPC)
                if size:
                    os.truncate(filler.name, max(0, filler.tell() - size))

        def free(place):
            (place / "filler").unlink()

        self.check_full("ext4", ("-o", "loop"), room_of, free, source=image)

    # --- read-only -------------------------------------------------------------------------------
    def test_read_only(self):
        for shape in SHAPES:
            with self.subTest(shape=shape), self.mounted("tmpfs", "-o", "size=16m") as place:
                output = place / "output"
                self.assertEqual(self.extract(output, shape).returncode, 0)
                next(iter(outputs_of(output).values())).unlink()
                before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
                subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
                self.check_stopped(self.extract(output, shape), output)
                self.check_stopped(self.extract(place / "new", shape, model="broken"), place / "new")
                after = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
                self.assertEqual(after, before)
                for command, status in (("status", 0), ("verify", 5)):  # one is missing
                    result = subprocess.run([str(ARGUMENTS.program.resolve()), command, str(output)],
                                            capture_output=True, text=True)
                    self.assertEqual(result.returncode, status, result.stderr)
                subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
                self.check_completes(output, shape)

    # --- without hard links ----------------------------------------------------------------------
    def check_without_hard_links(self, output, **environment):
        for shape in SHAPES:
            with self.subTest(shape=shape):
                result = self.extract(output / shape, shape, **environment)
                if result.returncode != 0:  # refused, then before the model is looked at
                    self.check_stopped(result, output / shape)
                    new = output / f"{shape}-new"
                    self.check_stopped(self.extract(new, shape, "broken", **environment), new)
                    continue
                self.assertEqual(set(self.check_whole(output / shape, shape)), set(self.expected[shape]))
                next(iter(outputs_of(output / shape).values())).unlink()
                self.assertEqual(self.extract(output / shape, shape, **environment).returncode, 0)
                self.assertEqual(set(self.check_whole(output / shape, shape)), set(self.expected[shape]))
                self.assertEqual(temporaries_of(output / shape), [])

    def test_vfat(self):
        with contextlib.ExitStack() as stack:
            if subprocess.run(["which", "mkfs.vfat"], capture_output=True).returncode != 0:
                self.skipTest("mkfs.vfat is not installed")
            place = stack.enter_context(self.mounted("vfat", "-o", "loop", source=self.image(16, "mkfs.vfat")))
            self.check_without_hard_links(place)

    def test_neither_hard_links_nor_renames_that_do_not_replace(self):
        for calls in (f"link={errno.EPERM}", f"link={errno.EPERM},renameat2={errno.EINVAL}",
                      f"link={errno.EOPNOTSUPP},renameat2={errno.ENOSYS}"):
            with self.subTest(calls=calls):
                output = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
                self.check_without_hard_links(
                    output, LD_PRELOAD=str(ARGUMENTS.library.resolve()), FAULT_BELOW=str(output), FAULT_CALL=calls,
                    FAULT_AT="1", FAULT_TIMES="0")

    # --- a power cut -----------------------------------------------------------------------------
    def test_the_device_of_an_ext4_goes_away(self):
        moments = random.Random(3)
        image = self.image(16, "mkfs.ext4", "-q", "-m", "0")
        start = time.perf_counter()
        self.extract(self.folder / "timed", "clips")
        longest = time.perf_counter() - start
        for shape in SHAPES:
            for moment in range(ARGUMENTS.moments):
                with self.subTest(shape=shape, moment=moment):
                    with self.mounted("ext4", "-o", "loop", source=image) as place:
                        output = place / f"{shape}{moment}"
                        process = subprocess.Popen(self.command(output, shape), stdout=subprocess.DEVNULL,
                                                   stderr=subprocess.PIPE, text=True)
                        while not output.exists() and process.poll() is None:
                            time.sleep(0.001)
                        time.sleep(longest * moments.random() / 4)
                        descriptor = os.open(place, os.O_RDONLY)
                        try:
                            fcntl.ioctl(descriptor, FS_IOC_SHUTDOWN, NO_LOG_FLUSH)
                        except OSError as error:
                            self.skipTest(f"the device cannot be taken away here: {error}")
                        finally:
                            os.close(descriptor)
                            stderr = process.communicate(timeout=60)[1]
                        self.assertIn(process.returncode, (0, 5), stderr)
                        self.assertEqual(len(errors_of(stderr)), 1 if process.returncode == 5 else 0, stderr)
                        ended_well = process.returncode == 0
                    with self.mounted("ext4", "-o", "loop", source=image) as place:  # replays the file system's journal
                        output = place / f"{shape}{moment}"
                        if output.exists():
                            there = self.check_whole(output, shape)
                            for journal in output.glob("journal*.jsonl"):
                                for line in self.whole_lines(journal):
                                    if shape != "shards" and "name" in line:
                                        self.assertIn(line["name"], {name.rsplit(".", 1)[0] for name in there})
                            if ended_well:
                                self.assertEqual(set(there), set(self.expected[shape]))
                        self.check_completes(output, shape)

    @staticmethod
    def whole_lines(path):
        """The last one may be torn."""
        text = path.read_text()
        whole = path.with_suffix(".whole")
        whole.write_text(text[: text.rfind("\n") + 1])
        lines = lines_of(whole)
        whole.unlink()
        return lines


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
