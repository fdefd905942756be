"""Random words, labels and names with what each format cannot hold as it is, read again by the programs that
people use: pysubs2 (SRT, WebVTT), praatio (TextGrid), pyannote.database (RTTM), and by the rules of CTM and
Audacity. Texts, times and scores must come back.

usage: read_formats.py FORMAT_LABELS [SEED]   (exit 77: these packages are not installed)"""

import html
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from absent_packages import skip_where_absent  # noqa: E402

try:
    import pysubs2
    from praatio import textgrid
    from pyannote.database.util import load_rttm
except ImportError as error:
    skip_where_absent(error)

DOCUMENTS = 150
WORDS = [
    *("the", "caf\u00e9", "\u65e5\u672c", "don't", 'say"so"', '"', '""', "-->", "a-->b", "--->", "1", "42", "&"),
    "&lt;",
    *("<unk>", "<b>", "</s>", "a\nb", "a\n\nb", "x\ty", "\r\n", "new york", "\u00a0", "\u2028", "\u0085", "\x1b[2J"),
    *("\\x20", "\\N", "{\\i1}", ";;", "#", "<NA>", "a,b", "10:30", "\U0001f600", "\x7f", "=", "!", "text = "),
]
NAMES = [b"a", b"folder/a b", b"caf\xc3\xa9", b"\xff\xfe", b";;a", b"a\nb", b'"q"', b"a\\x20b", b"#1", b"\xe3\x80\x80x"]


def words(random, count):
    """Ascending; now and then without a duration, or with a pause before it"""
    place, made = random.choice([0, 0, 0.48]), []
    for _ in range(count):
        end = round(place + random.choice([0, 0.02, 0.14, 0.5]), 3)
        score = random.choice([None, random.random(), 1.0, 0.0, -12.5])
        made.append([random.choice(WORDS), place, end, score])
        place = round(end + random.choice([0, 0.02, 0.3, 4000.0]), 3)
    return made


def document(random):
    count = random.choice([0, 1, 2, 10, 40])
    return {
        "name": list(random.choice(NAMES)),
        "seconds": random.choice([0.0, 3.0, 1e6]),
        "cue_characters": random.choice([1, 20, 42]),
        "tiers": [["words", words(random, count)], ['"characters"', words(random, count)]],
    }


def on_one_line(text):
    return re.sub("[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text)


def field(text):
    """What stands between spaces, as text again"""
    return re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), text.encode())


def ms(seconds):
    return round(seconds * 1000)


def same_cues(kind, text, asked, path):
    """Each cue is of some words, one after the other"""
    path.write_text(text, encoding="utf-8", newline="")
    options = {"keep_html_tags": True} if kind == "srt" else {}
    read = pysubs2.load(str(path), format_=kind, **options)
    given = [timed for timed in asked["tiers"][0][1] if on_one_line(timed[0]).strip()]
    shown = [on_one_line(word).replace("-->", "->") if kind == "srt" else on_one_line(word) for word, *_ in given]
    texts = [(html.unescape(event.text) if kind == "vtt" else event.text).strip() for event in read]
    at = 0
    for event, text in zip(read, texts, strict=True):
        for last in range(at, len(given)):  # the words of the cue: these texts and this end
            joined = " ".join(shown[at : last + 1])
            start, end = ms(given[at][1]), max(ms(given[last][2]), ms(given[at][1]) + 1)
            if joined.strip() == text and (event.start, event.end) == (start, end):
                break
        else:
            return f"{event.start}, {event.end}, {text!r} is not of {given[at:]}"
        if last > at and len(" ".join(word for word, *_ in given[at : last + 1])) > asked["cue_characters"]:
            return f"{text!r} is longer than {asked['cue_characters']} characters"
        if end - start > 7001:
            return f"{text!r} lasts from {start} to {end}"
        at = last + 1
    return None if at == len(given) else f"{len(given) - at} words are not read"


def same_textgrid(text, asked, path):
    path.write_text(text, encoding="utf-8", newline="")
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode="error")
    if list(grid.tierNames) != [name for name, _ in asked["tiers"]]:
        return f"tiers {grid.tierNames}"
    for name, given in asked["tiers"]:
        entries = list(grid.getTier(name).entries)
        if entries[0].start != 0 or any(a.end != b.start for a, b in zip(entries, entries[1:], strict=False)):
            return f"{name} has holes"
        if entries[-1].end != grid.maxTimestamp or grid.maxTimestamp < asked["seconds"]:
            return f"{name} ends at {entries[-1].end}"
        # praatio strips what is around a text
        read = [entry for entry in entries if entry.label]
        shown = [(on_one_line(text).strip(), start, end) for text, start, end, _ in given if on_one_line(text).strip()]
        if [entry.label for entry in read] != [text for text, *_ in shown]:
            return f"{[entry.label for entry in read]} instead of {[text for text, *_ in shown]}"
        for entry, (_, start, end) in zip(read, shown, strict=True):
            if not (start <= entry.start <= start + 0.0011 * len(given)) or entry.end < end:
                return f"{entry} instead of {start}, {end}"
    return None


def same_fields(kind, text, asked, path):
    """CTM by its rules, RTTM by pyannote's reader as well"""
    given = asked["tiers"][0][1]
    lines = text.split("\n")[:-1]
    if len(lines) != len(given):
        return f"{len(lines)} lines of {len(given)} words"
    for line, (word, start, end, score) in zip(lines, given, strict=True):
        fields = line.split()
        if kind == "rttm":
            if fields[0] != "SPEAKER" or len(fields) != 10 or {fields[5], fields[6], fields[9]} != {"<NA>"}:
                return line
            fields = [*fields[1:5], fields[7], *([fields[8]] if score is not None else [])]
        if line.startswith(";;") or len(fields) != (5 if score is None else 6) or fields[1] != "1":
            return line
        if field(fields[0]) != bytes(asked["name"]) or field(fields[4]) != word.encode():
            return f"{line!r} of {asked['name']}, {word!r}"
        if (ms(float(fields[2])), ms(float(fields[3]))) != (ms(start), max(ms(end) - ms(start), 1)):
            return f"{line!r} instead of {start}, {end}"
        if score is not None and abs(float(fields[5]) - score) > 5e-7:
            return f"{line!r} instead of {score}"
    if kind == "ctm" or not given:
        return None
    path.write_text(text, encoding="utf-8", newline="")
    (annotation,) = load_rttm(path).values()
    # It sorts them, by times that it adds up.
    read = sorted((ms(segment.start), ms(segment.end), field(label))
                  for segment, _, label in annotation.itertracks(yield_label=True))
    wanted = sorted((ms(start), max(ms(end), ms(start) + 1), word.encode()) for word, start, end, _ in given)
    return None if read == wanted else f"pyannote reads {read}"


def same_audacity(text, asked):
    given = asked["tiers"][0][1]
    lines = [line.split("\t") for line in text.split("\n")[:-1]]
    wanted = [[f"{start:.6f}", f"{end:.6f}", on_one_line(word)] for word, start, end, _ in given]
    return None if lines == wanted else f"{lines} instead of {wanted}"


def problem(kind, text, asked, path):
    if kind in ("srt", "vtt"):
        return same_cues(kind, text, asked, path)
    if kind == "textgrid":
        return same_textgrid(text, asked, path)
    return same_audacity(text, asked) if kind == "audacity" else same_fields(kind, text, asked, path)


def main():
    generator = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    kinds = ["srt", "vtt", "ctm", "textgrid", "rttm", "audacity"]
    asked = [{"format": kind, **document(generator)} for _ in range(DOCUMENTS) for kind in kinds]
    given = "".join(json.dumps(one) + "\n" for one in asked)
    result = subprocess.run([sys.argv[1]], input=given.encode(), capture_output=True, check=True)
    texts = [json.loads(line) for line in result.stdout.decode().split("\n")[:-1]]
    problems = []
    with tempfile.TemporaryDirectory() as root:
        for text, one in zip(texts, asked, strict=True):
            found = problem(one["format"], text, one, pathlib.Path(root) / "labels.txt")
            if found:
                problems.append(f"{one['format']}: {found}"[:1000])
    print("\n".join(problems[:12]))
    print(f"{len(asked)} documents of {len(kinds)} formats, {len(problems)} differences")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
