"""Random language models of each kind: each word of random sentences must have the score that kenlm gives it, bit for
bit, with an n-gram of the same length, and the same words must be unknown.

usage: score_as_kenlm.py SCORE_NGRAMS [MODELS [SENTENCES [SEED]]]   (exit 77: kenlm is not installed)"""

import pathlib
import random
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from absent_packages import skip_where_absent  # noqa: E402

try:
    import kenlm
    from language_models import KINDS, random_words, write_model
except ImportError as error:
    skip_where_absent(error)


def sentences_of(random, words, count):
    known = [*words, "<s>", "</s>", "<unk>", "<UNK>"]
    for _ in range(count):
        sentence = [random.choice(known) if random.random() < 0.9 else random.choice(["zzz", "é", words[0] + "x"])
                    for _ in range(random.randint(1, 12))]
        yield "<s> " * random.randint(0, 1) + " ".join(sentence)


def expected(model, sentence):
    state, after = kenlm.State(), kenlm.State()
    if sentence.startswith("<s> "):
        model.BeginSentenceWrite(state)
        sentence = sentence.removeprefix("<s> ")
    else:
        model.NullContextWrite(state)
    for word in sentence.split():
        score = model.BaseFullScore(state, word, after)
        yield struct.pack(">f", score.log_prob).hex(), score.ngram_length, int(word in model)
        state, after = after, state


def main():
    program = sys.argv[1]
    models, count, seed = (int(word) for word in [*sys.argv[2:], *(20, 150, 1)[len(sys.argv) - 2:]])
    rng = random.Random(seed)
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    compared, used = 0, {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for index in range(models):
            words = random_words(rng, rng.choice([3, 30, 300]))
            order = rng.randint(2, 6)
            paths = write_model(rng, folder, f"m{index}", words, order, ["gz", *KINDS],
                                sentences=rng.choice([20, 200]), with_unknown=rng.random() < 0.7)
            for kind, path in paths.items():
                try:
                    model = kenlm.Model(str(path), config)
                except OSError as error:
                    # SRILM's way of pruning can ask for more blanks than KenLM has room for, as the reader has.
                    if "prun" not in str(error):
                        raise
                    continue
                sentences = list(sentences_of(rng, words, count))
                text = "\n".join(sentences) + "\n"
                run = subprocess.run([program, path], input=text, capture_output=True, text=True)
                if run.returncode != 0:
                    sys.exit(f"{path}: {run.stderr}")
                head, *lines = run.stdout.splitlines()
                assert head.startswith(f"{model.order} "), head
                assert len(lines) == len(sentences)
                for sentence, line in zip(sentences, lines, strict=True):
                    got = line.split()
                    got = [(got[i], int(got[i + 1]), int(got[i + 3])) for i in range(0, len(got), 4)]
                    wanted = list(expected(model, sentence))
                    if got != wanted:
                        sys.exit(f"{kind} of model {index} (order {order}): {sentence!r}\n got  {got}\n kenlm {wanted}")
                    compared += len(wanted)
                used[kind] = used.get(kind, 0) + 1
            for path in folder.iterdir():
                path.unlink()
    if set(used) != {"arpa", "gz", *KINDS}:
        sys.exit(f"kinds that were compared: {used}")
    print(f"{compared} scores, 0 differ; models: {used}")


if __name__ == "__main__":
    main()
