"""Random emissions, language models and options: the beam search must give pyctcdecode's hypotheses: equal texts,
frames of words, and scores within 1e-4, in its order, but for ties; and be at least 6 times as fast.

A tie is where pyctcdecode itself gives other hypotheses for logits that are moved by some ULPs.

usage: decode_as_pyctcdecode.py DECODE_BEAMS [EMISSIONS [MODELS [SEED]]]   (exit 77: pyctcdecode is not installed)"""

import json
import logging
import pathlib
import random
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from absent_packages import skip_where_absent  # noqa: E402

try:
    import numpy
    from language_models import random_words, write_model
    from pyctcdecode import BeamSearchDecoderCTC, build_ctcdecoder
    from pyctcdecode.alphabet import Alphabet
except ImportError as error:
    skip_where_absent(error)

LIMIT = 1e-4
FASTER = 6
# Hypotheses whose scores are closer may have changed their places: exp and log of NumPy have other last bits.
CLOSE = 1e-5
MOVED, MOVES = 1e-6, 30
# Beside them, a score that has another path in its sum.
JUMP = 1e-3
# Models with a long emission.
LONG, FRAMES = 2, 400
WIDE = {"beam_width": 60, "beam_prune_logp": -30.0, "token_min_logp": -9.0}
# Ways in which vocabularies name what is no letter.
SPECIAL = [["|", "<pad>", "<unk>", "<s>", "</s>"], ["[PAD]", "|", "[UNK]"], [" ", "_"], ["|", "_", "<s>"], [" ", ""],
           ["<PAD>", " ", "é", "ßa"]]


def shuffled(random, items):
    return random.sample(items, k=len(items))


def pieces_of(random, words):
    """Tokens of BPE, in one of two styles."""
    begins = {word[:random.randint(1, 3)] for word in words} | {"a", "b"}
    inner = {word[i:i + random.randint(1, 2)] for word in words for i in range(1, len(word))} | set("abc")
    if random.random() < 0.5:
        return shuffled(random, [*("▁" + begin for begin in sorted(begins)), *sorted(inner), "<unk>", "<pad>", "▁"])
    return shuffled(random, [*sorted(begins), *("##" + part for part in sorted(inner)), "[UNK]", "[PAD]"])


def spell(random, labels, is_bpe, words):
    """Labels that say some of the words, or what sounds like them."""
    spelled = []
    for word in random.choices(words, k=random.randint(0, 7)):
        rest = ("▁" if is_bpe else "") + word
        while rest:
            fits = [i for i, label in enumerate(labels) if label and rest.startswith(label)]
            if not fits:
                break
            spelled.append(random.choice(fits))
            rest = rest[len(labels[spelled[-1]]):]
        if not is_bpe and " " in labels:
            spelled.append(labels.index(" "))
    return spelled


def emission_of(random, labels, is_bpe, words):
    """(T, V) float32 logits around a text, as peaked as models make them, or less."""
    generator = numpy.random.default_rng(random.getrandbits(32))
    blank = labels.index("")
    path = []
    for label in spell(random, labels, is_bpe, words):
        path += [label] * random.choice([1, 1, 2]) + [blank] * random.choice([0, 0, 1, 3])
    path = path or [blank]
    height = random.choice([2, 4, 7, 12])
    logits = generator.normal(size=(len(path), len(labels))) * random.choice([0.5, 1.0, 2.0])
    for frame, label in enumerate(path):
        logits[frame, label] += height * generator.uniform(0.3, 1)
        logits[frame, blank] += height * generator.uniform(0, 0.5)
        if random.random() < 0.15:
            logits[frame, random.randrange(len(labels))] += height
    if random.random() < 0.1:
        logits = numpy.round(logits)  # ties
    logits = logits.astype(numpy.float32)
    if random.random() < 0.2:
        logits = numpy.log(numpy.exp(logits) / numpy.exp(logits).sum(axis=1, keepdims=True))
    elif random.random() < 0.1:
        # Sums that are 1 to the last bit: probabilities.
        counts = generator.integers(0, 4, size=logits.shape)
        counts[:, 0] += 64 - counts.sum(axis=1)
        if counts.min() >= 0:
            logits = (counts / 64).astype(numpy.float32)
    return logits.astype(numpy.float32)


def long_emission(random, labels):
    """So long and flat that more words begin than are kept."""
    generator = numpy.random.default_rng(random.getrandbits(32))
    return (2 * generator.normal(size=(FRAMES, len(labels)))).astype(numpy.float32)


def options_of(random, words):
    options = {}
    for name, values in {"beam_width": [1, 5, 30, 100], "beam_prune_logp": [-3.0, -10.0, -20.0, -1000.0],
                         "token_min_logp": [-2.0, -5.0, -8.0], "prune_history": [False, True]}.items():
        if random.random() < 0.4:
            options[name] = random.choice(values)
    if random.random() < 0.4:
        options["hotwords"] = [*random.sample(words, k=min(3, len(words))), " ".join(random.choices(words, k=2)), "  ",
                               words[0][:2]][random.randint(0, 3):]
        if random.random() < 0.5:
            options["hotword_weight"] = random.choice([1.0, 5.5, 10.0, -2.0])
    return options


def hypotheses_of(decoder, logits, options):
    return [[text, [[word, list(map(int, at))] for word, at in frames], float(logit_score), float(lm_score)]
            for text, _, frames, logit_score, lm_score in decoder.decode_beams(logits, **options)]


def is_tie(decoder, logits, options, wanted):
    generator = numpy.random.default_rng(1)
    for _ in range(MOVES):
        moved = (logits * (1 + MOVED * generator.normal(size=logits.shape))).astype(numpy.float32)
        found = hypotheses_of(decoder, moved, options)
        if [hypothesis[:2] for hypothesis in found] != [hypothesis[:2] for hypothesis in wanted]:
            return True
        if any(abs(other[i] - one[i]) > JUMP for one, other in zip(wanted, found, strict=True) for i in (2, 3)):
            return True
    return False


def differences(got, wanted):
    """The largest difference of a score, and the first thing that is other than rounding explains."""
    largest = 0.0
    if len(got) != len(wanted):
        return largest, f"{len(got)} hypotheses, not {len(wanted)}"
    left = {}
    for text, frames, logit_score, lm_score in got:
        left[text] = (frames, logit_score, lm_score)
    for place, (text, frames, logit_score, lm_score) in enumerate(wanted):
        if text not in left:
            return largest, f"{text!r} is missing at {place}"
        found = left[text]
        if found[0] != frames:
            return largest, f"frames of {text!r}: {found[0]}, not {frames}"
        difference = max(abs(found[1] - logit_score), abs(found[2] - lm_score))
        largest = max(largest, difference)
        if difference > LIMIT:
            return largest, f"scores of {text!r}: {found[1:]}, not {logit_score, lm_score}"
        if abs(got[place][3] - lm_score) > CLOSE:
            return largest, f"place {place}: {got[place][0]!r}, not {text!r}"
    return largest, None


def main():
    program = sys.argv[1]
    emissions, models, seed = (int(word) for word in [*sys.argv[2:], *(8, 12, 1)[len(sys.argv) - 2:]])
    logging.disable(logging.WARNING)
    rng = random.Random(seed)
    counted = {"cases": 0, "equal texts": 0, "equal n-best": 0, "ties": 0, "hypotheses": 0}
    largest, own_seconds, their_seconds = 0.0, 0.0, 0.0
    odd = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for index in range(models):
            words = random_words(rng, rng.choice([8, 40, 200]))
            is_bpe = index % 4 == 3
            tokens = pieces_of(rng, words) if is_bpe else shuffled(rng, [*"abcdefghij'", *rng.choice(SPECIAL)])
            alphabet = Alphabet.build_alphabet(tokens)
            way = ["directory", "file", "directory", "none"][index % 4 if not is_bpe else rng.randrange(4)]
            kind = rng.choice(["arpa", "probing", "trie"]) if way == "directory" else "arpa"
            path, settings, lm, unigrams = "", {}, None, None
            if way != "none":
                kinds = [kind] if kind != "arpa" else []
                paths = write_model(rng, folder, f"m{index}", words, rng.randint(2, 5), kinds, sentences=200)
                lm = paths.get(kind, paths["arpa"])
                path = lm
            if rng.random() < 0.6 and way != "none":
                settings = {"alpha": rng.uniform(0, 1.5), "beta": rng.uniform(-1, 3),
                            "unk_score_offset": rng.choice([-10.0, -2.5, 0.0]), "lm_score_boundary": rng.random() < 0.6}
            if way == "directory":
                unigrams = rng.choice([words, words[::2], [], ["zzz", *words[:3]]])
            decoder = build_ctcdecoder(tokens, str(lm) if lm else None, unigrams or None, **settings)
            first = {"tokens": tokens, **{name.removeprefix("lm_"): value for name, value in settings.items()}}
            if way == "directory":
                path = folder / f"d{index}"
                path.mkdir()
                decoder.save_to_dir(str(path))
                if not unigrams:
                    (path / "language_model" / "unigrams.txt").write_text("")
                decoder = BeamSearchDecoderCTC.load_from_dir(str(path), "utf-8")
                first = {}
            cases, lines = [], [json.dumps(first)]
            for number in range(emissions):
                logits = emission_of(rng, alphabet.labels, is_bpe, words)
                options = options_of(rng, words)
                if number == 0 and index < LONG:
                    logits, options = long_emission(rng, alphabet.labels), WIDE
                file = folder / f"{index}-{number}.f32"
                logits.tofile(file)
                cases.append((logits, options))
                lines.append(json.dumps({"file": str(file), "frames": len(logits), "options": options}))
            run = subprocess.run([program, path], input="\n".join(lines) + "\n", capture_output=True, text=True)
            if run.returncode != 0:
                sys.exit(f"{path}: {run.stderr}")
            head, *answers = map(json.loads, run.stdout.splitlines())
            if head != {"labels": alphabet.labels, "is_bpe": alphabet.is_bpe}:
                sys.exit(f"the alphabet of {tokens}: {head}, not {alphabet.dumps()}")
            for (logits, options), answer in zip(cases, answers, strict=True):
                begin = time.perf_counter()
                wanted = hypotheses_of(decoder, logits, options)
                their_seconds += time.perf_counter() - begin
                own_seconds += answer["seconds"]
                got = answer["hypotheses"]
                difference, problem = differences(got, wanted)
                counted["cases"] += 1
                counted["hypotheses"] += len(wanted)
                counted["equal n-best"] += problem is None
                counted["equal texts"] += got[0][0] == wanted[0][0]
                if problem is None:
                    largest = max(largest, difference)
                elif is_tie(decoder, logits, options, wanted):
                    counted["ties"] += 1
                else:
                    odd.append(f"model {index} ({way}, {kind}, BPE {is_bpe}), {options}: {problem}")
    print(", ".join(f"{count} {name}" for name, count in counted.items()))
    print(f"largest difference of a score {largest:.1e}; {own_seconds:.3f} s, pyctcdecode {their_seconds:.3f} s: "
          f"{their_seconds / own_seconds:.1f} times")
    for line in odd[:20]:
        print(line)
    if odd:
        sys.exit(f"{len(odd)} differ")
    if counted["equal texts"] < 0.99 * counted["cases"]:
        sys.exit("fewer than 99 % of the texts are equal")
    if their_seconds < FASTER * own_seconds:
        sys.exit(f"not {FASTER} times as fast")


if __name__ == "__main__":
    main()
