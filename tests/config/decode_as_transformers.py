"""Random tokenizers of CTC models, saved by transformers or written as older versions and other tools
write them, random ids and random texts: the decoded text, characters and words must be those of
transformers, and so must a text's ids; lower and upper case must be those of Python.

usage: decode_as_transformers.py DECODE_CTC [SEED [RELEASE]]   (exit 77: transformers is not installed; RELEASE: fails
for another one of it)"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from absent_packages import skip_where_absent  # noqa: E402

try:
    import transformers
    from transformers import AutoTokenizer, SeamlessM4TFeatureExtractor, Wav2Vec2BertProcessor, Wav2Vec2CTCTokenizer
    from transformers.utils import logging
except ImportError as error:
    skip_where_absent(error)

TOKENIZERS = 360
SEQUENCES = 30
TEXTS = 30
# The names of the list of special tokens that have no name of their own.
NEWER, OLDER = "extra_special_tokens", "additional_special_tokens"
TOKENS = [
    *"abcABC'.,?! |#_-\t",
    "AB",
    "th",
    "n't",
    "'s",
    " a",
    "\u00a0",
    "\u3000",
    "\u00e9",
    "\u0130",
    "\u03a3",
    "\u039b",
    "\u03c3",
    "\U00010400",
    "\U0001f600",
    "\u65e5",
    "None",
    "[PAD]",
    "[UNK]",
    "<pad>",
    "<unk>",
    "<s>",
    "</s>",
    "<ctc>",
]


def vocabulary(random, tokens):
    """With holes now and then, in any order"""
    ids = list(range(len(tokens)))
    if random.random() < 0.3:
        ids = random.sample(range(len(tokens) + 6), len(tokens))
    if random.random() < 0.3:  # tokens of one id
        for _ in range(2):
            ids[random.randrange(len(ids))] = random.choice(ids)
    return dict(zip(tokens, ids, strict=True))


def some_tokens(random):
    return list(dict.fromkeys([*random.sample(TOKENS, random.randint(4, 20)), *random.sample("||||#", 1)]))


def token(random, tokens):
    return random.choice([*tokens, random.choice(TOKENS)])


def saved(random, directory):
    """As transformers saves it"""
    tokens = some_tokens(random)
    vocab = vocabulary(random, tokens)
    settings = {}
    if random.random() < 0.2:
        settings["target_lang"] = "eng"
        vocab = {"eng": vocab, "deu": {"x": 0}}
    source = directory / "source.json"
    source.write_text(json.dumps(vocab))
    for key in ("bos_token", "eos_token", "unk_token", "pad_token", "word_delimiter_token"):
        if random.random() < 0.7:
            settings[key] = token(random, tokens)
    if random.random() < 0.5:
        settings["replace_word_delimiter_char"] = random.choice([" ", "_", "", "<>", "|", "A"])
    for key in ("do_lower_case", "clean_up_tokenization_spaces"):
        if random.random() < 0.6:
            settings[key] = random.random() < 0.7
    if random.random() < 0.3:
        settings["extra_special_tokens"] = random.sample(TOKENS, 2)
    tokenizer = Wav2Vec2CTCTokenizer(str(source), **settings)
    if random.random() < 0.3:
        tokenizer.add_tokens(random.sample([*TOKENS, "new"], 2))
    if random.random() < 0.5:
        Wav2Vec2BertProcessor(SeamlessM4TFeatureExtractor(), tokenizer).save_pretrained(directory)
    else:
        tokenizer.save_pretrained(directory)
    if random.random() < 0.3:  # what it makes of it, saved again
        Wav2Vec2CTCTokenizer.from_pretrained(directory).save_pretrained(directory)


def added_token(random, content, **more):
    return {
        "content": content,
        "lstrip": False,
        "normalized": random.random() < 0.5,
        "rstrip": False,
        "single_word": False,
        **{key: True for key in ("lstrip", "rstrip", "single_word") if random.random() < 0.2},
        **more,
    }


def written(random, directory):
    """By hand, as versions before 4.34 wrote it, or others"""
    tokens = some_tokens(random)
    vocab = vocabulary(random, tokens)
    (directory / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=random.random() < 0.5))
    config = {}
    for key in ("bos_token", "eos_token", "unk_token", "pad_token", "word_delimiter_token", "sep_token", "x_token"):
        if random.random() < 0.5:
            content = token(random, tokens)
            config[key] = random.choice([content, content, added_token(random, content, __type="AddedToken")])
        elif key not in ("pad_token", "x_token") and random.random() < 0.2:
            config[key] = None
    if random.random() < 0.3:
        config["add_bos_token"] = False
    for key in ("do_lower_case", "clean_up_tokenization_spaces", "split_special_tokens"):
        if random.random() < (0.1 if key == "split_special_tokens" else 0.5):
            config[key] = random.choice([True, False, None])
    if random.random() < 0.5:
        for key in random.choice([[NEWER], [OLDER], [NEWER, OLDER], [OLDER, NEWER]]):
            config[key] = random.choice(
                [
                    random.sample(TOKENS, 2),
                    [],
                    None,
                    {},
                    {"y_token": "yy", "pad_token": tokens[0]},
                    [added_token(random, "zz", __type="AddedToken")],
                ]
            )
        if isinstance(config.get(NEWER), dict) and isinstance(config.get(OLDER), dict):  # refused here
            config[OLDER] = random.sample(TOKENS, 2)
    if random.random() < 0.2:
        config["model_specific_special_tokens"] = {"word_delimiter_token": "ww", "v": tokens[-1]}
    if random.random() < 0.3:
        config["added_tokens_decoder"] = {
            str(random.randrange(30)): added_token(random, token(random, tokens)) for _ in range(3)
        }
    if random.random() < 0.6:
        special = {}
        for key in ("bos_token", "unk_token", "pad_token", "word_delimiter_token", "w_token"):
            if random.random() < 0.4:
                content = token(random, tokens)
                special[key] = random.choice([content, added_token(random, content)])
        if random.random() < 0.4:
            for key in random.choice([[NEWER], [OLDER], [NEWER, OLDER], [OLDER, NEWER]]):
                values = [random.sample(TOKENS, 2), random.sample(TOKENS, 2), [], None]
                special[key] = random.choice([*values, {"u_token": "uu"}] if key == NEWER else values)
        (directory / "special_tokens_map.json").write_text(json.dumps(special))
    if random.random() < 0.4:
        names = random.sample([*TOKENS, "new", "newer"], 3)
        (directory / "added_tokens.json").write_text(
            json.dumps({name: len(tokens) + i for i, name in enumerate(names)})
        )
    if random.random() < 0.8:
        if random.random() < 0.5:
            config["tokenizer_class"] = "Wav2Vec2CTCTokenizer"
        (directory / "tokenizer_config.json").write_text(json.dumps(config))


def sequence(random, tokenizer):
    """Often with the blank and the end of a word"""
    size = max([*tokenizer.decoder, *tokenizer.added_tokens_decoder]) + 4
    frequent = tokenizer.convert_tokens_to_ids([tokenizer.pad_token, tokenizer.word_delimiter_token])
    frequent = [i for i in frequent if i is not None] or [0]
    ids = []
    length = random.choice([0, 1, 5, 40, 80])
    while len(ids) < length:
        i = random.choice(frequent) if random.random() < 0.4 else random.randrange(size)
        ids += [i] * random.choice([1, 1, 2, 5])
    return ids


def text(random, tokenizer):
    """Of tokens, parts of them, and characters that it does not have"""
    tokens = [*tokenizer.get_vocab(), tokenizer.word_delimiter_token, *TOKENS]
    words = ["", " ", "  ", "\t", "\u00df", "\u0149", "\ufb03", "x", "<p", "\U0001f600", "\n"]
    parts = []
    for _ in range(random.choice([0, 1, 3, 10, 30])):
        part = random.choice(tokens if random.random() < 0.6 else words)
        parts.append(part[: random.randint(0, len(part))] if random.random() < 0.1 else part)
        if random.random() < 0.2:
            parts.append(" ")
    made = "".join(parts)
    return random.choice([made, made, made.lower(), made.upper()])


def encoding_problem(tokenizer, text, ours):
    tokens = tokenizer.tokenize(text)
    ids = tokenizer.convert_tokens_to_ids(tokens)
    if None in ids:  # neither the token nor an unk_token
        return None if "error" in ours else f"{ours}, transformers has {ids}"
    if ours.get("ids") != ids or tokenizer(text).input_ids != ids:
        return f"{ours}, transformers has {ids} and {tokenizer(text).input_ids}"
    known = {*tokenizer.encoder, *tokenizer._added_tokens_encoder}
    if ours["unknown"] != [token not in known for token in tokens]:
        return f"{ours}: unknown are others of {tokens}"
    for token, source in zip(tokens, ours["sources"], strict=True):
        if source not in (token, " ") and not (tokenizer.do_lower_case and token in source.upper()):
            return f"{source!r} as the source of {token!r}"
    return None


def expected(tokenizer, ids):
    try:
        output = tokenizer.decode(ids, output_char_offsets=True, output_word_offsets=True)
    except TypeError:  # an id without a token and an unk_token of null
        return None
    spans = {
        "chars": [[d["char"], int(d["start_offset"]), int(d["end_offset"])] for d in output.char_offsets],
        "words": [[d["word"], int(d["start_offset"]), int(d["end_offset"])] for d in output.word_offsets],
    }
    return {"text": output.text, **spans}


def run(*words, given):
    return subprocess.run([sys.argv[1], *map(str, words)], input=given.encode(), capture_output=True, check=False)


def case_problems():
    """Every character, and every one beside a capital sigma"""
    characters = map(chr, range(0x110000))
    if unicodedata.unidata_version != "14.0.0":
        characters = map(chr, range(0x1000))
    lines = []
    for c in characters:
        if c == "\n" or unicodedata.category(c) == "Cs":
            continue
        lines.append(f"{c}A")
        if unicodedata.category(c) not in ("Cn", "Co", "Lo"):
            lines += [f"{c}\u03a3", f"a{c}\u03a3", f"a\u03a3{c}", f"a\u03a3{c}b"]
    got = run("--lower", given="\n".join(lines) + "\n").stdout.decode().split("\n")[:-1]
    assert len(got) == len(lines), (len(got), len(lines))
    wrong = [f"lower case of {line!r}" for line, lowered in zip(lines, got, strict=True) if lowered != line.lower()]
    got = run("--upper", given="\n".join(lines) + "\n").stdout.decode().split("\n")[:-1]
    assert len(got) == len(lines), (len(got), len(lines))
    wrong += [f"upper case of {line!r}" for line, upper in zip(lines, got, strict=True) if upper != line.upper()]
    return wrong[:20], len(lines)


def main():
    logging.set_verbosity_error()
    if len(sys.argv) > 3 and not transformers.__version__.startswith(f"{sys.argv[3]}."):
        sys.exit(f"transformers is {transformers.__version__}, expected {sys.argv[3]}")
    problems, lines = case_problems()
    generator = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    compared = refused = words = encoded = unknown = 0
    with tempfile.TemporaryDirectory() as root:
        for i in range(TOKENIZERS):
            directory = pathlib.Path(root) / str(i)
            directory.mkdir()
            (directory / "config.json").write_text('{"model_type": "wav2vec2-bert"}')
            (saved if i % 2 else written)(generator, directory)
            files = {path.name: path.read_text() for path in directory.glob("*.json")}
            tokenizer = AutoTokenizer.from_pretrained(directory)
            sequences = [sequence(generator, tokenizer) for _ in range(SEQUENCES)]
            lines_of_ids = "".join(" ".join(map(str, ids)) + "\n" for ids in sequences)
            texts = [text(generator, tokenizer) for _ in range(TEXTS)]
            lines_of_texts = "".join(json.dumps(text) + "\n" for text in texts)
            result = run(directory, transformers.__version__, given=lines_of_ids + lines_of_texts)
            if result.returncode != 0:
                problems.append(f"{files}: {result.stderr.decode()}")
                continue
            answers = result.stdout.decode().split("\n")[:-1]
            for one, line in zip(texts, answers[SEQUENCES:], strict=True):
                found = encoding_problem(tokenizer, one, json.loads(line))
                encoded += 1
                unknown += sum(json.loads(line).get("unknown", []))
                if found:
                    problems.append(f"{files}: {one!r}: {found}")
                    break
            for ids, line in zip(sequences, answers[:SEQUENCES], strict=True):
                ours, theirs = json.loads(line), expected(tokenizer, ids)
                refused += theirs is None
                compared += 1
                words += len(theirs["words"]) if theirs else 0
                if ours != theirs and not (theirs is None and "error" in ours):
                    problems.append(f"{files}: {ids}:\n  {ours}\n  transformers has\n  {theirs}")
                    break
    print("\n".join(problems))
    print(
        f"{lines} lines of text, {compared} sequences ({refused} refused, {words} words), "
        f"{encoded} texts ({unknown} unknown tokens), {TOKENIZERS} tokenizers, "
        f"{len(problems)} differences"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
