"""Runs every command of docs/cluster.md as it stands there, with launchers that give their processes the variables of
the real ones (torchrun is the real one), and compares what comes out with what one process writes.

    run_on_cluster.py PROGRAM"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from run_directories import lines_of, outputs_of, write_clips  # noqa: E402
from small_model import save_small_model  # noqa: E402

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
CLIPS = 12
# Each starts its processes at once, with the variables that the real one sets, and waits for them.
LAUNCHERS = {
    "srun": """
n = os.environ.get("SLURM_NTASKS", "1")
words = sys.argv[1:]
while words[0].startswith("-"):
    if words[0].startswith("--ntasks="):
        n = words[0].removeprefix("--ntasks=")
    words = words[1:]
run([(words, {"SLURM_PROCID": i, "SLURM_NTASKS": n, "SLURM_STEP_NUM_TASKS": n, "SLURM_LOCALID": i})
     for i in range(int(n))])
""",
    "sbatch": """
script = sys.stdin.read()
assert sys.argv[1:] == ["--wait"], sys.argv
options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", script, re.M))
assert set(options) <= {"array", "ntasks", "cpus-per-task", "signal"}, options
batch = {"SLURM_PROCID": 0, "SLURM_NTASKS": options.get("ntasks", "1"), "SLURM_JOB_ID": 1}
words = ["sh", "-c", script]
if "array" in options:
    first, last = map(int, options["array"].split("-"))
    run([(words, {**batch, "SLURM_ARRAY_TASK_ID": i, "SLURM_ARRAY_TASK_COUNT": last - first + 1,
                  "SLURM_ARRAY_TASK_MIN": first, "SLURM_ARRAY_TASK_STEP": 1}) for i in range(first, last + 1)])
else:
    run([(words, batch)])
""",
    "mpirun": """
assert sys.argv[1] == "-n", sys.argv
n = sys.argv[2]
names = os.environ["FAKE_MPI"].split(",")
run([(sys.argv[3:], {names[0]: i, names[1]: n}) for i in range(int(n))])
""",
    "parallel": """
words = sys.argv[1:]
pipe = "--pipe" in words
assert not pipe or words[1:4] == ["-N", "1", "--round-robin"], words  # else blocks of a megabyte
words = words[4:] if pipe else words
assert words[0] == "-j", words
jobs, words = int(words[1]), words[2:]
lines = sys.stdin.read().splitlines(keepends=True)
if pipe:
    outputs = [subprocess.run(words, input="".join(lines[i::jobs]), stdout=subprocess.PIPE, text=True,
                              check=True).stdout for i in range(jobs)]
    print("".join(outputs), end="")
else:
    run([([word.replace("{}", line.strip()) for word in words], {}) for line in lines])
""",
}
HEAD = f"""#!{sys.executable}
import os, re, subprocess, sys

def run(tasks):
    processes = [subprocess.Popen(words, env={{**os.environ, **{{name: str(value) for name, value in more.items()}}}})
                 for words, more in tasks]
    sys.exit(max(process.wait() for process in processes))
"""
MPIS = ("OMPI_COMM_WORLD_RANK,OMPI_COMM_WORLD_SIZE", "PMI_RANK,PMI_SIZE", "MV2_COMM_WORLD_RANK,MV2_COMM_WORLD_SIZE")


def blocks():
    """(section, commands) of the document."""
    section, found = "", []
    for heading, language, body in re.findall(r"^## ([^\n]*)$|^```(\w*)\n(.*?)^```$",
                                              (ROOT / "docs" / "cluster.md").read_text(), re.M | re.S):
        section = heading or section
        if language == "sh":
            found.append((section, body))
    return found


class Cluster(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        save_small_model(self.folder / "model")
        write_clips(self.folder / "clips", CLIPS)
        commands = self.folder / "bin"
        commands.mkdir()
        (commands / "w2vbert").symlink_to(PROGRAM)
        for name, text in LAUNCHERS.items():
            (commands / name).write_text(HEAD + text)
            (commands / name).chmod(0o755)
        launcher_variables = re.compile("RANK|WORLD_SIZE|OMPI_|PMI|MV2_|SLURM_|MASTER_")
        self.environment = {name: value for name, value in os.environ.items() if not launcher_variables.search(name)}
        self.environment.update(PATH=f"{commands}:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
                                XDG_CACHE_HOME=str(self.folder / "cache"), OMP_NUM_THREADS="1")
        self.run_in(self.folder, "w2vbert extract --manifest clips --model model --output expected")
        self.expected = {name: path.read_bytes() for name, path in outputs_of(self.folder / "expected").items()}
        self.assertEqual(len(self.expected), CLIPS)

    def run_in(self, folder, commands, **more):
        result = subprocess.run(["sh", "-e", "-c", commands], cwd=folder, capture_output=True, text=True,
                                env={**self.environment, **more})
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stderr

    def scratch(self):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        for name in ("model", "clips"):
            (folder / name).symlink_to(self.folder / name)
        return folder

    def test_every_command_does_all_of_it_once(self):
        seen = []
        for section, commands in blocks():
            variants = [{"FAKE_MPI": names} for names in MPIS] if section == "mpirun" else [{}]
            for more in variants:
                with self.subTest(section, **more):
                    seen.append(section)
                    folder = self.scratch()
                    if section == "The worker":
                        self.expect_answers(folder, commands)
                        continue
                    self.run_in(folder, commands, **more)
                    outputs = outputs_of(folder / "states")
                    self.assertEqual({name: path.read_bytes() for name, path in outputs.items()}, self.expected)
                    # Several processes did some of it, and no two the same.
                    written = [line["name"] for journal in (folder / "states").glob("journal*.jsonl")
                               for line in lines_of(journal) if "sha256" in line]
                    self.assertEqual(len(written), CLIPS)
                    self.assertGreater(len(list((folder / "states").glob("journal*.jsonl"))), 1)
                    self.run_in(folder, "w2vbert status states && w2vbert verify states")
        self.assertEqual(set(seen), {"Plain processes", "GNU parallel", "torchrun", "mpirun", "Slurm", "The worker"})
        self.assertEqual(seen.count("Slurm"), 2)
        self.assertEqual(seen.count("The worker"), 2)

    def expect_answers(self, folder, commands):
        (folder / "written").mkdir()
        clips = sorted(str(path.relative_to(folder)) for path in (folder / "clips").rglob("*.wav"))
        requests = [{"id": number, "path": clip, "output": f"written/{number}.safetensors"}
                    for number, clip in enumerate(clips)]
        (folder / "requests.jsonl").write_text("".join(json.dumps(request) + "\n" for request in requests))
        self.run_in(folder, commands)
        answers = lines_of(folder / "answers.jsonl")
        self.assertEqual(sorted(answer["id"] for answer in answers), list(range(CLIPS)))
        self.assertFalse([answer for answer in answers if "error" in answer])
        self.assertEqual(len(outputs_of(folder / "written")), CLIPS)
        # More than one worker answered.
        self.assertGreater(sum(answer["line"] == 1 for answer in answers), 1)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
