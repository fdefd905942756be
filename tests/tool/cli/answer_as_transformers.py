"""Runs classify, segment and embed on small random models that transformers saves here, on recorded speech, noise and
a list with bad rows, and compares with transformers' pipeline and models; and transcribe in windows with its pipeline.

    answer_as_transformers.py PROGRAM [--many]

With --many on all recordings that are installed, whole, and on 30 clips of noise from 0.35 to 8 s."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import numpy
import soundfile
import torch
from transformers import (
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForAudioFrameClassification,
    Wav2Vec2BertForCTC,
    Wav2Vec2BertForSequenceClassification,
    Wav2Vec2BertForXVector,
    Wav2Vec2BertModel,
    Wav2Vec2CTCTokenizer,
    pipeline,
)
from transformers.utils import logging

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]
from chunks import logits_in_chunks  # noqa: E402
from pytorch_setup import into_own_memory, prepare_pytorch  # noqa: E402
from random_parameters import let_tokens_take_turns, widen  # noqa: E402
from recorded_speech import all_recordings, read_first_channel, recordings  # noqa: E402

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
MANY = "--many" in sys.argv[2:]
THREADS = 2
RATE = 16000
MIN_SAMPLES = 5600  # the x-vector's layers need 15 frames
SMALL = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64,
         "classifier_proj_size": 24, "tdnn_dim": [40, 40, 40, 40, 96], "xvector_output_dim": 24}
LABELS = {"id2label": {0: "happy", 1: "sad, or so", 2: "ärgerlich", 3: "none"},
          "label2id": {"happy": 0, "sad, or so": 1, "ärgerlich": 2, "none": 3}}
CLASSIFIERS = {
    "softmax": {**LABELS},
    "sigmoid": {**LABELS, "problem_type": "multi_label_classification", "use_weighted_layer_sum": True},
    "regression": {"num_labels": 1, "problem_type": "regression"},
    "unnamed": {"num_labels": 7, "position_embeddings_type": "rotary"},
}
SEGMENTERS = {"softmax": {**LABELS, "use_weighted_layer_sum": True},
              "sigmoid": {**LABELS, "problem_type": "multi_label_classification"}}
FUSED = 1e-4


def write(model, folder):
    model.eval().save_pretrained(folder)
    SeamlessM4TFeatureExtractor().save_pretrained(folder)
    return model


def save(model, folder):
    return write(widen(model), folder)


def save_segmenter(config, folder):
    """A random one whose labels take turns"""
    model = widen(Wav2Vec2BertForAudioFrameClassification(config))
    model.classifier.weight.data.normal_(std=1.0)
    return write(model, folder)


def run(*words, status=0):
    done = subprocess.run([str(PROGRAM), *map(str, words), "--threads", str(THREADS)], capture_output=True, text=True)
    assert done.returncode == status, (words, done.returncode, done.stderr)
    return done


def lines_of(*words, status=0):
    return [json.loads(line) for line in run(*words, "--json", "--quiet", status=status).stdout.splitlines()]


def classifier_of(folder):
    return pipeline("audio-classification", device="cpu",
                    model=into_own_memory(Wav2Vec2BertForSequenceClassification.from_pretrained(folder)),
                    feature_extractor=SeamlessM4TFeatureExtractor.from_pretrained(folder))


class Clips(unittest.TestCase):
    """Recorded speech and noise in a folder of their own"""

    @classmethod
    def setUpClass(cls):
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        prepare_pytorch()
        torch.set_num_threads(THREADS)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        torch.manual_seed(0)
        cls.clips = {}
        generator = numpy.random.default_rng(0)
        if MANY:
            sounds = [read_first_channel(path) for path in all_recordings()]
            lengths = generator.integers(MIN_SAMPLES, 8 * RATE, size=30)
        else:
            sounds = [read_first_channel(path)[: 4 * RATE] for path in recordings()]
            lengths = (MIN_SAMPLES, 40007)
        sounds += [0.1 * generator.standard_normal(samples) for samples in lengths]
        for number, samples in enumerate(sounds):
            path = cls.folder / f"{number}.wav"
            soundfile.write(path, samples, RATE, subtype="FLOAT")
            cls.clips[path] = soundfile.read(path, dtype="float32")[0]

    def inputs_of(self, samples):
        return SeamlessM4TFeatureExtractor()(samples, sampling_rate=RATE, return_tensors="pt")


class Answers(Clips):
    def test_classify_gives_the_pipelines_labels_and_scores(self):
        for name, settings in CLASSIFIERS.items():
            folder = self.folder / f"classify-{name}"
            save(Wav2Vec2BertForSequenceClassification(Wav2Vec2BertConfig(**SMALL, **settings)), folder)
            classifier = classifier_of(folder)
            for engine, tolerance in (("reference", 0), ("fused", FUSED)):
                for top in (None, 2):
                    words = [] if top is None else ["--top", top]
                    lines = lines_of("classify", *self.clips, "--model", folder, "--engine", engine, *words)
                    self.assertEqual([line["path"] for line in lines], [str(path) for path in self.clips])
                    for line, samples in zip(lines, self.clips.values(), strict=True):
                        wanted = classifier(samples, top_k=top)
                        scores = {label["label"]: label["score"] for label in line["labels"]}
                        self.assertEqual(len(scores), len(wanted))
                        if engine == "reference":
                            self.assertEqual([label["label"] for label in line["labels"]],
                                             [label["label"] for label in wanted])
                        for label in wanted:
                            if label["label"] in scores or engine == "reference":
                                self.assertLessEqual(abs(scores[label["label"]] - label["score"]), tolerance,
                                                     (name, engine, line["path"]))

    def test_classify_takes_the_function_that_is_asked_for(self):
        folder = self.folder / "classify-function"
        save(Wav2Vec2BertForSequenceClassification(Wav2Vec2BertConfig(**SMALL, **LABELS)), folder)
        classifier = classifier_of(folder)
        path, samples = next(iter(self.clips.items()))
        for function in ("softmax", "sigmoid", "none"):
            line, = lines_of("classify", path, "--model", folder, "--engine", "reference", "--function", function)
            self.assertEqual(line["labels"], [{"label": label["label"], "score": label["score"]} for label in
                                              classifier(samples, top_k=None, function_to_apply=function)])

    def segments_of(self, scores, seconds, is_sigmoid, threshold, gap, shortest):
        """The same in plain Python."""
        segments = []
        for label in range(scores.shape[1]):
            if is_sigmoid:
                frames = (scores[:, label] >= threshold).tolist()
            else:
                frames = [int(row.argmax()) == label and float(row[label]) >= threshold for row in scores]
            runs = []
            for frame, is_in in enumerate(frames):
                if is_in and runs and (frame - runs[-1][1]) / 50 <= gap:
                    runs[-1][1] = frame + 1
                elif is_in:
                    runs.append([frame, frame + 1])
            for begin, end in runs:
                start, stop = min(begin / 50, seconds), min(end / 50, seconds)
                if stop > start and round(stop - start, 9) >= shortest:
                    segments.append((start, stop, LABELS["id2label"][label],
                                     float(scores[begin:end, label].double().mean())))
        return sorted(segments, key=lambda segment: segment[0])

    def test_segment_gives_what_the_models_frames_say(self):
        for name, settings in SEGMENTERS.items():
            folder = self.folder / f"segment-{name}"
            model = save_segmenter(Wav2Vec2BertConfig(**SMALL, **settings), folder)
            is_sigmoid = name == "sigmoid"
            found = 0
            for options, threshold, gap, shortest in (
                    ([], 0.5 if is_sigmoid else 0, 0, 0),
                    (["--threshold", "0.6", "--close-gaps", "0.05", "--min-duration", "0.07"], 0.6, 0.05, 0.07),
                    *((["--min-duration", str(least)], 0.5 if is_sigmoid else 0, 0, least)
                      for least in (0.02, 0.06, 0.12, 0.14))):  # what has that length stays
                lines = lines_of("segment", *self.clips, "--model", folder, "--engine", "reference", *options)
                for line, samples in zip(lines, self.clips.values(), strict=True):
                    with torch.no_grad():
                        logits = model(**self.inputs_of(samples)).logits[0]
                    scores = logits.sigmoid() if is_sigmoid else logits.softmax(-1)
                    wanted = self.segments_of(scores, len(samples) / RATE, is_sigmoid, threshold, gap, shortest)
                    given = [(segment["start"], segment["end"], segment["label"]) for segment in line["segments"]]
                    self.assertEqual(given, [segment[:3] for segment in wanted])
                    for segment, (*_, score) in zip(line["segments"], wanted, strict=True):
                        self.assertAlmostEqual(segment["score"], score, delta=1e-12)
                    found += len(given)
            self.assertGreater(found, 20)
            fused = lines_of("segment", *self.clips, "--model", folder)
            self.assertEqual(len(fused), len(self.clips))

    def test_segment_takes_some_labels(self):
        folder = self.folder / "segment-labels"
        save_segmenter(Wav2Vec2BertConfig(**SMALL, num_labels=3), folder)
        path = next(iter(self.clips))
        whole, = lines_of("segment", path, "--model", folder)
        some, = lines_of("segment", path, "--model", folder, "--labels", "LABEL_0,LABEL_2")
        self.assertEqual(some["segments"], [segment for segment in whole["segments"] if segment["label"] != "LABEL_1"])
        self.assertNotEqual(some["segments"], whole["segments"])
        self.assertIn('"LABEL_9" is no label of the model', run(
            "segment", path, "--model", folder, "--labels", "LABEL_9", status=2).stderr)

    def test_segment_takes_labels_as_they_are_written(self):
        folder, names = self.folder / "odd-labels", ["[noise]", "a", "a,b", "[a", "b]"]
        save_segmenter(Wav2Vec2BertConfig(**SMALL, id2label=dict(enumerate(names)),
                                          label2id={name: i for i, name in enumerate(names)}), folder)
        words = ["segment", *self.clips, "--model", folder, "--function", "sigmoid"]
        everything = lines_of(*words)
        for labels, wanted in (("[noise]", {"[noise]"}), ("[a,b]", {"[a", "b]"}), ("a,b", {"a,b"}),
                               ("a,[noise],a,b", {"a", "[noise]", "a,b"})):
            for option in (["--labels", labels], [f"--labels={labels}"]):
                for line, whole in zip(lines_of(*words, *option), everything, strict=True):
                    self.assertEqual(line["segments"],
                                     [segment for segment in whole["segments"] if segment["label"] in wanted])
        self.assertEqual({segment["label"] for line in everything for segment in line["segments"]}, set(names))
        self.assertIn('--labels: "b" is no label', run(*words, "--labels", "a,b,b", status=2).stderr)

    def test_segment_in_windows_joins_what_each_gives(self):
        folder = self.folder / "segment-windows"
        model = save_segmenter(Wav2Vec2BertConfig(**SMALL, num_labels=3), folder)
        chunk, stride = 2 * RATE, RATE // 2
        for path, samples in self.clips.items():
            best = torch.cat(logits_in_chunks(model, self.inputs_of, samples, chunk, stride)).argmax(-1).tolist()
            line, = lines_of("segment", path, "--model", folder, "--engine", "reference", "--chunk-seconds", "2",
                             "--stride-seconds", "0.5")
            given = [None] * len(best)
            for segment in line["segments"]:
                first, end = round(segment["start"] * 50), int(-(-round(segment["end"] * 50, 6) // 1))
                for frame in range(first, min(len(best), end)):
                    given[frame] = int(segment["label"][-1])
            seconds = len(samples) / RATE
            wanted = [label if frame / 50 < seconds else None for frame, label in enumerate(best)]
            self.assertEqual(given[:-1], wanted[:-1])

    def test_embed_gives_the_x_vectors(self):
        for name, settings in {"plain": {}, "weighted": {"use_weighted_layer_sum": True}}.items():
            folder = self.folder / f"embed-{name}"
            model = save(Wav2Vec2BertForXVector(Wav2Vec2BertConfig(**SMALL, **settings)), folder)
            wanted = []
            with torch.no_grad():
                for samples in self.clips.values():
                    wanted.append(model(**self.inputs_of(samples)).embeddings[0])
            lines = lines_of("embed", *self.clips, "--model", folder, "--engine", "reference")
            self.assertEqual([line["embedding"] for line in lines], [vector.tolist() for vector in wanted])
            for line, vector in zip(lines_of("embed", *self.clips, "--model", folder, "--normalize"), wanted,
                                    strict=True):
                expected = torch.nn.functional.normalize(vector, dim=-1)
                self.assertLess((torch.tensor(line["embedding"]) - expected).abs().max().item(), FUSED)
            a, b = list(self.clips)[:2]
            compared, = lines_of("embed", a, b, "--model", folder, "--engine", "reference", "--compare")
            cosine = torch.nn.CosineSimilarity(dim=-1)(wanted[0], wanted[1]).item()
            self.assertEqual(compared, {"a": str(a), "b": str(b), "cosine": cosine, "threshold": 0.7,
                                        "same": cosine >= 0.7})
            both = self.folder / f"both-{name}.wav"
            shorter = min(len(self.clips[a]), len(self.clips[b]))
            soundfile.write(both, numpy.stack([self.clips[a][:shorter], self.clips[b][:shorter]], 1), RATE,
                            subtype="FLOAT")
            each, = lines_of("embed", both, "--channels", "each", "--model", folder, "--compare")
            self.assertEqual((each["a"], each["b"]), (str(both), str(both)))
            halves = [self.folder / f"half-{name}-{channel}.wav" for channel in range(2)]
            for half, clip in zip(halves, (a, b), strict=True):
                soundfile.write(half, self.clips[clip][:shorter], RATE, subtype="FLOAT")
            alone, = lines_of("embed", *halves, "--model", folder, "--compare")
            self.assertEqual(each["cosine"], alone["cosine"])
            for words, said in (([a], "is given with 1 clip"),
                                ([a, both, "--channels", "each"], "is given with 3 clips"),
                                ([a, b, "--partition", "0/2"], "is given with a share of the clips")):
                self.assertIn(f"--compare: {said}",
                              run("embed", *words, "--model", folder, "--compare", status=2).stderr)

    def test_embed_pools_the_states_of_any_model(self):
        for name, settings in {"plain": {}, "adapter": {"add_adapter": True, "output_hidden_size": 32}}.items():
            folder = self.folder / f"pool-{name}"
            model = save(Wav2Vec2BertModel(Wav2Vec2BertConfig(**SMALL, **settings)), folder)
            for state in (None, 2):
                words = [] if state is None else ["--state", state]
                mean = lines_of("embed", *self.clips, "--model", folder, "--engine", "reference", "--pool", "mean",
                                *words)
                both = lines_of("embed", *self.clips, "--model", folder, "--engine", "reference", "--pool",
                                "mean+std", *words)
                for samples, one, two in zip(self.clips.values(), mean, both, strict=True):
                    inputs = self.inputs_of(samples)
                    with torch.no_grad():
                        output = model(**inputs, output_hidden_states=True)
                        rows = output.last_hidden_state if state is None else output.hidden_states[state]
                        mask = inputs["attention_mask"]
                        if state is None:
                            mask = model._get_feature_vector_attention_mask(rows.shape[1], mask)
                    counted = rows[0][mask[0].bool()]
                    self.assertEqual(one["embedding"], counted.mean(0).tolist())
                    self.assertEqual(two["embedding"], torch.cat([counted.mean(0), counted.std(0)]).tolist())

    def test_embed_writes_files_as_extract_does(self):
        from safetensors.torch import load_file
        folder, output = self.folder / "embed-files", self.folder / "vectors"
        save(Wav2Vec2BertForXVector(Wav2Vec2BertConfig(**SMALL)), folder)
        command = ["embed", *self.clips, "--model", folder, "--output", output]
        run(*command)
        lines = lines_of("embed", *self.clips, "--model", folder)
        for line in lines:
            file = output / (pathlib.Path(line["path"]).stem + ".safetensors")
            self.assertEqual(load_file(file)["embedding"].tolist(), line["embedding"])
        before = {path: path.stat().st_mtime_ns for path in output.glob("*.safetensors")}
        run(*command)  # resumes
        self.assertEqual(before, {path: path.stat().st_mtime_ns for path in output.glob("*.safetensors")})
        self.assertIn("normalize", run(*command, "--normalize", status=2).stderr)
        self.assertEqual(subprocess.run([str(PROGRAM), "verify", str(output)], capture_output=True).returncode, 0)

    def test_another_class_is_told_which_command_runs_it(self):
        folder = self.folder / "another"
        save(Wav2Vec2BertForXVector(Wav2Vec2BertConfig(**SMALL)), folder)
        path = next(iter(self.clips))
        for command, wanted in (("classify", "Wav2Vec2BertForSequenceClassification"), ("transcribe", "ForCTC"),
                                ("segment", "Wav2Vec2BertForAudioFrameClassification")):
            error = run(command, path, "--model", folder, status=4).stderr
            self.assertIn("is Wav2Vec2BertForXVector", error)
            self.assertIn(wanted, error)
            self.assertIn("`w2vbert embed` runs", error)

    def test_what_is_nan_or_infinite_is_no_answer(self):
        """And fails its clip; -infinity for one label is an answer, as in transformers."""
        def spoiled(model_class, parameter, value, **settings):
            folder = self.folder / "spoiled"
            model = widen(model_class(Wav2Vec2BertConfig(**SMALL, **settings)))
            model.get_parameter(parameter).data[1] = value
            write(model, folder)
            (folder / "vocab.json").write_text(json.dumps({"[PAD]": 0, "|": 1, "A": 2, "[UNK]": 3}))
            (folder / "tokenizer_config.json").write_text(json.dumps(
                {"pad_token": "[PAD]", "unk_token": "[UNK]", "word_delimiter_token": "|"}))
            return folder

        path, other = list(self.clips)[:2]
        vectors = self.folder / "no-vectors"
        for model_class, parameter, what, commands, settings in (
                (Wav2Vec2BertForSequenceClassification, "classifier.bias", "logits", (["classify"],), LABELS),
                (Wav2Vec2BertForAudioFrameClassification, "classifier.bias", "logits",
                 (["segment"], ["segment", "--chunk-seconds", 1], ["segment", "--function", "sigmoid"]), LABELS),
                (Wav2Vec2BertForCTC, "lm_head.bias", "logits",
                 (["transcribe"], ["transcribe", "--decoder", "beam"], ["align", "--text", "A"]),
                 {"vocab_size": 4, "pad_token_id": 0}),
                (Wav2Vec2BertForXVector, "feature_extractor.bias", "embeddings",
                 (["embed"], ["embed", "--compare"], ["embed", "--output", vectors]), {}),
                (Wav2Vec2BertModel, "encoder.layers.2.final_layer_norm.bias", "embeddings",
                 (["embed", "--pool", "mean"],), {})):
            for value in (float("nan"), float("inf"), -float("inf")):
                if value == -float("inf") and what == "logits":
                    continue
                folder = spoiled(model_class, parameter, value, **settings)
                for words in commands:
                    with self.subTest(words, value=value):
                        done = run(*words, path, other, "--model", folder, status=3)
                        self.assertEqual(done.stdout, "")
                        for clip in (path, other):
                            self.assertIn(f"error: {clip}: {what}: hold NaN or infinity", done.stderr)
                        self.assertEqual(list(vectors.glob("*.safetensors")), [])
                        shutil.rmtree(vectors, ignore_errors=True)
        folder = spoiled(Wav2Vec2BertForSequenceClassification, "classifier.bias", -float("inf"), **LABELS)
        line, = lines_of("classify", path, "--model", folder, "--engine", "reference")
        wanted = classifier_of(folder)(self.clips[path].copy())
        self.assertEqual(line["labels"], wanted)
        self.assertEqual(wanted[-1], {"label": "sad, or so", "score": 0.0})

    def test_a_list_with_bad_rows_is_answered_but_for_them(self):
        folder = self.folder / "rows"
        save(Wav2Vec2BertForSequenceClassification(Wav2Vec2BertConfig(**SMALL, **LABELS)), folder)
        (self.folder / "bad.wav").write_text("no audio")
        rows = [*self.clips, self.folder / "bad.wav", self.folder / "missing.wav"]
        (self.folder / "list.txt").write_text("".join(f"{row}\n" for row in rows))
        output = self.folder / "labels.jsonl"
        words = ["classify", "--manifest", self.folder / "list.txt", "--model", folder]
        whole = lines_of(*words, status=3)
        self.assertEqual([line["path"] for line in whole], [str(path) for path in self.clips])
        run(*words, "--output", output, status=3)
        self.assertEqual([json.loads(line) for line in output.read_text().splitlines()], whole)
        # Another run leaves it, and a corrected one is left.
        before = output.read_bytes()
        for other in (["--top", "1"], ["--function", "sigmoid"], ["--channels", "each"], ["--dtype", "bfloat16"]):
            self.assertIn("the outputs here were made with", run(*words, *other, "--output", output, status=2).stderr)
            self.assertEqual(output.read_bytes(), before)
        run(*words, "--readers", "2", "--output", output, status=3)
        self.assertEqual(output.read_bytes(), before)
        corrected = before.replace(b'"label"', b'"Label"', 1)
        output.write_bytes(corrected)
        self.assertIn("was changed since", run(*words, "--output", output, status=5).stderr)
        self.assertEqual(output.read_bytes(), corrected)

    def test_transcribe_in_windows_gives_the_pipelines_text(self):
        vocabulary = {token: index for index, token in enumerate(["[PAD]", "|", *"ABCDEFGH'", "[UNK]"])}
        for name, settings in {"plain": {}, "adapter": {"add_adapter": True}}.items():
            folder = self.folder / f"windows-{name}"
            folder.mkdir()
            (folder / "vocab.json").write_text(json.dumps(vocabulary))
            tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), unk_token="[UNK]", pad_token="[PAD]")
            tokenizer.save_pretrained(folder)
            model = widen(Wav2Vec2BertForCTC(Wav2Vec2BertConfig(
                **SMALL, **settings, vocab_size=len(tokenizer), pad_token_id=0))).eval()
            let_tokens_take_turns(model)
            model.save_pretrained(folder)
            SeamlessM4TFeatureExtractor().save_pretrained(folder)
            recognizer = pipeline("automatic-speech-recognition", model=model, tokenizer=tokenizer,
                                  feature_extractor=SeamlessM4TFeatureExtractor(), device="cpu")
            texts = set()
            for chunk, stride in ((2.0, None), (1.5, 0.25), (3.01, 1.0), (2.0, 0.0), (30.0, 5.0)):
                words = ["--chunk-seconds", chunk] + ([] if stride is None else ["--stride-seconds", stride])
                lines = lines_of("transcribe", *self.clips, "--model", folder, "--engine", "reference", *words)
                for line, samples in zip(lines, self.clips.values(), strict=True):
                    wanted = recognizer(samples.copy(), chunk_length_s=chunk, stride_length_s=stride,
                                        return_timestamps="word")
                    self.assertEqual(line["text"], wanted["text"], (name, chunk, stride, line["path"]))
                    seconds = len(samples) / RATE
                    self.assertEqual(
                        [(word["word"], word["start"], word["end"]) for word in line["words"]],
                        [(word["text"], *(min(time, seconds) for time in word["timestamp"]))
                         for word in wanted["chunks"]])
                    texts.add(wanted["text"])
            self.assertGreater(len(texts), len(self.clips))
        path = next(iter(self.clips))
        for words, text in ((["--stride-seconds", "1"], "without --chunk-seconds"),
                            (["--chunk-seconds", "2", "--stride-seconds", "1"], "less than half"),
                            (["--chunk-seconds", "0.01"], "at least 560 samples"),
                            (["--chunk-seconds", "x"], "--chunk-seconds")):
            self.assertIn(text, run("transcribe", path, "--model", folder, *words, status=2).stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
