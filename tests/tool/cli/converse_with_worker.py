"""Talks to `w2vbert worker` through pipes: what it computes is what extract, features and transcribe write, to the last
bit; what is wrong with a request is its answer; ends of all kinds leave whole files alone.

    converse_with_worker.py PROGRAM"""

import base64
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import numpy
import safetensors.torch
import soundfile
import torch

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from run_directories import lines_of, outputs_of, stamp, temporaries_of, write_clips  # noqa: E402
from small_model import copy_with_value, save_small_ctc_model, save_small_model  # noqa: E402

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
CLIPS = 6


class Worker:
    """A worker whose answers are read by a thread of their own."""

    def __init__(self, folder, *options, model="model", **popen):
        command = [str(PROGRAM), "worker", "--model", str(folder / model), "--quiet", "--threads", "2", *options]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, cwd=folder, **popen)
        self.lines, self.errors = [], []
        self.come = threading.Condition()
        self.threads = [threading.Thread(target=self.read), threading.Thread(target=self.read_errors)]
        for thread in self.threads:
            thread.start()

    def read(self):
        for line in self.process.stdout:
            with self.come:
                self.lines.append(line)
                self.come.notify_all()

    def read_errors(self):
        self.errors += self.process.stderr.read().decode().splitlines()

    def send(self, *requests):
        for request in requests:
            line = request if isinstance(request, bytes) else json.dumps(request).encode()
            self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def wait_for(self, answers):
        with self.come:
            self.come.wait_for(lambda: len(self.lines) >= answers, timeout=300)

    def answers(self):
        """All of them, of which each is one line of JSON."""
        return [json.loads(line) for line in self.lines]

    def end(self):
        """The exit status, once all is answered."""
        if not self.process.stdin.closed:
            self.process.stdin.close()
        status = self.process.wait(timeout=300)
        for thread in self.threads:
            thread.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return status


def values_of(answer):
    """Name -> array of each tensor of an answer."""
    return {name: numpy.frombuffer(base64.b64decode(tensor["data"], validate=True),
                                   tensor["dtype"]).reshape(tensor["shape"])
            for name, tensor in answer["tensors"].items()}


def in_base64(samples):
    return base64.b64encode(samples.astype("<f4")).decode()


class Conversation(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        save_small_model(cls.folder / "model", num_hidden_layers=2)
        save_small_ctc_model(cls.folder / "ctc")
        write_clips(cls.folder / "clips", CLIPS)
        cls.clips = sorted(str(path.relative_to(cls.folder)) for path in cls.folder.glob("clips/*/*.wav"))
        noise = numpy.random.default_rng(1)
        soundfile.write(cls.folder / "stereo.wav", 0.1 * noise.standard_normal((9000, 2)), 16000, subtype="FLOAT")
        soundfile.write(cls.folder / "high.wav", 0.1 * noise.standard_normal(50000), 44100, subtype="FLOAT")
        (cls.folder / "text.wav").write_text("no audio")
        whole = (cls.folder / cls.clips[0]).read_bytes()
        (cls.folder / "cut.wav").write_bytes(whole[:len(whole) // 2])

    def run_program(self, *words):
        result = subprocess.run([str(PROGRAM), *map(str, words), "--threads", "2"], capture_output=True, text=True,
                                cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def scratch(self):
        folder = tempfile.TemporaryDirectory(dir=self.folder)
        self.addCleanup(folder.cleanup)
        return pathlib.Path(folder.name)

    def converse(self, *requests, options=(), model="model"):
        worker = Worker(self.folder, *options, model=model)
        worker.send(*requests)
        self.assertEqual(worker.end(), 0, worker.errors)
        self.assertEqual(worker.errors, [])
        answers = worker.answers()
        self.assertEqual(len(answers), len(requests))
        return answers

    def expect_values(self, answer, tensors):
        values = values_of(answer)
        self.assertEqual(list(values), list(tensors))
        for name, tensor in tensors.items():
            wide = tensor.float() if tensor.is_floating_point() else tensor
            self.assertEqual(values[name].tobytes(), wide.numpy().tobytes(), name)

    def test_states_are_those_of_extract(self):
        for options in ([], ["--engine", "reference"], ["--dtype", "bfloat16"], ["--dtype", "float16"]):
            for states in (None, "0,2", "all"):
                with self.subTest(options=options, states=states):
                    wanted = ["--states", states] if states else []
                    extracted, written = self.scratch(), self.scratch()
                    self.run_program("extract", *self.clips, "--model", "model", "--output", extracted, *options,
                                     *wanted)
                    expected = {name: safetensors.torch.load_file(path)
                                for name, path in outputs_of(extracted).items()}
                    names = [str(pathlib.Path(clip).relative_to("clips").with_suffix(".safetensors"))
                             for clip in self.clips]
                    asked = {"states": states} if states else {}
                    for name in names:
                        (written / name).parent.mkdir(exist_ok=True)
                    answers = self.converse(
                        *({"path": clip, **asked} for clip in self.clips),
                        *({"path": clip, "output": str(written / name), **asked}
                          for clip, name in zip(self.clips, names, strict=True)), options=options)
                    for name, told, answer in zip(names, answers, answers[CLIPS:], strict=False):
                        tensors = expected[name]
                        order = sorted(tensors, key=lambda key: (key == "attention_mask", key))
                        self.expect_values(told, {key: tensors[key] for key in order})
                        self.assertEqual(answer["output"], str(written / name))
                        file = safetensors.torch.load_file(written / name)
                        self.assertEqual(set(file), set(tensors))
                        for key, tensor in tensors.items():
                            self.assertTrue(torch.equal(file[key], tensor))
                            self.assertEqual(file[key].dtype, tensor.dtype)
                            self.assertEqual(answer["tensors"][key], {
                                "dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)})

    def test_one_batch_may_want_many_things(self):
        folder = self.scratch()
        extracted = {}
        for states in ("0", "1", "2"):
            self.run_program("extract", *self.clips, "--model", "model", "--output", folder / states, "--states",
                             states)
            extracted[states] = [safetensors.torch.load_file(path)
                                 for path in outputs_of(folder / states).values()]
        self.run_program("features", *self.clips, "--model", "model", "--output", folder / "features")
        features = [safetensors.torch.load_file(path) for path in outputs_of(folder / "features").values()]
        chance = random.Random(1)
        asked = [(index, chance.choice([0, "1", [2], "features"])) for index in range(CLIPS) for _ in range(8)]
        chance.shuffle(asked)
        answers = self.converse(*({"path": self.clips[index], "id": number,
                                   **({"want": want} if want == "features" else {"states": want})}
                                  for number, (index, want) in enumerate(asked)))
        self.assertEqual([answer["id"] for answer in answers], list(range(len(asked))))
        for answer, (index, want) in zip(answers, asked, strict=True):
            if want == "features":
                names, tensors = ("input_features", "attention_mask"), features[index]
            else:
                state = str(want[0] if isinstance(want, list) else want)
                names, tensors = (f"hidden_states.{state}", "attention_mask"), extracted[state][index]
            self.expect_values(answer, {name: tensors[name] for name in names})

    def test_parts_and_channels_are_those_of_lists(self):
        folder = self.scratch()
        parts = [{"offset": 0.1, "duration": 0.2}, {"offset": 0.05}, {"duration": 0.15}]
        rows = [{"audio_filepath": str(self.folder / clip), **part} for clip in (self.clips[2], "high.wav")
                for part in parts]
        (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.run_program("extract", "--manifest", folder / "list.jsonl", "--model", "model", "--output",
                         folder / "parts", "--shard-size", "100")
        shard = safetensors.torch.load_file(folder / "parts" / "shard-00000.safetensors")
        names = [line["name"] for line in lines_of(folder / "parts" / "shard-00000.jsonl")]
        self.run_program("extract", "stereo.wav", "--channels", "each", "--model", "model", "--output", folder / "each")
        requests = [{"path": row["audio_filepath"], **{key: row[key] for key in row if key != "audio_filepath"}}
                    for row in rows]
        answers = self.converse(*requests, {"path": "stereo.wav", "channel": 1}, {"path": "stereo.wav", "channel": 2})
        for name, answer in zip(names, answers, strict=False):
            self.expect_values(answer, {key: shard[f"{name}/{key}"] for key in ("last_hidden_state", "attention_mask")})
        for channel, answer in enumerate(answers[-2:], 1):
            tensors = safetensors.torch.load_file(folder / "each" / f"stereo-ch{channel}.safetensors")
            self.expect_values(answer, {key: tensors[key] for key in ("last_hidden_state", "attention_mask")})

    def test_samples_are_as_files(self):
        for options in ([], ["--resampler", "sinc"]):
            high, rate = soundfile.read(self.folder / "high.wav", dtype="float32")
            stereo, _ = soundfile.read(self.folder / "stereo.wav", dtype="float32")
            of_files = self.converse({"path": "high.wav"}, {"path": "stereo.wav", "channel": 2}, options=options)
            of_samples = self.converse({"samples": in_base64(high), "sampling_rate": rate},
                                       {"samples": in_base64(stereo[:, 1]), "sampling_rate": 16000}, options=options)
            for file, samples in zip(of_files, of_samples, strict=True):
                self.assertEqual(file["tensors"], samples["tensors"])
                self.assertEqual(file["seconds"], samples["seconds"])

    def test_texts_are_those_of_transcribe(self):
        lines = self.run_program("transcribe", *self.clips, "--model", "ctc", "--json").splitlines()
        folder = self.scratch()
        self.run_program("extract", *self.clips, "--model", "ctc", "--output", folder)
        states = list(outputs_of(folder).values())
        answers = self.converse(*({"path": clip, "want": "text"} for clip in self.clips),
                                *({"path": clip} for clip in self.clips), model="ctc")
        for line, answer in zip(lines, answers, strict=False):
            line = json.loads(line)
            self.assertEqual({key: answer[key] for key in ("text", "words", "seconds")},
                             {key: line[key] for key in ("text", "words", "seconds")})
        for path, answer in zip(states, answers[CLIPS:], strict=True):
            tensors = safetensors.torch.load_file(path)
            self.expect_values(answer, {key: tensors[key] for key in ("last_hidden_state", "attention_mask")})
        without = self.converse({"path": self.clips[0], "want": "text"})[0]
        self.assertEqual(without["error"]["kind"], "request")
        self.assertIn("the model is no Wav2Vec2BertForCTC", without["error"]["message"])

    def test_a_ctc_model_without_tokenizer_gives_states(self):
        folder = self.scratch()
        shutil.copytree(self.folder / "ctc", folder / "model")
        (folder / "model" / "vocab.json").unlink()
        worker = Worker(self.folder, model=folder / "model")
        worker.send({"path": self.clips[0]}, {"path": self.clips[0], "want": "text"})
        self.assertEqual(worker.end(), 0)
        states, text = worker.answers()
        self.assertIn("last_hidden_state", states["tensors"])
        self.assertEqual(text["error"]["kind"], "request")
        self.assertIn("vocab.json", text["error"]["message"])

    def test_what_is_wrong_is_the_answer(self):
        good = {"path": self.clips[0]}
        nan = numpy.full(16000, numpy.nan)
        cases = [
            (b"no JSON", "json"), (b"[]", "json"), (b'{"path": "a.wav", "path": "a.wav"}', "json"),
            (b"\xff\xfe", "json"), (b'{"path": "a.wav"', "json"),
            ({}, "request"), ({"path": 1}, "request"), ({**good, "sttes": "1"}, "request"),
            ({**good, "states": "3"}, "request"), ({**good, "states": "x"}, "request"),
            ({**good, "states": -1}, "request"), ({**good, "want": "logits"}, "request"),
            ({**good, "channel": 0}, "request"), ({**good, "id": "x" * 300}, "request"),
            ({"path": "x" * 5000}, "request"),
            ({"path": "absent.wav"}, "not_found"), ({"path": "clips"}, "not_a_file"),
            ({"path": "x" * 300}, "not_found"),
            ({"path": "text.wav"}, "audio"), ({"path": "cut.wav"}, "audio"), ({**good, "channel": 2}, "audio"),
            ({**good, "offset": 100}, "audio"), ({**good, "duration": 0.01}, "audio"), ({"path": "long.wav"}, "audio"),
            ({"samples": in_base64(nan), "sampling_rate": 16000}, "request"),  # too long a line here
            ({"samples": in_base64(nan[:300]), "sampling_rate": 16000}, "audio"),
            ({"samples": in_base64(numpy.zeros(300)), "sampling_rate": 16000}, "audio"),
            ({"samples": "AAA", "sampling_rate": 16000}, "request"),
            ({**good, "output": "nowhere/a.safetensors"}, "output"),
            ({**good, "output": "a.npy"}, "request"),
        ]
        soundfile.write(self.folder / "long.wav", numpy.zeros(3 * 16000), 16000)
        requests = [request for case, _ in cases for request in (case, good)]
        for index in range(0, len(requests), 2):
            if isinstance(requests[index], dict):
                requests[index] = {"id": index, **requests[index]}
        answers = self.converse(*requests, options=["--max-request-bytes", "4000", "--max-audio-seconds", "2"])
        for number, answer in enumerate(answers):
            self.assertEqual(answer["line"], number + 1)
            if number % 2:
                self.assertNotIn("error", answer)
                continue
            request, kind = cases[number // 2]
            with self.subTest(str(request)[:100]):
                self.assertEqual(answer["error"]["kind"], kind, answer)
                self.assertEqual(set(answer), {"line", "id", "error"})
                message = answer["error"]["message"]
                self.assertLess(len(message), 2048)
                self.assertNotIn("\n", message)
                known = isinstance(request, dict) and len(json.dumps(requests[number])) <= 4000 and "id" not in request
                self.assertEqual(answer["id"], number if known else None)

    def test_states_that_are_nan_are_told(self):
        folder = self.scratch() / "nan"
        copy_with_value(self.folder / "model", folder, "encoder.layers.1.final_layer_norm.bias", 3, float("nan"))
        bad, good = self.converse({"path": self.clips[0], "states": "1,2"}, {"path": self.clips[0], "states": "1"},
                                  model=folder)
        self.assertEqual(bad["note"], "the model gives NaN or infinity: hidden_states.2")
        self.assertTrue(numpy.isnan(values_of(bad)["hidden_states.2"][:, 3]).all())
        self.assertNotIn("note", good)

    def test_blank_lines_and_a_last_one_without_end(self):
        worker = Worker(self.folder)
        worker.process.stdin.write(b"\n  \r\n" + json.dumps({"path": self.clips[0], "id": "a"}).encode() + b"\r\n\n"
                                   + json.dumps({"path": self.clips[1], "id": "b"}).encode())
        self.assertEqual(worker.end(), 0)
        self.assertEqual([(answer["line"], answer["id"]) for answer in worker.answers()], [(3, "a"), (5, "b")])

    def test_names_are_bytes(self):
        folder = self.scratch()
        names = [b"caf\xe9 \\x41.wav", "caf\u00e9.wav".encode(), b"\\xe9.wav"]
        records = ["caf\\xe9 \\x5cx41.wav", "caf\u00e9.wav", "\\x5cxe9.wav"]
        for name in names:
            shutil.copy(self.folder / self.clips[0], os.fsencode(folder) + b"/" + name)
        python = json.dumps({"path": str(folder) + "/" + os.fsdecode(names[0]).replace("\\x41", "\\x5cx41")})
        answers = self.converse(*({"path": f"{folder}/{name}", "output": f"{folder}/{name}.safetensors"}
                                  for name in records), python.encode())
        for name, record, answer in zip(names, records, answers, strict=False):
            self.assertEqual(answer["output"], f"{folder}/{record}.safetensors")
            self.assertTrue((folder / os.fsdecode(name + b".safetensors")).exists())
        self.assertIn("last_hidden_state", answers[-1]["tensors"])

    def test_no_file_is_overwritten(self):
        folder = self.scratch()
        (folder / "mine.safetensors").write_text("mine")
        (folder / "link.safetensors").symlink_to("nowhere")
        (folder / "dir.safetensors").mkdir()
        clip = folder / "clip.safetensors"  # an input by that name
        shutil.copy(self.folder / self.clips[0], clip)
        before = clip.read_bytes()
        good = {"path": self.clips[0], "output": str(folder / "a.safetensors")}
        answers = self.converse({**good, "output": str(folder / "mine.safetensors")},
                                {**good, "output": str(folder / "link.safetensors")},
                                {**good, "output": str(folder / "dir.safetensors")},
                                {"path": str(clip), "output": str(clip)}, good)
        for answer in answers[:4]:
            self.assertEqual(answer["error"]["kind"], "output", answer)
        self.assertEqual((folder / "mine.safetensors").read_text(), "mine")
        self.assertEqual(clip.read_bytes(), before)
        self.assertFalse((folder / "nowhere").exists())
        made = stamp(folder / "a.safetensors")
        again, other = self.converse(good, {**good, "path": self.clips[1]})
        self.assertEqual(again["output"], good["output"])  # an equal file is there
        self.assertEqual(other["error"]["kind"], "output")
        self.assertEqual(stamp(folder / "a.safetensors"), made)
        self.assertEqual(temporaries_of(folder), [])

    def test_a_thousand_requests_with_three_percent_bad_ones(self):
        chance = random.Random(2)
        folder = self.scratch()
        bad = set(chance.sample(range(1000), 30))
        wrong = [b"{", {"path": "absent.wav"}, {"path": "text.wav"}, {"path": "cut.wav"},
                 {"path": self.clips[0], "states": "9"}, {"samples": "????", "sampling_rate": 16000},
                 {"path": self.clips[0], "output": "nowhere/a.safetensors"}]
        requests = []
        for number in range(1000):
            request = chance.choice(wrong) if number in bad else {"path": chance.choice(self.clips)}
            if isinstance(request, dict):
                request = {"id": number, **request}
                if number not in bad and number % 2:
                    request["output"] = str(folder / f"{number}.safetensors")
            requests.append(request)
        expected = self.converse(*({"path": clip} for clip in self.clips))
        by_clip = {clip: answer["tensors"] for clip, answer in zip(self.clips, expected, strict=True)}
        for options in ([], ["--unordered", "--readers", "3"]):
            answers = self.converse(*requests, options=options)
            if not options:
                self.assertEqual([answer["line"] for answer in answers], list(range(1, 1001)))
            self.assertEqual({answer["line"] for answer in answers}, set(range(1, 1001)))
            for answer in answers:
                number = answer["line"] - 1
                self.assertEqual("error" in answer, number in bad, answer)
                if number in bad:
                    continue
                self.assertEqual(answer["id"], number)
                if number % 2 == 0:
                    self.assertEqual(answer["tensors"], by_clip[requests[number]["path"]])
        self.assertEqual(len(outputs_of(folder)), sum(1 for number in range(1, 1000, 2) if number not in bad))

    def test_a_kill_leaves_whole_files(self):
        chance = random.Random(3)
        reference = self.scratch()
        requests = [{"path": self.clips[number % CLIPS], "id": number} for number in range(60)]
        self.converse(*({**request, "output": str(reference / f"{request['id']}.safetensors")} for request in requests))
        expected = {name: path.read_bytes() for name, path in outputs_of(reference).items()}
        for _ in range(4):
            folder = self.scratch()
            asked = [{**request, "output": str(folder / f"{request['id']}.safetensors")} for request in requests]
            worker = Worker(self.folder)
            worker.send(*asked)
            worker.wait_for(chance.randrange(1, 50))
            worker.process.kill()
            worker.process.wait()
            worker.end()
            there = outputs_of(folder)
            answered = [answer for line in worker.lines if line.endswith(b"\n") for answer in [json.loads(line)]]
            for answer in answered:
                self.assertIn(f"{answer['id']}.safetensors", there)
            for name, path in there.items():
                self.assertEqual(path.read_bytes(), expected[name])
            made = {name: stamp(path) for name, path in there.items()}
            # The next one does the rest, and removes what this one was writing.
            answers = self.converse(*asked)
            self.assertFalse([answer for answer in answers if "error" in answer])
            self.assertEqual({name: path.read_bytes() for name, path in outputs_of(folder).items()}, expected)
            for name, stamped in made.items():
                self.assertEqual(stamp(folder / name), stamped)
            self.assertEqual(temporaries_of(folder), [])

    def test_a_signal_ends_it(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            if signal.getsignal(number) == signal.SIG_IGN:  # as nohup leaves SIGINT, and the program with it
                continue
            folder = self.scratch()
            worker = Worker(self.folder, "--max-waiting", "20")
            worker.send(*({"path": self.clips[index % CLIPS], "id": index,
                           "output": str(folder / f"{index}.safetensors")} for index in range(100)))
            worker.wait_for(3)
            worker.process.send_signal(number)
            worker.process.wait(timeout=60)
            self.assertEqual(worker.end(), 128 + number, worker.errors)
            answers = worker.answers()
            self.assertEqual([answer["id"] for answer in answers], list(range(len(answers))))  # none is left out
            done = {f"{answer['id']}.safetensors" for answer in answers if "error" not in answer}
            self.assertGreaterEqual(len(done), 3)
            for answer in answers:
                if "error" in answer:
                    self.assertEqual(answer["error"]["kind"], "interrupted")
            self.assertEqual(set(outputs_of(folder)), done)
            self.assertEqual(temporaries_of(folder), [])

    def test_an_idle_worker_ends_at_a_signal(self):
        worker = Worker(self.folder)
        worker.send({"path": self.clips[0]})
        worker.wait_for(1)
        worker.process.terminate()
        worker.process.wait(timeout=60)
        self.assertEqual(worker.end(), 143)
        self.assertEqual(len(worker.lines), 1)

    def test_it_ends_where_a_stream_is_closed(self):
        command = [str(PROGRAM), "worker", "--model", "model", "--quiet", "--threads", "1"]
        closed = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", *command], capture_output=True, cwd=self.folder)
        self.assertEqual((closed.returncode, closed.stdout, closed.stderr), (0, b"", b""))
        empty = subprocess.run(command, capture_output=True, cwd=self.folder, stdin=subprocess.DEVNULL)
        self.assertEqual((empty.returncode, empty.stdout), (0, b""))
        request = json.dumps({"path": self.clips[0]}).encode() + b"\n"
        with pathlib.Path("/dev/full").open("wb") as full:
            result = subprocess.run(command, input=request * 3, stdout=full, stderr=subprocess.PIPE, cwd=self.folder)
        self.assertEqual(result.returncode, 5)
        self.assertRegex(result.stderr.decode(), r"\Aerror: stdout: .*\n\Z")
        # The reader of the answers is gone, with requests to come and without.
        for requests in (request * 3, b""):
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       cwd=self.folder)
            process.stdout.close()
            if requests:
                process.stdin.write(requests)
                process.stdin.flush()
            self.assertEqual(process.wait(timeout=60), 0)
            self.assertEqual(process.stderr.read(), b"")
            process.stdin.close()
            process.stderr.close()

    def test_it_reads_no_further_than_its_answers_are_read(self):
        command = [str(PROGRAM), "worker", "--model", "model", "--quiet", "--threads", "2", "--max-waiting", "8"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self.folder)
        count = 4000
        lines = [json.dumps({"path": self.clips[number % CLIPS], "id": f"{number:06}" + "x" * 200}).encode() + b"\n"
                 for number in range(count)]
        left = memoryview(b"".join(lines))
        total = len(left)
        process.stdin.write(left[:len(lines[0])])
        process.stdin.flush()
        first = process.stdout.readline()  # the model is loaded
        left = left[len(lines[0]):]
        os.set_blocking(process.stdin.fileno(), False)
        idle = 0
        while left and idle < 30:  # nobody reads the answers
            try:
                left = left[os.write(process.stdin.fileno(), left):]
                idle = 0
            except BlockingIOError:
                time.sleep(0.1)
                idle += 1
        # Two blocks of pipe and of the worker's own, and what may wait.
        self.assertLess(total - len(left), 4 * 65536)
        self.assertIsNone(process.poll())
        os.set_blocking(process.stdin.fileno(), True)

        def send_rest():
            process.stdin.write(left)
            process.stdin.close()

        sender = threading.Thread(target=send_rest)
        sender.start()
        ids = [json.loads(line)["id"][:6] for line in (first, *process.stdout)]
        sender.join()
        process.stdout.close()
        self.assertEqual(process.wait(timeout=60), 0)
        self.assertEqual(ids, [f"{number:06}" for number in range(count)])

    def test_what_cannot_start_ends_with_its_status(self):
        for status, options in ((4, ["--model", "absent"]), (2, ["--model", "model", "--channels", "each"]),
                                (2, []), (2, ["--model", "model", "--max-waiting", "0"])):
            result = subprocess.run([str(PROGRAM), "worker", *options], capture_output=True, cwd=self.folder,
                                    input=b'{"path": "a.wav"}\n')
            self.assertEqual(result.returncode, status, result.stderr)
            self.assertEqual(result.stdout, b"")
            self.assertEqual(result.stderr.count(b"error: "), 1)

    def test_the_documents_examples_run_as_they_are(self):
        text = (ROOT / "docs" / "worker.md").read_text()
        blocks = dict(re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S))
        folder = self.scratch()
        (folder / "bin").mkdir()
        (folder / "bin" / "w2vbert").symlink_to(PROGRAM)
        (folder / "model").symlink_to(self.folder / "model")
        soundfile.write(folder / "a.wav", 0.1 * numpy.random.default_rng(4).standard_normal(32000), 16000)
        environment = dict(os.environ, PATH=f"{folder}/bin:{os.environ['PATH']}")
        shell = subprocess.run(["sh", "-e", "-c", blocks["sh"]], capture_output=True, text=True, cwd=folder,
                               env=environment)
        self.assertEqual(shell.returncode, 0, shell.stderr)
        self.assertEqual(shell.stdout, blocks[""])
        self.assertEqual(len(outputs_of(folder / "states")), 2)
        python = subprocess.run([sys.executable, "-c", blocks["python"]], capture_output=True, text=True, cwd=folder,
                                env=environment)
        self.assertEqual(python.returncode, 0, python.stderr)
        self.assertEqual(python.stdout, "(99, 32)\n(49, 32)\n0\n")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
