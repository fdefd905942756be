"""Random language models for the tests: ARPA text, and KenLM's binary files of it. Not a test itself."""

import gzip
import pathlib
import subprocess

import kenlm

# Beside the package, where scripts/setup compiles it from its sources.
BUILD_BINARY = pathlib.Path(kenlm.__file__).parent / "bin" / "build_binary"
KINDS = {
    "probing": ["probing"],
    "rest": ["probing"],
    "trie": ["trie"],
    "quantised": ["-q", "7", "-b", "5", "trie"],
    "array": ["-a", "64", "trie"],
    "quantised-array": ["-q", "4", "-b", "9", "-a", "12", "trie"],
}


def random_words(random, count, letters="abcdefghij'"):
    """Distinct words, of which some begin with others."""
    words = set()
    while len(words) < count:
        known = sorted(words)
        begin = random.choice(known)[: random.randint(1, 4)] if known and random.random() < 0.4 else ""
        words.add(begin + "".join(random.choices(letters, k=random.randint(1, 5))))
    return random.sample(sorted(words), k=len(words))


def number(random, low):
    """As tools write them: with few digits or many."""
    value = random.uniform(low, 0)
    return random.choice(["%.7g", "%.4f", "%.2f", "%.8f", "%g", "%.3e"]) % value


def ngrams_of(random, words, order, sentences):
    """{n: sorted n-grams} of random sentences: the context of each n-gram is there; what it ends in may have been
    pruned, as SRILM does."""
    weights = [1 / (1 + i) for i in range(len(words))]
    found = {n: set() for n in range(1, order + 1)}
    for _ in range(sentences):
        sentence = ["<s>", *random.choices(words, weights, k=random.randint(0, 9)), "</s>"]
        if random.random() < 0.1:
            sentence.insert(random.randint(1, len(sentence) - 1), "<unk>")
        for n in found:
            found[n] |= {tuple(sentence[i:i + n]) for i in range(len(sentence) - n + 1)}
    found[1] = {(word,) for word in [*words, "<s>", "</s>", "<unk>"]}
    for n in range(order, 1, -1):
        contexts = {gram[:-1] for gram in found.get(n + 1, ())}
        keep = {gram for gram in sorted(found[n]) if gram in contexts or random.random() < 0.8}
        found[n] = keep or {min(found[n])}
    # A context that is gone takes its n-grams with it.
    for n in range(3, order + 1):
        found[n] = {gram for gram in found[n] if gram[:-1] in found[n - 1]}
    return {n: random.sample(sorted(grams), k=len(grams)) for n, grams in found.items()}


def arpa_text(random, words, order, sentences=60, with_unknown=True):
    """The text of a model, whose highest order has n-grams."""
    while True:
        grams = ngrams_of(random, words, order, sentences)
        if all(grams.values()):
            break
    if not with_unknown:
        grams = {n: [gram for gram in of_order if "<unk>" not in gram] for n, of_order in grams.items()}
        for n in range(2, order + 1):
            assert grams[n]
    lines = ["\\data\\", *(f"ngram {n}={len(of_order)}" for n, of_order in grams.items()), ""]
    for n, of_order in grams.items():
        lines.append(f"\\{n}-grams:")
        for gram in of_order:
            text = " ".join(gram)
            probability = "-99" if gram == ("<s>",) else number(random, -5)
            backoff = ""
            if n < order and text != "</s>" and random.random() < 0.9:
                backoff = "\t" + random.choice([number(random, -2), number(random, -2), "0", "-0", "0.25"])
            lines.append(f"{probability}\t{text}{backoff}")
        lines.append("")
    return "\n".join([*lines, "\\end\\", ""])


def write_model(random, folder, name, words, order, kinds=(), **options):
    """Writes NAME.arpa and the asked kinds beside it: {kind: path}, but for those that KenLM cannot make of it."""
    text = arpa_text(random, words, order, **options)
    arpa = folder / f"{name}.arpa"
    arpa.write_text(text)
    paths = {"arpa": arpa}
    for kind in kinds:
        if kind == "gz":
            paths[kind] = folder / f"{name}.arpa.gz"
            middle = len(text) // 2  # two members
            paths[kind].write_bytes(gzip.compress(text[:middle].encode()) + gzip.compress(text[middle:].encode()))
            continue
        path = folder / f"{name}.{kind}.bin"
        rest = []
        if kind == "rest":
            # Lower orders are models of their own: the same text, cut.
            lower = [lower_order(random, folder, name, words, n) for n in range(1, order)]
            rest = ["-r", " ".join(map(str, lower))]
        command = [BUILD_BINARY, *rest, "-p", "1.7", *KINDS[kind], arpa, path]
        build = subprocess.run(command, capture_output=True, text=True)
        if build.returncode == 0:
            paths[kind] = path
        elif "prun" not in build.stderr and "Avoid pruning" not in build.stderr:
            raise SystemExit(f"build_binary {kind}: {build.stderr}")
    return paths


def lower_order(random, folder, name, words, order):
    path = folder / f"{name}.lower{order}.arpa"
    if order == 1:
        words = [*words, "<s>", "</s>", "<unk>"]
        lines = [f"{number(random, -5)}\t{word}" for word in words]
        path.write_text("\n".join(["\\data\\", f"ngram 1={len(words)}", "", "\\1-grams:", *lines, "", "\\end\\", ""]))
    else:
        path.write_text(arpa_text(random, words, order))
    return path
