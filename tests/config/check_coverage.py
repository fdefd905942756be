"""The tables of docs/parity.md against the installed transformers and this library.

Every class and function, config field, config key and activation of transformers has one row there, and
every row's files, C++ names and tests exist. What a row says of a config key is tried out: this library
reads a value as transformers does, or refuses it with one line that names the key and the value.

usage: check_coverage.py PRINT_CONFIG   (exit 77: transformers is not installed)"""

import dataclasses
import inspect
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from absent_packages import skip_where_absent  # noqa: E402

try:
    import torch
    from transformers import (
        GenerationConfig,
        PreTrainedConfig,
        SeamlessM4TFeatureExtractor,
        SequenceFeatureExtractor,
        Wav2Vec2BertConfig,
        Wav2Vec2BertForAudioFrameClassification,
        Wav2Vec2BertForCTC,
        Wav2Vec2BertForSequenceClassification,
        Wav2Vec2BertForXVector,
        Wav2Vec2BertModel,
        logging,
    )
    from transformers.activations import ACT2FN
    from transformers.models.seamless_m4t import feature_extraction_seamless_m4t
    from transformers.models.wav2vec2_bert import (
        configuration_wav2vec2_bert,
        modeling_wav2vec2_bert,
        processing_wav2vec2_bert,
    )
except ImportError as error:
    skip_where_absent(error)

from compare_with_transformers import config_values, expected_features

ROOT = pathlib.Path(__file__).resolve().parents[2]
STATUSES = ("mirrored", "refused", "no effect")
FIRST_ROW = "| in transformers | here | where, or why | test |"

# A value of every kind that JSON has. Nothing here is expected of any of them: transformers says.
CANDIDATES = [None, True, False, 0, 1, 2, 3, 33, 2048, 8000, -1, 0.25, 2.5, "", "x", "eager", "gelu", "mean",
              "rotary", "float16", "4.0.0", "regression", "Wav2Vec2BertForCTC", "SeamlessM4TFeatureExtractor",
              "left", [], [5], [1.5], ["x"], [8, 9, 10, 11, 12], {}, {"x": 1},
              {"0": "no", "1": "yes", "2": "may be"}]
# Where a key alone says nothing.
BESIDE = {"use_intermediate_ffn_before_adapter": {"add_adapter": True},
          "feature_size": {"num_mel_bins": 33}, "num_mel_bins": {"feature_size": 33}}
# transformers takes no integer where a float is due; a config.json with 1 for 1.0 is read here.
INTEGERS_ARE_READ = {"layer_norm_eps", "initializer_range"}


def is_accepted_here_alone(key, value):
    return key in INTEGERS_ARE_READ and type(value) is int


# ---- what transformers has ------------------------------------------------------------------------------

def classes_and_functions():
    modules = (modeling_wav2vec2_bert, configuration_wav2vec2_bert, processing_wav2vec2_bert,
               feature_extraction_seamless_m4t)
    return {name for module in modules for name, value in vars(module).items()
            if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__}


def config_fields():
    return {field.name for field in dataclasses.fields(Wav2Vec2BertConfig)}


def is_method(name):
    value = inspect.getattr_static(PreTrainedConfig, name, None)
    return callable(value) or isinstance(value, (classmethod, staticmethod))


def keys_read_by_the_models():
    """The attributes that transformers asks a config for while it saves, loads, trains and runs every class."""
    asked = set()
    before = PreTrainedConfig.__getattribute__

    def recording(self, name):
        asked.add(name)
        return before(self, name)

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
             "feature_projection_input_dim": 4, "vocab_size": 8, "mask_time_length": 2, "mask_time_prob": 0.5,
             "mask_feature_prob": 0.5, "mask_feature_length": 2, "layerdrop": 0.0, "tdnn_dim": [8],
             "tdnn_kernel": [3], "tdnn_dilation": [1], "classifier_proj_size": 8, "xvector_output_dim": 8}
    labels = {Wav2Vec2BertForCTC: torch.ones(2, 3, dtype=torch.long),
              Wav2Vec2BertForSequenceClassification: torch.ones(2, dtype=torch.long),
              Wav2Vec2BertForXVector: torch.ones(2, dtype=torch.long),
              Wav2Vec2BertForAudioFrameClassification: torch.zeros(2, 20, 2)}
    cases = [(Wav2Vec2BertModel, "relative", True, "eager"), (Wav2Vec2BertModel, None, False, "sdpa"),
             (Wav2Vec2BertForCTC, "relative_key", True, "sdpa"), (Wav2Vec2BertForXVector, "rotary", False, "sdpa"),
             (Wav2Vec2BertForSequenceClassification, "relative_key", False, "eager"),
             (Wav2Vec2BertForAudioFrameClassification, "relative_key", False, "sdpa")]
    PreTrainedConfig.__getattribute__ = recording
    try:
        for model_class, positions, adapter, attention in cases:
            config = Wav2Vec2BertConfig(**small, position_embeddings_type=positions, add_adapter=adapter,
                                        use_intermediate_ffn_before_adapter=adapter,
                                        use_weighted_layer_sum=not adapter)
            with tempfile.TemporaryDirectory() as folder:
                model_class(config).save_pretrained(folder)
                model = model_class.from_pretrained(folder, attn_implementation=attention)
            mask = torch.ones(2, 20, dtype=torch.long)
            mask[1, 15:] = 0
            given = {"labels": labels[model_class]} if model_class in labels else {}
            for training in (False, True):
                model.train(training)(torch.randn(2, 20, 4), attention_mask=mask, **given)
    finally:
        PreTrainedConfig.__getattribute__ = before
    return asked


def config_keys():
    """What a config.json may hold besides the fields and means something to transformers."""
    keys = set(re.findall(r'kwargs\.(?:pop|get)\("(\w+)"', inspect.getsource(PreTrainedConfig.__post_init__)))
    keys |= {name for name in dir(Wav2Vec2BertConfig)
             if isinstance(inspect.getattr_static(Wav2Vec2BertConfig, name), property)}
    keys |= {name for name in keys_read_by_the_models() if not is_method(name)}
    keys |= {name for name, kind in inspect.get_annotations(PreTrainedConfig).items() if "ClassVar" in str(kind)}
    keys -= config_fields()
    # A leading underscore marks the private state of transformers; this one stands in files.
    keys = {key for key in keys if not key.startswith("_")} | {"_attn_implementation"}
    return keys | set(GenerationConfig._get_default_generation_params())


def extractor_keys():
    keys = set()
    for kind in (SeamlessM4TFeatureExtractor, SequenceFeatureExtractor):
        keys |= {name for name, parameter in inspect.signature(kind.__init__).parameters.items()
                 if parameter.kind == parameter.POSITIONAL_OR_KEYWORD and name != "self"}
        keys |= set(re.findall(r'kwargs\.(?:pop|get)\("(\w+)"', inspect.getsource(kind.__init__)))
    # What the constructor computes, and what a file's value would replace.
    return keys | {name for name in vars(SeamlessM4TFeatureExtractor()) if not name.startswith("_")}


# ---- what the tables say --------------------------------------------------------------------------------

@dataclasses.dataclass
class Row:
    table: str
    status: str
    where: str
    tests: str


def quoted(text):
    return re.findall(r"`([^`]+)`", text)


def read_tables(text):
    """{heading: {name: Row}} of the tables that begin with FIRST_ROW, and what is wrong with them."""
    tables, problems, heading, rows = {}, [], "", None
    for line in text.splitlines():
        if line.startswith("#"):
            heading, rows = line.lstrip("# "), None
        elif line == FIRST_ROW:
            rows = tables.setdefault(heading, {})
        elif rows is not None and line.startswith("| `"):
            names, status, where, tests = (cell.strip() for cell in line.strip("|").split("|"))
            if status not in STATUSES:
                problems.append(f"{heading}: {names}: {status!r}, expected one of {', '.join(STATUSES)}")
            for name in quoted(names):
                if name in rows:
                    problems.append(f"{heading}: {name} stands twice")
                rows[name] = Row(heading, status, where, tests)
        elif not line.startswith("|"):
            rows = None
    return tables, problems


def known_tests():
    """The names of the tests as CTest has them, without the executable's."""
    names = set()
    for path in (ROOT / "tests").rglob("*.cpp"):
        for suite, test in re.findall(r"^TEST(?:_F|_P)?\((\w+),\s*(\w+)\)", path.read_text(), re.MULTILINE):
            names.add(f"{suite}.{test}")
            # These suites are registered by CMake, under other names.
            names |= {f"{prefix}.{test}" for prefix in {"Parity": ("parity", "golden"),
                                                        "FeatureParity": ("features",)}.get(suite, ())}
    for path in (ROOT / "tests").rglob("CMakeLists.txt"):
        names |= set(re.findall(r"w2vbert_(?:add_test|python_test|python_fixture)\(\s*(\w+\.\w+)", path.read_text()))
    return names


def row_problems(name, row, tests, files):
    what = f"{row.table}: {name}"
    if not quoted(row.tests):
        yield f"{what}: no test is named"
    for test in quoted(row.tests):
        if test not in tests:
            yield f"{what}: there is no test {test}"
    if row.status != "mirrored":
        if len(row.where) < 10:
            yield f"{what}: no reason is given"
        return
    paths = [word for word in quoted(row.where) if "/" in word]
    words = [word for word in quoted(row.where.split("(")[0]) if "/" not in word] or [name]
    texts = []
    for path in paths:
        if path not in files:
            yield f"{what}: there is no file {path} in include/w2vbert or src"
        texts.append(files.get(path, ""))
    if not paths:
        yield f"{what}: no file is named"
    for word in words:
        last = word.split("::")[-1]
        if not any(re.search(rf"\b{re.escape(last)}\b", text) for text in texts):
            yield f"{what}: {last} does not stand in {', '.join(paths)}"


def source_files():
    files = {}
    for root in (ROOT / "include" / "w2vbert", ROOT / "src"):
        for path in root.rglob("*"):
            if path.suffix in (".h", ".cpp"):
                files[str(path.relative_to(root))] = path.read_text()
    return files


def table_problems(tables, heading, names):
    rows = tables.get(heading)
    if rows is None:
        return [f"docs/parity.md has no table under {heading!r}"]
    return ([f"{heading}: transformers has {name}, the table does not" for name in sorted(names - rows.keys())] +
            [f"{heading}: the table has {name}, transformers does not" for name in sorted(rows.keys() - names)])


# ---- whether it is true ---------------------------------------------------------------------------------

def read_by_this_library(program, root, cases):
    """(directory, what this library reads or {"error": its line}) of each pair of config files."""
    directories = []
    for number, (model, features) in enumerate(cases):
        directory = root / str(number)
        directory.mkdir(parents=True)
        (directory / "config.json").write_text(json.dumps(model))
        (directory / "preprocessor_config.json").write_text(json.dumps(features))
        directories.append(directory)
    output = subprocess.run([program, *map(str, directories)], check=True, capture_output=True, text=True)
    answers = [json.loads(line) for line in output.stdout.splitlines()]
    assert len(answers) == len(cases), output
    return zip(directories, answers, strict=True)


def renderings(value):
    """How an error may show a value: as JSON, or what kind it is, or the part of it that is wrong."""
    yield json.dumps(value)
    if isinstance(value, (list, dict)):
        yield "a list" if isinstance(value, list) else "an object"
        yield "an empty object"
        for part in (value if isinstance(value, list) else [*value.keys(), *value.values()]):
            yield from renderings(part)


def is_one_line_about(line, path, key, value):
    if "\n" in line or ", expected " not in line or not line.startswith(f"{path}: "):
        return False
    problem = line.removeprefix(f"{path}: ")
    return bool(re.search(rf"\b{key}\b", problem)) and any(text in problem for text in renderings(value))


def try_keys(program, root, rows, part):
    """Gives every key every candidate: this library must read what transformers reads, or refuse the value, and
    must refuse what transformers refuses. What is said of the key in its row must be true."""
    of_model = part == "model"
    file, transformers_reads = (("config.json", config_values) if of_model else
                                ("preprocessor_config.json", expected_features))
    trials = [(key, value) for key in rows for value in [..., *CANDIDATES]]  # ...: the key is absent
    cases = []
    for key, value in trials:
        settings = {**BESIDE.get(key, {}), **({} if value is ... else {key: value})}
        cases.append((settings, {}) if of_model else ({}, settings))
    problems, changed, refused, absent = [], set(), set(), None
    for (key, value), (directory, answer) in zip(trials, read_by_this_library(program, root, cases), strict=True):
        if value is ...:
            absent = answer.get(part)
            continue
        what = f"{key} = {json.dumps(value)}"
        try:
            theirs = transformers_reads(directory)
        except Exception as error:  # whatever its types, validators and constructors raise
            theirs = error
        if "error" in answer:
            refused.add(key)
            if not is_one_line_about(answer["error"], directory / file, key, value):
                problems.append(f"{what}: no line that names key and value: {answer['error']}")
            continue
        ours = {name: read for name, read in answer[part].items() if name != "parameter_count"}
        if answer[part] != absent:
            changed.add(key)
        if isinstance(theirs, Exception):
            if not is_accepted_here_alone(key, value):
                problems.append(f"{what}: accepted, transformers says {' '.join(str(theirs).split())[:200]}")
            continue
        # A switch, which transformers keeps as it stands and asks for its truth.
        if theirs.get("return_attention_mask", False) is None:
            theirs["return_attention_mask"] = False
        problems += [f"{what}: {name} is read as {ours.get(name)!r}, by transformers as {theirs.get(name)!r}"
                     for name in sorted(ours.keys() | theirs.keys()) if ours.get(name) != theirs.get(name)]
    for key, row in rows.items():
        if row.status == "mirrored" and key not in changed:
            problems.append(f"{key}: mirrored, but no value changes what is read")
        if row.status != "mirrored" and key in changed:
            problems.append(f"{key}: {row.status}, but a value changes what is read")
        if row.status == "refused" and key not in refused:
            problems.append(f"{key}: refused, but every value is accepted")
    return problems, len(trials)


def try_activations(program, root, rows):
    trials = [(key, name) for name in rows for key in ("hidden_act", "adapter_act")]
    problems = []
    for (key, name), (directory, answer) in zip(
            trials, read_by_this_library(program, root, [({key: name}, {}) for key, name in trials]),
            strict=True):
        if rows[name].status == "mirrored":
            if answer.get("model", {}).get(key) != name:
                problems.append(f"{key} = {name}: mirrored, but {answer}")
        elif not is_one_line_about(answer.get("error", ""), directory / "config.json", key, name):
            problems.append(f"{key} = {name}: {rows[name].status}, but {answer}")
    return problems, len(trials)


def main():
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    warnings.simplefilter("ignore")  # of extractors with more filters than the spectrum has bins
    program = sys.argv[1]
    tables, problems = read_tables((ROOT / "docs" / "parity.md").read_text())
    generation = set(GenerationConfig._get_default_generation_params())
    expected = {"Classes and functions": classes_and_functions(), "Fields of config.json": config_fields(),
                "Other keys of config.json": config_keys() - generation,
                "Keys of preprocessor_config.json": extractor_keys(), "Activations": set(ACT2FN)}
    for heading, names in expected.items():
        problems += table_problems(tables, heading, names)
    tests, files = known_tests(), source_files()
    for rows in tables.values():
        for name, row in rows.items():
            problems += row_problems(name, row, tests, files)
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        tried = [try_keys(program, root / "fields", tables.get("Fields of config.json", {}), "model"),
                 try_keys(program, root / "keys", tables.get("Other keys of config.json", {}), "model"),
                 try_keys(program, root / "extractor", tables.get("Keys of preprocessor_config.json", {}),
                          "features"),
                 try_activations(program, root / "activations", tables.get("Activations", {}))]
    for found, _ in tried:
        problems += found
    print("\n".join(problems))
    print(f"{sum(map(len, tables.values()))} rows, {sum(count for _, count in tried)} values tried, "
          f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
