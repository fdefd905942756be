"""Runs w2vbert segment in every --format on small random models that transformers saves here, and compares what
praatio (TextGrid) and pyannote.database (RTTM) read with the segments of --json.

    segments_read_by_others.py PROGRAM   (exit 77: these packages are not installed)"""

import json
import sys
import unittest

import answer_as_transformers as answers  # in this folder; takes the same PROGRAM; finds tests/support
from transformers import Wav2Vec2BertConfig

from absent_packages import skip_where_absent

try:
    from praatio import textgrid
    from pyannote.database.util import load_rttm
except ImportError as error:
    skip_where_absent(error)

OPTIONS = {"softmax": [], "sigmoid": [], "gaps": ["--close-gaps", "0.05"],
           "some": ["--function", "sigmoid", "--labels", "none,happy"]}
MAY_OVERLAP = {"sigmoid", "gaps", "some"}


def times_of(segments):
    """In milliseconds, with the label"""
    return [(round(1000 * segment["start"]), round(1000 * segment["end"]), segment["label"]) for segment in segments]


class Segments(answers.Clips):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name, settings in answers.SEGMENTERS.items():
            answers.save_segmenter(Wav2Vec2BertConfig(**answers.SMALL, **settings), cls.folder / name)
        cls.words = {name: [*cls.clips, "--model", cls.folder / ("sigmoid" if name == "sigmoid" else "softmax"), *more]
                     for name, more in OPTIONS.items()}

    def segments(self, name):
        lines = answers.lines_of("segment", *self.words[name])
        self.assertGreater(sum(len(line["segments"]) for line in lines), 20)
        return dict(zip((path.stem for path in self.clips), (line["segments"] for line in lines), strict=True))

    def test_rttm_is_what_pyannote_reads(self):
        path = self.folder / "all.rttm"
        for name, words in self.words.items():
            path.write_text(answers.run("segment", *words, "--format", "rttm").stdout)
            folder = self.folder / f"rttm {name}"
            answers.run("segment", *words, "--format", "rttm", "--output", folder)
            read = load_rttm(path)
            for clip, segments in self.segments(name).items():
                alone = (folder / f"{clip}.rttm").read_text()
                self.assertIn(alone, path.read_text())
                lines = [line.split(" ") for line in alone.splitlines()]
                self.assertEqual([line[7].replace("\\x20", " ") for line in lines],
                                 [segment["label"] for segment in segments])
                for line, segment in zip(lines, segments, strict=True):
                    self.assertAlmostEqual(float(line[8]), segment["score"], delta=5.1e-7)
                found = [(round(1000 * time.start), round(1000 * time.end), label.replace("\\x20", " "))
                         for time, _, label in read[clip].itertracks(yield_label=True)] if segments else []
                self.assertEqual(sorted(found), sorted(times_of(segments)))

    def test_recordings_of_one_name_are_told_apart(self):
        """In RTTM, whose lines of all files stand together."""
        folders = [self.folder / "one", self.folder / "two"]
        clips = []
        for folder, clip in zip(folders, self.clips, strict=False):
            folder.mkdir()
            clips.append(folder / "same.wav")
            clips[-1].write_bytes(clip.read_bytes())
        words = ["segment", *clips, "--model", self.folder / "softmax", "--format", "rttm"]
        names = {line.split(" ")[1] for line in answers.run(*words).stdout.splitlines()}
        self.assertEqual(names, {"one/same", "two/same"})
        self.assertIn('gives the output name "same" as', answers.run(*words, "--name", "stem", status=2).stderr)

    def test_textgrids_have_a_tier_for_each_label_that_may_overlap(self):
        for name, words in self.words.items():
            folder = self.folder / f"grids {name}"
            answers.run("segment", *words, "--format", "textgrid", "--output", folder)
            labels = ["happy", "none"] if name == "some" else list(answers.LABELS["label2id"])
            for clip, segments in self.segments(name).items():
                grid = textgrid.openTextgrid(str(folder / f"{clip}.TextGrid"), False, reportingMode="error")
                self.assertEqual(list(grid.tierNames), labels if name in MAY_OVERLAP else ["segments"])
                for tier in grid.tiers:
                    wanted = [segment for segment in segments if tier.name in ("segments", segment["label"])]
                    found = [(round(1000 * entry.start), round(1000 * entry.end), entry.label)
                             for entry in tier.entries]
                    self.assertEqual(found, times_of(wanted))

    def test_labels_of_one_name_have_tiers_of_their_own(self):
        folder, labels = self.folder / "equal", {0: "x", 1: "x", 2: "y"}
        answers.save_segmenter(
            Wav2Vec2BertConfig(**answers.SMALL, id2label=labels, label2id={"x": 1, "y": 2}), folder)
        words = [next(iter(self.clips)), "--model", folder, "--function", "sigmoid"]
        segments = answers.lines_of("segment", *words)[0]["segments"]
        path = folder / "clip.TextGrid"
        path.write_text(answers.run("segment", *words, "--format", "textgrid").stdout)
        grid = textgrid.openTextgrid(str(path), False, reportingMode="error")
        self.assertEqual(list(grid.tierNames), ["x", "x (1)", "y"])
        found = [(round(1000 * entry.start), round(1000 * entry.end), entry.label)
                 for tier in grid.tiers for entry in tier.entries]
        self.assertEqual(sorted(found), sorted(times_of(segments)))

    def test_audacity_has_a_line_for_each(self):
        folder = self.folder / "tracks"
        answers.run("segment", *self.words["sigmoid"], "--format", "audacity", "--output", folder)
        for clip, segments in self.segments("sigmoid").items():
            lines = [line.split("\t") for line in (folder / f"{clip}.txt").read_text().splitlines()]
            self.assertEqual([(round(1000 * float(start)), round(1000 * float(end)), label)
                              for start, end, label in lines], times_of(segments))

    def test_text_and_json_stay_lines(self):
        words = self.words["softmax"]
        self.assertEqual(answers.run("segment", *words, "--format", "json").stdout,
                         answers.run("segment", *words, "--json").stdout)
        self.assertEqual(answers.run("segment", *words, "--format", "text").stdout,
                         answers.run("segment", *words).stdout)
        path = self.folder / "lines.jsonl"
        answers.run("segment", *words, "--format", "json", "--output", path)
        self.assertEqual([len(json.loads(line)["segments"]) for line in path.read_text().splitlines()],
                         [len(segments) for segments in self.segments("softmax").values()])

    def test_what_does_not_fit_is_refused(self):
        words, there = self.words["softmax"], self.folder / "there"
        for more, said, status in (
            (["--format", "audacity"], "--format: is audacity, a document for each file, and there are several", 2),
            (["--format", "textgrid"], "--format: is textgrid, a document for each file, and there are several", 2),
            (["--format", "rttm", "--json"], "--json: is given beside --format rttm", 2),
            (["--format", "srt"], "--format", 2),
            (["--format", "rttm", "--output", there], "is there already", 5),
            (["--format", "rttm", next(iter(self.clips))], 'gives the output name "0" as', 2),
            (["--format", "text", "--output", there / "lines"], "--output: is given beside --format text", 2),
            (["--format", "json", "--output", "-"], "--output: is -, the standard output", 2),
            (["--name", "stem"], "--name: is given where nothing has a name", 2),
        ):
            there.mkdir(exist_ok=True)
            (there / "0.rttm").write_text("mine")
            with self.subTest(said):
                self.assertIn(said, answers.run("segment", *words, *more, status=status).stderr)
        self.assertEqual((there / "0.rttm").read_text(), "mine")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
