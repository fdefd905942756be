"""Fine-tunes a CTC head on a few clips: what examples/finetune_ctc.cpp does in C++, with transformers.

The C++ program prints the same lines: the same losses, to the last digit, and the same texts."""

import argparse
import json
import pathlib

import numpy as np
import soundfile
import torch
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertForCTC, Wav2Vec2CTCTokenizer


def read_clips(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    names, transcripts = zip(*(line.split("\t") for line in lines if line), strict=True)
    return [path.parent / name for name in names], list(transcripts)


def read_tokenizer(path):
    vocabulary = json.loads(path.read_text(encoding="utf-8"))
    pad = next(token for token in ("[PAD]", "<pad>") if token in vocabulary)
    unknown = "[UNK]" if "[UNK]" in vocabulary else "<unk>"
    tokenizer = Wav2Vec2CTCTokenizer(str(path), pad_token=pad, unk_token=unknown, word_delimiter_token="|")
    return tokenizer, len(vocabulary), vocabulary[pad]


def load_model(directory, vocab_size, blank, seed):
    torch.manual_seed(seed)  # for a new head
    model = Wav2Vec2BertForCTC.from_pretrained(directory, vocab_size=vocab_size, pad_token_id=blank,
                                               ctc_loss_reduction="mean", dtype=torch.float32)
    for parameter in model.parameters():  # from the mapped file into memory of its own
        parameter.data = parameter.data.clone()
    return model


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="directory of a Wav2Vec2BertModel, which gets a new head, or a ForCTC")
    parser.add_argument("clips", type=pathlib.Path, help="TSV: audio file (16 kHz), transcript")
    parser.add_argument("vocabulary", type=pathlib.Path, help="vocab.json: character -> id")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--adamw", action="store_true", help="AdamW instead of SGD with momentum")
    parser.add_argument("--train-all", action="store_true", help="the base model too, not the head alone")
    parser.add_argument("--gradient-checkpointing", action="store_true",
                        help="less memory: a layer's activations are computed again")
    parser.add_argument("--output", type=pathlib.Path, help="save the model there")
    arguments = parser.parse_args(words)

    paths, transcripts = read_clips(arguments.clips)
    tokenizer, vocab_size, blank = read_tokenizer(arguments.vocabulary)
    extractor = SeamlessM4TFeatureExtractor.from_pretrained(arguments.model)
    model = load_model(arguments.model, vocab_size, blank, arguments.seed)

    clips = [soundfile.read(path, dtype="float32")[0] for path in paths]
    batch = extractor(clips, sampling_rate=16000, return_tensors="pt")
    labels = torch.nn.utils.rnn.pad_sequence([torch.tensor(tokenizer(text).input_ids) for text in transcripts],
                                             batch_first=True, padding_value=-100)
    if not arguments.train_all:
        for parameter in model.wav2vec2_bert.parameters():
            parameter.requires_grad = False
    if arguments.gradient_checkpointing:
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if arguments.adamw:
        optimizer = torch.optim.AdamW(trained, lr=arguments.learning_rate)
    else:
        optimizer = torch.optim.SGD(trained, lr=arguments.learning_rate, momentum=0.9)
    torch.manual_seed(arguments.seed)  # dropout and layerdrop
    np.random.seed(arguments.seed)  # SpecAugment
    model.train()
    for step in range(1, arguments.steps + 1):
        optimizer.zero_grad()
        loss = model(batch.input_features, attention_mask=batch.attention_mask, labels=labels).loss
        loss.backward()
        optimizer.step()
        print(f"step {step} loss {loss.item():.9g}", flush=True)
    if arguments.output:
        model.save_pretrained(arguments.output)
        extractor.save_pretrained(arguments.output)

    model.eval()
    with torch.no_grad():
        logits = model(batch.input_features, attention_mask=batch.attention_mask).logits
    for path, text in zip(paths, tokenizer.batch_decode(logits.argmax(-1)), strict=True):
        print(f"{path.name}\t{text}")


if __name__ == "__main__":
    main()
