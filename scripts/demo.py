"""Real speech in, HuggingFace's hidden states out: runs the w2vbert program on recorded speech and
shows, clip by clip, how far its result is from what PyTorch gives in the same run."""

import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap
import time

SEED = 0
SMALL = dict(hidden_size=256, num_hidden_layers=6, num_attention_heads=4, intermediate_size=1024)
# Directory below --output -> class and its settings: nothing that was trained, so that what they say means nothing.
TASKS = {
    "recognizer": ("Wav2Vec2BertForCTC", dict(vocab_size=31, pad_token_id=0)),
    "classifier": ("Wav2Vec2BertForSequenceClassification",
                   dict(id2label={0: "calm", 1: "happy", 2: "sad"}, label2id={"calm": 0, "happy": 1, "sad": 2})),
    "segmenter": ("Wav2Vec2BertForAudioFrameClassification",
                  dict(id2label={0: "pause", 1: "speech"}, label2id={"pause": 0, "speech": 1})),
    "speaker": ("Wav2Vec2BertForXVector", dict(tdnn_dim=(128,) * 5, xvector_output_dim=64)),
}
RECORDED = [  # Debian's pocketsphinx-testdata (LibriVox readings) and alsa-utils
    "/usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb-0890.wav",
    "/usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb-0870.wav",
    "/usr/share/pocketsphinx/test/data/cards/005.wav",
    "/usr/share/sounds/alsa/Front_Center.wav",
    "/usr/share/sounds/alsa/Rear_Left.wav",
]


def parse_arguments():
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("audio", nargs="*", metavar="AUDIO", help="recordings; default: Debian's")
    parser.add_argument("--model", help="a HuggingFace model directory, or a Hub id in the local cache")
    parser.add_argument("--full", action="store_true",
                        help="the full architecture, 24 layers and 580 M parameters, seeded (2.3 GB)")
    parser.add_argument("--output", default="out/demo", type=pathlib.Path, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--program", default="build/bin/w2vbert", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.full and arguments.model:
        parser.error("--full makes its own model; give it or --model, not both")
    if arguments.audio and not arguments.model:
        parser.error("recordings of your own go with --model")
    return arguments


def say(text=""):
    print(text, flush=True)


def make_model(directory, settings):
    """A seeded checkpoint, saved by transformers itself."""
    import torch
    from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(SEED)
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    Wav2Vec2BertModel(Wav2Vec2BertConfig(**settings)).save_pretrained(partial)
    # padding_value 1 as in facebook/w2v-bert-2.0
    SeamlessM4TFeatureExtractor(padding_value=1.0).save_pretrained(partial)
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)


def make_task_models(output):
    """A small model of each class with a head, saved by transformers itself."""
    import torch
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    for name, (class_name, settings) in TASKS.items():
        directory = output / name
        if (directory / "model.safetensors").exists():
            continue
        torch.manual_seed(SEED)
        partial = directory.with_name(directory.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        if class_name == "Wav2Vec2BertForCTC":
            tokens = ["<pad>", "<unk>", "|", "'", "-", *"abcdefghijklmnopqrstuvwxyz"]
            vocabulary = partial / "vocab.json"
            vocabulary.write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
            transformers.Wav2Vec2CTCTokenizer(str(vocabulary), unk_token="<unk>",
                                              pad_token="<pad>").save_pretrained(partial)
        config = transformers.Wav2Vec2BertConfig(**SMALL, **settings)
        model = getattr(transformers, class_name)(config)
        for head in ("lm_head", "classifier"):  # so that outputs take turns
            if hasattr(model, head):
                torch.nn.init.normal_(getattr(model, head).weight, std=1.0)
        model.save_pretrained(partial)
        transformers.SeamlessM4TFeatureExtractor(padding_value=1.0).save_pretrained(partial)
        shutil.rmtree(directory, ignore_errors=True)
        partial.rename(directory)


def cache_folder():
    """As scripts/setup has it."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(os.environ.get("W2VBERT_CACHE") or pathlib.Path(home) / "w2vbert")


def full_model_directory():
    """The model of --full, whether it is there or not."""
    import importlib.metadata

    return cache_folder() / f"demo-full-transformers-{importlib.metadata.version('transformers')}-seed{SEED}"


def make_model_once(directory, settings):
    if not (directory / "model.safetensors").exists():
        say(f"making a seeded checkpoint in {directory}")
        directory.parent.mkdir(parents=True, exist_ok=True)
        make_model(directory, settings)


def make_full_model():
    make_model_once(full_model_directory(), {})


def model_directory(arguments):
    if arguments.model:
        return arguments.model
    if arguments.full:
        make_full_model()
        return str(full_model_directory())
    directory = arguments.output / "model"
    make_model_once(directory, SMALL)
    return str(directory)


def synthesised_clip(path):
    """Three seconds of a voice-like buzz: harmonics of a gliding pitch under two moving formants."""
    import numpy as np
    import soundfile

    rate = 16000
    t = np.arange(3 * rate) / rate
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * t)) / rate
    formants = 500 + 250 * np.sin(2 * np.pi * 0.9 * t), 1500 + 600 * np.sin(2 * np.pi * 0.6 * t + 1)
    signal = np.zeros_like(t)
    for harmonic in range(1, 30):
        pitch = harmonic * np.gradient(phase, 1 / rate) / (2 * np.pi)
        gain = sum(np.exp(-(((pitch - formant) / 150) ** 2)) for formant in formants)
        signal += gain * np.sin(harmonic * phase)
    signal *= 0.5 + 0.5 * np.sin(2 * np.pi * 2.5 * t)
    soundfile.write(path, (0.5 * signal / np.abs(signal).max()).astype("float32"), rate, subtype="PCM_16")


def run(program, *words):
    """Runs the program; its messages go to the terminal, its stdout comes back."""
    command = [program, *map(str, words)]
    say("$ " + textwrap.fill(" ".join(["w2vbert", *map(str, words)]), 100, subsequent_indent="    ",
                             break_long_words=False, break_on_hyphens=False))
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if result.returncode != 0:
        sys.exit(f"error: {command[1]} ended with status {result.returncode}")
    return result.stdout


@dataclasses.dataclass
class Comparison:
    """One clip: what the program gave, what PyTorch gave, and the distance between them."""

    name: str
    seconds: float
    frames: int
    states: list  # hidden_states.0 .. hidden_states.L of the program, each (T, C)
    expected: list  # the same from PyTorch, from the audio file on
    features: object  # (T, 160)
    expected_features: object
    chain: float  # largest difference, audio file to hidden states
    encoder: float  # largest difference of the encoder alone, fed with the program's features
    bits: int  # values of the encoder alone that differ in any bit
    torch_seconds: float


class PyTorch:
    """What a person would write in Python for the same result."""

    def __init__(self, model, threads):
        import torch
        from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertModel
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        torch.set_num_threads(threads)
        self.torch = torch
        self.extractor = SeamlessM4TFeatureExtractor.from_pretrained(model, local_files_only=True)
        self.model = Wav2Vec2BertModel.from_pretrained(model, dtype=torch.float32, local_files_only=True)
        self.model.eval()

    def load_audio(self, path):
        import soundfile
        import soxr

        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        samples = samples[:, 0]
        target = self.extractor.sampling_rate
        if rate != target:
            samples = soxr.resample(samples, rate, target, quality="HQ")  # what librosa does
        return samples, len(samples) / target

    def features(self, samples):
        return self.extractor(samples, sampling_rate=self.extractor.sampling_rate, return_tensors="pt")

    def states(self, input_features, attention_mask):
        with self.torch.no_grad():
            output = self.model(input_features, attention_mask=attention_mask, output_hidden_states=True)
        return [state[0] for state in output.hidden_states]


def compare(pytorch, path, name, feature_file, state_file):
    from safetensors.torch import load_file

    torch = pytorch.torch
    samples, seconds = pytorch.load_audio(path)
    started = time.perf_counter()
    inputs = pytorch.features(samples)
    expected = pytorch.states(inputs.input_features, inputs.attention_mask)
    torch_seconds = time.perf_counter() - started

    ours = load_file(feature_file)
    tensors = load_file(state_file)
    states = [tensors[f"hidden_states.{index}"] for index in range(len(expected))]
    alone = pytorch.states(ours["input_features"][None], ours["attention_mask"][None])
    return Comparison(
        name=name,
        seconds=seconds,
        frames=states[0].shape[0],
        states=states,
        expected=expected,
        features=ours["input_features"],
        expected_features=inputs.input_features[0],
        chain=max(float((a - b).abs().max()) for a, b in zip(states, expected, strict=True)),
        encoder=max(float((a - b).abs().max()) for a, b in zip(states, alone, strict=True)),
        bits=sum(int((a.view(torch.int32) != b.view(torch.int32)).sum())
                 for a, b in zip(states, alone, strict=True)),
        torch_seconds=torch_seconds,
    )


def draw(clip, path):
    """One clip, three rows (features, middle state, last state), three columns."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    def log_mel(features):  # (T, 160) -> (80, 2T): two frames were stacked into one row
        return features.numpy().reshape(-1, 80).T

    middle, last = len(clip.states) // 2, len(clip.states) - 1
    rows = [("normalised log-mel features\nmel bin", log_mel(clip.features), log_mel(clip.expected_features))]
    for index in (middle, last):
        label = f"hidden_states[{index}]\nchannel"
        rows.append((label, clip.states[index].numpy().T, clip.expected[index].numpy().T))

    figure, axes = plt.subplots(3, 3, figsize=(13, 8), layout="constrained", sharex="row")
    figure.suptitle(f"{clip.name}: {clip.seconds:.2f} s, {clip.frames} frames, "
                    f"{len(clip.states) - 1} layers")
    for row, (label, ours, theirs) in enumerate(rows):
        limit = float(np.abs(theirs).max())
        difference = np.abs(ours - theirs)
        extent = (0, clip.seconds, 0, ours.shape[0])
        shared = dict(aspect="auto", origin="lower", interpolation="nearest", extent=extent)
        for column, (title, values) in enumerate([("w2vbert", ours), ("PyTorch", theirs)]):
            image = axes[row][column].imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, **shared)
            axes[row][column].set_title(title)
        figure.colorbar(image, ax=axes[row][:2].tolist(), shrink=0.9)
        image = axes[row][2].imshow(difference, cmap="magma", vmin=0,
                                    vmax=max(float(difference.max()), 1e-12), **shared)
        axes[row][2].set_title(f"|difference|, largest {difference.max():.2g}")
        figure.colorbar(image, ax=axes[row][2], shrink=0.9)
        axes[row][0].set_ylabel(label)
    for axis in axes[-1]:
        axis.set_xlabel("seconds")
    figure.savefig(path, dpi=100)


def main():
    arguments = parse_arguments()
    output = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    model = model_directory(arguments)

    clips = [pathlib.Path(path) for path in arguments.audio or RECORDED]
    if not arguments.audio:
        synthesised = output / "synthesised.wav"
        synthesised_clip(synthesised)
        clips.append(synthesised)
    for clip in clips:
        if not clip.exists():
            sys.exit(f"error: {clip}: not found, expected a recording")
    # One folder with a link per clip: outputs are named by the path below the common root.
    links = output / "clips"
    shutil.rmtree(links, ignore_errors=True)
    links.mkdir()
    names = {}
    for index, clip in enumerate(clips, start=1):
        link = links / f"{index:02d}-{clip.name}"
        link.symlink_to(clip.resolve())
        names[link.stem] = clip

    say()
    table, summary = run(arguments.program, "inspect", model).split("\n\n", 1)
    rows = table.splitlines()
    for line in [*rows[:3], f"... {len(rows) - 1} tensors", *summary.splitlines()]:
        say("  " + line)
    common = ["--model", model, "--threads", arguments.threads]
    for folder in ("features", "states"):
        shutil.rmtree(output / folder, ignore_errors=True)
    say()
    inputs = sorted(links.iterdir())
    run(arguments.program, "features", *inputs, *common, "--output", output / "features")
    report = json.loads(run(arguments.program, "extract", *inputs, *common, "--states", "all",
                            "--engine", "reference", "--json", "--output", output / "states"))
    speeds = {pathlib.Path(clip["output"]).stem: clip["compute_seconds"] for clip in report["clips"]}

    say("\nthe same clips in PyTorch (transformers, its default attention, float32)")
    pytorch = PyTorch(model, arguments.threads)
    pytorch.states(*pytorch.features(pytorch.load_audio(clips[0])[0]).values())  # warm-up
    width = max(len(stem) for stem in names)
    say(f"\n{'':<{width}}{'':>23}{'speed (x real time)':>21}{'largest |difference|':>28}")
    say(f"{'clip':<{width}}{'seconds':>9}{'frames x width':>16}{'w2vbert':>10}{'PyTorch':>9}"
        f"{'audio to states':>17}{'encoder alone':>15}")
    results = []
    for stem, clip in names.items():
        result = compare(pytorch, str(clip), stem, output / "features" / f"{stem}.safetensors",
                         output / "states" / f"{stem}.safetensors")
        results.append(result)
        speed, torch_speed = result.seconds / speeds[stem], result.seconds / result.torch_seconds
        shape = " x ".join(map(str, result.states[-1].shape))
        alone = "0 bits" if result.bits == 0 else f"{result.encoder:.1e}"
        say(f"{stem:<{width}}{result.seconds:>9.2f}{shape:>16}{speed:>10.1f}{torch_speed:>9.1f}"
            f"{result.chain:>17.1e}{alone:>15}")

    picture = output / "hidden_states.png"
    draw(results[0], picture)
    say(f"\n{picture}: features and hidden states of the first clip, w2vbert beside PyTorch")
    say(f"{output / 'states'}: hidden_states.0 .. hidden_states.{len(results[0].states) - 1} of every clip")
    worst = max(result.chain for result in results)
    say(f"largest difference, audio file to hidden states: {worst:.1e}; "
        f"encoder alone on the same features: {sum(r.bits for r in results)} differing values")
    if not (arguments.model or arguments.full):
        make_task_models(output)
        say(f"{output}: small models of every class with a head, of seeded values that nothing was trained to, for the "
            "README's other commands")
    # The encoder is exact by design; features may differ in the last bits of a few values.
    if any(result.bits for result in results) or worst > 1e-3:
        sys.exit("error: the result is not PyTorch's")


if __name__ == "__main__":
    main()
